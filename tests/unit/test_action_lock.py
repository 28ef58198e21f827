"""The action that takes the lock: of a run that turns out to be dead, the lock is taken in the same task."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.fractal_ops.platform.plugins.action import fractal_lock
from ansible_collections.fractal_ops.platform.plugins.action.fractal_lock import ActionModule
from ansible_collections.fractal_ops.platform.plugins.action.fractal_observe import ActionModule as RunModule

RUN = {"run": "r", "controller": "ann@ops1", "abandoned": "killed before"}
TAKEN = {"changed": True}


def refused(run: str) -> dict[str, Any]:
    return {"failed": True, "msg": "Another run works", "held": {"run": run, "idle": 0.0}}


def taken(monkeypatch: pytest.MonkeyPatch, *answers: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return what the action makes of the answers of its module, and with which runs it asked."""
    asked, left = [], list(answers)

    def answer(action: ActionModule, *_unused: Any) -> dict[str, Any]:
        asked.append(action._task.args["run"])
        return left.pop(0)

    monkeypatch.setattr(RunModule, "_on_host", answer)
    monkeypatch.setattr(fractal_lock, "is_dead", lambda run: run == "dead")
    action = ActionModule.__new__(ActionModule)
    action._task = SimpleNamespace(args={"service": "s", "run": RUN})
    return action.run(), asked


def test_from_a_dead_run_that_got_it_meanwhile_the_lock_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    result, asked = taken(monkeypatch, refused("dead"), TAKEN)
    assert result == TAKEN
    assert asked == [RUN, {**RUN, "abandoned": "dead"}]


@pytest.mark.parametrize("answer", [refused("alive"), {"failed": True, "msg": "no /run"}, TAKEN])
def test_nothing_else_is_tried_again(monkeypatch: pytest.MonkeyPatch, answer: dict[str, Any]) -> None:
    result, asked = taken(monkeypatch, answer)
    assert (result, asked) == (answer, [RUN])


def test_a_living_run_keeps_what_it_took_from_the_dead_one(monkeypatch: pytest.MonkeyPatch) -> None:
    result, _asked = taken(monkeypatch, refused("dead"), refused("alive"))
    assert result == refused("alive")
