"""Measure the window of the upgrade playbook, and a rollback, against the bare commands that must happen.

SIZE=1G fills the seeded database first; ARGUMENTS="-e fractal_rehearsal=false" goes to both playbooks. All of it
happens in one run on one pair of hosts: the upgrade, the rollback, and the bare commands on the instance that the
rollback brought back, with the same environment built beforehand; ROUNDS times over (5, with SIZE 3), as one machine is
seldom as fast twice. It also gets faster or slower meanwhile, so the bare commands are made once before all, and those
of a round are the mean of what came before and after it. Prints the steps side by side and each round's ratios; asserts
nothing.
"""

from __future__ import annotations

import json
import os
import pathlib
import re
import statistics
import tempfile
import time
from dataclasses import dataclass
from typing import Any

from pair import ROOT, inventory, run

BENCH = ROOT / "tests/bench"
PAIR = "fractal-bench"
UNITS = {"M": 1, "G": 1000}
LOG = "/run/outage.log"
ENV_FILE = "/opt/fractal/server/.fractal_server.env"
FILLED = "runuser -u postgres -- psql -qXAt -v megabytes={0} fractal_db"
MODULE = re.compile(
    r"^TASK \[(?:[^\]]* : )?([^\]]*)\] \*+\n(?:(?!TASK ).*\n)*?.*\"?duration\"?: ([0-9.]+)", re.MULTILINE
)
FROZEN = "SELECT count(*) FROM pg_database WHERE datname LIKE '%_frozen_%'"
GOALS = {"bare": 1.15, "official": 0.4, "exchange": 1.5}


def in_server(*command: str, **options: object) -> str:
    return run("podman", "exec", "-i", f"{PAIR}-server", *command, **options)


def megabytes() -> int:
    """Return how large the database is to be, 0 as it is seeded."""
    wanted = os.environ.get("SIZE", "").strip().upper().removesuffix("B")
    return int(float(wanted[:-1]) * UNITS[wanted[-1]]) if wanted else 0


@dataclass(frozen=True)
class Ran:
    """A playbook that ran: its record, how long the service was down, all seconds, and those of each module."""

    record: dict[str, Any]
    down: float
    seconds: float
    modules: list[tuple[str, str]]


class Bench:
    """A pair of hosts, with its inventory and reports in a folder."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.inventory = f"{folder}/inventory.yml"
        pathlib.Path(self.inventory).write_text(inventory(PAIR))

    def prepare(self) -> int:
        """Start the pair, fill its database and build the new environment; return the size of the database in bytes."""
        run("tests/bed/run_pair.sh", PAIR)
        if megabytes():
            in_server("bash", "-c", FILLED.format(megabytes()), input=(BENCH / "fill.sql").read_text())
        self.module("fractal_server_environment", releases=["2.17.0"], wheelhouse="/opt/wheelhouse")
        return int(self.sql("SELECT pg_database_size('fractal_db')"))

    def module(self, name: str, **arguments: object) -> None:
        call = ("ansible", "--become", "-i", self.inventory, "server", "-m", f"fractal_ops.platform.{name}")
        run(*call, "-a", json.dumps(arguments))

    def playbook(self, name: str) -> Ran:
        """Run a playbook, and watch the service meanwhile."""
        in_server("bash", "-c", f"cat > /run/outage.py; rm -f {LOG}", input=(BENCH / "outage.py").read_text())
        run("podman", "exec", "-d", f"{PAIR}-server", "python3", "/run/outage.py", LOG)
        began = time.monotonic()
        command = ("ansible-playbook", "-i", self.inventory, f"fractal_ops.platform.{name}")
        more = os.environ.get("ARGUMENTS", "").split()
        output = run(*command, "-v", "-e", f"fractal_report_dir={self.folder}", *more)
        seconds = time.monotonic() - began
        in_server("pkill", "-f", "/run/[o]utage.py")
        told = [line.split() for line in in_server("cat", LOG).splitlines()]
        pairs = zip(told, told[1:], strict=False)
        outages = [float(until[0]) - float(since[0]) for since, until in pairs if since[1] == "down"]
        record = json.loads(pathlib.Path(self.folder, "server", "latest.json").read_text())
        return Ran(record, max(outages), seconds, MODULE.findall(output))

    def sql(self, statement: str) -> str:
        return in_server("bash", "-c", f'runuser -u postgres -- psql -XAtc "{statement}"').strip()

    def bare(self) -> dict[str, float]:
        """Make the bare commands; return the seconds of each."""
        in_server("install", "-d", "-o", "fractal", "/run/bench")
        in_server("cp", "-p", ENV_FILE, "/run/bench/new")
        files = {"path": "/run/bench/new", "old_path": "/run/bench/old"}
        python = "/opt/fractal/venv/bin/python3"
        self.module("fractal_env_migrate", **files, server_python=python, service="fractal-server")
        script = (BENCH / "bare_window.sh").read_text()
        steps: dict[str, float] = json.loads(in_server("bash", "-c", script).splitlines()[-1])
        return steps


@dataclass(frozen=True)
class Round:
    """An upgrade, its rollback, and the bare commands around them; how many frozen copies each playbook left."""

    upgrade: Ran
    rollback: Ran
    frozen: tuple[str, str]
    steps: dict[str, float]

    @property
    def window(self) -> float:
        return float(self.upgrade.record["window_seconds"])

    @property
    def down_and_up(self) -> float:
        return self.steps["stop"] + self.steps["start"]

    def with_only(self, copy: str) -> float:
        """Return the seconds of the bare commands with one of the two ways to keep the old database."""
        return self.steps[copy] + self.down_and_up + self.steps["set-db"] + self.steps["update-db-data"]


def show(name: str, pairs: list[tuple[float, float]], against: str, goal: float) -> None:
    ratios = [seconds / bare for seconds, bare in pairs]
    each = ", ".join(
        f"{seconds:.2f} : {bare:.2f} = {ratio:.2f}" for (seconds, bare), ratio in zip(pairs, ratios, strict=True)
    )
    print(f"{name} : {against}, seconds: {each}; median {statistics.median(ratios):.2f} (goal: at most {goal})")


def rows(table: list[tuple[str, list[float]]]) -> None:
    for title, seconds in table:
        print(f"  {title:<60}" + "".join(f"{one:>8.2f}" for one in seconds))


def side_by_side(tables: list[dict[str, float]]) -> list[tuple[str, list[float]]]:
    """Return the seconds of each title that all rounds have."""
    return [(title, [table[title] for table in tables]) for title in tables[0] if all(title in one for one in tables)]


def of_the_upgrade(upgrade: Ran) -> dict[str, float]:
    stages = {one["title"]: one["seconds"] for one in upgrade.record["stages"] if one["seconds"] is not None}
    backup = (upgrade.record.get("backup_seconds") or {}).items()
    return stages | {f"of the backup and its archive: {name}": seconds for name, seconds in backup}


def main() -> None:
    rounds: list[Round] = []
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(folder)
        try:
            size = bench.prepare()
            steps = bench.bare()
            for _number in range(int(os.environ.get("ROUNDS") or (3 if megabytes() else 5))):
                in_server("bash", "-c", (BENCH / "bare_back.sh").read_text())
                upgrade, frozen = bench.playbook("upgrade"), bench.sql(FROZEN)
                rollback, left = bench.playbook("rollback"), bench.sql(FROZEN)
                before, steps = steps, bench.bare()
                around = {name: statistics.mean((before[name], steps[name])) for name in steps}
                rounds.append(Round(upgrade, rollback, (frozen, left), around))
        finally:
            run("tests/bed/stop_pair.sh", PAIR)
    print(f"database of {size / 1e9:.2f} GB; load {os.getloadavg()[1]:.1f}")
    print("\nof the upgrade, by its report:")
    rows(side_by_side([of_the_upgrade(one.upgrade) for one in rounds]))
    print("modules of the rollback:")
    rows(side_by_side([{title: float(seconds) for title, seconds in one.rollback.modules} for one in rounds]))
    print("bare:")
    rows(side_by_side([one.steps for one in rounds]))
    print()
    show("window", [(one.window, one.with_only("file copy")) for one in rounds], "bare", GOALS["bare"])
    official = [(one.window, one.with_only("compressed dump")) for one in rounds]
    show("window", official, "official order", GOALS["official"])
    exchanged = all(one.frozen == ("1", "0") for one in rounds)
    down = [(one.rollback.down, one.down_and_up) for one in rounds]
    show(f"rollback by {'exchange' if exchanged else 'the dump'}", down, "stop + start", GOALS["exchange"])
    for one in rounds:
        per = [seconds / size * 1e9 for seconds in (one.window, one.steps["file copy"], one.steps["compressed dump"])]
        print(f"seconds per GB: window {per[0]:.1f}, file copy {per[1]:.1f}, compressed dump {per[2]:.1f}")
        print(
            f"  the service did not answer for {one.upgrade.down:.2f} s; the playbook took {one.upgrade.seconds:.0f} s"
        )
        predicted = (one.upgrade.record.get("rehearsal") or {}).get("predicted_seconds")
        if predicted:
            print(f"  predicted: {predicted:.1f} s, {100 * (predicted / one.window - 1):+.0f} % of what it was")
        print(f"  the playbook of the rollback took {one.rollback.seconds:.0f} s")


if __name__ == "__main__":
    main()
