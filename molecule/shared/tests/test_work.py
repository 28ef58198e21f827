"""The upgraded instance works: what was seeded on 2.16 runs on SLURM again."""

from __future__ import annotations

import json
from typing import Any

from scenario import SHARED, hosts_of
from testinfra.host import Host

from playbooks import run_playbook

testinfra_hosts = hosts_of("fractal_server")


def test_old_workflows_run_with_their_old_task_groups(
    host: Host, seed: dict[str, Any], rows_after: dict[str, Any]
) -> None:
    """``rows_after`` is asked for so that it is read before new jobs add rows."""
    assert rows_after
    script = (SHARED / "files" / "run_jobs.py").read_text()
    jobs = json.loads(host.check_output("python3 -c %s", script))
    wanted = [job for job in seed["jobs"] if job["status"] == "done"]
    assert [(job["workflow"], job["status"]) for job in jobs] == [(job["workflow"], "done") for job in wanted]
    assert [job["stamped_by"] for job in jobs] == ["alice", "bob"]


def test_a_package_is_collected_and_its_job_runs(rows_after: dict[str, Any], seed: dict[str, Any]) -> None:
    """The verification with the superuser's account looks at every page, too."""
    assert rows_after
    account = {f"fractal_verify_{name}": seed["users"]["admin"][name] for name in ("email", "password")}
    run = run_playbook("verify", "-e", json.dumps(account))
    assert run.code == 0
    checks = run.checks["server"]
    wanted = "login_password current_user settings viewer_paths task_collection job_execution probe_removed login_oauth"
    assert {name: checks[name]["status"] for name in wanted.split()} == dict.fromkeys(wanted.split(), "passed")
    assert "as alice on" in checks["job_execution"]["message"]
