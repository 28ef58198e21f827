# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report as a web page, and the index of all of them: self-contained files that need no script and no network.

Only for the controller, which has Jinja2. The templates are in ``report_templates``; what they show is computed here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.findings import SEVERITIES
from ansible_collections.fractal_ops.platform.plugins.module_utils._run.history import folder_name
from ansible_collections.fractal_ops.platform.plugins.module_utils._run.report_pages import (
    ACCEPTED,
    downtime,
    duration,
    level,
    proof_in_words,
    releases,
    stage_state,
    why,
)
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

# The text of each pair of names is readable on its ground: tests/unit/plugin_utils computes the contrast.
LIGHT = {
    "ground": "#ffffff",
    "panel": "#f4f6f8",
    "text": "#1b1f24",
    "quiet": "#57606a",
    "line": "#d0d7de",
    "link": "#0a58b0",
    "good": "#116329",
    "bad": "#a40e26",
    "warn": "#7d4e00",
    "plain": "#3d4a58",
    "on_badge": "#ffffff",
}
DARK = {
    "ground": "#14181d",
    "panel": "#1e242b",
    "text": "#e6eaef",
    "quiet": "#a3adb8",
    "line": "#3a434d",
    "link": "#79b8ff",
    "good": "#5dd879",
    "bad": "#ff8f8f",
    "warn": "#f0b849",
    "plain": "#b4c0cc",
    "on_badge": "#14181d",
}
_TONES = {
    "bad": ("failed", "blocked", "blocker", "no server"),
    "warn": ("warning", "unfinished", "not begun", "upgrade planned"),
    "good": ("upgraded", "passed", "done now", "done", "up to date", "verified", "rolled back"),
}
_SIGNS = {"bad": "✕", "warn": "!", "good": "✓", "plain": "○"}
_OUTSIDE_THE_WINDOW = ("stage", "archive")


def tone(word: str) -> str:
    """Return the colour of a status word: good, bad, warn or plain."""
    return next((name for name, words in _TONES.items() if word in words), "plain")


def render_html(record: Mapping[str, Any]) -> str:
    """Return the page of one run of one instance."""
    hosts = [record, *record["web"]]
    findings = [one for host in hosts for one in host["findings"]]
    checks = [one for host in hosts for one in host["checks"]]
    return _template("report.html.j2").render(
        record=record,
        findings={name: [one for one in findings if level(one) == name] for name in (*SEVERITIES, ACCEPTED)},
        checks=[one for one in checks if one["status"] != "skipped"],
        skipped=[one for one in checks if one["status"] == "skipped"],
        timeline=timeline(record),
        proof=proof_in_words(record),
        downtime=list(downtime(record)),
    )


def render_index(records: Iterable[Mapping[str, Any]]) -> str:
    """Return the page of all instances and their runs.

    Args:
        records: All records, the newest first.
    """
    instances: dict[str, list[Mapping[str, Any]]] = {}
    for record in records:
        instances.setdefault(record["name"], []).append(record)
    return _template("index.html.j2").render(instances=dict(sorted(instances.items())), folder_name=folder_name)


def timeline(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the stages of the window, each with where it begins and how long it is, in percent of the window."""
    ran = [one for one in record["stages"] if one["seconds"] is not None and one["name"] not in _OUTSIDE_THE_WINDOW]
    total = max(record["window_seconds"] or 0, sum(one["seconds"] for one in ran))
    parts = [(one["title"], stage_state(one), one["seconds"]) for one in ran]
    rest = total - sum(one["seconds"] for one in ran)
    if parts and rest > 0.05:
        parts.append(("Between the stages", "", round(rest, 1)))
    rows, offset = [], 0.0
    for title, state, seconds in parts if total else ():
        place = {"left": round(100 * offset / total, 2), "width": round(100 * seconds / total, 2)}
        rows.append({"title": title, "state": state, "seconds": seconds, **place})
        offset += seconds
    return rows


def _template(name: str) -> Template:
    loader = FileSystemLoader(str(Path(__file__).with_name("report_templates")))
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.filters.update(tone=tone, sign=lambda word: _SIGNS[tone(word)], stage_state=stage_state)
    environment.filters.update(duration=duration, releases=releases, why=why)
    environment.globals.update(light=LIGHT, dark=DARK)
    return environment.get_template(name)
