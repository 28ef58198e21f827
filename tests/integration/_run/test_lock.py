"""The lock on a host, taken by a run of Ansible that was told of nobody in its way: another one got it meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.lock import give_back, read_lock, take
from ansible_collections.fractal_ops.platform.plugins.module_utils._run.controller import this_run
from playbook_runs import PAIR, Ran

TAKE = """
- hosts: fractal_server
  gather_facts: false
  tasks:
    - name: Take the lock
      fractal_ops.platform.fractal_lock:
        service: {unit}
        run: "{{{{ none | fractal_ops.platform.this_run }}}}"
"""


@pytest.fixture(params=["killed", "alive"])
def other(request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    """Return the unit, called what the run is, and the other run of this controller which has its lock."""
    own, unit = this_run(), f"fractal-{request.param}.service"
    run = own["run"] if request.param == "alive" else f"{own['run'].rpartition(':')[0]}:1"  # its process began then
    take(unit, {**own, "run": run})
    yield unit, run
    lock = read_lock(unit)
    if lock:
        give_back(unit, {"run": lock.run, "abandoned": ""})


def test_only_the_lock_of_a_run_that_was_killed_is_taken(tmp_path: Path, other: tuple[str, str]) -> None:
    unit, run = other
    (tmp_path / "take.yml").write_text(TAKE.format(unit=unit))
    ran = Ran(tmp_path, "take.yml", PAIR)
    if "killed" in unit:
        assert ran.code == 0, ran.screen
        assert read_lock(unit).run != run
    else:
        assert ran.code == 2 and f"Another run works on {unit}" in ran.screen + ran.errors
        assert read_lock(unit).run == run
