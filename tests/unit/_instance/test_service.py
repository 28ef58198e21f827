"""Stopping and starting: the record of the upgrade stays until the new service has answered."""

from __future__ import annotations

import errno
import os
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance import service
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.health import Health
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.hold import (
    Hold,
    is_half_forgotten,
    read_hold,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.service import (
    lift,
    lift_and_start,
    new_hold,
    start,
    stop_and_hold,
    sweep,
    would_hold,
    would_start,
)
from fake_systemd import UNIT, FakeSystemd, systemd

__all__ = ["systemd"]

FIRST = Hold("r1", "2026-11-26T10:00:00Z", "ops1", "/b/r1")
SECOND = Hold("r2", "2026-11-26T11:00:00Z", "ops2", "/b/r2")
HEALTH = Health(UNIT, "http://x", "2.17.0", None, 0.1)


TIMEOUT = 30.0  # seconds


def well(_seconds: float) -> Health:
    return HEALTH


def ill(_seconds: float) -> Health:
    raise FractalError("it answers as 2.16.6")


def test_a_service_is_stopped_and_does_not_start_again(systemd: FakeSystemd) -> None:
    assert would_hold(UNIT, FIRST)[0]
    assert stop_and_hold(UNIT, FIRST) == (True, FIRST)
    assert systemd.state == "inactive"
    assert read_hold(UNIT) == FIRST
    assert oct(systemd.drop_in.stat().st_mode & 0o777) == "0o644"
    with pytest.raises(FractalError, match="does not start"):
        start(UNIT)
    assert would_hold(UNIT, SECOND) == (False, FIRST)
    assert stop_and_hold(UNIT, SECOND) == (False, FIRST), "the interrupted run keeps its hold and its backup"


def test_a_run_without_a_backup_gets_the_one_of_the_run_that_goes_on(systemd: FakeSystemd) -> None:
    stop_and_hold(UNIT, Hold("r1", "s", "c"))
    changed, hold = stop_and_hold(UNIT, SECOND)
    assert changed
    assert (hold.run, hold.backup) == ("r1", "/b/r2")


def test_what_was_found_stopped_is_remembered_as_that(systemd: FakeSystemd) -> None:
    systemd.set("failed")
    _changed, hold = stop_and_hold(UNIT, FIRST)
    assert not hold.ran_before
    assert not stop_and_hold(UNIT, SECOND)[1].ran_before, "a re-run finds it stopped by the first"
    assert "stop" not in systemd.commands
    assert lift(UNIT)
    assert read_hold(UNIT) is None
    assert not lift(UNIT)
    assert "start" not in systemd.commands


def test_a_unit_that_does_not_stop_is_told(systemd: FakeSystemd) -> None:
    (systemd.folder / "stays").touch()
    with pytest.raises(FractalError, match="does not stop: it is active"):
        stop_and_hold(UNIT, FIRST)
    assert read_hold(UNIT) == FIRST


@pytest.mark.parametrize("why", [errno.ENOSPC, errno.EROFS, errno.EEXIST])
def test_a_hold_that_cannot_be_written_stops_nothing(
    systemd: FakeSystemd, monkeypatch: pytest.MonkeyPatch, why: int
) -> None:
    """A service that was stopped without it would start again by itself, in the middle of an upgrade."""

    def refuse(path: str, *_content: Any, **_owner: Any) -> None:
        raise OSError(why, os.strerror(why), path)

    if why == errno.EEXIST:  # really: a file has the name of the folder for drop-ins
        systemd.drop_in.parent.parent.mkdir()
        systemd.drop_in.parent.touch()
    else:
        monkeypatch.setattr(service, "write_file", refuse)
    held: list[str] = []
    with pytest.raises(OSError, match=os.strerror(why)):
        stop_and_hold(UNIT, FIRST, lambda: held.append("told"))
    assert (systemd.state, systemd.commands, held, read_hold(UNIT)) == ("active", [], [], None)


def test_the_hold_goes_with_the_answer_of_the_service(systemd: FakeSystemd) -> None:
    stop_and_hold(UNIT, FIRST)
    seen = []

    def healthy(_seconds: float) -> Health:
        seen.append((read_hold(UNIT), systemd.state))
        return HEALTH

    assert would_start(UNIT)
    assert lift_and_start(UNIT, healthy, TIMEOUT) == (True, HEALTH)
    ((during, state),) = seen
    assert (during.run, during.backup, during.phase, state) == ("r1", "/b/r1", "starting", "active")
    assert not systemd.drop_in.parent.exists()
    assert not would_start(UNIT)
    assert lift_and_start(UNIT, healthy, TIMEOUT) == (False, HEALTH)


def test_a_program_killed_over_the_forgetting_is_seen_and_what_it_left_goes(systemd: FakeSystemd) -> None:
    """The drop-in goes first: the unit may start as long as systemd knows what it asserts. So that is reloaded, too."""
    stop_and_hold(UNIT, FIRST)
    systemctl = service.systemctl

    def killed(*command: str, **_options: Any) -> str:
        if command == ("daemon-reload",) and not systemd.drop_in.exists():
            raise KeyboardInterrupt
        return systemctl(*command, **_options)

    for go_on in (lambda: lift_and_start(UNIT, well, TIMEOUT), lambda: sweep(UNIT)):
        with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(service, "systemctl", killed)
            lift_and_start(UNIT, well, TIMEOUT)
        assert is_half_forgotten(UNIT) and read_hold(UNIT) is None and would_start(UNIT)
        before = systemd.commands.count("daemon-reload")
        go_on()
        assert not is_half_forgotten(UNIT) and not systemd.drop_in.parent.exists() and not would_start(UNIT)
        assert systemd.commands.count("daemon-reload") == before + 1
        stop_and_hold(UNIT, FIRST)
        assert not is_half_forgotten(UNIT)


def test_what_a_hold_that_was_being_written_has_left_goes_too(systemd: FakeSystemd) -> None:
    """A program that was killed before the drop-in had its name leaves another one."""
    left_over = systemd.drop_in.parent / f".{systemd.drop_in.name}.0123abcd.new"
    for go_on in (lambda: lift_and_start(UNIT, well, TIMEOUT), lambda: sweep(UNIT)):
        left_over.parent.mkdir(parents=True, exist_ok=True)
        left_over.touch()
        go_on()
        assert not left_over.parent.exists()
    stop_and_hold(UNIT, FIRST)
    sweep(UNIT)
    assert read_hold(UNIT) == FIRST, "a hold in force stays"


def test_a_service_that_does_not_come_up_keeps_its_record_and_can_be_held_again(systemd: FakeSystemd) -> None:
    stop_and_hold(UNIT, FIRST)
    with pytest.raises(FractalError, match="answers as"):
        lift_and_start(UNIT, ill, TIMEOUT)
    hold = read_hold(UNIT)
    assert hold is not None
    assert (hold.phase, hold.backup, hold.since) == ("starting", FIRST.backup, FIRST.since)
    assert would_hold(UNIT, SECOND)[0]
    assert stop_and_hold(UNIT, SECOND) == (True, FIRST)
    assert systemd.state == "inactive"
    assert lift_and_start(UNIT, well, TIMEOUT)[0]
    assert read_hold(UNIT) is None


def test_for_the_start_systemd_need_not_be_reloaded(systemd: FakeSystemd) -> None:
    """A reload takes seconds on a host with many units, while nobody can work."""
    stop_and_hold(UNIT, FIRST)
    before = len(systemd.commands)

    def healthy(_seconds: float) -> Health:
        assert systemd.commands[before:] == ["start"]
        return HEALTH

    assert lift_and_start(UNIT, healthy, TIMEOUT)[0]


def test_what_runs_before_the_service_takes_of_the_time_that_its_start_has(
    systemd: FakeSystemd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Users wait for both; and a limit of systemctl's own would end a start that the operator gives more time."""
    given: list[float] = []
    clock = iter([0.0, 20.0])
    monkeypatch.setattr(service, "systemctl", lambda *_what, timeout=0.0: given.append(timeout) or "")
    monkeypatch.setattr(service, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    systemd.set("inactive")
    lift_and_start(UNIT, lambda seconds: given.append(seconds) or HEALTH, TIMEOUT)
    assert given == [TIMEOUT, 10.0]


def test_what_let_an_earlier_upgrade_start_lets_no_other_one(systemd: FakeSystemd) -> None:
    stop_and_hold(UNIT, FIRST)
    with pytest.raises(FractalError, match="answers as"):
        lift_and_start(UNIT, ill, TIMEOUT)
    systemd.drop_in.unlink()  # the program was killed while it forgot the hold
    systemd.set("active")
    stop_and_hold(UNIT, SECOND)
    with pytest.raises(FractalError, match="does not start"):
        start(UNIT)
    assert read_hold(UNIT) == SECOND


def test_the_hold_of_another_version_is_let_go_as_well(systemd: FakeSystemd) -> None:
    stop_and_hold(UNIT, FIRST)
    text = systemd.drop_in.read_text()
    systemd.drop_in.write_text(text.partition("[Unit]")[0] + "[Unit]\nAssertPathExists=/never\n")
    assert read_hold(UNIT) == FIRST
    assert lift_and_start(UNIT, well, TIMEOUT)[0]
    assert systemd.state == "active" and not systemd.drop_in.parent.exists()


def test_a_start_that_systemd_refuses_is_told_with_the_journal_and_keeps_the_record(systemd: FakeSystemd) -> None:
    stop_and_hold(UNIT, FIRST)
    (systemd.folder / "refuses").touch()
    with pytest.raises(FractalError, match=r"(?s)does not start: .*JWT_SECRET_KEY is missing"):
        lift_and_start(UNIT, well, TIMEOUT)
    hold = read_hold(UNIT)
    assert hold is not None and hold.phase == "starting"


def test_the_start_counter_of_a_crash_loop_is_reset_first(systemd: FakeSystemd) -> None:
    systemd.set("failed")
    assert start(UNIT)
    assert systemd.commands == ["reset-failed", "start"]
    assert not start(UNIT)


def test_a_new_hold_names_the_backup_that_will_be_made() -> None:
    hold = new_hold(UNIT, "ops1", "/b")
    assert hold.backup == f"/b/{UNIT}/{hold.run}"
    assert new_hold(UNIT, "ops1", "/b", "/there").backup == "/there"
    assert new_hold(UNIT, "ops1", None).backup == ""
