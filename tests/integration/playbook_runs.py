"""A playbook run as an operator would, with what it says, keeps, returns and sends to hosts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from conftest import COLLECTION, COLLECTIONS_ROOT

PROGRAM = Path(sys.executable).with_name("ansible-playbook")
HERE = f"ansible_connection=local ansible_become=false ansible_python_interpreter={sys.executable}"
GONE = "ansible_connection=ssh ansible_host=127.0.0.1 ansible_port=1"  # refused at once
PAIR = f"[fractal_server]\nserver {HERE}\n[fractal_web]\nweb {HERE}\n"


class Ran:
    """A playbook that was run."""

    def __init__(
        self, folder: Path, playbook: str, inventory: str, *arguments: str, collections: Path | str = COLLECTIONS_ROOT
    ) -> None:
        (folder / "hosts.ini").write_text(inventory)
        self.folder = folder / "fractal-reports"
        done = subprocess.run(
            [str(PROGRAM), "-i", "hosts.ini", playbook, *arguments],
            cwd=folder,
            env={
                **os.environ,
                "ANSIBLE_COLLECTIONS_PATH": str(collections),
                "ANSIBLE_HOME": str(folder / "home"),
                "ANSIBLE_NOCOLOR": "1",
                "ANSIBLE_CALLBACK_RESULT_FORMAT": "json",  # the default, whatever the bed's configuration says
                "ANSIBLE_CALLBACK_PLUGINS": str(COLLECTION / "tests" / "tools" / "callback_plugins"),
                "ANSIBLE_CALLBACKS_ENABLED": "remote_tasks",
                "REMOTE_TASKS": str(folder / "sent.json"),
                "PWD": "/nonexistent",  # under ansible-runner it is that of whoever started it
            },
            capture_output=True,
            text=True,
            check=False,
        )
        self.code, self.screen, self.errors = done.returncode, done.stdout, done.stderr
        self.sent: dict[str, list[str]] = _sent(folder / "sent.json")
        assert "Traceback" not in done.stdout + done.stderr

    def report(self, name: str = "server") -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / name / "latest.json").read_text())
        return found

    @property
    def plays(self) -> int:
        return self.screen.count("\nPLAY [")


def _sent(path: Path) -> dict[str, list[str]]:
    """Return the tasks that were sent to hosts; none where no task ran."""
    return json.loads(path.read_text()) if path.exists() else {}
