"""How many lines a run prints on Ansible's default callback: what a person at night has to read.

The hosts are pretended, so that the seconds of a real window are not spent; plays, tasks, stages and report are real.
The limits are what was reached; whoever adds a task to each run meets them. ``pytest -rP`` shows the counts.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from playbook_runs import PAIR, Ran
from pretended_hosts import PASSED, PretendedHosts, failed_window, server_seen, web_seen

STAGES = ("look", "stop", "backup", "hop", "note", "start")
LIMITS = {"precheck": 75, "upgrade": 150}  # lines
AT_REST = {"upgrade": 60, "precheck": 56, "status": 66}  # of a finished instance
WITHOUT_SKIPPED = {"precheck": 69, "upgrade": 130}  # with display_skipped_hosts = False, as README.md advises


def count(folder: Path, hosts: PretendedHosts, limits: dict[str, int]) -> None:
    hosts.write()
    for playbook, limit in limits.items():
        ran = Ran(folder, f"fractal_ops.platform.{playbook}", PAIR, collections=hosts.root)
        assert ran.code == 0, ran.screen
        lines = ran.screen.splitlines()
        print(f"{playbook}: {len(lines)} lines, of which {sum(line.startswith('TASK [') for line in lines)} tasks")
        assert len(lines) <= limit, ran.screen
        assert playbook == "status" or any(line.startswith("Report: ") for line in lines)


@pytest.fixture
def hosts(tmp_path: Path) -> PretendedHosts:
    found = PretendedHosts(tmp_path)
    found.tell("fractal-server", "fractal_observe", **server_seen("fractal-server"))
    agrees = {"environment": {"findings": [], "runner_backend": "local", "changed": True}}  # with the server
    found.tell("fractal-web", "fractal_observe", **web_seen("fractal-web"), **agrees)
    found.tell("", "fractal_rehearsal", findings=[], target="2.17.0", revision="981d588fe248")
    events = [{"event": "stage", "stage": stage, "release": "", "at": float(at)} for at, stage in enumerate(STAGES)]
    found.tell("", "fractal_window:watched", events=[*events, {"event": "ended", "outcome": "upgraded", "at": 9.0}])
    return found


def test_a_precheck_and_a_normal_upgrade(tmp_path: Path, hosts: PretendedHosts) -> None:
    count(tmp_path, hosts, LIMITS)


def test_a_window_that_fails_is_not_told_with_all_that_it_did(tmp_path: Path, hosts: PretendedHosts) -> None:
    """Ansible itself shows a failure twice, and the report once more."""
    window = failed_window("It does not start.\nits journal: no port")["window"]
    results = {"backup": {"backup": {"path": "/b/run", "rows": 95, "secret": "the whole account"}}}
    hosts.tell("", "fractal_window:watched", events=[], window={**window, "results": results})
    hosts.write()
    ran = Ran(tmp_path, "fractal_ops.platform.upgrade", PAIR, collections=hosts.root)
    assert ran.code == 2 and ran.report()["failure"].startswith("It does not start.\nits journal: no port")
    assert "the whole account" not in ran.screen and ran.screen.count("its journal: no port") == 3


def test_without_what_was_not_needed(tmp_path: Path, hosts: PretendedHosts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANSIBLE_DISPLAY_SKIPPED_HOSTS", "no")
    count(tmp_path, hosts, WITHOUT_SKIPPED)


def test_a_finished_instance(tmp_path: Path, hosts: PretendedHosts) -> None:
    server, web, told = server_seen("fractal-server"), web_seen("fractal-web"), {"server_version": "2.17.0"}
    server["instance"]["version"], server["environment"]["steps"] = "2.17.0", []
    server["database"].update(revision="83bc2ad3ffcc", data_migration="done", size_bytes=1_000_000)
    server["database"].update(jobs_in_flight=0, activities_in_flight=0)
    server["verification"] = {"checks": PASSED, "findings": [], "server": told, "review": None}
    web["instance"]["version"] = "1.21.1"
    web["environment"], web["process"] = {"changed": False, "runner_backend": "local"}, {"stale": False}
    web["verification"] = {"checks": PASSED, "told": told}
    hosts.tell("fractal-server", "fractal_observe", **server)
    hosts.tell("fractal-web", "fractal_observe", **web)
    count(tmp_path, hosts, AT_REST)
