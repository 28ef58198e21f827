"""The commands and the hooks of the pages, word by word, on pretended hosts.

README.md's own lines are run by tests/bed/readme.sh on real ones.
"""

from __future__ import annotations

import json
import re
import shlex
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from conftest import COLLECTION
from examples import playbook_lines
from playbook_runs import HERE, Ran
from pretended_hosts import PretendedHosts, server_seen, web_seen

INVENTORY = f"[fractal_server]\nfractal1 {HERE}\n[fractal_web]\nweb1 {HERE}\n"
OUTCOMES = {
    "precheck": "upgrade planned",
    "rehearse": "upgrade planned",
    "upgrade": "upgraded",
    "upgrade --check --diff": "upgrade planned",
    "rollback": "rolled back",
    "verify": "verified",
}


@pytest.fixture
def hosts(tmp_path: Path) -> PretendedHosts:
    """A healthy instance of an old release."""
    pretended = PretendedHosts(tmp_path)
    server = server_seen("fractal-server")
    server["database"].update(size_bytes=8_000_000, jobs_in_flight=0, activities_in_flight=0)
    pretended.tell("fractal-server", "fractal_observe", **server)
    pretended.tell("fractal-web", "fractal_observe", **web_seen("fractal-web"))
    rehearsal = {"passed": True, "findings": [], "seconds": {}, "predicted": {}, "predicted_seconds": None}
    sizes = {"size_bytes": 1, "dump_bytes": 1, "copy_bytes_per_second": 1, "projects": 1, "revision": "981d588fe248"}
    pretended.tell("", "fractal_rehearsal", target="2.17.0", **rehearsal, **sizes)
    review = {"resources": [], "profiles": [], "without_access": []}
    pretended.tell("", "fractal_resource_profile", review=review, findings=[], checks=[])
    found = {"path": "/backups/1", "created": "2026-11-01T00:00:00Z", "version": "2.16.5", "revision": "981d588fe248"}
    pretended.tell("", "fractal_backup_info", backup=found, hold=None, ran_before=True)
    pretended.tell("", "fractal_rollback", method="exchange", left=[], seconds={})
    pretended.tell("", "fractal_tidy", found=[], bytes=0, failed_items=[])
    return pretended


@pytest.mark.parametrize("line", playbook_lines())
def test_a_command_of_the_pages_does_what_it_is_for(tmp_path: Path, hosts: PretendedHosts, line: str) -> None:
    hosts.really("fractal_copied_files", "_core.copied.FOLDER", str(tmp_path / "cache"))
    hosts.write()
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels" / "fractal_server-2.17.0-py3-none-any.whl").touch()
    program, option, inventory, name, *arguments = shlex.split(line.replace("$PWD", str(tmp_path)))
    assert (program, option, inventory) == ("ansible-playbook", "-i", "inventory.ini")
    ran = Ran(tmp_path, name, INVENTORY, *arguments, collections=hosts.root)
    assert ran.code == 0, ran.screen + ran.errors
    if "fractal_remote_src=false" in arguments:
        assert [*(tmp_path / "cache").glob("*/*.whl")], "nothing was copied"
    short = " ".join([name.rpartition(".")[2], *arguments])
    outcome = next((OUTCOMES[key] for key in (short, name.rpartition(".")[2]) if key in OUTCOMES), "")
    if "--check" not in arguments and outcome:
        assert ran.report("fractal1")["outcome"] == outcome
    assert outcome in ran.screen


@pytest.mark.parametrize("playbook", ["rollback", "status"])
def test_the_backup_to_go_back_to_is_one_of_the_release_that_is_there(
    tmp_path: Path, hosts: PretendedHosts, playbook: str
) -> None:
    hosts.write()
    ran = Ran(tmp_path, f"fractal_ops.platform.{playbook}", INVENTORY, collections=hosts.root)
    assert ran.code == 0, ran.screen + ran.errors
    assert [given["version"] for given in hosts.options("fractal_backup_info")] == ["2.16.6"]


def test_the_hook_of_the_page_calls_somebody(tmp_path: Path, hosts: PretendedHosts) -> None:
    told: list[dict[str, Any]] = []

    class Listener(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_words: Any) -> None:
            """Say nothing."""

    page = (COLLECTION / "docs" / "hooks.md").read_text()
    variables, hook = re.findall(r"(?<=\n\n)((?: {4}.*\n)+)", page)
    hosts.write()
    for folder in ("group_vars", "hooks"):
        (tmp_path / folder).mkdir()
    (tmp_path / "group_vars" / "all.yml").write_text(variables.replace("\n    ", "\n").removeprefix("    "))
    with HTTPServer(("127.0.0.1", 0), Listener) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        there = f"http://127.0.0.1:{server.server_port}/fractal"
        for name in ("before_window", "after_window", "on_failure", "after_rollback"):
            text = hook.replace("https://alerts.example.org/fractal", there)
            (tmp_path / "hooks" / f"{name}.yml").write_text(text.replace("\n    ", "\n").removeprefix("    "))
        ran = Ran(tmp_path, "fractal_ops.platform.upgrade", INVENTORY, collections=hosts.root)
        server.shutdown()
    assert ran.code == 0, ran.screen + ran.errors
    assert [(event["hook"], event["instance"]) for event in told] == [
        ("before_window", "fractal1"),
        ("after_window", "fractal1"),
    ]
    assert told[-1]["outcome"] == "upgraded"
