"""A systemd that is a program on PATH and two files: one unit, its state, and every command that was given."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance import hold as _hold

UNIT = "fractal-server.service"
_PROGRAM = """#!{python}
import pathlib, sys
here = pathlib.Path({folder!r})
verb = sys.argv[1]
state = here / "state"
drop_ins = [path.read_text() for path in here.glob("etc/{unit}.d/*.conf")]
asserted = [line.partition("=")[2] for text in drop_ins for line in text.splitlines() if line.startswith("Assert")]
held = any(not pathlib.Path(path).exists() for path in asserted)
if verb == "show":
    print("LoadState=loaded\\nUnitFileState=enabled\\nResult=exit-code\\nNRestarts=0")
    print("ActiveState=" + state.read_text())
    print("ExecStart={{ path=/v/bin/fractalctl ; argv[]=/v/bin/fractalctl start --port 8123 ; }}")
    sys.exit()
with (here / "commands").open("a") as log:
    log.write(verb + "\\n")
if verb == "start" and (held or (here / "refuses").exists()):
    sys.exit("Job for {unit} failed.")
if verb in ("start", "restart"):
    state.write_text("active")
if verb == "stop" and not (here / "stays").exists():
    state.write_text("inactive")
if verb == "reset-failed" and state.read_text() == "failed":
    state.write_text("inactive")
"""


@dataclass(frozen=True)
class FakeSystemd:
    """The folder in which it all lies."""

    folder: Path

    def set(self, state: str) -> None:
        """Put the unit into a state."""
        (self.folder / "state").write_text(state)

    @property
    def state(self) -> str:
        """The state of the unit."""
        return (self.folder / "state").read_text()

    @property
    def commands(self) -> list[str]:
        """What was done so far, questions left out."""
        log = self.folder / "commands"
        return log.read_text().split() if log.exists() else []

    @property
    def drop_in(self) -> Path:
        """The file of the hold."""
        return Path(_hold.hold_path(UNIT))


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSystemd:
    """Return a systemd whose unit is active and not held."""
    fake = FakeSystemd(tmp_path)
    programs = {
        "systemctl": _PROGRAM.format(python=sys.executable, folder=str(tmp_path), unit=UNIT),
        "journalctl": "#!/bin/sh\necho 'ValidationError: JWT_SECRET_KEY is missing'\n",
    }
    for name, text in programs.items():
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setattr(_hold, "HOLD_FOLDER", str(tmp_path / "etc"))
    fake.set("active")
    return fake
