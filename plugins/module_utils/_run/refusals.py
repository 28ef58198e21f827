# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""What is refused before any host is contacted: wrong groups, half an instance in the run, wrong variables.

Pure: it sees the inventory and the variables of its hosts, and nothing of the hosts themselves; files on the controller
by functions that are given to it.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.findings import (
    Finding,
    FindingRule,
    blocker,
    rule_table,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._run.instances import (
    GROUPS,
    SERVER,
    WEB,
    server_of,
    webs_of,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._run.serial import SERIAL
from ansible_collections.fractal_ops.platform.plugins.module_utils._run.variables import (
    NOT_ASKED,
    PREFIX,
    OnController,
    did_you_mean,
    invalid_variables,
    unknown_variables,
    unusable_files,
)

_CHANGING = ("upgrade", "rollback")  # these change a server and its fractal-web together, or neither
_ALIKE = 0.8  # how much a group's name must be like one of ours to be taken for it

CHAPTERS = {"run": "The run: inventory, limit, lock"}
FINDINGS = rule_table(
    blocker(
        "run.no_server",
        "No group fractal_server",
        "The inventory has no host in the group fractal_server.{hint}",
        "Put the hosts of fractal-server into [fractal_server], those of fractal-web into [fractal_web]; name the "
        "inventory with -i.",
    ),
    FindingRule(
        "run.group_unknown",
        "blocker",
        "A group that is probably misspelt",
        "The group {subject} means nothing here.{hint} Its hosts would be left out.",
        "Correct its name. If it is meant, put run.group_unknown into fractal_accept.",
    ),
    blocker(
        "run.no_host",
        "No host of an instance in the run",
        "No host of the run is in fractal_server or fractal_web.",
        "Correct --limit: it names hosts or groups of the inventory.",
    ),
    blocker(
        "run.tags",
        "A run of some tasks only",
        "The run is to have only some of its tasks ({tags}), and what is left out would count as done.",
        "Leave out --tags and --skip-tags. What is done already is found, and not done again.",
    ),
    blocker(
        "run.server_unknown",
        "A server that is not in the inventory",
        "{subject} says fractal_server_host: {named}, but fractal_server has no such host.{hint}",
        "Set fractal_server_host to the name of the server in the inventory.",
    ),
    blocker(
        "run.web_left_out",
        "A server without its fractal-web in the run",
        "{webs} serves fractal-web of {subject}, but is not in this run: both belong together.",
        "Add it to --limit: {limit}",
    ),
    blocker(
        "run.server_left_out",
        "A fractal-web without its server in the run",
        "{subject} serves fractal-web of {server}, which is not in this run: both belong together.",
        "Add it to --limit: {limit}",
    ),
    blocker(
        "run.serial_differs",
        "Two orders of the waves",
        "fractal_serial is {one} for {first}, but {other} for {subject}: the order of a run is one.",
        "Set it once for all servers: in the variables of the group fractal_server, or after -e.",
    ),
)


def refusals(
    hostvars: Mapping[str, Mapping[str, Any]],
    groups: Mapping[str, list[str]],
    run: Collection[str],
    playbook: str,
    specs: Mapping[str, Mapping[str, Any]],
    tags: Collection[str] = (),
    controller: OnController = NOT_ASKED,
) -> dict[str, list[Finding]]:
    """Return what the run is refused for, by server; under an empty name what concerns no server of the run.

    Args:
        hostvars: The variables of each host, templated where they can be.
        groups: Ansible's ``groups``.
        run: The hosts of the run, as ``--limit`` leaves them.
        playbook: Name of the playbook.
        specs: The options of all roles by name.
        tags: By which tags tasks are chosen, or left out.
        controller: What it says of paths on it.
    """
    servers = [name for name in groups.get(SERVER, []) if name in run]
    found: dict[str, list[Finding]] = {"": list(_about_groups(hostvars, groups, run)), **{name: [] for name in servers}}
    if tags:
        found[""].append(FINDINGS["run.tags"].finding("--tags", tags=", ".join(sorted(tags))))
    for name in servers[1:]:
        first, own = (hostvars[one].get(SERIAL) for one in (servers[0], name))
        if first != own:
            found[""].append(FINDINGS["run.serial_differs"].finding(name, one=first, first=servers[0], other=own))
    for name in run:
        if any(name in groups.get(group, []) for group in GROUPS):
            about = server_of(hostvars, groups, name)
            told = found[about if about in servers else ""]
            told += _about_host(hostvars, groups, run, name, playbook, specs)
            told += unusable_files(hostvars[name], controller)
    return {name: list(dict.fromkeys(about)) for name, about in found.items() if about}


def _about_groups(
    hostvars: Mapping[str, Mapping[str, Any]], groups: Mapping[str, list[str]], run: Collection[str]
) -> Iterator[Finding]:
    if not groups.get(SERVER):
        nearest = [name for name, meant in _misspelt(groups) if meant == SERVER]
        yield FINDINGS["run.no_server"].finding(SERVER, hint=f" Did you mean it by {nearest[0]}?" if nearest else "")
    elif not any(name in run for group in (SERVER, WEB) for name in groups.get(group, [])):
        yield FINDINGS["run.no_host"].finding("--limit")
    accepted = {one for name in run for one in hostvars[name].get("fractal_accept") or ()}
    for name, meant in _misspelt(groups):
        if "run.group_unknown" not in accepted and (meant != SERVER or groups.get(SERVER)):
            yield FINDINGS["run.group_unknown"].finding(name, hint=f" Did you mean {meant}?")


def _misspelt(groups: Mapping[str, list[str]]) -> Iterator[tuple[str, str]]:
    """Yield each group that is much like one of ours that nobody is in, with that one."""
    missing = [name for name in GROUPS if not groups.get(name)]
    for name, hosts in groups.items():
        nearest = difflib.get_close_matches(name.lower().replace("-", "_"), missing, n=1, cutoff=_ALIKE)
        if name not in GROUPS and hosts and nearest:
            yield name, nearest[0]


def _about_host(
    hostvars: Mapping[str, Mapping[str, Any]],
    groups: Mapping[str, list[str]],
    run: Collection[str],
    host: str,
    playbook: str,
    specs: Mapping[str, Mapping[str, Any]],
) -> Iterator[Finding]:
    values = {name: value for name, value in hostvars[host].items() if str(name).startswith(PREFIX)}
    accepted = values.get("fractal_accept") or ()
    if "variable.unknown" not in accepted:
        yield from unknown_variables(values, specs)
    yield from invalid_variables(values, specs)
    servers, server = groups.get(SERVER, []), server_of(hostvars, groups, host)
    if server and server not in servers:
        hint = did_you_mean(server, servers)
        yield FINDINGS["run.server_unknown"].finding(host, named=server, hint=hint)
    elif playbook in _CHANGING:
        yield from _halves(hostvars, groups, run, host, server)


def _halves(
    hostvars: Mapping[str, Mapping[str, Any]],
    groups: Mapping[str, list[str]],
    run: Collection[str],
    host: str,
    server: str,
) -> Iterator[Finding]:
    """Yield what belongs to the instance of ``host`` and is not in the run; workers come along by themselves."""
    webs = webs_of(hostvars, groups, server)
    limit = ",".join(dict.fromkeys([server, *webs]))
    missing = [name for name in webs if name not in run]
    if host == server and missing:
        yield FINDINGS["run.web_left_out"].finding(host, webs=", ".join(missing), limit=limit)
    if host in webs and server not in run:
        yield FINDINGS["run.server_left_out"].finding(host, server=server, limit=limit)
