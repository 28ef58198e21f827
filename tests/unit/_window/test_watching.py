"""Watching a window from outside: what is told of it, when, and what that costs the host."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._window import journal as journal_file
from ansible_collections.fractal_ops.platform.plugins.module_utils._window import watching
from ansible_collections.fractal_ops.platform.plugins.module_utils._window.watching import (
    attach,
    is_worked_on,
    watch,
    window_unit,
)
from noted import note

UNIT = "fractal-server.service"
SOON = 0.2  # seconds


class Host:
    """systemd, as far as a watcher needs it: whether the program works."""

    running = False


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    found = Host()
    monkeypatch.setattr(journal_file, "FOLDER", str(tmp_path / "fractal-ops"))
    monkeypatch.setattr(watching, "is_running", lambda _unit: found.running)
    monkeypatch.setattr(watching, "read_unit", lambda name: name)
    monkeypatch.setattr(watching, "journal_tail", lambda _unit, _lines: "no such interpreter")
    return found


def test_an_instance_of_a_template_has_a_window_of_its_own() -> None:
    assert window_unit("fractal@prod.service") == "fractal-window-fractal-prod.service"


@pytest.mark.parametrize(("main_pid", "works"), [(7, True), (0, False)])
def test_what_a_killed_program_has_left_is_waited_for(
    host: Host, monkeypatch: pytest.MonkeyPatch, main_pid: int, works: bool
) -> None:
    """systemd ends its children first; nobody attaches to it meanwhile."""
    host.running = True
    monkeypatch.setattr(watching, "read_unit", lambda _name: SimpleNamespace(main_pid=main_pid))
    monkeypatch.setattr(watching.time, "sleep", lambda _seconds: setattr(host, "running", False))
    assert is_worked_on(UNIT) is works and host.running is works


def test_watching_returns_what_is_new_and_in_the_end_what_is_to_be_told(host: Host) -> None:
    host.running = True
    note(UNIT, ("began", {"id": "p1"}), ("stage", {"stage": "stop", "release": ""}))
    told = watch(UNIT, "p1", 0, 5, SOON)
    assert (told["running"], told["seen"], [event["event"] for event in told["events"]]) == (
        True,
        2,
        ["began", "stage"],
    )
    assert watch(UNIT, "p1", 2, 0, SOON)["events"] == []
    note(UNIT, ("done", {"stage": "stop", "release": "", "seconds": 1.0, "result": {"hold": {}}}))
    note(UNIT, ("ended", {"id": "p1", "outcome": "upgraded", "msg": "", "say": ""}))
    host.running = False
    told = watch(UNIT, "p1", 2, 5, SOON)
    assert not told["running"] and told["window"]["outcome"] == "upgraded" and "died" not in told
    assert "result" not in told["events"][0], "results are told once"


def test_what_follows_soon_is_told_with_it(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each answer costs the host the start of a module, and the window waits for the processor."""
    host.running = True
    coming = [("done", {"stage": "backup", "release": "", "seconds": 0.1, "result": {}}), ("stage", {"stage": "hop"})]
    monkeypatch.setattr(watching.time, "sleep", lambda _seconds: note(UNIT, coming.pop(0)) if coming else None)
    note(UNIT, ("stage", {"stage": "backup", "release": ""}))
    told = watch(UNIT, "p1", 0, 5, SOON)
    assert [event["event"] for event in told["events"]] == ["stage", "done", "stage"] and told["running"]


def test_a_program_that_was_killed_is_told_from_one_that_has_ended(host: Host) -> None:
    note(UNIT, ("began", {"id": "p1"}), ("stage", {"stage": "backup", "release": ""}))
    told = watch(UNIT, "p1", 0, 5, SOON)
    assert told["died"] and told["window"]["running_stage"] == "backup" and told["last_words"] == ""
    told = watch(UNIT, "p2", 2, 5, SOON)
    assert told["died"] and told["last_words"] == "no such interpreter", "it never began"


def test_the_run_that_watches_dates_its_lock(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    dated: list[str] = []
    monkeypatch.setattr(watching, "date", lambda _unit, lock: dated.append(lock["run"]))
    watch(UNIT, "p1", 0, 0, SOON, {"run": "r"})
    watch(UNIT, "p1", 0, 0, SOON)
    assert dated == ["r"]


def test_without_a_window_there_is_nothing_to_attach_to(host: Host) -> None:
    with pytest.raises(FractalError, match="No window on fractal-server"):
        attach(UNIT)


def test_what_watches_is_little_of_this_collection() -> None:
    """The host compiles it for each answer, with the service down."""
    module = "ansible_collections.fractal_ops.platform.plugins.modules.fractal_window"
    rooms = "[name for name in sys.modules if '.module_utils._' in name and 'fractal_ops' in name]"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys, {module}; print(*{rooms}, sep='\\n')"],
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = {name.rpartition("module_utils.")[2] for name in done.stdout.split()}
    assert "_window.watching" in loaded
    assert not {name for name in loaded if name.startswith(("_backup", "_upgrade", "_verify", "_stops", "_venv"))}
