"""Disturb upgrades at every stage boundary and inside every stage; see that a re-run and a rollback both end well.

A re-run must end in the state of an undisturbed run, a rollback in exactly the old instance: rows by digest, files by
hash, owner and mode, packages by list, units by their state. Every row written before a stop is counted.

    faults.py                     every point, both ways, and the other promises (PROMISES)
    faults.py --short             for make test: every stage of the window, some of them both ways
    faults.py --road              the points of an upgrade over two stops to 2.18.5, both ways
    faults.py --only '^backup'    the cases whose names match
    faults.py --random 20 [--seed S]
    faults.py --kept FOLDER ...   goes on with the hosts and the states that an earlier run with this option left

All of them work on two pairs of hosts at a time.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from bench import Bench, Failed, remove
from points import (
    BOUNDARIES,
    CONDITIONS,
    INSIDE,
    KILL_WHAT_WORKS,
    OF_ROLLBACK,
    OVER_TWO_STOPS,
    ROAD,
    ROAD_ALONE,
    UNWATCHED,
    Point,
)
from promises import PROMISES, Promise

T = TypeVar("T")
RE_RUN, ROLLBACK = "re-run", "rollback"
BACK_FROM = ("data", "start")


@dataclass(frozen=True)
class Case:
    """Upgrades disturbed at ``points`` in turn, then one of the two ways, itself disturbed at ``then`` in turn."""

    points: Sequence[Point]
    way: str
    then: Sequence[Point] = ()

    def __str__(self) -> str:
        then = f" disturbed at {len(self.then)} points" if self.then else ""
        return f"{' | '.join(str(point) for point in self.points) or 'finished upgrade'} -> {self.way}{then}"


Work = tuple[str, Callable[["Runner"], None]]  # its name, and what is done on the runner's hosts


class Runner:
    """Runs cases on one bench, each from the old instance; keeps count."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.survived = self.total = self.met = 0

    def reference(self) -> None:
        """Learn the old and the new state from an upgrade that nothing disturbs."""
        bench = self.bench
        bench.start()
        self.old = bench.state()
        with bench.sampled_arguments():
            bench.must("upgrade", "-vvvv", "--diff")
        bench.must_have_leaked_nothing()
        self.new = bench.state()
        print(f"undisturbed; {len(bench.secrets)} secrets, none seen anywhere", flush=True)

    def begin(self, kept: pathlib.Path | None) -> None:
        """Come to the old instance, with both states known: go on where an earlier run stopped, or with new hosts."""
        known = kept and kept / f"{self.bench.pair}.json"
        if known and known.exists():
            self.old, self.new, secrets = json.loads(known.read_text())
            self.bench.secrets = set(secrets)
            self.bench.must_be(self.old, "the hosts that were kept are not the old instance any more")
            return
        self.reference()
        self.back()
        if known:
            known.parent.mkdir(parents=True, exist_ok=True)
            known.write_text(json.dumps([self.old, self.new, sorted(self.bench.secrets)]))

    def back(self, *arguments: str) -> None:
        """Go back to the old instance, which is checked."""
        self.bench.must("rollback", *arguments)
        self.bench.clean_up()
        self.bench.must_be(self.old, "after the rollback the instance is not the old one")

    def one(self, case: Case, *, ends_old: bool = True) -> None:
        """Run a case that begins with the old instance, and go back to that unless told otherwise."""
        bench, arguments = self.bench, [one for point in case.points for one in point.arguments]
        for point in case.points:
            if point.stage == "stage":  # what an earlier case prepared would be used again
                bench.on("server", remove("/opt/fractal/venv-2.17.0*"))
            output = bench.disturbed("upgrade", point)
            if point.back and output:
                bench.on("server", remove("/opt/fractal/*.partial")) if point.stage == "stage" else None
                bench.must_be(self.old, "the failed run did not bring the old instance back")
            bench.on("server", point.mend)
        if case.way == RE_RUN and len(case.points) == 1:
            bench.predict(*arguments)
        name = "upgrade" if case.way == RE_RUN else "rollback"
        for point in case.then:
            bench.disturbed(name, point, *arguments)
            bench.on("server", point.mend)
        bench.must(name, *arguments)
        bench.clean_up()
        if case.way == RE_RUN:
            bench.must_be(self.new, "after the re-run the instance is not as after an undisturbed run")
            if ends_old:
                self.back(*arguments)
        else:
            bench.must_be(self.old, "after the rollback the instance is not the old one")

    def timed(self) -> float:
        """Return how many seconds an upgrade takes on hosts that have made one: the first one takes far longer."""
        started = time.monotonic()
        self.bench.must("upgrade")
        lasted = time.monotonic() - started
        self.back()
        return lasted

    def killed_twice(self, way: str, first: tuple[float, str], again: float) -> None:
        """Kill an upgrade after some time, then what goes on or back from there; see that this ends well in the end."""
        self.met += self.bench.killed_after("upgrade", *first)
        self.met += self.bench.killed_after("upgrade" if way == RE_RUN else "rollback", again, "controller")
        self.one(Case([], way))

    def keeps(self, promise: Promise) -> None:
        promise(self.bench, self.old, self.new)

    def tell_written(self) -> int:
        """Say how many rows there were to lose: each case looked whether they are still there."""
        written = len(self.bench.written())
        print(f"{written} rows were written between precheck and stop", flush=True)
        return written

    def must_have_counted(self) -> None:
        """See that there were rows to lose; without any, it counts as a case that did not end well."""
        if not self.tell_written():
            self.total += 1
            print(f"FAIL {self.total}: no row was written before a stop: nothing could get lost", flush=True)

    def all_of(self, cases: Sequence[Case], only: str) -> None:
        """Run the cases whose names match, each on its own."""
        for case in cases:
            if re.search(only, str(case)):
                self.count(str(case), partial(self.one, case))

    def count(self, name: str, work: Callable[[], None]) -> None:
        """Run something, say how it ended, and begin with new hosts if it did not end well."""
        self.total += 1
        started = time.monotonic()
        try:
            work()
            self.survived += 1
            print(f"ok   {self.total}: {name} ({time.monotonic() - started:.0f} s)", flush=True)
        except (Failed, subprocess.TimeoutExpired) as error:
            print(f"FAIL {self.total}: {name}: {error}", flush=True)
            self.bench.start()


def short(runners: Sequence[Runner]) -> None:
    """Every stage of the window on, and back from those that differ most, on two pairs at a time.

    On the first an upgrade that nothing disturbs is taken back by a rollback disturbed at each boundary in turn, then
    comes an upgrade disturbed in each stage of the window in turn. On the other a rollback follows each of some: the
    database is half migrated, migrated. `every` has the rest.
    """

    def forwards(runner: Runner) -> None:
        runner.reference()
        kills = [point for point in OF_ROLLBACK if point.task]
        window = [point for point in BOUNDARIES if not point.task]
        for case in (Case([], ROLLBACK, kills), Case(window, RE_RUN)):
            runner.count(str(case), partial(runner.one, case, ends_old=False))

    def backwards(runner: Runner) -> None:
        runner.bench.start()
        runner.old = runner.bench.state()
        for case in [Case([point], ROLLBACK) for point in BOUNDARIES if point.stage in BACK_FROM]:
            runner.count(str(case), partial(runner.one, case))
        runner.must_have_counted()

    at_once(runners, forwards, backwards)


def road(runners: Sequence[Runner], only: str) -> None:
    """Over two stops: on from each point in turn in one case, which a re-run ends; back from each in its own case."""

    def forwards(runner: Runner) -> None:
        runner.reference()
        runner.back()
        runner.all_of([Case(points, RE_RUN) for points in (ROAD, *([point] for point in ROAD_ALONE))], only)

    def backwards(runner: Runner) -> None:
        runner.bench.start()
        runner.old = runner.bench.state()
        runner.all_of([Case([point], ROLLBACK) for point in (*ROAD, *ROAD_ALONE)], only)

    at_once(runners, forwards, backwards)


def at_once(runners: Sequence[Runner], *ways: Callable[[Runner], T]) -> list[T]:
    with ThreadPoolExecutor() as pool:
        return [ended.result() for ended in [pool.submit(way, runner) for way, runner in zip(ways, runners)]]


def every(points: Sequence[Point]) -> Iterator[Case]:
    for point in points:
        yield Case([point], ROLLBACK)
        yield Case([point], RE_RUN)


def of_rollback() -> Iterator[Case]:
    for point in OF_ROLLBACK:
        yield Case([BOUNDARIES[-3]], ROLLBACK, [point])


def chaos(number: int, seed: int, lasted: float) -> Iterator[Work]:
    chance = random.Random(seed)
    for _unused in range(number):
        seconds, way = chance.uniform(0, lasted), chance.choice((RE_RUN, ROLLBACK))
        victims, again = chance.choice(("controller", KILL_WHAT_WORKS)), chance.uniform(0, lasted / 2)

        what = "the controller" if victims == "controller" else "the module at work"
        name = f"{what} after {seconds:.1f} s, then the controller {again:.1f} s into the {way}"
        yield name, partial(Runner.killed_twice, way=way, first=(seconds, victims), again=again)


def all_that_is_known() -> Iterator[Work]:
    unwatched = [Case([point], ROLLBACK) for point in UNWATCHED]  # the other way on is one of the promises
    for case in (*every([*BOUNDARIES, *INSIDE, *CONDITIONS]), *unwatched, *of_rollback()):
        yield str(case), partial(Runner.one, case=case)
    for name, promise in PROMISES.items():
        yield name, partial(Runner.keeps, promise=promise)


def long(runners: Sequence[Runner], options: argparse.Namespace) -> None:
    at_once(runners, *[partial(Runner.begin, kept=options.kept)] * 2)
    every_work = all_that_is_known()
    if options.random:
        lasted = min(at_once(runners, *[Runner.timed] * 2))
        print(f"an upgrade takes {lasted:.0f} s", flush=True)
        every_work = chaos(options.random, options.seed, lasted)
    chosen = [one for one in every_work if re.search(options.only, one[0])]
    left = iter(chosen)  # both take the next from it

    def until_none_is_left(runner: Runner) -> None:
        for name, work in left:
            runner.count(name, partial(work, runner))
        if options.only:  # chosen cases may well end before a row is written
            runner.tell_written()
        else:
            runner.must_have_counted()

    at_once(runners, *[until_none_is_left] * 2)
    if options.random:
        print(f"{sum(one.met for one in runners)} of {2 * len(chosen)} kills met something at work")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--road", action="store_true")
    parser.add_argument("--only", default="")
    parser.add_argument("--random", type=int, default=0)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--pair", default="fractal-faults")
    parser.add_argument("--kept", type=pathlib.Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        pairs = [options.pair, f"{options.pair}-2"]
        runners = [Runner(Bench(pair, folder, OVER_TWO_STOPS if options.road else ())) for pair in pairs]
        try:
            if options.short:
                short(runners)
            elif options.road:
                road(runners, options.only)
            else:
                long(runners, options)
        finally:
            for runner in runners if not options.kept else []:
                runner.bench.stop()
    survived, total = sum(one.survived for one in runners), sum(one.total for one in runners)
    seed = f" (seed {options.seed})" if options.random else ""
    print(f"survived {survived} of {total}{seed}")
    sys.exit(survived != total)


if __name__ == "__main__":
    main()
