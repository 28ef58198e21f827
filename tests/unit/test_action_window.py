"""The action that watches a window: what it shows, what it tries again, and what it makes of the end."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleConnectionFailure
from ansible_collections.fractal_ops.platform.plugins.action import fractal_window
from ansible_collections.fractal_ops.platform.plugins.action.fractal_window import ActionModule

STARTED = {"changed": True, "id": "p1", "seen": 0}
ATTACHED = {"changed": False, "id": "p1", "seen": 0}
WINDOW = {"outcome": "upgraded", "running_stage": "", "msg": "", "say": "", "results": {}}
STAGE = {"event": "stage", "stage": "hop", "release": "2.17.0", "at": 12.0}
LOST = AnsibleConnectionFailure("Connection reset by peer")


class Task:
    check_mode = False

    def __init__(self, **args: Any) -> None:
        self.args = {"service": "s", "lock": {"run": "r"}, **args}


class Connection:
    class _shell:
        tmpdir = None

    def reset(self) -> None:
        """Nothing is connected."""


class Watched(ActionModule):
    """The action, whose module gives prepared answers."""

    def __init__(self, *answers: Any, **args: Any) -> None:
        self._task = Task(**args)
        self._connection = Connection()
        self.answers = list(answers)
        self.asked: list[dict[str, Any]] = []

    def _execute_module(self, **call: Any) -> Any:
        self.asked.append(call["module_args"])
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return {"duration": 0.0, **answer}


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []

    class Screen:
        def display(self, line: str, **_more: Any) -> None:
            lines.append(line)

    monkeypatch.setattr(fractal_window, "Display", Screen)
    monkeypatch.setattr(fractal_window, "_PAUSE", 0)
    return lines


def watched(*answers: Any, **args: Any) -> tuple[dict[str, Any], Watched]:
    action = Watched(*answers, **args)
    return action.run(task_vars={"inventory_hostname": "srv"}), action


def ended(**window: Any) -> dict[str, Any]:
    return {"running": False, "seen": 9, "events": [], "window": {**WINDOW, **window}}


def test_each_stage_is_shown_as_it_begins_with_the_expected_seconds(shown: list[str]) -> None:
    first = {"running": True, "seen": 1, "events": [{**STAGE, "stage": "stop", "release": "", "at": 10.0}]}
    second = {"running": True, "seen": 2, "events": [STAGE, {"event": "done", "at": 13.0, "stage": "hop"}]}
    result, action = watched(STARTED, first, second, ended(), expected={"hop 2.17.0": 6.4})
    assert shown == [
        "srv:    0.0 s  Stop fractal-server",
        "srv:    2.0 s  Switch to the release, migrate its schema and data: 2.17.0 (expected: 6 s)",
    ]
    assert not result.get("failed") and result["changed"] and result["window"]["outcome"] == "upgraded"
    assert [one.get("seen") for one in action.asked] == [None, 0, 1, 2]
    assert action.asked[1]["lock"] == {"run": "r"}


def test_a_busy_host_is_asked_less_often(shown: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each answer costs it the start of a module: what is not spent there in waiting for the window."""
    start, *questions = 0.0, (0.0, 0.0, 13.0), (20.0, 20.0, 20.5), (30.0, 30.0, 30.0)
    clock = iter([start, *(at for question in questions for at in question)])
    monkeypatch.setattr(fractal_window.time, "monotonic", lambda: next(clock))
    more = {"running": True, "seen": 1, "events": [], "duration": 10.0}
    _result, action = watched(STARTED, more, {**more, "duration": 0.4}, ended())
    assert [one.get("together") for one in action.asked] == [None, 1.0, 6.0, 1.0]


def test_who_attaches_watches_without_a_lock_and_has_changed_nothing(shown: list[str]) -> None:
    result, action = watched(ATTACHED, ended(), state="attached")
    assert result["changed"] is False and "lock" not in action.asked[1]


def test_a_lost_connection_is_made_again(shown: list[str]) -> None:
    result, action = watched(LOST, STARTED, LOST, {"unreachable": True, "msg": "no route"}, ended())
    assert result["window"]["outcome"] == "upgraded" and len(action.asked) == 5


def test_after_some_time_it_says_that_the_window_goes_on_by_itself(
    shown: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fractal_window, "_PATIENCE", 0.01)
    result, _action = watched(STARTED, LOST)
    assert result["failed"] and result["no_connection"]
    assert "Connection reset by peer" in result["msg"] and "goes on there by itself" in result["msg"]


def test_a_failure_is_told_with_what_was_done_about_it(shown: list[str]) -> None:
    result, action = watched(STARTED, ended(outcome="back", msg="no room", say="The old instance is back."))
    assert result["failed"] and result["msg"] == "no room\nThe old instance is back."
    assert len(action.asked) == 2, "it was decided there"


def test_of_a_killed_program_another_one_decides_what_follows(shown: list[str]) -> None:
    killed = {**ended(outcome="", running_stage="backup"), "died": True, "last_words": ""}
    result, action = watched(STARTED, killed, {**STARTED, "id": "p2"}, ended(outcome="back", msg="killed", say="back"))
    assert action.asked[2]["failure"]["stage"] == "backup"
    assert "was killed in the stage 'backup'" in action.asked[2]["failure"]["msg"]
    assert action.asked[3]["id"] == "p2" and result["failed"]


def test_who_only_attached_leaves_that_to_the_next_run(shown: list[str]) -> None:
    killed = {**ended(outcome="", running_stage="backup"), "died": True, "last_words": ""}
    result, action = watched(ATTACHED, killed, state="attached")
    assert result["failed"] and len(action.asked) == 2


def test_a_window_that_waits_for_workers_has_not_failed(shown: list[str]) -> None:
    result, _action = watched(STARTED, ended(outcome="waits"))
    assert not result.get("failed") and result["window"]["outcome"] == "waits"
