"""What follows a failed upgrade, row by row, and what is said at night: the state that it left, and two commands."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
from ansible_collections.fractal_ops.platform.plugins.module_utils._window.after_failure import (
    FINISHED,
    FREE,
    GO_BACK,
    HELD,
    LEAVE,
    NONE,
    START,
    STARTING,
    UNFINISHED,
    UNKNOWN,
    Left,
    after_failure,
    decide,
)

HOLD = {
    "run": "r",
    "since": "2026-11-23T20:00:00Z",
    "controller": "ops1",
    "backup": "/b",
    "phase": "held",
    "ran_before": True,
}
BACKUP = {"path": "/b", "revision": "981d588fe248", "version": "2.16.6"}
INSTANCE = {"service": "fractal-server.service", "active_state": "active", "version": "2.17.0"}
TODO = dict.fromkeys(("stop", "backup", "environment_file", "install", "schema", "data", "start"), True)


@pytest.mark.parametrize(
    ("left", "do", "why"),
    [
        (Left(UNKNOWN), LEAVE, "cannot be observed"),
        (Left(UNKNOWN, go_back=True), LEAVE, "cannot be observed"),
        (Left(FREE), LEAVE, "no upgrade is in progress"),
        (Left(FREE, FINISHED, go_back=True), LEAVE, "no upgrade is in progress"),
        (Left(HELD, UNFINISHED), GO_BACK, "before the backup is finished"),
        (Left(HELD, UNFINISHED, go_back=True), GO_BACK, "before the backup is finished"),
        (Left(HELD, NONE, changes_host=False), START, "only the workers"),
        (Left(HELD, NONE, changes_host=False, go_back=True), START, "only the workers"),
        (Left(STARTING, NONE, changes_host=False, go_back=True), LEAVE, "no backup of its own"),
        (Left(HELD, NONE, go_back=True), LEAVE, "no backup of its own"),
        (Left(HELD, FINISHED, same_database=True), GO_BACK, "not changed yet"),
        (Left(HELD, FINISHED), LEAVE, "may be changed"),
        (Left(HELD, FINISHED, go_back=True), GO_BACK, "fractal_on_failure"),
        (Left(STARTING, FINISHED), LEAVE, "does not come up"),
        (Left(STARTING, FINISHED, same_database=True), LEAVE, "does not come up"),
        (Left(STARTING, FINISHED, go_back=True), GO_BACK, "fractal_on_failure"),
        (Left(HELD, FINISHED, go_back=True, tried=True), LEAVE, "way back failed"),
        (Left(HELD, UNFINISHED, tried=True), LEAVE, "way back failed"),
    ],
)
def test_each_row(left: Left, do: str, why: str) -> None:
    done, told = decide(left)
    assert done == do
    assert why in told


def test_nobody_goes_back_without_a_backup_of_this_upgrade_or_against_the_operator() -> None:
    """What must never happen, over all that can be observed."""
    for service, backup, same, host, go_back, tried in product(
        (HELD, STARTING, FREE, UNKNOWN), (NONE, UNFINISHED, FINISHED), *[(False, True)] * 4
    ):
        left = Left(service, backup, same, host, go_back, tried)
        do, why = decide(left)
        assert why
        if tried or service in (FREE, UNKNOWN):
            assert do == LEAVE, left
        if do == GO_BACK and backup == FINISHED:
            assert go_back or same, left
        if backup == NONE:
            assert do != GO_BACK, left
        if backup == FINISHED and go_back and not tried and service in (HELD, STARTING):
            assert do == GO_BACK, left


def seen(stage: str = "", **given: Any) -> dict[str, Any]:
    """What was observed after a failure: ``hold``, ``backup``, ``instance``, and what the database says."""
    hold, backup = given.pop("hold", HOLD), given.pop("backup", BACKUP)
    return {
        "found": {"hold": hold, "backup": backup, "ran_before": True},
        "instance": given.pop("instance", INSTANCE),
        "database": given,
        "stage": stage,
    }


def told(
    observed: dict[str, Any], on_failure: str = "stop", todo: dict[str, bool] | None = None, **more: Any
) -> dict[str, str]:
    return after_failure(observed, {"todo": todo or TODO}, on_failure, **more)


def test_a_held_service_is_told_with_its_state_and_both_commands() -> None:
    observed = seen(stage="data", revision="83bc2ad3ffcc", data_migration="partial")
    what = told(observed, hosts="s,w,localhost")
    assert what["do"] == "leave"
    for part in (
        "is stopped, and held since 2026-11-23T20:00:00Z",
        "revision 83bc2ad3ffcc with half a data migration",
        "The stage 'data' failed.",
        "The backup is /b.",
        "platform.upgrade --limit s,w,localhost",
        "platform.rollback --limit s,w,localhost",
    ):
        assert part in what["say"]
    assert told(observed, "rollback")["do"] == "go_back"


def test_a_service_that_was_started_but_does_not_answer_is_told_as_that() -> None:
    starting = seen(hold={**HOLD, "phase": "starting"}, stage="start", revision="83bc2ad3ffcc")
    say = told(starting)["say"]
    for part in (
        "was started, but did not answer as it should",
        "fractal-server.service is active with fractal-server 2.17.0",
        "The stage 'start' failed",
        "83bc2ad3ffcc",
        "The backup is /b",
        "platform.rollback",
    ):
        assert part in say
    assert "not stopped" not in say
    assert told(starting, "rollback") == {
        "do": "go_back",
        "why": "fractal_on_failure is rollback",
        "say": "The old instance is back in service (fractal_on_failure is rollback). "
        "When the cause is mended, run the upgrade again: ansible-playbook -i INVENTORY fractal_ops.platform.upgrade",
    }


def test_the_database_counts_as_unchanged_only_where_its_revision_proves_it() -> None:
    unchanged = seen(revision="981d588fe248")
    assert told(unchanged)["do"] == "go_back"
    only_data = {**TODO, "schema": False}
    assert told(unchanged, todo=only_data)["do"] == "leave", "data may be migrated at the same revision"
    assert told(unchanged, todo={**only_data, "data": False})["do"] == "go_back"
    assert told(seen(revision="83bc2ad3ffcc"))["do"] == "leave"
    assert told(seen())["do"] == "leave", "no answer is no proof"


def test_the_newest_backup_of_an_earlier_upgrade_is_never_gone_back_to() -> None:
    own = {**HOLD, "backup": ""}
    assert told(seen(hold=own, revision="981d588fe248"), "rollback")["do"] == "leave"
    workers = {**TODO, "install": False, "environment_file": False}
    assert told(seen(hold=own), todo=workers)["do"] == "start"


def test_what_is_said_is_what_was_observed() -> None:
    free = seen(hold=None, backup=None)
    assert told(free)["say"].startswith(
        "fractal-server.service is active with fractal-server 2.17.0 installed, and no "
    )
    assert "rollback" not in told(free)["say"]
    nothing: dict[str, Any] = {"found": {"unreachable": True}, "instance": None, "database": None, "stage": "stop"}
    assert told(nothing, "rollback")["do"] == "leave"
    assert "does not tell" in told(nothing)["say"]
    unfinished = told(seen(backup=None))
    assert unfinished["do"] == "go_back"
    failed = told(seen(backup=None, instance=None), tried=True)
    assert "The backup is not made" in failed["say"] and "no database answers" in failed["say"]
    stopped = seen(backup=None)
    stopped["found"]["ran_before"] = False
    assert "stopped as it was found" in told(stopped)["say"]
