"""Running the collection's playbooks from tests, and reading what they left on the hosts."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from testinfra.host import Host

ROWS = Path(__file__).resolve().parents[1] / "files" / "rows.py"
FOLDERS = ROWS.with_name("folders.sh")
CALLBACKS = ROWS.parents[3] / "tests" / "tools" / "callback_plugins"
STATE = r"""
cd /opt/fractal/server
sha256sum .fractal_server.env* *.json | sort -k2
stat -c '%n %U %G %a' .fractal_server.env* *.json
find /etc/systemd/system/fractal-server.service* -type f -exec sha256sum {} + | sort -k2
readlink -f /opt/fractal/venv; test -L /opt/fractal/venv && echo link || echo directory
runuser -u fractal -- /opt/fractal/venv/bin/python3 -c 'import importlib.metadata as m  # there need not be a pip
print(*sorted(d.name + "==" + d.version for d in m.distributions()), sep="\n")'
systemctl is-active fractal-server; systemctl is-enabled fractal-server
"""


@dataclass(frozen=True)
class Run:
    """A playbook that was run: exit code, output, the report of each server, and the tasks that each host was sent."""

    code: int
    output: str
    reports: dict[str, dict[str, Any]]
    sent: dict[str, list[str]]

    @property
    def changed(self) -> int:
        """How many tasks changed something, on all hosts."""
        recap = self.output.rpartition("PLAY RECAP")[2]
        return sum(int(word.partition("=")[2]) for word in recap.split() if word.startswith("changed="))

    @property
    def checks(self) -> dict[str, dict[str, dict[str, str]]]:
        """The verification's checks, those of fractal-web too, by server and id."""
        return {
            name: {check["id"]: check for one in (record, *record["web"]) for check in one["checks"]}
            for name, record in self.reports.items()
        }


def command(playbook: str, *arguments: str, inventory: Path | None = None) -> list[str]:
    """Return the command line that runs one of the collection's playbooks, by default on the scenario's hosts."""
    hosts = str(inventory or os.environ["MOLECULE_INVENTORY_FILE"])
    return ["ansible-playbook", "-i", hosts, f"fractal_ops.platform.{playbook}", *arguments]


def run_playbook(playbook: str, *arguments: str, inventory: Path | None = None) -> Run:
    """Run one of the collection's playbooks to its end."""
    folder = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "test-reports"
    shutil.rmtree(folder, ignore_errors=True)
    line = command(playbook, "-e", f"fractal_report_dir={folder}", *arguments, inventory=inventory)
    sent = folder.with_name("sent.json")
    sent.unlink(missing_ok=True)
    environment = {
        **os.environ,
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_CALLBACK_PLUGINS": str(CALLBACKS),
        "ANSIBLE_CALLBACKS_ENABLED": "remote_tasks",
        "REMOTE_TASKS": str(sent),
    }
    done = subprocess.run(line, capture_output=True, text=True, check=False, env=environment)
    print(done.stdout, done.stderr)
    reports = {path.parent.name: json.loads(path.read_text()) for path in folder.glob("*/latest.json")}
    return Run(done.returncode, done.stdout, reports, json.loads(sent.read_text()))


def rows(server: Host) -> dict[str, Any]:
    """Return counts and digests of all tables."""
    found: dict[str, Any] = json.loads(server.check_output("python3 -c %s", ROWS.read_text()))
    return found


def state(server: Host) -> str:
    """Return what an upgrade could change on a server besides its rows: files with owner and mode, packages, unit."""
    text: str = server.check_output("bash -c %s", STATE)
    return text


def folders(host: Host) -> dict[str, str]:
    """Return owner and mode of each folder of a host that is none of Fractal's."""
    return folders_in(host.check_output("bash -c %s", FOLDERS.read_text()))


def folders_in(text: str) -> dict[str, str]:
    """Return what folders.sh printed."""
    return {line.rsplit(" ", 3)[0]: line for line in text.splitlines()}


def changed_folders(before: dict[str, str], after: dict[str, str]) -> dict[str, tuple[str, str]]:
    """Return what is another owner's, or has another mode, than before."""
    return {path: (was, after[path]) for path, was in before.items() if after.get(path, was) != was}
