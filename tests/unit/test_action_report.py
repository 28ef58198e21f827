"""The action that shows and keeps the reports: what AWX is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import report_records
from ansible_collections.fractal_ops.platform.plugins.action.fractal_report import ActionModule


def statistic(folder: Path, record: dict[str, Any]) -> dict[str, Any]:
    """Report a run and return what AWX keeps of it."""
    told = {key: value for key, value in record.items() if key not in ("run", "last_upgrade", "remedies")}
    action = ActionModule.__new__(ActionModule)
    result = action._report({"records": [told], "only_kept": False}, record["run"], folder, None, [])
    found: dict[str, Any] = result["ansible_stats"]["data"]["fractal_reports"]["fractal1"]
    return found


def test_an_instance_that_is_up_to_date_hands_on_how_to_undo_its_last_upgrade(tmp_path: Path) -> None:
    """A job of a workflow that goes back would else have nothing to go back to."""
    idle = report_records.up_to_date()
    nothing = statistic(tmp_path / "new", idle)
    assert (nothing["backup"], nothing["undo"]) == (None, "")
    first = statistic(tmp_path, report_records.upgraded())
    then = statistic(tmp_path, idle)
    assert (then["outcome"], then["window_seconds"]) == ("up to date", None)
    assert (
        (then["backup"], then["undo"])
        == (first["backup"], first["undo"])
        == (report_records.BACKUP, report_records.UNDO)
    )
    page = Path(then["report"]).with_suffix(".md").read_text()
    assert then["backup"] in page and then["undo"] in page


def test_a_refused_run_fails_with_why_and_no_more(tmp_path: Path) -> None:
    blocked = {**report_records.up_to_date(), "outcome": "blocked", "failure": "The variable fractal_x is mistyped."}
    told = {key: value for key, value in blocked.items() if key not in ("run", "last_upgrade", "remedies")}
    action = ActionModule.__new__(ActionModule)
    options = {"records": [told], "only_kept": False, "refused": True}
    result = action._report(options, blocked["run"], tmp_path, None, [])
    assert result == {"failed": True, "msg": result["msg"]}
    assert result["msg"].startswith("Nothing was done. fractal1: blocked.") and str(tmp_path) in result["msg"]


def test_a_run_that_went_back_has_nothing_to_undo(tmp_path: Path) -> None:
    statistic(tmp_path, report_records.upgraded())
    back = {**report_records.up_to_date(), "outcome": "rolled back", "server_outcome": "rolled back"}
    assert statistic(tmp_path, back)["undo"] == ""
