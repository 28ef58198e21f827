"""The playbooks as Ansible runs them: a host that is lost ends its own part, not the run."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
PLAYBOOKS = sorted((ROOT / "playbooks").glob("*.yml"))
PLAYS = [(path.name, play) for path in PLAYBOOKS for play in yaml.safe_load(path.read_text())]
WITH_REPORT = ("precheck.yml", "rollback.yml", "upgrade.yml", "verify.yml")


@pytest.mark.parametrize(("name", "play"), [one for one in PLAYS if one[0] in WITH_REPORT and "hosts" in one[1]])
def test_each_play_before_the_report_has_a_host_that_is_never_lost(name: str, play: dict[str, object]) -> None:
    hosts = str(play["hosts"]).split(":")
    assert hosts[-1] == "localhost"
    first = (play.get("pre_tasks") or play.get("tasks"))[0]  # type: ignore[index]
    assert first["ansible.builtin.meta"] == "end_host"
    assert all(f"groups['{group}']" in first["when"] for group in hosts[:-1])


@pytest.mark.parametrize("playbook", ["rollback", "upgrade"])
def test_the_report_is_written_though_no_host_can_be_reached(playbook: str, tmp_path: Path) -> None:
    inventory = tmp_path / "inventory.ini"
    nowhere = "ansible_host=127.0.0.1 ansible_port=1 ansible_connection=ssh"
    inventory.write_text(f"[fractal_server]\nserver {nowhere}\n[fractal_web]\nweb {nowhere}\n")
    path = str(ROOT / "playbooks" / f"{playbook}.yml")
    done = subprocess.run(
        ["ansible-playbook", "-i", str(inventory), path, "-e", f"fractal_report_dir={tmp_path / 'reports'}"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "ANSIBLE_LOCAL_TEMP": str(tmp_path), "ANSIBLE_NOCOLOR": "1", "ANSIBLE_SSH_RETRIES": "0"},
    )
    assert done.returncode != 0
    assert list((tmp_path / "reports").glob("server*.json")), done.stdout[-3000:]
    last = done.stdout.rpartition("Fail if an instance failed")[2] + done.stderr
    assert "server: " in last and "web: " in last
    assert "undefined" not in done.stdout + done.stderr
