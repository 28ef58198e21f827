# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""Server and web hosts of an instance go to the new release together: neither works with the other's old one."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._run import facts as facts_of
from ansible_collections.fractal_ops.platform.plugins.module_utils._run.at_rest import without
from ansible_collections.fractal_ops.platform.plugins.module_utils._run.instances import SERVER, WEB, server_of, webs_of

Facts = Mapping[str, Mapping[str, Any]]
Groups = Mapping[str, list[str]]


def why_server_waits(hostvars: Facts, groups: Groups, server: str, run: Collection[str]) -> str:
    """Return why a server is not upgraded: its own failure, or that of a web host; empty if nothing is in the way.

    One whose service an interrupted run has stopped is continued without its web hosts.

    Args:
        hostvars: Ansible's ``hostvars``, after the prechecks.
        groups: Ansible's ``groups``.
        server: Its name in the inventory.
        run: The hosts of the run. A web host that the run has lost is one that cannot be upgraded.
    """
    own = hostvars[server]
    state, failure = own.get(facts_of.SERVER_STATE) or {}, own.get(facts_of.SERVER_FAILURE)
    if failure or not state or not state["plan"]["pending"] or state["instance"]["hold"] is not None:
        return str(failure or "")
    failures = {web: hostvars[web].get(facts_of.WEB_FAILURE, web in run) for web in webs_of(hostvars, groups, server)}
    failed = [web for web, why in failures.items() if why]
    return (
        f"Not upgraded, because fractal-web on {', '.join(failed)} cannot be: both belong together." if failed else ""
    )


def why_web_waits(hostvars: Facts, groups: Groups, web: str, run: Collection[str]) -> str:
    """Return why a web host is not upgraded: its own failure, or that of its server; empty if nothing is in the way.

    See `why_server_waits` for the arguments.
    """
    failure = hostvars[web].get(facts_of.WEB_FAILURE)
    if failure:
        return str(failure)
    server = server_of(hostvars, groups, web)
    own: Mapping[str, Any] = hostvars[server] if server in hostvars else {}  # noqa: SIM401  it may lack get()
    if facts_of.SERVER_FAILURE in own and not why_server_waits(hostvars, groups, server, run):
        return ""
    return (
        str(own.get(facts_of.NOT_BEGUN) or "")
        or f"Not upgraded, because its server {server or '(which fractal_server_host does not name)'} is not."
    )


def but_to_prepare(hostvars: Facts, groups: Groups, group: str, run: Collection[str]) -> list[str]:
    """Return patterns for ``hosts`` of a play that take every host of a group out of it that needs no preparation.

    Args:
        hostvars: Ansible's ``hostvars``; empty before the first play has begun, and where plays are only listed.
        groups: Ansible's ``groups``.
        group: ``fractal_server`` or ``fractal_web``.
        run: The hosts of the run.
    """
    return without(
        name for name in groups.get(group, []) if name in hostvars and not _needs(hostvars, groups, name, group, run)
    )


def _needs(hostvars: Facts, groups: Groups, name: str, group: str, run: Collection[str]) -> bool:
    if group == WEB:
        state = hostvars[name].get(facts_of.WEB_STATE) or {"pending": False}
        return bool(state["pending"]) and not why_web_waits(hostvars, groups, name, run)
    plan = (hostvars[name].get(facts_of.SERVER_STATE) or {"plan": {"pending": False}})["plan"]
    return group == SERVER and bool(plan["pending"]) and not why_server_waits(hostvars, groups, name, run)
