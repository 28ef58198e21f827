"""Reports as history: none is replaced, the latest is led to, and the last upgrade is found again."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._run.controller import began, run_id
from ansible_collections.fractal_ops.platform.plugins.module_utils._run.history import (
    folder_name,
    last_upgrade,
    read_records,
    write_metrics,
    write_record,
)
from hypothesis import given
from hypothesis import strategies as st
from report_records import RUN, UNDO, blocked, up_to_date, upgraded


def write(folder: Path, record: dict[str, Any], run: str) -> None:
    record = {**record, "run": {**record["run"], "id": run}}
    write_record(folder, record, {"json": json.dumps(record), "html": run})


def test_no_run_replaces_another_and_the_latest_is_led_to(tmp_path: Path) -> None:
    for run, record in (("20260101T000000Z-1", blocked()), ("20260102T000000Z-2", upgraded())):
        write(tmp_path / "reports", record, run)
    own = tmp_path / "reports" / "fractal1"
    assert (own / "latest.html").read_text() == "20260102T000000Z-2"
    assert (own / "20260101T000000Z-1.html").exists() and oct((own / "latest.json").stat().st_mode)[-3:] == "640"
    assert [record["outcome"] for record in read_records(tmp_path / "reports")] == ["upgraded", "blocked"]
    assert not [path for path in own.iterdir() if path.name.startswith(".")]


def test_what_is_no_record_is_left_out(tmp_path: Path) -> None:
    write(tmp_path, upgraded(), "20260102T000000Z-2")
    for name, text in (
        ("broken.json", "{"),
        ("other.json", "[1]"),
        ("copy.json", '{"name": "fractal1", "run": {"id": "x"}}'),
    ):
        (tmp_path / "fractal1" / name).write_text(text)
    assert len(read_records(tmp_path)) == 1
    assert read_records(tmp_path / "missing") == []


def test_the_last_upgrade_is_the_one_that_was_not_undone() -> None:
    done, undone = upgraded(), {**upgraded(), "server_outcome": "rolled back"}
    found = last_upgrade([up_to_date(), blocked(), done], "fractal1")
    assert found is not None and (found["undo"], found["run"]) == (UNDO, RUN["id"])
    assert last_upgrade([up_to_date(), undone, done], "fractal1") is None
    assert last_upgrade([done], "another") is None
    half = {**upgraded(), "outcome": "failed"}  # fractal-web failed: the server's upgrade is to be undone all the same
    assert last_upgrade([half], "fractal1") is not None


@given(st.text(min_size=1))
def test_no_name_of_a_host_leads_out_of_the_folder(name: str) -> None:
    folder = folder_name(name)
    assert folder and "/" not in folder and "\0" not in folder and not folder.startswith(".")
    assert os.path.basename(folder) == folder


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FractalError, match="file/fractal1 for the reports"):
        write(tmp_path / "file", upgraded(), "20260102T000000Z-2")


def test_figures_are_in_the_format_of_prometheus(tmp_path: Path) -> None:
    record = {**upgraded(), "name": 'a"b\\c'}
    text = Path(write_metrics(tmp_path, record)).read_text()
    sample = re.compile(r'^[a-z_]+\{([a-z_]+="([^"\\\n]|\\.)*",?)+\} -?[0-9.]+$')
    for line in text.splitlines():
        assert line.startswith(("# HELP ", "# TYPE ")) or sample.match(line), line
    assert text.count("} 1\n") == 3, "one outcome, one warning, one info"
    assert "fractal_ops_window_seconds" in text and text.endswith("\n")


def test_a_run_has_one_name_that_sorts_by_time() -> None:
    assert run_id() == run_id() and re.fullmatch(r"\d{8}T\d{6}Z-\d+", run_id())
    assert abs(began() - began()) < 0.001
