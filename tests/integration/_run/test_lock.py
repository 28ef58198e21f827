"""The lock on a host, taken by a run of Ansible that was told of nobody in its way: another one got it meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.lock import give_back, read_lock, take
from ansible_collections.fractal_ops.platform.plugins.module_utils._run.controller import this_run
from playbook_runs import PAIR, Ran

UNIT = "fractal-lock-that-is-tried.service"
TAKE = f"""
- hosts: fractal_server
  gather_facts: false
  tasks:
    - name: Take the lock
      fractal_ops.platform.fractal_lock:
        service: {UNIT}
        run: "{{{{ none | fractal_ops.platform.this_run }}}}"
"""


@pytest.fixture(params=["killed", "alive"])
def other(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """Another run of this controller, which has the lock."""
    own = this_run()
    run = own["run"] if request.param == "alive" else f"{own['run'].rpartition(':')[0]}:1"  # its process began then
    take(UNIT, {**own, "run": run})
    yield {"run": run, "is": request.param}
    lock = read_lock(UNIT)
    if lock:
        give_back(UNIT, {"run": lock.run, "abandoned": ""})


def test_only_the_lock_of_a_run_that_was_killed_is_taken(tmp_path: Path, other: dict[str, str]) -> None:
    (tmp_path / "take.yml").write_text(TAKE)
    ran = Ran(tmp_path, "take.yml", PAIR)
    if other["is"] == "killed":
        assert ran.code == 0, ran.screen
        assert read_lock(UNIT).run != other["run"]
    else:
        assert ran.code == 2 and f"Another run works on {UNIT}" in ran.screen + ran.errors
        assert read_lock(UNIT).run == other["run"]
