"""The web page: readable in both palettes, blockers first, nothing but itself needed; every record fits the schema."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import report_records
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.findings import Finding
from ansible_collections.fractal_ops.platform.plugins.module_utils._run.instance_report import (
    OUTCOMES,
    instance_records,
    refused,
)
from ansible_collections.fractal_ops.platform.plugins.plugin_utils.report_html import (
    DARK,
    LIGHT,
    render_html,
    render_index,
    timeline,
)

RECORDS = [report_records.upgraded(), report_records.blocked(), report_records.failed(), report_records.up_to_date()]
SCHEMA = json.loads((Path(__file__).resolve().parents[3] / "docs" / "report.schema.json").read_text())
BADGES = ("good", "bad", "warn", "plain")


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """The ratio as WCAG 2.2 defines it."""
    bright, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("palette", [LIGHT, DARK])
def test_everything_that_is_read_has_contrast(palette: dict[str, str]) -> None:
    pairs = [(text, ground) for text in ("text", "quiet", "link") for ground in ("ground", "panel")]
    pairs += [("on_badge", badge) for badge in BADGES]
    weak = {pair: contrast(palette[pair[0]], palette[pair[1]]) for pair in pairs}
    assert {pair: ratio for pair, ratio in weak.items() if ratio < 4.5} == {}
    bars = {badge: contrast(palette[badge], palette["panel"]) for badge in BADGES}
    assert {badge: ratio for badge, ratio in bars.items() if ratio < 3} == {}


def test_contrast_is_computed_as_defined() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record["outcome"])
def test_a_page_needs_only_itself_and_fits_phones_night_and_paper(record: dict[str, Any]) -> None:
    page = render_html(record)
    assert not re.search(r"<script|<link|@import|src=|url\(|http", page)
    for wanted in ('name="viewport"', "prefers-color-scheme:dark", "@media print", "max-width:40rem"):
        assert wanted in page
    colours = {*re.findall(r"#[0-9a-f]{6}", page.partition("</style>")[0])}
    assert colours == {*LIGHT.values(), *DARK.values()}, "a colour that the test of the contrast does not see"


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record["outcome"])
def test_a_status_is_a_word_and_not_only_a_colour(record: dict[str, Any]) -> None:
    badges = re.findall(r'class="badge (\w+)"><span aria-hidden="true">(.)</span> ([^<]+)<', render_html(record))
    assert badges[0][2] == record["outcome"]
    assert {sign: kind for kind, sign, _word in badges} == {sign: kind for kind, sign, _word in {*badges}}
    assert all(word.strip() for _kind, _sign, word in badges)


def test_what_failed_what_passed_and_what_was_skipped_do_not_look_alike() -> None:
    record = report_records.upgraded()
    record["checks"].append(report_records.check("log_in", "failed", "refused", "Mend it."))
    page = render_html(record)
    checks = page[page.index("<h2>Verification") :]
    assert checks.index("failed") < checks.index("passed") < checks.index("3 check(s) were skipped")
    assert "Mend it." in checks
    assert "log_in, projects, job: no account to log in with" in checks.partition("<details>")[2], "folded, as one"


def test_the_commands_are_ready_with_the_inventory() -> None:
    page = render_html(report_records.blocked())
    assert "<pre>ansible-playbook -i hosts.ini fractal_ops.platform.precheck</pre>" in page and "INVENTORY" not in page
    assert '<input type="checkbox">' in page


def test_an_instance_that_is_up_to_date_repeats_how_to_undo_its_last_upgrade() -> None:
    page = render_html(report_records.up_to_date())
    assert report_records.BACKUP in page and report_records.UNDO in page


def test_the_timeline_fills_the_window_without_gap_or_overlap() -> None:
    record = report_records.upgraded()
    rows = timeline(record)
    assert [row["title"] for row in rows][:2] == ["Stop fractal-server", "Back up, prove the backup"]
    for before, after in zip(rows, rows[1:]):
        assert after["left"] == pytest.approx(before["left"] + before["width"], abs=0.02)
    assert rows[-1]["left"] + rows[-1]["width"] == pytest.approx(100, abs=0.05)
    assert sum(row["seconds"] for row in rows) == pytest.approx(record["window_seconds"])
    assert timeline(report_records.blocked()) == []


def test_the_index_has_every_run_of_every_instance() -> None:
    other = {**report_records.failed(), "name": "../x y"}
    page = render_index([*RECORDS, other])
    assert page.count("2026") >= len(RECORDS) and 'href="_x_y/latest.html"' in page
    assert "No run has been reported yet." in render_index([])


GROUPS = {"fractal_server": ["s"], "fractal_web": ["w"]}
STOP = Finding("run.no_host", "blocker", "--limit", "No host.", "Correct it.", "", False)
MADE = [
    *RECORDS,
    *instance_records({"s": {}, "w": {}}, GROUPS, ["s", "w"], "upgrade"),
    *instance_records({"s": {}, "w": {"__web_failure": "lost"}}, GROUPS, ["w"], "verify"),
    *refused({"": [STOP], "s": []}, ["s"]),
]


@pytest.mark.parametrize("record", MADE, ids=range(len(MADE)))
def test_every_record_is_as_the_schema_says(record: dict[str, Any]) -> None:
    jsonschema.validate({"run": report_records.RUN, **record}, SCHEMA)


def test_the_schema_knows_the_outcomes() -> None:
    assert SCHEMA["$defs"]["outcome"]["pattern"] == f"^({'|'.join(OUTCOMES)})(: .*)?$"
