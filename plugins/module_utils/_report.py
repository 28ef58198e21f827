# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""The one page at the end: what was found and done on each instance, what remains, and how to undo it.

``gather`` turns what Ansible knows of the hosts into plain records, ``render_markdown`` and ``render_html`` show a
record. Nothing here decides anything.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping
from typing import Any

SEVERITIES = ("blocker", "warning", "info")
_STYLE = (
    "body{font:16px sans-serif;max-width:70em;margin:2em auto}"
    "td,th{text-align:left;vertical-align:top;padding:.2em .8em .2em 0}.failed{color:#a00}"
)


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
            **_server_record(name, hostvars[name], only_predicted),
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
        "backup": None,
        "backup_seconds": {},
        "remaining": [],
        "undo": "",
        "web": [],
    }


def _server_record(name: str, facts: Mapping[str, Any], only_predicted: bool) -> dict[str, Any]:
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
        "access": state.get("access"),
        "backup": (backup or {}).get("path"),
        "backup_seconds": _backup_seconds(facts.get("__backup") or {}),
    }
    record["remaining"] = _remaining(record, facts)
    record["undo"] = f"ansible-playbook -i INVENTORY fractal_ops.platform.rollback --limit {name}" if backup else ""
    return record


def _web_record(name: str, facts: Mapping[str, Any], only_predicted: bool) -> dict[str, Any]:
    state = facts["__web_state"]
    server = facts.get("__web_server", "")
    failure = facts.get("__web_failure", state["failure"])
    health = (facts.get("__web_run") or {}).get("health")
    version = (state["instance"] or {}).get("version")
    finished = health is not None and version != state["version"]
    window = version != state["version"]
    return {
        "name": name,
        "server": server,
        "from": version,
        "to": state["version"],
        "outcome": _outcome(state, failure, window, finished, only_predicted),
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
        "start": facts.get("__upgrade_start"),
    }
    hops = {hop["release"]: hop for hop in facts.get("__server_hops", [])}
    of_hop = {"install": "switch", "schema": "schema", "data": "data"}
    shown = []
    for stage in stages:
        hop = hops.get(stage["release"], {})
        result = hop.get(of_hop[stage["name"]]) if stage["name"] in of_hop else by_name.get(stage["name"])
        ran = bool(result) and "duration" in (result or {}) and stage["state"] == "pending"
        shown.append({**stage, "seconds": (result or {}).get("duration") if ran else None})
    return shown


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
    review = (facts.get("__verify_review") or {}).get("review") or {}
    todo += [str(item) for item in review.get("remaining", [])]
    if record["outcome"] == "upgraded" and record["backup"]:
        todo.append(f"Keep the backup {record['backup']} until you are sure, then remove it: it holds secrets.")
    return todo


def render_markdown(record: Mapping[str, Any]) -> str:
    """Return the report of one instance as Markdown."""
    lines = [f"# {record['name']}: {record['outcome']}", ""]
    if record["from"] or record["to"]:
        lines.append(f"fractal-server {record['from'] or '?'} → {record['to'] or '?'}")
    if record["window_seconds"] is not None:
        lines.append(f"The service was down for {record['window_seconds']} s.")
    if record["failure"]:
        lines += ["", f"**{record['failure']}**"]
    for web in record["web"]:
        lines.append(f"fractal-web on {web['name']}: {web['outcome']}, {web['from'] or '?'} → {web['to'] or '?'}")
        lines += [f"  {web['failure']}"] if web["failure"] else []
    if record["stages"]:
        lines += ["", "## Stages", "", "| stage | state | seconds | why |", "|---|---|---|---|"]
        for stage in record["stages"]:
            seconds = "" if stage["seconds"] is None else f"{stage['seconds']:.1f}"
            state = "done now" if stage["seconds"] is not None else stage["state"]
            lines.append(f"| {stage['title']} | {state} | {seconds} | {_cell(stage['reason'])} |")
    lines += _findings_markdown([*record["findings"], *[one for web in record["web"] for one in web["findings"]]])
    checks = [*record["checks"], *[one for web in record["web"] for one in web["checks"]]]
    if checks:
        lines += ["", "## Verification", "", "| check | result | |", "|---|---|---|"]
        lines += [f"| {_cell(one['id'])} | {one['status']} | {_cell(one['message'])} |" for one in checks]
    if record["remaining"]:
        lines += ["", "## What remains for you", ""] + [f"- {item}" for item in record["remaining"]]
    if record["backup"]:
        seconds = ", ".join(f"{name} {value:.1f} s" for name, value in record["backup_seconds"].items())
        lines += ["", f"Backup: {record['backup']}" + (f" ({seconds})" if seconds else "")]
    if record["undo"]:
        lines += ["", f"To undo: `{record['undo']}`"]
    return "\n".join(lines) + "\n"


def _findings_markdown(findings: list[dict[str, Any]]) -> list[str]:
    lines = []
    for severity in SEVERITIES:
        group = [one for one in findings if one["severity"] == severity]
        if group:
            lines += [
                "",
                f"## {severity.capitalize()}s ({len(group)})" if severity != "info" else f"## Info ({len(group)})",
                "",
            ]
        for one in group:
            accepted = " (accepted)" if one.get("accepted") else ""
            lines.append(f"- `{one['id']}`{accepted} {one['subject']}: {one['message']} Fix: {one['fix']}")
    return lines


def render_html(record: Mapping[str, Any]) -> str:
    """Return the report of one instance as one self-contained HTML page."""
    findings = [*record["findings"], *[one for web in record["web"] for one in web["findings"]]]
    checks = [*record["checks"], *[one for web in record["web"] for one in web["checks"]]]
    webs = [[web["name"], web["outcome"], web["from"], web["to"], web["failure"]] for web in record["web"]]
    stages = [
        [one["title"], "done now" if one["seconds"] is not None else one["state"], one["seconds"], one["reason"]]
        for one in record["stages"]
    ]
    parts = [
        f"<h1>{_text(record['name'])}: {_text(record['outcome'])}</h1>",
        f"<p>fractal-server {_text(record['from'] or '?')} → {_text(record['to'] or '?')}</p>",
        f"<p>The service was down for {record['window_seconds']} s.</p>"
        if record["window_seconds"] is not None
        else "",
        f"<p class=failed>{_text(record['failure'])}</p>" if record["failure"] else "",
        _table("fractal-web", ["host", "outcome", "from", "to", "why"], webs),
        _table("Stages", ["stage", "state", "seconds", "why"], stages),
        *(
            _table(
                severity,
                ["id", "subject", "what", "fix"],
                [
                    [one["id"], one["subject"], one["message"], one["fix"]]
                    for one in findings
                    if one["severity"] == severity
                ],
            )
            for severity in SEVERITIES
        ),
        _table(
            "Verification", ["check", "result", "what"], [[one["id"], one["status"], one["message"]] for one in checks]
        ),
        _table("What remains for you", [""], [[item] for item in record["remaining"]]),
        f"<p>Backup: {_text(record['backup'])}</p>" if record["backup"] else "",
        f"<p>To undo: <code>{_text(record['undo'])}</code></p>" if record["undo"] else "",
    ]
    title = _text(record["name"])
    head = f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title><style>{_STYLE}</style>"
    return head + "\n".join(part for part in parts if part) + "</html>\n"


def _table(title: str, columns: list[str], rows: list[list[Any]]) -> str:
    if not rows:
        return ""
    head = "".join(f"<th>{_text(column)}</th>" for column in columns)
    body = "".join("<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<h2>{_text(title)}</h2><table><tr>{head}</tr>{body}</table>"


def _text(value: Any) -> str:
    return html.escape("" if value is None else str(value))


def _cell(value: Any) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")
