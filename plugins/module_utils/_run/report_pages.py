# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""How a report record looks as Markdown and as text for the screen; ``plugin_utils/report_html.py`` makes the web page.

The screen has what somebody needs at once, blockers first, and ends with a summary and the way to everything else.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any, NamedTuple

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.findings import SEVERITIES
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.masking import printable

_TITLES = {"blocker": "Blockers", "warning": "Warnings", "info": "Info"}
_PROOF = {
    "copy": "a frozen copy of the database, without its dump yet",
    "restore": "proved by a restore",
    "list": "readable, but not proved by a restore",
    "none": "not proved",
}
_REMEDIES = "Variables settle some of it: read and change the file, then run:"
_FINDING_COLUMNS = ("finding", "what is wrong", "how to mend it", "source")
ACCEPTED = "accepted"
_ON_SCREEN = ("blocker", "warning")  # the others are counted
_DONE = ("upgraded", "up to date", "verified", "rolled back")  # how it came to that is in the report
_VERIFICATION = "Verification"
_WIDTH = 110  # of the screen
_NARROW = 34  # columns up to this width keep it, the others share the rest


class _Table(NamedTuple):
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]


def render_markdown(record: Mapping[str, Any]) -> str:
    """Return the report of one instance as Markdown."""
    run = record["run"]
    lines = [f"# {_title(record)}", "", *(f"{line}  " for line in _head(record))]
    lines += [f"{run['playbook']}, {run['ended']}, by {run['by']}"]
    lines += ["", f"**{record['failure']}**"] if record["failure"] else []
    lines += _markdown_findings(record, ("blocker",))
    lines += ["", "## What remains for you", ""] if record["remaining"] or record["remedies"] or record["again"] else []
    lines += [f"- [ ] {_REMEDIES} `{record['remedies']}`"] if record["remedies"] else []
    lines += [f"- [ ] {item}" for item in record["remaining"]]
    lines += [f"- [ ] {_again(record)} `{record['again']}`"] if record["again"] else []
    lines += ["", *(f"{line}  " for line in _foot(record))]
    for table in _tables(record):
        lines += _markdown_table(table)
    lines += _markdown_findings(record, SEVERITIES[1:])
    lines += ["", "## This run", "", f"- run {run['id']}, began {run['began']}"]
    lines += [f"- inventory {', '.join(run['inventory'])}" + (f", --limit {run['limit']}" if run["limit"] else "")]
    lines += [f"- {name} {version}" for name, version in run["versions"].items()]
    return printable("\n".join(lines).rstrip() + "\n")


def _markdown_findings(record: Mapping[str, Any], severities: Sequence[str]) -> list[str]:
    lines = []
    for severity in severities:
        found = [_finding(one) for one in _findings(record) if one["severity"] == severity]
        if found:
            lines += _markdown_table(_Table(f"{_TITLES[severity]} ({len(found)})", _FINDING_COLUMNS, found))
    return lines


def _markdown_table(table: _Table) -> list[str]:
    head = ["", f"## {table.title}", "", _markdown_row(table.columns), "|---" * len(table.columns) + "|"]
    return head + [_markdown_row(row) for row in table.rows]


def render_text(record: Mapping[str, Any]) -> list[str]:
    """Return the report of one instance as lines for the screen; none where the summary says all of it."""
    lines = []
    if not any(one["severity"] == "blocker" and one["message"] in record["failure"] for one in record["findings"]):
        lines += _wrapped(record["failure"], _WIDTH)
    for one in _findings(record):
        if level(one) in _ON_SCREEN:
            lines += ["", *_wrapped(f"{one['severity'].upper()} {one['id']}: {one['message']}", _WIDTH)]
            lines += textwrap.wrap(one["fix"], _WIDTH, initial_indent="  -> ", subsequent_indent="     ")
    for table in _tables(record, ("failed",)):
        if record["outcome"] not in _DONE or table.title == _VERIFICATION:
            lines += ["", table.title.upper(), *_text_table(table)]
    lines += ["", "WHAT REMAINS FOR YOU"] if record["remaining"] else []
    for item in record["remaining"]:
        lines += textwrap.wrap(item, _WIDTH, initial_indent="- ", subsequent_indent="  ")
    return [printable(line) for line in [f"== {_title(record)} ==", *lines, ""]] if lines else []


def render_summary(record: Mapping[str, Any], page: str) -> list[str]:
    """Return at most five lines that say how it ended, what to do and, last, where the whole report is.

    Args:
        record: The record.
        page: Path of the report; empty if none was written.
    """
    levels = [level(one) for one in _findings(record)]
    counts = {one: levels.count(one) for one in SEVERITIES}
    parts = [f"{count} {one}{'s' * (count != 1)}" for one, count in counts.items() if count]
    found = ", ".join(parts + [f"{levels.count(ACCEPTED)} accepted"] * (ACCEPTED in levels))
    checks = [one for host in (record, *record["web"]) for one in host["checks"]]
    failed, passed = (sum(one["status"] == status for one in checks) for status in ("failed", "passed"))
    parts = [*_head(record), f"Found: {found}." if found else ""]
    parts += [f"Verification: {passed} passed, {failed} failed." if checks else "", *record["left"][:1]]
    foot = [line for line in _foot(record) if not line.startswith("To undo")]
    way = f"{_again(record)} {record['again']}" if record["again"] else ""
    way = way or next((line for line in _foot(record) if line.startswith("To undo")), "")
    report = f"Report: {page}" if page else ""
    remedies = f"{_REMEDIES} {record['remedies']}" if record["remedies"] else ""
    lines = [f"== {_title(record)} ==", " ".join(part for part in parts if part), *foot[:1], remedies, way, report]
    return [printable(line) for line in lines if line]


def level(finding: Mapping[str, Any]) -> str:
    """Return the severity of a finding, or that it is accepted: it blocks and warns no more."""
    return ACCEPTED if finding.get("accepted") else str(finding["severity"])


def why(host: Mapping[str, Any]) -> str:
    """Return why a host failed; that of a blocked one is among the findings already."""
    return "" if host["outcome"] == "blocked" else str(host["failure"])


def releases(record: Mapping[str, Any]) -> str:
    """Return from which release to which; the one, if it is the same; nothing, if none is known."""
    known = dict.fromkeys((record["from"] or "?", record["to"] or "?"))
    return " → ".join(known) if list(known) != ["?"] else ""


def stage_state(stage: Mapping[str, Any]) -> str:
    """Return what became of a stage: one that was to be done and took time is done."""
    return "done now" if stage["state"] == "pending" and stage["seconds"] is not None else str(stage["state"])


def duration(seconds: float) -> str:
    """Return seconds for people: ``3.5 s``, ``2 min 05 s``, ``1 h 02 min``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


def proof_in_words(record: Mapping[str, Any]) -> str:
    """Return how the backup was proved and how long it took; empty without one."""
    if not record["backup"]:
        return ""
    seconds = ", ".join(f"{name} {value:.1f} s" for name, value in record["backup_seconds"].items())
    return _PROOF[record["backup_proof"]] + (f" ({seconds})" if seconds else "")


def _title(record: Mapping[str, Any]) -> str:
    return f"{record['name'] or 'the inventory'}: {record['outcome']}"


def _again(record: Mapping[str, Any]) -> str:
    return "When that is mended, run again:" if record["failure"] or record["outcome"] == "failed" else "Then run:"


def _head(record: Mapping[str, Any]) -> Iterator[str]:
    if record["from"] or record["to"]:
        own = f" ({record['server_outcome']})" if record["server_outcome"] != record["outcome"] else ""
        yield f"fractal-server {releases(record)}{own}."
    yield from downtime(record)
    access = record["access"]
    if access:
        without = access["without_access"]
        hurt = sum(user["hurt"] for user in without)
        yield (
            f"{len(access['with_access'])} user(s) will have access, {len(without)} will not; {hurt} of these "
            "own projects, have running jobs, or were active lately."
        )


def downtime(record: Mapping[str, Any]) -> Iterator[str]:
    """Yield how long the service was down, or will be, as far as that is known."""
    expected = (record.get("rehearsal") or {}).get("predicted_seconds")
    if record["window_seconds"] is not None:
        said = f"; {duration(expected)} were expected after the rehearsal" if expected is not None else ""
        yield f"The service was down for {duration(record['window_seconds'])}{said}."
    elif expected is not None:
        yield f"After the rehearsal, a downtime of {duration(expected)} is expected."


def _foot(record: Mapping[str, Any]) -> Iterator[str]:
    if record["backup"]:
        yield f"Backup: {record['backup']}, {proof_in_words(record)}"
    if record["undo"]:
        yield f"To undo: {record['undo']}"
    last = record["last_upgrade"]
    if last:
        yield f"Last upgraded {last['from']} → {last['to']} on {last['ended']}; backup: {last['backup']}"
        yield f"To undo that: {last['undo']}"


def _findings(record: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    found = [one for host in (record, *record["web"]) for one in host["findings"]]
    return sorted(found, key=lambda one: SEVERITIES.index(one["severity"]))


def _tables(record: Mapping[str, Any], statuses: Sequence[str] = ("failed", "passed", "skipped")) -> Iterator[_Table]:
    """Yield the tables that have rows: web hosts, stages, and the checks of the verification with these results."""
    web = record["web"]
    if web:
        rows = [(one["name"], one["outcome"], one["from"], one["to"], why(one)) for one in web]
        yield _Table("fractal-web", ("host", "outcome", "from", "to", "why"), rows)
    if record["stages"]:
        yield _Table("Stages", ("stage", "state", "time", "why"), [_stage(one) for one in record["stages"]])
    rehearsed = (record.get("rehearsal") or {}).get("stages")
    if rehearsed:
        told = [(one["name"], duration(one["expected"]), _took(one["took"])) for one in rehearsed]
        yield _Table("Rehearsal", ("stage with the service down", "expected", "took"), told)
    checks = [one for host in (record, *web) for one in host["checks"] if one["status"] in statuses]
    if checks:
        checks.sort(key=lambda one: statuses.index(one["status"]))
        results = [(one["id"], one["status"], one["message"], one["fix"]) for one in checks]
        yield _Table(_VERIFICATION, ("check", "result", "what", "how to mend it"), results)


def _stage(stage: Mapping[str, Any]) -> tuple[Any, ...]:
    return stage["title"], stage_state(stage), _took(stage["seconds"]), stage["reason"]


def _took(seconds: float | None) -> str | None:
    return None if seconds is None else duration(seconds)


def _finding(finding: Mapping[str, Any]) -> tuple[str, ...]:
    accepted = " (accepted)" if finding.get("accepted") else ""
    subject = f"{finding['id']}{accepted}\n{finding['subject']}"
    return subject, finding["message"], finding["fix"], finding.get("reference", "")


def _string(value: Any) -> str:
    return "" if value is None else str(value)


def _markdown_row(cells: Sequence[Any]) -> str:
    return "| " + " | ".join(_string(cell).replace("|", "\\|").replace("\n", "<br>") for cell in cells) + " |"


def _text_table(table: _Table) -> Iterator[str]:
    """Yield the table in columns; the wide ones are wrapped."""
    columns = [[_string(cell) for cell in column] for column in zip(table.columns, *table.rows)]
    natural = [max(len(line) for cell in column for line in cell.split("\n")) for column in columns]
    wide = sum(width > _NARROW for width in natural)
    rest = _WIDTH - sum(width + 2 for width in natural if width <= _NARROW) - 2 * wide
    widths = [width if width <= _NARROW else max(_NARROW, rest // wide) for width in natural]
    header, *rows = zip(*columns)
    for row in (header, ["-" * width for width in widths], *rows):
        cells = [_wrapped(cell, width) for cell, width in zip(row, widths)]
        for line in zip_longest(*cells, fillvalue=""):
            yield "  ".join(f"{part:<{width}}" for part, width in zip(line, widths)).rstrip()


def _wrapped(text: str, width: int) -> list[str]:
    return [part for line in text.split("\n") for part in textwrap.wrap(line, width)]
