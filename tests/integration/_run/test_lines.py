"""How many lines a run prints on Ansible's default callback: what a person at night has to read.

The hosts are pretended, so that the seconds of a real window are not spent; plays, tasks, stages and report are real.
``pytest -rP`` shows the counts.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from playbook_runs import PAIR, Ran
from pretended_hosts import PretendedHosts, server_seen, web_seen

STAGES = ("look", "stop", "backup", "hop", "note", "start")
GOAL, AT_REST = 900, 900  # lines


def screen(folder: Path, hosts: PretendedHosts, playbook: str) -> str:
    hosts.write()
    ran = Ran(folder, f"fractal_ops.platform.{playbook}", PAIR, collections=hosts.root)
    assert ran.code == 0, ran.screen
    return ran.screen


@pytest.fixture
def hosts(tmp_path: Path) -> PretendedHosts:
    found = PretendedHosts(tmp_path)
    found.tell("fractal-server", "fractal_observe", **server_seen("fractal-server"))
    found.tell("fractal-web", "fractal_observe", **web_seen("fractal-web"))
    events = [{"event": "stage", "stage": stage, "release": "", "at": float(at)} for at, stage in enumerate(STAGES)]
    found.tell("", "fractal_rehearsal", findings=[], target="2.17.0", revision="981d588fe248", predicted_seconds=9.0)
    found.tell("", "fractal_window:watched", events=[*events, {"event": "ended", "outcome": "upgraded", "at": 9.0}])
    return found


def test_a_normal_upgrade_and_a_precheck(tmp_path: Path, hosts: PretendedHosts) -> None:
    for playbook in ("precheck", "upgrade"):
        said = screen(tmp_path, hosts, playbook)
        print(f"{playbook}: {len(said.splitlines())} lines, of which {said.count(chr(10) + 'TASK [')} tasks")
        (tmp_path / f"{playbook}.txt").write_text(said)
        assert len(said.splitlines()) <= GOAL, said
        assert "Report: " in said


def test_a_second_run(tmp_path: Path, hosts: PretendedHosts) -> None:
    server, web = server_seen("fractal-server"), web_seen("fractal-web")
    server["instance"]["version"], server["environment"]["steps"] = "2.17.0", []
    server["database"].update(revision="83bc2ad3ffcc", data_migration="done")
    web["instance"]["version"] = "1.21.1"
    verified = {"environment": {"changed": False}, "process": {"stale": False}}
    hosts.tell("fractal-server", "fractal_observe", **server)
    hosts.tell("fractal-web", "fractal_observe", **web, **verified)
    for playbook in ("upgrade", "precheck", "status"):
        said = screen(tmp_path, hosts, playbook)
        print(f"{playbook} of a finished instance: {len(said.splitlines())} lines")
        assert len(said.splitlines()) <= AT_REST, said
