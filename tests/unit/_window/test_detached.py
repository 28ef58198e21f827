"""Starting the program apart from everything: whether one is started, or attached to."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.programs import Done
from ansible_collections.fractal_ops.platform.plugins.module_utils._window import detached
from ansible_collections.fractal_ops.platform.plugins.module_utils._window import journal as journal_file
from ansible_collections.fractal_ops.platform.plugins.module_utils._window.detached import start_window
from ansible_collections.fractal_ops.platform.plugins.module_utils._window.journal import read_seen
from ansible_collections.fractal_ops.platform.plugins.module_utils._window.program import Order
from ansible_collections.fractal_ops.platform.plugins.module_utils._window.watching import window_unit
from noted import note

UNIT = "fractal-server.service"
ORDER = Order(
    unit=UNIT,
    id="p1",
    lock={"run": "r", "controller": "c", "abandoned": ""},
    controller="ops1",
    python="/opt/venv/bin/python",
    backup_root="/b",
    plan={"todo": {}, "down": False, "hops": []},
    target="2.18.0",
    environ={"PIP_INDEX_URL": "https://u:s3cret@index"},
)
SEEN = {"state": {"instance": {"service": UNIT, "version": "2.16.6"}, "plan": {}}}


class Host:
    """systemd, as far as the window needs it: which commands were run, and whether the program works."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.running = False
        self.commands: list[list[str]] = []

    def run(self, command: list[str], **_more: Any) -> Done:
        self.commands.append(list(command))
        self.running = True
        return Done(command[0], 0, "", "")


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    found = Host(tmp_path / "run" / f"{UNIT}.window")
    (tmp_path / "run").mkdir()
    monkeypatch.setattr(journal_file, "FOLDER", str(tmp_path / "fractal-ops"))
    monkeypatch.setattr(detached, "FOLDER", str(tmp_path / "run"))
    monkeypatch.setattr(detached, "is_running", lambda _unit: found.running)
    monkeypatch.setattr(detached, "run", found.run)
    monkeypatch.setattr(detached, "read_hold", lambda _unit: None)
    return found


def test_a_window_is_started_once_and_then_attached_to(host: Host) -> None:
    started = start_window(ORDER, SEEN)
    assert started == {"changed": True, "id": "p1", "seen": 0}
    note(UNIT, ("began", {"id": "p1"}))
    again = start_window(replace(ORDER, id="p2"), {"state": {}})
    assert again == {"changed": False, "id": "p1", "seen": 0}
    assert len(host.commands) == 1
    assert read_seen(UNIT) == SEEN, "what is told of it is what its own run knew"


def test_nobody_else_reads_or_runs_anything_of_it(host: Host) -> None:
    start_window(ORDER, SEEN)
    assert host.folder.stat().st_mode & 0o777 == 0o700
    assert {path.name: path.stat().st_mode & 0o777 for path in host.folder.iterdir()} == dict.fromkeys(
        ("code.zip", "window.py", "instruction.json"), 0o600
    )
    [command] = host.commands
    assert command[:2] == ["systemd-run", "--quiet"] and f"--unit={window_unit(UNIT)}" in command
    assert command[-4:] == [sys.executable, "-I", "-B", str(host.folder / "window.py")]
    assert "s3cret" not in " ".join(command)
    assert Order(**json.loads((host.folder / "instruction.json").read_text())) == ORDER


def test_what_a_killed_program_has_left_is_not_waited_for(host: Host) -> None:
    """With the service down: systemd would give its children a minute and a half."""
    start_window(ORDER, SEEN)
    assert "--property=TimeoutStopSec=5" in host.commands[0]


def test_what_is_started_runs_without_anything_but_its_own_code(host: Host, tmp_path: Path) -> None:
    start_window(ORDER, SEEN)
    script = host.folder / "window.py"
    script.write_text(script.read_text().replace("main(", "print(main.__module__, "))
    trap = tmp_path / "ansible_collections.py"
    trap.write_text("raise SystemExit('trapped')")
    done = subprocess.run(
        [sys.executable, "-I", "-B", str(script)],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.startswith("ansible_collections.fractal_ops.platform.plugins.module_utils._window.program"), (
        done.stderr
    )
