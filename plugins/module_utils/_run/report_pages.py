# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""How a report record looks: as Markdown, as one self-contained HTML page, and as text for the screen.

All three show the same tables (``_tables``); they differ in nothing but their marks.
"""

from __future__ import annotations

import html
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any, NamedTuple

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.findings import SEVERITIES

_STYLE = (
    "body{font:16px sans-serif;max-width:70em;margin:2em auto}"
    "td,th{text-align:left;vertical-align:top;padding:.2em .8em .2em 0}.failed{color:#a00}"
)
_TITLES = {"blocker": "Blockers", "warning": "Warnings", "info": "Info"}
_PROOF = {"restore": "proved by a restore", "list": "readable, but not proved by a restore", "none": "not proved"}
_FINDING_COLUMNS = ("finding", "what is wrong", "how to mend it", "source")
_ON_PAGES_ONLY = "source"
_WIDTH = 110  # of a table on the screen
_NARROW = 34  # columns up to this width keep it, the others share the rest


class _Table(NamedTuple):
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]


def render_markdown(record: Mapping[str, Any]) -> str:
    """Return the report of one instance as Markdown."""
    lines = [f"# {_title(record)}", "", *_head(record)]
    lines += ["", f"**{record['failure']}**"] if record["failure"] else []
    for table in _tables(record):
        lines += ["", f"## {table.title}", "", _markdown_row(table.columns), "|---" * len(table.columns) + "|"]
        lines += [_markdown_row(row) for row in table.rows]
    lines += ["", "## What remains for you", ""] if record["remaining"] else []
    lines += [f"- {item}" for item in record["remaining"]]
    lines += ["", *_foot(record)]
    return "\n".join(lines).rstrip() + "\n"


def render_html(record: Mapping[str, Any]) -> str:
    """Return the report of one instance as one self-contained HTML page."""
    parts = [f"<h1>{_html(_title(record))}</h1>", *(f"<p>{_html(line)}</p>" for line in _head(record))]
    parts += [f"<p class=failed>{_html(record['failure'])}</p>"] if record["failure"] else []
    for table in _tables(record):
        rows = "".join(
            "<tr>" + "".join(f"<{tag}>{_html(cell)}</{tag}>" for cell in row) + "</tr>"
            for tag, row in (("th", table.columns), *(("td", row) for row in table.rows))
        )
        parts.append(f"<h2>{_html(table.title)}</h2><table>{rows}</table>")
    if record["remaining"]:
        items = "".join(f"<li>{_html(item)}</li>" for item in record["remaining"])
        parts.append(f"<h2>What remains for you</h2><ul>{items}</ul>")
    parts += [f"<p>{_html(line)}</p>" for line in _foot(record)]
    head = f"<!doctype html><html lang=en><meta charset=utf-8><title>{_html(record['name'])}</title>"
    return f"{head}<style>{_STYLE}</style>" + "\n".join(parts) + "</html>\n"


def render_text(record: Mapping[str, Any]) -> list[str]:
    """Return the report of one instance as lines for the screen."""
    lines = [_title(record), *_head(record), *_wrapped(record["failure"], _WIDTH)]
    for table in _tables(record):
        lines += ["", table.title.upper(), *_text_table(table)]
    lines += ["", "WHAT REMAINS FOR YOU"] if record["remaining"] else []
    for item in record["remaining"]:
        lines += textwrap.wrap(item, _WIDTH, initial_indent="- ", subsequent_indent="  ")
    return [*lines, "", *_foot(record)]


def _title(record: Mapping[str, Any]) -> str:
    return f"{record['name']}: {record['outcome']}"


def _head(record: Mapping[str, Any]) -> Iterator[str]:
    if record["from"] or record["to"]:
        yield f"fractal-server {record['from'] or '?'} → {record['to'] or '?'}"
    if record["window_seconds"] is not None:
        yield f"The service was down for {record['window_seconds']} s."
    access = record.get("access")
    if access:
        without = access["without_access"]
        hurt = sum(user["hurt"] for user in without)
        yield (
            f"{len(access['with_access'])} user(s) will have access to 2.17, {len(without)} will not; {hurt} of these "
            "own projects, have running jobs, or were active lately."
        )


def _foot(record: Mapping[str, Any]) -> Iterator[str]:
    if record["backup"]:
        seconds = ", ".join(f"{name} {value:.1f} s" for name, value in record["backup_seconds"].items())
        proof = _PROOF[record["backup_proof"]]
        yield f"Backup: {record['backup']}, {proof}" + (f" ({seconds})" if seconds else "")
    if record["undo"]:
        yield f"To undo: {record['undo']}"


def _tables(record: Mapping[str, Any]) -> Iterator[_Table]:
    """Yield the tables that have rows: web hosts, stages, findings by severity, verification."""
    web = record["web"]
    if web:
        rows = [(one["name"], one["outcome"], one["from"], one["to"], one["failure"]) for one in web]
        yield _Table("fractal-web", ("host", "outcome", "from", "to", "why"), rows)
    if record["stages"]:
        yield _Table("Stages", ("stage", "state", "seconds", "why"), [_stage(one) for one in record["stages"]])
    findings = [*record["findings"], *(one for host in web for one in host["findings"])]
    for severity in SEVERITIES:
        found = [_finding(one) for one in findings if one["severity"] == severity]
        if found:
            yield _Table(f"{_TITLES[severity]} ({len(found)})", _FINDING_COLUMNS, found)
    checks = [*record["checks"], *(one for host in web for one in host["checks"])]
    if checks:
        results = [(one["id"], one["status"], one["message"], one["fix"]) for one in checks]
        yield _Table("Verification", ("check", "result", "what", "how to mend it"), results)


def _stage(stage: Mapping[str, Any]) -> tuple[Any, ...]:
    if stage["seconds"] is None:
        return stage["title"], stage["state"], None, stage["reason"]
    return stage["title"], "done now", f"{stage['seconds']:.1f}", stage["reason"]


def _finding(finding: Mapping[str, Any]) -> tuple[str, ...]:
    accepted = " (accepted)" if finding.get("accepted") else ""
    subject = f"{finding['id']}{accepted}\n{finding['subject']}"
    return subject, finding["message"], finding["fix"], finding.get("reference", "")


def _string(value: Any) -> str:
    return "" if value is None else str(value)


def _markdown_row(cells: Sequence[Any]) -> str:
    return "| " + " | ".join(_string(cell).replace("|", "\\|").replace("\n", "<br>") for cell in cells) + " |"


def _html(value: Any) -> str:
    return html.escape(_string(value)).replace("\n", "<br>")


def _text_table(table: _Table) -> Iterator[str]:
    """Yield the table in columns; the wide ones are wrapped."""
    columns = [[_string(cell) for cell in column] for column in zip(table.columns, *table.rows)]
    columns = [column for column in columns if column[0] != _ON_PAGES_ONLY]
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
