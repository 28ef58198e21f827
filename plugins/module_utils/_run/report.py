# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""The one page at the end: what was found and done on each instance, what remains, and how to undo it.

``gather`` turns what Ansible knows of the hosts into plain records; ``_run/report_pages.py`` shows them. Nothing here
decides anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._run import facts as facts_of
from ansible_collections.fractal_ops.platform.plugins.module_utils._run.advice import hosts_of_instance
from ansible_collections.fractal_ops.platform.plugins.module_utils._run.facts import failed_workers
from ansible_collections.fractal_ops.platform.plugins.module_utils._run.hooks import failed_hooks
from ansible_collections.fractal_ops.platform.plugins.module_utils._run.instances import server_of
from ansible_collections.fractal_ops.platform.plugins.module_utils._window.advice import command

PREDICTION, UPGRADE, VERIFICATION, ROLLBACK = "prediction", "upgrade", "verification", "rollback"
NOT_BEGUN = "not begun"  # the outcome of an instance whose wave was not begun
_LOST = "The run did not get to its end on this host, as the output above tells. Run it again; it continues."
_ENOUGH = 5  # items of one kind that are shown one by one


def gather(hostvars: Mapping[str, Any], groups: Mapping[str, list[str]], kind: str = UPGRADE) -> list[dict[str, Any]]:
    """Return one record for each fractal-server that took part, with the fractal-web hosts that belong to it.

    Args:
        hostvars: Ansible's ``hostvars``.
        groups: Ansible's ``groups``.
        kind: What the run is for: ``prediction`` (precheck, check mode), ``upgrade``, ``verification``, ``rollback``.
    """
    servers = [name for name in groups.get("fractal_server", []) if facts_of.SERVER_STATE in hostvars[name]]
    web_hosts = [name for name in groups.get("fractal_web", []) if facts_of.WEB_STATE in hostvars[name]]
    webs = {name: _web_record(name, server_of(hostvars, groups, name), hostvars[name], kind) for name in web_hosts}
    records = [
        {
            **_server_record(name, hostvars[name], kind, hosts_of_instance(hostvars, groups, name)),
            "web": [web for web in webs.values() if web["server"] == name or len(servers) == 1],
        }
        for name in servers
    ]
    orphans = [web for web in webs.values() if len(servers) != 1 and web["server"] not in servers]
    return records + [{**empty_record(web["name"]), "web": [web]} for web in orphans]


def empty_record(name: str) -> dict[str, Any]:
    """Return a record of which nothing is known but the instance's name."""
    return {
        "name": name,
        "from": None,
        "to": None,
        "outcome": "no server",
        "failure": "",
        "window_seconds": None,
        "stages": [],
        "findings": [],
        "checks": [],
        "review": [],
        "workers": [],
        "backup": None,
        "backup_proof": None,
        "backup_seconds": {},
        "rehearsal": None,
        "left": [],
        "remaining": [],
        "undo": "",
        "web": [],
    }


def _server_record(name: str, facts: Mapping[str, Any], kind: str, hosts: str) -> dict[str, Any]:
    state = facts[facts_of.SERVER_STATE]
    plan = state["plan"]
    window = _window(facts)
    backup = _backup(facts)
    failure = facts.get(facts_of.SERVER_FAILURE, state["failure"])
    finished = window.get("outcome") == "upgraded"
    verified = _verification_of(facts, facts_of.VERIFY_SERVER, state, failure)
    record = {
        **empty_record(name),
        "from": (state["instance"] or {}).get("version"),
        "to": state["target"],
        "outcome": _outcome(facts, state, failure, plan["window"], finished, kind),
        "failure": failure,
        "window_seconds": window.get("window_seconds"),
        "stages": _stages(plan["stages"], facts if kind == UPGRADE else {}) if kind in (UPGRADE, PREDICTION) else [],
        "findings": state["findings"],
        "checks": verified.get("checks") or [],
        "review": verified.get("findings") or [],
        "workers": state.get("workers", []),
        "access": state.get("access"),
        "backup": (backup or {}).get("path"),
        "backup_proof": (backup or {}).get("proof", {}).get("kind"),
        "backup_seconds": _backup_seconds(facts),
    }
    if kind in (UPGRADE, PREDICTION):
        record["rehearsal"] = _rehearsal(facts.get(facts_of.REHEARSE_DONE) or {}, window.get("stages", {}))
    if kind == VERIFICATION:
        record["to"] = record["from"]
    if record["outcome"] == "failed":
        record["failure"] = failure or _LOST
    if facts.get(facts_of.ROLLBACK_DONE) and not facts.get(facts_of.SERVER_FAILURE):
        way = facts[facts_of.ROLLBACK_WAY]
        outcome = f"nothing to go back to: {way['nothing']}" if way["nothing"] else "rolled back"
        record.update(to=way["version"] or record["from"], outcome=outcome, failure="", stages=[], findings=[])
    left = facts.get(facts_of.ROLLBACK_LEFT) or window.get("results", {}).get("clean up", {}).get("left", [])
    record["left"] = [*left, *failed_hooks(facts)]
    record["remaining"] = _remaining(record, facts)
    record["undo"] = command("rollback", hosts) if backup else ""
    return record


def _web_record(name: str, server: str, facts: Mapping[str, Any], kind: str) -> dict[str, Any]:
    state = facts[facts_of.WEB_STATE]
    failure = facts.get(facts_of.WEB_FAILURE, state["failure"])
    health = (facts.get(facts_of.WEB_RUN) or {}).get("health")
    version = (state["instance"] or {}).get("version")
    finished = health is not None and version != state["version"]
    window = version != state["version"]
    back = (facts.get(facts_of.ROLLBACK_WEB_RUN) or {}).get("health")
    moved = (facts.get(facts_of.ROLLBACK_WEB) or {}).get("changed", False)
    if back and not facts.get(facts_of.WEB_FAILURE):
        state = {**state, "version": back["version"], "findings": [], "failure": ""}
        failure, finished, window, kind = "", False, False, UPGRADE
    outcome = _outcome(facts, state, failure, window, finished, kind)
    return {
        "name": name,
        "server": server,
        "from": version,
        "to": state["version"],
        "outcome": "rolled back" if back and moved and not failure else outcome,
        "failure": failure or (_LOST if outcome == "failed" else ""),
        "findings": state["findings"],
        "checks": _verification_of(facts, facts_of.VERIFY_WEB, state, failure).get("checks") or [],
    }


def _verification_of(facts: Mapping[str, Any], name: str, state: Mapping[str, Any], failure: str) -> Mapping[str, Any]:
    """Return what the role verify has found or, where it was not needed, what the first look has verified."""
    found: Mapping[str, Any] = facts.get(name) or ({} if failure else state.get("verification")) or {}
    return found


def _outcome(
    facts: Mapping[str, Any], state: Mapping[str, Any], failure: str, window: bool, finished: bool, kind: str
) -> str:
    if facts.get(facts_of.NOT_BEGUN):
        return NOT_BEGUN
    if failure:
        return "blocked" if failure == state["failure"] else "failed"
    if kind == VERIFICATION:
        return "verified"
    if finished:
        return "upgraded"
    if not window and kind != ROLLBACK:
        return "up to date"
    return "upgrade planned" if kind == PREDICTION else "failed"


def _stages(stages: Iterable[Mapping[str, Any]], facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the planned stages with the seconds that each took."""
    window = _window(facts).get("stages", {})
    results = _window(facts).get("results", {})
    by_name = {
        "stage": _measured(facts.get(facts_of.UPGRADE_STAGE) or {}),
        **{name: window.get(name) for name in ("stop", "backup", "environment_file", "start")},
        "workers": _measured(_together(facts.get(facts_of.UPGRADE_WORKERS) or [])),
        "archive": _measured(facts.get(facts_of.BACKUP_ARCHIVED) or {}),
    }
    of_hop = {"install": "switch", "schema": "schema", "data": "data"}
    shown = []
    for stage in stages:
        result = by_name.get(stage["name"]) or {}
        if stage["name"] in of_hop:
            hop = f"hop {stage['release']}"
            part = (results.get(hop) or {}).get(of_hop[stage["name"]])
            result = _measured(part) if part else {}
        pending = stage["state"] == "pending"
        failed = pending and result.get("state") == "failed"
        ran = pending and result.get("state") == "done"
        shown.append(
            {**stage, **({"state": "failed"} if failed else {}), "seconds": result["seconds"] if ran else None}
        )
    return shown


def _window(facts: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what the journal of the window tells."""
    return (facts.get(facts_of.UPGRADE_WINDOW) or {}).get("window") or {}


def _measured(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return a module's result as a stage of the window."""
    if result.get("failed"):
        return {"state": "failed"}
    return {"state": "done", "seconds": result["duration"]} if "duration" in result else {}


def _together(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the seconds that several hosts took, one after another; failed if one of them did."""
    durations = [result["duration"] for result in results if "duration" in result]
    return {"failed": True} if failed_workers(results) else {"duration": sum(durations)} if durations else {}


def _rehearsal(done: Mapping[str, Any], stages: Mapping[str, Mapping[str, Any]]) -> dict[str, Any] | None:
    """Return what the rehearsal said of each stage of the window, beside what that took."""
    if "passed" not in done:
        return None
    took = {name: stage["seconds"] for name, stage in stages.items() if stage["state"] == "done"}
    told = ("passed", "predicted_seconds", "seconds", "size_bytes", "dump_bytes", "copy_bytes_per_second")
    return {
        **{name: done[name] for name in told},
        "stages": [
            {"name": name, "expected": seconds, "took": took.get(name)} for name, seconds in done["predicted"].items()
        ],
    }


def _made(facts: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what was told of the backup: by the role, or by a window that ended well; its failure names it itself."""
    window = {} if facts.get(facts_of.SERVER_FAILURE) else _window(facts).get("results", {})
    return facts.get(facts_of.BACKUP_MADE) or window.get("backup") or {}


def _backup(facts: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the backup of this upgrade, with its dump if that was made afterwards."""
    made: Mapping[str, Any] | None = _made(facts).get("backup")
    archived = (facts.get(facts_of.BACKUP_ARCHIVED) or {}).get("archived") or []
    return next((one for one in archived if made and one["path"] == made["path"]), made)


def _backup_seconds(facts: Mapping[str, Any]) -> dict[str, float]:
    made, archived = _made(facts), facts.get(facts_of.BACKUP_ARCHIVED) or {}
    if made.get("copy_seconds"):  # what came afterwards was no downtime
        made = {"copy_seconds": made["copy_seconds"], **(archived if archived.get("archived") else {})}
        parts: tuple[str, ...] = ("copy", "dump", "proof")
    else:
        parts = ("dump", "proof")
    return {name: made[f"{name}_seconds"] for name in parts if f"{name}_seconds" in made}


def failures(record: Mapping[str, Any]) -> list[str]:
    """Return why the run must fail because of this instance, a line each; what a rollback left is a reason, too."""
    lines = []
    for one in [record, *record["web"]]:
        lines += [f"{one['name']}: {why}" for why in [one["failure"], *one.get("left", [])] if why]
        failed = [f"{check['id']}: {check['message']}" for check in one["checks"] if check["status"] == "failed"]
        lines += [f"{one['name']}: verification failed: {text}" for text in failed]
    return lines


def _remaining(record: Mapping[str, Any], facts: Mapping[str, Any]) -> list[str]:
    """Return what is left for a person."""
    todo = [
        f"{check['subject']}: {check['message']} {check.get('fix', '')}".strip()
        for check in record["checks"]
        if check["status"] == "failed"
    ]
    todo += record["left"]
    todo += _reviewed(record["review"])
    if record["backup_proof"] == "copy":
        todo.append(
            "The backup is a frozen copy of the database, whose dump is not made yet. Run the upgrade again: it makes "
            "the dump."
        )
    elif record["backup_proof"] not in (None, "restore"):
        todo.append(
            f"The backup was not proved by a restore (fractal_backup_proof is {record['backup_proof']}). To have that "
            "the next time, an administrator of PostgreSQL lets the instance's role create databases: "
            f"ALTER ROLE {facts[facts_of.SERVER_STATE]['database']['role']} CREATEDB;"
        )
    restored = facts.get(facts_of.ROLLBACK_DATABASE) or _window(facts).get("results", {}).get("old database") or {}
    if restored.get("kept_aside"):
        todo.append(f"The database of the new release is kept as {restored['kept_aside']}. Drop it when you are sure.")
    elif restored.get("method") == "in_place":
        todo.append(
            "The old database was restored in place, as its role may not create databases: no copy of the failed "
            "database could be kept."
        )
    todo += restored.get("task_folders", [])
    copy = (facts.get(facts_of.BACKUP_COPY) or {}).get("dest")
    if copy:
        todo.append(f"A copy of the backup is at {copy} on this controller; it holds secrets, too.")
    ended = [
        one
        for name in ("drain", "settle")
        for one in (_window(facts).get("results", {}).get(name) or {}).get("stopped", [])
    ]
    if ended:
        todo.append(f"Ended for the upgrade, to be submitted again by their owners: {', '.join(ended)}.")
    if record["outcome"] == "upgraded" and record["backup"]:
        todo.append(f"Keep the backup {record['backup']} until you are sure, then remove it: it holds secrets.")
        copy = (_backup(facts) or {}).get("frozen_copy")
        if copy:
            todo.append(
                f"The frozen copy {copy} of the old database, with which a rollback takes seconds, stays until the "
                "next upgrade and takes as much room as the database. Drop it when you are sure."
            )
    for path in (facts.get(facts_of.BACKUP_ARCHIVED) or {}).get("gone") or []:
        todo.append(f"The backup {path} holds no database: its frozen copy is not there any more. Remove it.")
    return todo


def _reviewed(findings: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return what the review of names and users leaves for a person; of many alike only the first."""
    by_id: dict[str, list[str]] = {}
    for one in findings:
        by_id.setdefault(one["id"], []).append(f"{one['message']} {one['fix']}")
    todo = []
    for items in by_id.values():
        todo += items[:_ENOUGH]
        if len(items) > _ENOUGH:
            todo.append(f"The same for {len(items) - _ENOUGH} more: the JSON report names them all under 'review'.")
    return todo
