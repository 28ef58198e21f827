"""The upgraded instance works: what was seeded on 2.16 runs on SLURM again."""

from __future__ import annotations

import json
from typing import Any

from scenario import SHARED, hosts_of
from testinfra.host import Host

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
