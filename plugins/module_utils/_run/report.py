# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""The one page at the end: what was found and done on each instance, what remains, and how to undo it.

``gather`` turns what Ansible knows of the hosts into plain records; ``_run/report_pages.py`` shows them. Nothing here
decides anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._run.advice import command, hosts_of_instance

_ENOUGH = 5  # items of one kind that are shown one by one


def gather(
    hostvars: Mapping[str, Any], groups: Mapping[str, list[str]], only_predicted: bool = False
) -> list[dict[str, Any]]:
    """Return one record for each fractal-server that took part, with the fractal-web hosts that belong to it.

    Args:
        hostvars: Ansible's ``hostvars``.
        groups: Ansible's ``groups``.
        only_predicted: Whether the run was to change nothing (check mode, precheck).
    """
    servers = [name for name in groups.get("fractal_server", []) if "__server_state" in hostvars[name]]
    web_hosts = [name for name in groups.get("fractal_web", []) if "__web_state" in hostvars[name]]
    webs = {name: _web_record(name, hostvars[name], only_predicted) for name in web_hosts}
    records = [
        {
            **_server_record(name, hostvars[name], only_predicted, hosts_of_instance(hostvars, groups, name)),
            "web": [web for web in webs.values() if web["server"] == name or len(servers) == 1],
        }
        for name in servers
    ]
    orphans = [web for web in webs.values() if len(servers) != 1 and web["server"] not in servers]
    return records + [{**_empty_record(web["name"]), "web": [web]} for web in orphans]


def _empty_record(name: str) -> dict[str, Any]:
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
        "remaining": [],
        "undo": "",
        "web": [],
    }


def _server_record(name: str, facts: Mapping[str, Any], only_predicted: bool, hosts: str) -> dict[str, Any]:
    state = facts["__server_state"]
    plan = state["plan"]
    start, stop = facts.get("__upgrade_start") or {}, facts.get("__upgrade_stop") or {}
    backup = (facts.get("__backup") or {}).get("backup")
    failure = facts.get("__server_failure", state["failure"])
    finished = start.get("health") is not None
    record = {
        **_empty_record(name),
        "from": (state["instance"] or {}).get("version"),
        "to": state["target"],
        "outcome": _outcome(state, failure, plan["window"], finished, only_predicted),
        "failure": failure,
        "window_seconds": round(start["at"] + start["duration"] - stop["at"], 1) if finished and "at" in stop else None,
        "stages": _stages(plan["stages"], {} if only_predicted else facts),
        "findings": state["findings"],
        "checks": _checks(facts, "__verify_review", "__verify"),
        "review": (facts.get("__verify_review") or {}).get("findings") or [],
        "workers": state.get("workers", []),
        "access": state.get("access"),
        "backup": (backup or {}).get("path"),
        "backup_proof": (backup or {}).get("proof", {}).get("kind"),
        "backup_seconds": _backup_seconds(facts.get("__backup") or {}),
    }
    if facts.get("__rollback_done") and not facts.get("__server_failure"):
        to = ((facts.get("__rollback_backup") or {}).get("backup") or {}).get("version", record["from"])
        record.update(to=to, outcome="rolled back", failure="", stages=[], findings=[])
    record["remaining"] = _remaining(record, facts)
    record["undo"] = command("rollback", hosts) if backup else ""
    return record


def _web_record(name: str, facts: Mapping[str, Any], only_predicted: bool) -> dict[str, Any]:
    state = facts["__web_state"]
    server = facts.get("__web_server", "")
    failure = facts.get("__web_failure", state["failure"])
    health = (facts.get("__web_run") or {}).get("health")
    version = (state["instance"] or {}).get("version")
    finished = health is not None and version != state["version"]
    window = version != state["version"]
    back = (facts.get("__rollback_web_run") or {}).get("health")
    if back and not facts.get("__web_failure"):
        state = {**state, "version": back["version"], "findings": [], "failure": ""}
        failure, finished = "", True
    return {
        "name": name,
        "server": server,
        "from": version,
        "to": state["version"],
        "outcome": "rolled back" if back and finished else _outcome(state, failure, window, finished, only_predicted),
        "failure": failure,
        "findings": state["findings"],
        "checks": _checks(facts, "__web_verify"),
    }


def _outcome(state: Mapping[str, Any], failure: str, window: bool, finished: bool, only_predicted: bool) -> str:
    if failure:
        return "blocked" if failure == state["failure"] else "failed"
    if finished:
        return "upgraded"
    if not window:
        return "up to date"
    if only_predicted:
        return "upgrade planned"
    return "failed"


def _stages(stages: Iterable[Mapping[str, Any]], facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the planned stages with the seconds that each took."""
    by_name = {
        "stage": facts.get("__upgrade_stage"),
        "stop": facts.get("__upgrade_stop"),
        "backup": facts.get("__backup"),
        "environment_file": facts.get("__upgrade_env"),
        "workers": _together(facts.get("__upgrade_workers") or []),
        "start": facts.get("__upgrade_start"),
    }
    hops = {hop.get("__upgrade_release"): hop for hop in facts.get("__upgrade_hops", {}).get("results", [])}
    of_hop = {"install": "switch", "schema": "schema", "data": "data"}
    shown = []
    for stage in stages:
        hop = hops.get(stage["release"], {})
        result = hop.get(of_hop[stage["name"]]) if stage["name"] in of_hop else by_name.get(stage["name"])
        ran = bool(result) and "duration" in (result or {}) and stage["state"] == "pending"
        shown.append({**stage, "seconds": (result or {}).get("duration") if ran else None})
    return shown


def _together(results: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the seconds that several hosts took, one after another."""
    durations = [result["duration"] for result in results if "duration" in result]
    return {"duration": sum(durations)} if durations else {}


def _backup_seconds(result: Mapping[str, Any]) -> dict[str, float]:
    return {name: result[f"{name}_seconds"] for name in ("dump", "proof") if f"{name}_seconds" in result}


def _checks(facts: Mapping[str, Any], *names: str) -> list[dict[str, Any]]:
    return [check for name in names for check in (facts.get(name) or {}).get("checks") or []]


def failures(record: Mapping[str, Any]) -> list[str]:
    """Return why the run must fail because of this instance, a line each."""
    lines = []
    for one in [record, *record["web"]]:
        lines += [f"{one['name']}: {one['failure']}"] if one["failure"] else []
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
    todo += [str(warning) for warning in (facts.get("__upgrade_env") or {}).get("warnings", [])]
    todo += _reviewed(record["review"])
    if record["backup_proof"] not in (None, "restore"):
        todo.append(
            f"The backup was not proved by a restore (fractal_backup_proof is {record['backup_proof']}). To have that "
            "the next time, an administrator of PostgreSQL lets the instance's role create databases: "
            f"ALTER ROLE {facts['__server_state']['database']['role']} CREATEDB;"
        )
    restored = facts.get("__rollback_database") or {}
    if restored.get("kept_aside"):
        todo.append(f"The database of the new release is kept as {restored['kept_aside']}. Drop it when you are sure.")
    elif restored.get("method") == "in_place":
        todo.append(
            "The old database was restored in place, as its role may not create databases: no copy of the failed "
            "database could be kept."
        )
    copy = (facts.get("__backup_copy") or {}).get("dest")
    if copy:
        todo.append(f"A copy of the backup is at {copy} on this controller; it holds secrets, too.")
    ended = [
        one for name in ("__upgrade_drain", "__upgrade_settle") for one in (facts.get(name) or {}).get("stopped", [])
    ]
    if ended:
        todo.append(f"Ended for the upgrade, to be submitted again by their owners: {', '.join(ended)}.")
    if record["outcome"] == "upgraded" and record["backup"]:
        todo.append(f"Keep the backup {record['backup']} until you are sure, then remove it: it holds secrets.")
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
