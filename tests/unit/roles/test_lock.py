"""A task that changes something does it under the lock of its run: without, two runs would work at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
PREFIX = "fractal_ops.platform."
LOCKED = {path.stem for path in ROOT.glob("plugins/modules/*.py") if "LOCK_ARGUMENT" in path.read_text()}
LOCKED -= {"fractal_lock"}  # takes it
ONLY_IN_CHECK_MODE = {"server_upgrade/tasks/drain.yml", "server_upgrade/tasks/environment_file.yml"}
ONLY_LOOKS = {"fractal_resource_profile": {"service", "python"}}  # where nothing is declared


def tasks(node: Any) -> Iterator[dict[str, Any]]:
    for task in node or []:
        yield task
        for part in ("block", "rescue", "always", "tasks", "pre_tasks", "post_tasks"):
            yield from tasks(task.get(part))


FOUND = [
    (str(path.relative_to(ROOT / "roles")), name[len(PREFIX) :], task)
    for path in sorted(ROOT.glob("roles/*/tasks/**/*.yml"))
    for task in tasks(yaml.safe_load(path.read_text()))
    for name in task
    if name.startswith(PREFIX) and name[len(PREFIX) :] in LOCKED
]


def test_there_are_such_tasks_and_no_others_in_playbooks() -> None:
    assert len(LOCKED) > 10 and len(FOUND) > 20
    playbooks = [task for path in ROOT.glob("playbooks/*.yml") for task in tasks(yaml.safe_load(path.read_text()))]
    assert not {f"{PREFIX}{name}" for name in LOCKED} & {name for task in playbooks for name in task}


@pytest.mark.parametrize(("file", "module", "task"), FOUND, ids=lambda value: value if isinstance(value, str) else "")
def test_it_works_under_the_lock(file: str, module: str, task: dict[str, Any]) -> None:
    options = task[PREFIX + module]
    looks = task.get("check_mode") is True or {*options} <= ONLY_LOOKS.get(module, set())
    if not looks and file not in ONLY_IN_CHECK_MODE:
        assert options.get("lock") in ("{{ __fractal_lock }}", "{{ __fractal_web_lock }}")


def test_files_for_check_mode_are_included_there_only() -> None:
    folder = ROOT / "roles/server_upgrade/tasks"
    playbook = (ROOT / "playbooks" / "upgrade.yml").read_text()
    for text in (playbook, (folder / "main.yml").read_text()):
        assert text.count("predict") == text.count("'predict' if ansible_check_mode else 'window'") == 1
    [block] = yaml.safe_load((folder / "predict.yml").read_text())
    inside = {task["ansible.builtin.include_tasks"] for task in block["block"]}
    assert {f"server_upgrade/tasks/{name}" for name in inside} == ONLY_IN_CHECK_MODE
    everywhere = [
        task["ansible.builtin.include_tasks"]
        for path in ROOT.glob("roles/server_upgrade/tasks/*.yml")
        for task in tasks(yaml.safe_load(path.read_text()))
        if "ansible.builtin.include_tasks" in task
    ]
    assert all(everywhere.count(name) == 1 for name in inside)
