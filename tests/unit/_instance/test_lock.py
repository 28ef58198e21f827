"""One run at a time: who is refused, who takes over, and that nothing is left behind."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance import lock as _lock
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.lock import (
    LEASE,
    date,
    give_back,
    is_in_the_way,
    lock_path,
    locked,
    read_lock,
    take,
    wait_until_lapsed,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._run.controller import is_dead, this_run

UNIT = "fractal-server.service"
ANN = {"run": "a", "controller": "ann@ops1", "abandoned": ""}
BOB = {"run": "b", "controller": "bob@ops2", "abandoned": ""}
HOLDS_IT = """
import fcntl, sys
stream = open(sys.argv[1])
fcntl.flock(stream, fcntl.LOCK_EX)
print("locked", flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(_lock, "FOLDER", str(tmp_path))
    return tmp_path


@pytest.fixture
def at_work(folder: Path):
    """What a run left working on the host: another process that holds the file."""
    take(UNIT, ANN)
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS_IT, lock_path(UNIT)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        process.stdout.readline()
        yield process
        process.kill()


def dated_before(seconds: float) -> None:
    os.utime(lock_path(UNIT), (time.clock_gettime(time.CLOCK_BOOTTIME) - seconds,) * 2)


def let_lapse() -> None:
    dated_before(LEASE + 1)


def test_a_run_takes_works_and_gives_back(folder: Path) -> None:
    assert take(UNIT, ANN)[0] is True
    assert take(UNIT, ANN)[0] is False
    with locked(UNIT, ANN):
        pass
    assert read_lock(UNIT).controller == "ann@ops1"
    assert give_back(UNIT, ANN) is True
    assert give_back(UNIT, ANN) is False
    assert list(folder.iterdir()) == []


def test_the_second_is_told_who_and_since_when() -> None:
    since = take(UNIT, ANN)[1].since
    with pytest.raises(FractalError, match=f"ann@ops1 holds its lock since {since}") as refused:
        take(UNIT, BOB)
    assert (refused.value.facts["held"]["run"], refused.value.facts["held"]["since"]) == ("a", since)
    assert give_back(UNIT, BOB) is False
    assert read_lock(UNIT).run == "a"


def test_a_lock_lapses_and_its_run_is_refused_at_the_next_step() -> None:
    take(UNIT, ANN)
    let_lapse()
    assert take(UNIT, BOB)[0] is True
    with pytest.raises(FractalError, match="taken over by bob@ops2"), locked(UNIT, ANN):
        raise AssertionError("must not get here")
    give_back(UNIT, BOB)
    with pytest.raises(FractalError, match="gone"), locked(UNIT, ANN):
        raise AssertionError("must not get here")


@pytest.mark.parametrize("by", [-7200, 7200])
def test_a_clock_that_is_set_lets_nothing_lapse_and_keeps_nothing(monkeypatch: pytest.MonkeyPatch, by: int) -> None:
    take(UNIT, ANN)
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + by)
    assert is_in_the_way(read_lock(UNIT).as_dict(), BOB) and read_lock(UNIT).idle < LEASE
    let_lapse()
    assert take(UNIT, BOB)[0] is True


def test_a_lock_whose_run_was_killed_before_it_dated_it_is_in_nobodys_way(folder: Path) -> None:
    take(UNIT, ANN)
    os.utime(lock_path(UNIT))
    assert not is_in_the_way(read_lock(UNIT).as_dict(), BOB)


def test_each_step_renews_the_lock() -> None:
    take(UNIT, ANN)
    let_lapse()
    with locked(UNIT, ANN):
        assert not is_in_the_way(None, BOB)
    assert is_in_the_way(read_lock(UNIT).as_dict(), BOB)


def test_who_watches_dates_the_lock_and_a_program_does_not() -> None:
    take(UNIT, ANN)
    let_lapse()
    with locked(UNIT, ANN, dated=False):
        pass
    assert read_lock(UNIT).idle > LEASE
    date(UNIT, BOB)
    assert read_lock(UNIT).idle > LEASE, "it is not Bob's"
    date(UNIT, ANN)
    assert read_lock(UNIT).idle < LEASE


def test_a_lock_nobody_dates_is_waited_for_and_one_that_is_dated_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    take(UNIT, ANN)
    waited = []

    def later(_seconds: float) -> None:
        waited.append(1)
        dated_before(20 * len(waited))

    monkeypatch.setattr(_lock.time, "sleep", later)
    wait_until_lapsed(UNIT, BOB, 30)
    assert len(waited) == 2 and take(UNIT, BOB, lease=30)[0] is True
    monkeypatch.setattr(_lock.time, "sleep", lambda _seconds: date(UNIT, BOB))
    wait_until_lapsed(UNIT, ANN, 30)  # Bob is there
    with pytest.raises(FractalError, match="Another run works"):
        take(UNIT, ANN, lease=30)


def test_a_run_known_to_be_dead_is_not_waited_for() -> None:
    take(UNIT, ANN)
    assert take(UNIT, {**BOB, "abandoned": "a"})[0] is True


def test_the_lock_of_a_dead_run_goes_where_nothing_is_left_to_do(folder: Path) -> None:
    take(UNIT, ANN)
    assert give_back(UNIT, BOB) is False
    assert give_back(UNIT, {**BOB, "abandoned": "a"}) is True
    assert list(folder.iterdir()) == []


def test_what_a_dead_run_left_working_is_waited_for(at_work: subprocess.Popen[bytes]) -> None:
    heir = {**BOB, "abandoned": "a"}
    with pytest.raises(FractalError, match="still works"):
        take(UNIT, heir, patience=0.3)
    at_work.stdin.close()
    assert take(UNIT, heir, patience=30)[0] is True


def test_a_step_that_outlasts_the_lease_keeps_the_lock(at_work: subprocess.Popen[bytes]) -> None:
    let_lapse()
    assert is_in_the_way(read_lock(UNIT).as_dict(), BOB)
    with pytest.raises(FractalError, match="ann@ops1") as refused:
        take(UNIT, BOB)
    assert refused.value.facts["held"] == {
        "run": "a",
        "controller": "ann@ops1",
        "since": read_lock(UNIT).since,
        "idle": 0,
    }


def test_what_waits_for_a_dead_run_and_was_killed_itself_may_get_the_lock_first(
    at_work: subprocess.Popen[bytes],
) -> None:
    """Both wait for what Ann left at work, Bob's module without its run: who comes second is told whose it is now."""
    cat = {"run": "c", "controller": "cat@ops2", "abandoned": "a"}
    with ThreadPoolExecutor() as pool:
        waiting = [pool.submit(take, UNIT, run, 30) for run in ({**BOB, "abandoned": "a"}, cat)]
        at_work.stdin.close()
        refused = [one.exception() for one in waiting]
    [error] = [one for one in refused if one]
    first = error.facts["held"]["run"]
    assert first in ("b", "c") and read_lock(UNIT).run == first
    assert take(UNIT, {**(cat if first == "b" else BOB), "abandoned": first})[0] is True


def test_a_half_written_lock_is_none() -> None:
    Path(lock_path(UNIT)).write_text('{"run": "a"')
    assert read_lock(UNIT) is None
    assert take(UNIT, BOB)[0] is True


def test_this_run_is_the_same_in_every_worker() -> None:
    run = this_run()
    if (pid := os.fork()) == 0:
        os._exit(this_run() != run)
    assert os.waitpid(pid, 0)[1] == 0
    assert "@" in run["controller"]


def test_only_a_run_of_this_controller_is_known_to_be_dead() -> None:
    run = this_run()["run"]
    place = run.rpartition(":")[0].rpartition(":")[0]
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        started = Path(f"/proc/{other.pid}/stat").read_text().rpartition(")")[2].split()[19]
        assert not is_dead(f"{place}:{other.pid}:{started}")
        assert is_dead(f"{place}:{other.pid}:1")  # the id belongs to another process by now
    assert is_dead(f"{place}:{other.pid}:{started}")
    assert not is_dead(f"elsewhere:{other.pid}:{started}")
    assert not is_dead(f"{place}:{other.pid}:None")  # a controller without /proc
    assert not is_dead(run)
    assert this_run({"run": f"{place}:{other.pid}:{started}"})["abandoned"]
