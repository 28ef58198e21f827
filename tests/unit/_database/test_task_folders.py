"""Which folders of task packages do not fit the rows that a rollback brings back."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.task_folders import (
    TaskGroup,
    after_going_back,
)

CORE = TaskGroup(1, "core 1.3", "/tasks/1/core/1.3", "/tasks/1/core/1.3/venv", True)
OLD = replace(CORE, id=2, name="old", path="/tasks/1/old/1", venv_path="/tasks/1/old/1/venv", active=False)
NEW = replace(CORE, id=3, name="new 2", path="/tasks/1/new/2", venv_path="/tasks/1/new/2/venv")


@pytest.mark.parametrize(
    ("now", "said"),
    [
        ([CORE, OLD], []),
        ([CORE, OLD, NEW], [("new 2", "/tasks/1/new/2", "collect this version again")]),
        ([CORE, OLD, replace(NEW, active=False)], [("new 2", "/tasks/1/new/2", "collect this version again")]),
        ([OLD], [("core 1.3", "/tasks/1/core/1.3/venv", "WHERE id = 1;")]),
        ([replace(CORE, active=False), OLD], [("core 1.3", "/tasks/1/core/1.3/venv", "WHERE id = 1;")]),
        ([CORE, replace(OLD, active=True)], [("old", "/tasks/1/old/1/venv", "activate it again")]),
        ([CORE], []),  # an inactive one that is deleted comes back as it can be activated
        # collected again after it was deleted: the folder is there, and fits the row that comes back
        ([replace(CORE, id=9), OLD], []),
    ],
)
def test_each_way_in_which_folder_and_row_differ(now: list[TaskGroup], said: list[tuple[str, ...]]) -> None:
    told = after_going_back([CORE, OLD], now)
    assert len(told) == len(said)
    assert all(word in text for text, words in zip(told, said) for word in words)


def test_plain_data_comes_back() -> None:
    assert TaskGroup.from_dict(CORE.as_dict()) == CORE
