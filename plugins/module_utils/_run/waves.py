# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""The order in which the instances of a run are upgraded: in waves, as Ansible's ``serial`` makes them of hosts.

A wave is of whole instances, each with its web hosts, so that the next one begins when all of them are verified. After
an instance that is not, no other one begins.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._run import facts as facts_of
from ansible_collections.fractal_ops.platform.plugins.module_utils._run.instance_report import (
    ends_badly,
    instance_records,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._run.instances import SERVER, WEB, server_of, webs_of
from ansible_collections.fractal_ops.platform.plugins.module_utils._run.report import NOT_BEGUN
from ansible_collections.fractal_ops.platform.plugins.module_utils._run.serial import SERIAL, sizes


def waves(servers: Sequence[str], serial: Any) -> list[list[str]]:
    """Return the servers in waves. The last size of ``serial`` is repeated; without a size all servers are one wave.

    Raises:
        FractalError: ``serial`` is not what the variable can be.
    """
    made: list[list[str]] = []
    rest = list(servers)
    wanted = sizes(serial, len(rest)) or [len(rest)]
    while rest:
        size = wanted[min(len(made), len(wanted) - 1)]
        made.append(rest[:size])
        rest = rest[size:]
    return made


def hosts_of_waves(
    hostvars: Mapping[str, Mapping[str, Any]], groups: Mapping[str, list[str]], run: Collection[str]
) -> list[list[str]]:
    """Return the hosts of each wave, instance by instance; empty if the operator wants none.

    Args:
        hostvars: Ansible's ``hostvars``.
        groups: Ansible's ``groups``.
        run: The hosts of the run.
    """
    servers = [name for name in groups.get(SERVER, []) if name in run]
    serial = next((hostvars[name].get(SERIAL) for name in servers), None)
    if not servers or not sizes(serial, 1):
        return []
    own: dict[str, list[str]] = {name: [name] for name in servers}
    for name in groups.get(WEB, []):
        if name in run:
            about = server_of(hostvars, groups, name)
            own[about if about in own else servers[-1]].append(name)
    return [list(dict.fromkeys(host for name in wave for host in own[name])) for wave in waves(servers, serial)]


def why_not_begun(
    hostvars: Mapping[str, Mapping[str, Any]],
    groups: Mapping[str, list[str]],
    run: Collection[str],
    wave: Sequence[str],
) -> dict[str, str]:
    """Return why instances of a wave do not begin any more, by host. Who may begin, or needs nothing, is left out.

    One whose service an interrupted run has stopped is continued: waiting would only keep it down.

    Args:
        hostvars: Ansible's ``hostvars``.
        groups: Ansible's ``groups``.
        run: The hosts of the run.
        wave: The hosts of the wave that is about to begin.
    """
    planned = hosts_of_waves(hostvars, groups, run)
    number = next((number for number, hosts in enumerate(planned) if not {*hosts}.isdisjoint(wave)), 0)
    before = {name for hosts in planned[:number] for name in hosts}
    if not before:
        return {}
    records = [one for one in instance_records(hostvars, groups, run, "upgrade") if one["name"] in before]
    bad = [f"{one['name']} ({one['outcome']})" for one in records if ends_badly(one) and one["outcome"] != NOT_BEGUN]
    if not bad:
        return {}
    why = f"Not begun, because of {', '.join(bad)}: no instance begins after one that is not upgraded and verified."
    return {host: why for host in wave if _could_begin(hostvars, groups, run, server_of(hostvars, groups, host))}


def _could_begin(
    hostvars: Mapping[str, Mapping[str, Any]], groups: Mapping[str, list[str]], run: Collection[str], server: str
) -> bool:
    own = hostvars[server] if server in run else {}
    state = own.get(facts_of.SERVER_STATE) or {}
    if not state or own.get(facts_of.SERVER_FAILURE) or (state.get("instance") or {}).get("hold") is not None:
        return False
    own_webs = [one for one in webs_of(hostvars, groups, server) if one in run]
    pending = [(hostvars[one].get(facts_of.WEB_STATE) or {}).get("pending") for one in own_webs]
    return bool((state.get("plan") or {}).get("pending") or any(pending))
