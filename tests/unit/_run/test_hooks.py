"""What an operator's hooks are told, and which of them follows what."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.fractal_ops.platform.plugins.module_utils._run.hooks import (
    AFTER_ROLLBACK,
    AFTER_WINDOW,
    BEFORE_WINDOW,
    HOOKS,
    ON_FAILURE,
    failed_hooks,
    following_hooks,
    hook_event,
)

GROUPS = {"fractal_server": ["s"], "fractal_web": ["w", "other"]}
STATE = {"instance": {"version": "2.16.6", "hold": None}, "target": "2.17.0"}
BACKUP = {"backup": {"path": "/var/backups/x"}}
UPGRADED = {"outcome": "upgraded", "stages": {"stop": {"state": "done"}}, "results": {"backup": BACKUP}}
BACK = {
    "outcome": "back",
    "stages": {"stop": {"state": "done"}, "hop 2.17.0": {"state": "failed"}, "old service": {"state": "done"}},
    "results": {"backup": BACKUP},
}
RUN = "20261127T013005Z-17674"


def event(hook: str = AFTER_WINDOW, web: dict[str, Any] | None = None, **facts: Any) -> dict[str, Any]:
    hosts = {
        "s": {"__server_state": STATE, "__server_failure": "", **facts},
        "w": {"fractal_server_host": "s", "__web_failure": "", **(web or {})},
        "other": {"fractal_server_host": "t", "__web_failure": "it is another's"},
    }
    return hook_event(hosts, GROUPS, "s", hook, RUN)


def window(told: dict[str, Any]) -> dict[str, Any]:
    return {"__server_upgrade_window": {"window": told}}


def test_before_the_window_nothing_has_failed() -> None:
    told = event(BEFORE_WINDOW, __server_failure="The hook before_window lost the host. Nothing was stopped.")
    assert told == {
        **{"hook": BEFORE_WINDOW, "run": RUN, "playbook": "upgrade", "instance": "s", "web": ["w"], "from": "2.16.6"},
        **{"to": "2.17.0", "outcome": "", "stage": "", "message": "", "backup": ""},
    }


def test_an_upgrade_that_went_well() -> None:
    told = event(**window(UPGRADED))
    assert (told["outcome"], told["stage"], told["message"]) == ("upgraded", "", "")
    assert told["backup"] == "/var/backups/x"
    assert following_hooks(told, HOOKS, []) == [AFTER_WINDOW]


def test_a_window_that_went_back_by_itself() -> None:
    told = event(**window(BACK), __server_failure="set-db failed")
    assert (told["outcome"], told["stage"], told["message"]) == ("back", "hop 2.17.0", "set-db failed")
    assert following_hooks(told, HOOKS, []) == [ON_FAILURE, AFTER_ROLLBACK]
    assert following_hooks(told, HOOKS, [{"hook": ON_FAILURE}]) == [AFTER_ROLLBACK]


@pytest.mark.parametrize(
    ("facts", "web", "stage", "message"),
    [
        ({"__server_failure": "no answer"}, {}, "window", "no answer"),
        ({"__server_failure": "killed", **window({"running_stage": "backup"})}, {}, "backup", "killed"),
        (
            {"__server_failure": "no", "__fractal_hooks": [{"hook": BEFORE_WINDOW, "failed": "x"}]},
            {},
            BEFORE_WINDOW,
            "no",
        ),
        (window(UPGRADED), {"__web_failure": "it does not start"}, "web", "w: it does not start"),
        (
            {**window(UPGRADED), "__verify_server": {"checks": [{"id": "log_in", "status": "passed", "message": ""}]}},
            {"__verify_web": {"checks": [{"id": "web.page", "status": "failed", "message": "404"}]}},
            "verify",
            "web.page: 404",
        ),
    ],
)
def test_where_an_upgrade_failed(facts: dict[str, Any], web: dict[str, Any], stage: str, message: str) -> None:
    told = event(ON_FAILURE, web, **facts)
    assert (told["stage"], told["message"]) == (stage, message)
    assert following_hooks(told, HOOKS, []) == [ON_FAILURE]


def test_a_verification_that_fails_later_is_a_failure_after_all() -> None:
    failed = {"checks": [{"id": "log_in", "status": "failed", "message": "401"}]}
    told = event(**window(UPGRADED), __verify_server=failed)
    assert following_hooks(told, HOOKS, [{"hook": AFTER_WINDOW}]) == [ON_FAILURE]


def test_only_what_the_operator_has_runs_and_once() -> None:
    told = event(**window(UPGRADED))
    assert following_hooks(told, [BEFORE_WINDOW, ON_FAILURE], []) == []
    assert following_hooks(told, HOOKS, [{"hook": AFTER_WINDOW}]) == []


def test_after_the_playbook_rollback() -> None:
    told = event(
        AFTER_ROLLBACK,
        __rollback_done=True,
        __rollback_way={"version": "2.16.6"},
        __rollback_found={"backup": {"path": "/var/backups/y"}},
    )
    assert (told["playbook"], told["outcome"], told["to"]) == ("rollback", "back", "2.16.6")
    assert told["backup"] == "/var/backups/y"
    assert following_hooks(told, HOOKS, []) == [AFTER_ROLLBACK]


def test_hooks_that_failed_are_told_but_one_that_stopped_the_upgrade_is_its_failure() -> None:
    ran = [{"hook": one, "failed": "no" if one != AFTER_WINDOW else ""} for one in HOOKS]
    assert failed_hooks({"__fractal_hooks": ran}) == [
        "The hook on_failure failed: no",
        "The hook after_rollback failed: no",
    ]
    assert failed_hooks({}) == []
