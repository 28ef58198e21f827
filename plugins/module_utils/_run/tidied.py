# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""What the playbook ``tidy`` has removed, or would, in lines for a person."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.wording import human_size
from ansible_collections.fractal_ops.platform.plugins.module_utils._run import facts as facts_of
from ansible_collections.fractal_ops.platform.plugins.module_utils._run.instance_report import LOST

_OF_GROUP = (
    ("fractal_server", "fractal-server", facts_of.TIDY_SERVER, facts_of.SERVER_FAILURE),
    ("fractal_web", "fractal-web", facts_of.TIDY_WEB, facts_of.WEB_FAILURE),
)


def tidy_lines(
    hostvars: Mapping[str, Any], groups: Mapping[str, list[str]], run: Iterable[str], check_mode: bool
) -> list[str]:
    """Return the lines of all hosts of the run: first what goes, then what stays, each with its size and the reason.

    Args:
        hostvars: Ansible's ``hostvars``.
        groups: Ansible's ``groups``.
        run: The hosts of the run.
        check_mode: Whether nothing was removed.
    """
    here, lines = set(run), []
    for group, what, fact, failure in _OF_GROUP:
        for name in (name for name in groups.get(group, []) if name in here):
            facts = hostvars[name]
            lines += [f"{name} ({what})", *_of_host(facts.get(fact) or {}, facts.get(failure) or LOST, check_mode)]
    return lines


def _of_host(result: Mapping[str, Any], failure: str, check_mode: bool) -> Iterator[str]:
    if "found" not in result:
        yield f"  {failure}"
        return
    verb, freed = ("would go", "would be") if check_mode else ("removed", "are")
    for item in sorted(result["found"], key=lambda one: (not one["goes"], str(one["name"]))):
        done = verb if item["goes"] else "stays"
        yield f"  {done:<9} {human_size(item['bytes']):>9}  {item['name']}: {item['why']}"
    yield f"  {human_size(result['bytes'])} {freed} free of it" if result["changed"] else "  nothing to remove"
