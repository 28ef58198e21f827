# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""What the playbook ``review`` says: where users compute and as whom, who cannot, and what a person should change."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.wording import examples
from ansible_collections.fractal_ops.platform.plugins.module_utils._run import facts as facts_of
from ansible_collections.fractal_ops.platform.plugins.module_utils._run.instance_report import LOST


def review_lines(hostvars: Mapping[str, Any], groups: Mapping[str, list[str]], run: Iterable[str]) -> list[str]:
    """Return the lines of all servers of the run.

    Args:
        hostvars: Ansible's ``hostvars``.
        groups: Ansible's ``groups``.
        run: The hosts of the run.
    """
    here, lines = set(run), []
    for name in (name for name in groups.get("fractal_server", []) if name in here):
        lines.append(f"{name} (fractal-server)")
        lines += [f"  {what:<9} {text}" for what, text in _of_server(hostvars[name])]
    return lines


def _of_server(facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    found = facts.get(facts_of.REVIEWED) or {}
    if "review" not in found:
        yield "unknown", facts.get(facts_of.SERVER_FAILURE) or LOST
        return
    shown = found["review"] or {"resources": [], "profiles": [], "without_access": []}
    for one in shown["resources"]:
        used = f"{len(one['profiles'])} profile(s), {one['projects']} project(s), {one['task_groups']} task group(s)"
        yield "resource", f"{one['name']!r} ({one['type']}): {used}"
    for one in shown["profiles"]:
        account = f" as {one['username']}" if one.get("username") else ""
        yield "profile", f"{one['name']!r} on {one['resource']!r}{account}: {examples(one['users']) or 'nobody'}"
    for one in shown["without_access"]:
        yield "no access", f"{one['email']}: {one['reason']}"
    for one in found["findings"]:
        yield "to do", f"{one['message']} {one['fix']}"
    for one in found["checks"]:
        if one["status"] != "passed":
            yield one["status"], f"{one['subject']}: {one['message'].rstrip('.')}. {one['fix']}".rstrip()
