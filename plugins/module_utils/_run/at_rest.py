# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""Hosts for which an upgrade has nothing to do. The plays after the first look leave them out, so they cost nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._run.facts import (
    SERVER_FAILURE,
    SERVER_STATE,
    WEB_FAILURE,
    WEB_STATE,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._run.instances import server_of

_PLAIN = re.compile(r"[\w.-]+")  # whatever else is in a name may mean something in a pattern


def but_at_rest(hostvars: Mapping[str, Any], groups: Mapping[str, list[str]]) -> list[str]:
    """Return patterns for ``hosts`` of a play that take every host out of it whose instance is at rest.

    An instance is at rest as a whole: its server is finished and each of its web hosts is, none of them has a failure,
    no window is to be watched or told, no archive to be made, all is verified, and nobody has locked it. A host of
    which that is not known stays in the play, and so does one whose name could mean other hosts, too.

    Args:
        hostvars: Ansible's ``hostvars``; empty before the first play has begun, and where plays are only listed.
        groups: Ansible's ``groups``.
    """
    servers, webs = groups.get("fractal_server", []), groups.get("fractal_web", [])
    facts = {name: hostvars[name] for name in dict.fromkeys([*servers, *webs]) if name in hostvars}
    belongs = {name: server_of(hostvars, groups, name) for name in webs if name in facts}
    restless = {belongs[name] for name in belongs if not _web_rests(facts[name])}
    resting = {name for name in servers if name in facts and name not in restless and _server_rests(facts[name])}
    return without(
        name
        for name in facts
        if (name not in servers or name in resting) and (name not in webs or belongs[name] in resting)
    )


def without(names: Iterable[str]) -> list[str]:
    """Return patterns that take these hosts out of a play; one whose name could mean other hosts, too, stays in it."""
    return [f"!{name}" for name in names if _PLAIN.fullmatch(name)]


def _server_rests(facts: Mapping[str, Any]) -> bool:
    state = facts.get(SERVER_STATE)
    if state is None or facts.get(SERVER_FAILURE) != "":
        return False
    plan = state["plan"]
    left = plan["window"] or plan["todo"]["archive"] or state["untold"]
    return bool(plan["finished"] and not left and _is_told(state))


def _web_rests(facts: Mapping[str, Any]) -> bool:
    state = facts.get(WEB_STATE)
    if state is None or facts.get(WEB_FAILURE) != "":
        return False
    return not state["pending"] and _is_told(state)


def _is_told(state: Mapping[str, Any]) -> bool:
    return bool(state["verification"]) and state["instance"]["lock"] is None
