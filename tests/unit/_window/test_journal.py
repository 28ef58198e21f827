"""The journal of a window: what is written is read again, whatever a kill has torn."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._window import journal as journal_file
from ansible_collections.fractal_ops.platform.plugins.module_utils._window.journal import (
    Journal,
    begin_journal,
    in_words,
    journal_folder,
    last_attempt,
    parse_events,
    read_events,
    read_seen,
    summary,
)
from hypothesis import given
from hypothesis import strategies as st

UNIT = "fractal-server.service"
EVENTS = st.lists(
    st.fixed_dictionaries({"event": st.text(min_size=1), "at": st.floats(0, 1e9)}, optional={"msg": st.text()}),
    max_size=8,
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(journal_file, "FOLDER", str(tmp_path / "fractal-ops"))
    return tmp_path / "fractal-ops" / UNIT


def write(program: str = "p", outcome: str = "", **stages: Any) -> None:
    """One program's stages, each with its result, an error, or None for one in which it was killed."""
    journal = Journal(UNIT)
    journal.note("began", id=program)
    for name, result in stages.items():
        if result is None:
            journal.note("stage", stage=name, release="")
        elif isinstance(result, Exception):
            with pytest.raises(type(result)):
                journal.stage(name, lambda result=result: fail(result))  # type: ignore[misc]
        else:
            journal.stage(name, lambda result=result: result)  # type: ignore[misc]
    if outcome:
        journal.note("ended", id=program, outcome=outcome, msg="", say="")
    journal.close()


def fail(error: Exception) -> dict[str, Any]:
    raise error


@given(EVENTS, EVENTS, st.data())
def test_whatever_a_kill_has_torn_the_rest_is_read(first: list[Any], second: list[Any], data: st.DataObject) -> None:
    lines = [json.dumps(event).encode() + b"\n" for event in first]
    torn = data.draw(st.integers(0, len(lines[-1]) - 2)) if lines else 0
    cut = b"".join(lines[:-1]) + (lines[-1][:torn] + b"\n" if lines else b"")  # as the next program ends it
    after = b"".join(json.dumps(event).encode() + b"\n" for event in second)
    assert parse_events(cut + after) == [*first[:-1], *second]


@given(st.binary(max_size=200))
def test_what_is_no_journal_has_no_events(content: bytes) -> None:
    for event in parse_events(content):
        assert isinstance(event["event"], str)


def test_a_line_that_was_torn_is_ended_before_the_next(folder: Path) -> None:
    write("p1", stop={"changed": True})
    with open(folder / "window.jsonl", "ab") as stream:
        stream.write(b'{"event": "stage", "sta')
    write("p2", outcome="upgraded", start={"changed": True})
    events = read_events(UNIT)
    assert [event["event"] for event in events] == ["began", "stage", "done", "began", "stage", "done", "ended"]
    assert events[last_attempt(events)]["id"] == "p2"


def test_nobody_else_can_read_it(folder: Path) -> None:
    begin_journal(UNIT, "", {"state": {}})
    write()
    assert folder.stat().st_mode & 0o777 == 0o700 and folder.parent.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    assert len([*folder.iterdir()]) == 2


def test_what_is_told_of_a_window_is_of_all_its_programs(folder: Path) -> None:
    hold = {"hold": {"run": "r"}}
    write("p1", stop={"changed": True, **hold}, backup={"changed": True, "copy_seconds": 8.0}, hop=None)
    killed = summary(read_events(UNIT))
    assert (killed["outcome"], killed["running_stage"], killed["window_seconds"]) == ("", "hop", None)
    begin_journal(UNIT, "r", {"state": {"target": "2.17.0"}})
    write("p2", "upgraded", stop={"changed": False, **hold}, backup={"changed": False}, hop={"changed": True}, start={})
    told = summary(read_events(UNIT))
    assert told["outcome"] == "upgraded" and told["running_stage"] == ""
    assert told["results"]["backup"] == {"changed": True, "copy_seconds": 8.0}, "the one that made it"
    assert {stage["state"] for stage in told["stages"].values()} == {"done"}
    assert read_seen(UNIT)["state"]["target"] == "2.17.0"


def test_the_window_lasts_from_the_first_stop_to_the_last_start() -> None:
    def event(kind: str, stage: str, at: float) -> dict[str, Any]:
        return {"event": kind, "stage": stage, "release": "", "at": at, "seconds": 1.0, "result": {}}

    first = [("stage", "stop", 9.0), ("stops", "", 10.0), ("done", "stop", 11.0)]
    times = [*first, ("stage", "stop", 50.0), ("stops", "", 50.2), ("done", "stop", 51.0)]
    start = [("stage", "start", 52.0), ("done", "start", 60.5)]
    assert summary([event(*one) for one in times])["window_seconds"] is None
    assert summary([event(*one) for one in [*times, *start]])["window_seconds"] == 50.5
    up = [*times, ("stage", "start", 52.0), ("healthy", "", 58.0), ("done", "start", 60.5)]
    assert summary([event(*one) for one in up])["window_seconds"] == 48.0, "the hold is forgotten with the service up"
    assert summary([event(*one) for one in times])["stages"]["stop"]["seconds"] == 2.0


def test_a_failure_is_told_and_so_is_that_it_was(folder: Path) -> None:
    write("p", "left", stop={"changed": True}, backup=FractalError("no room"))
    told = summary(read_events(UNIT))
    assert (told["stages"]["backup"]["state"], told["told"]) == ("failed", False)
    assert [event["msg"] for event in read_events(UNIT) if event["event"] == "failed"] == ["no room"]
    journal = Journal(UNIT)
    journal.note("told", run="r")
    assert summary(read_events(UNIT))["told"]


def test_the_journal_of_another_window_is_put_aside_and_few_are_kept(folder: Path) -> None:
    for number in range(8):
        begin_journal(UNIT, "", {})
        assert read_events(UNIT) == [], "without a hold a new window begins"
        write(f"p{number}", stop={"hold": {"run": f"r{number}"}})
        os.utime(folder / "window.jsonl")
        begin_journal(UNIT, f"r{number}", {})
        assert len(read_events(UNIT)) == 3, "what is held is this window"
    begin_journal(UNIT, "another", {})
    assert read_events(UNIT) == []
    assert len([*folder.glob("window-*.jsonl")]) <= 5


def test_a_disk_that_is_full_stops_a_window_before_its_first_change_only(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(UNIT)

    def full(*_unused: Any) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(journal_file.os, "write", full)
        with pytest.raises(FractalError, match=r"No space left on device\. Nothing was changed"):
            journal.note("began")
    journal.note("began")
    monkeypatch.setattr(journal_file.os, "write", full)
    assert journal.stage("stop", lambda: {"changed": True}) == {"changed": True}


def test_no_traceback_and_no_secret_in_the_words_of_an_error() -> None:
    assert in_words(FractalError("as it is")) == "as it is"
    assert in_words(OSError(28, "No space left on device", "/x")) == "No space left on device: /x"
    try:
        raise KeyError("postgresql://u:secret@h/d")
    except KeyError as error:
        assert "secret" not in in_words(error) and "test_journal.py" in in_words(error)


def test_the_folder_of_a_unit_is_below_one_of_roots() -> None:
    assert journal_folder(UNIT) == f"/var/lib/fractal-ops/{UNIT}"
