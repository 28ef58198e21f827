# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""What follows a failed upgrade: go back, start the service again, or leave it; and what to tell who goes on.

A pure function of what is observed after the failure: the record of the upgrade on the host, its backup, the database,
the unit. The rules are a table, of which the first row that fits counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Callable

from ansible_collections.fractal_ops.platform.plugins.module_utils._window.advice import command

GO_BACK, START, LEAVE = "go_back", "start", "leave"
HELD, STARTING, FREE, UNKNOWN = "held", "starting", "free", "unknown"
NONE, UNFINISHED, FINISHED = "none", "unfinished", "finished"


@dataclass(frozen=True)
class Left:
    """What a failed upgrade left.

    Attributes:
        service: ``held``, ``starting`` (started, but it did not answer), ``free`` (this upgrade has not stopped it, or
            has ended), or ``unknown`` if the host gave no answer.
        backup: That of this upgrade: ``none`` to be made, ``unfinished`` or ``finished``.
        same_database: Whether the database is still what that backup holds. False if that can't be known.
        changes_host: Whether the plan was to change packages or files of the host.
        go_back: Whether the operator wants to go back after any failure.
        tried: Whether going back or starting has been tried already, and failed.
    """

    service: str
    backup: str = NONE
    same_database: bool = False
    changes_host: bool = True
    go_back: bool = False
    tried: bool = False


@dataclass(frozen=True)
class _Rule:
    applies: Callable[[Left], bool]
    do: str
    why: str


_RULES = (
    _Rule(lambda left: left.tried, LEAVE, "the way back failed, too"),
    _Rule(lambda left: left.service == UNKNOWN, LEAVE, "what the upgrade left cannot be observed"),
    _Rule(lambda left: left.service == FREE, LEAVE, "no upgrade is in progress on the unit"),
    _Rule(lambda left: left.backup == UNFINISHED, GO_BACK, "nothing is changed before the backup is finished"),
    _Rule(
        lambda left: left.backup == NONE and left.service == HELD and not left.changes_host,
        START,
        "only the workers were to change",
    ),
    # the newest backup belongs to an earlier upgrade
    _Rule(lambda left: left.backup == NONE, LEAVE, "the upgrade changes no database, so it has no backup of its own"),
    _Rule(lambda left: left.go_back, GO_BACK, "fractal_on_failure is rollback"),
    _Rule(lambda left: left.service == HELD and left.same_database, GO_BACK, "the database is not changed yet"),
    _Rule(lambda left: left.service == STARTING, LEAVE, "the new release does not come up"),
    _Rule(lambda left: True, LEAVE, "the database may be changed"),
)


def decide(left: Left) -> tuple[str, str]:
    """Return what to do (``go_back``, ``start`` or ``leave``), and why."""
    rule = next(rule for rule in _RULES if rule.applies(left))
    return rule.do, rule.why


def after_failure(
    seen: Mapping[str, Any], plan: Mapping[str, Any], on_failure: str, tried: bool = False, hosts: str = ""
) -> dict[str, str]:
    """Return what to do after a failure (``do``), ``why``, and what to ``say`` once that is done.

    Args:
        seen: What was seen after the failure: ``found`` (``fractal_backup_info``), ``database`` and ``instance``
            (``fractal_observe``), None without an answer; and the ``stage`` that failed.
        plan: The plan of the server, as it was before the window.
        on_failure: ``stop`` or ``rollback``, the operator's choice.
        tried: Whether this is asked after a way back that failed.
        hosts: See `advice.hosts_of_instance`.
    """
    left = _left(seen, plan, on_failure == "rollback", tried)
    do, why = decide(left)
    on, undo = command("upgrade", hosts), command("rollback", hosts)
    again = f"When the cause is mended, run the upgrade again: {on}"
    if do == GO_BACK:
        back = "in service" if seen["found"].get("ran_before", True) else "in place, stopped as it was found"
        return {"do": do, "why": why, "say": f"The old instance is back {back} ({why}). {again}"}
    if do == START:
        return {"do": do, "why": why, "say": f"fractal-server is back in service ({why}). {again}"}
    if left.service == FREE:
        return {"do": do, "why": why, "say": f"{_unit(seen)}, and {why}. {again}"}
    if left.service == UNKNOWN:
        return {"do": do, "why": why, "say": f"The host does not tell what the upgrade left there. {again}"}
    stood = f"{_where(seen, left)} To go on, mend the cause, then: {on} To go back: {undo}"
    return {"do": do, "why": why, "say": stood}


def _left(seen: Mapping[str, Any], plan: Mapping[str, Any], go_back: bool, tried: bool) -> Left:
    found, todo = seen["found"], plan["todo"]
    if "hold" not in found:
        return Left(UNKNOWN, tried=tried)
    hold, backup = found["hold"], found["backup"]
    if hold is None:
        return Left(FREE, tried=tried)
    kind = (FINISHED if backup else UNFINISHED) if hold["backup"] else NONE
    revision = (seen["database"] or {}).get("revision")
    # the schema is migrated before the data; a plan that has the data only may have begun with it at the same revision
    same = kind == FINISHED and revision == backup["revision"] and (todo["schema"] or not todo["data"])
    host = todo["install"] or todo["environment_file"]
    return Left(hold["phase"], kind, same, changes_host=host, go_back=go_back, tried=tried)


def _where(seen: Mapping[str, Any], left: Left) -> str:
    """Return the sentences about a service that this upgrade has stopped."""
    hold, backup = seen["found"]["hold"], seen["found"]["backup"]
    state = (
        f"fractal-server is stopped, and held since {hold['since']}"
        if left.service == HELD
        else f"fractal-server was started, but did not answer as it should; {_unit(seen)}"
    )
    stage = f" The stage '{seen['stage']}' failed." if seen.get("stage") else ""
    kept = {NONE: "This run needs no backup", UNFINISHED: "The backup is not made"}
    saved = f"The backup is {backup['path']}" if left.backup == FINISHED else kept[left.backup]
    return f"{state}; {_database(seen)}.{stage} {saved}."


def _database(seen: Mapping[str, Any]) -> str:
    database = seen["database"] or {}
    if not database.get("revision"):
        return "no database answers"
    half = database.get("data_migration") == "partial"
    return f"the database is at revision {database['revision']}" + (
        " with half a data migration, which going on takes back and repeats" if half else ""
    )


def _unit(seen: Mapping[str, Any]) -> str:
    instance = seen["instance"]
    if not instance:
        return "the state of its unit is not known"
    release = f"fractal-server {instance['version']}" if instance["version"] else "no fractal-server"
    return f"{instance['service']} is {instance['active_state']} with {release} installed"
