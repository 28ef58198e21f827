"""Kill upgrades at every stage boundary and inside every stage; see that a re-run and a rollback both end well.

One pair of hosts serves all cases: after each, the instance is rolled back and compared with what it was at first, so
that a case begins where the snapshot began. A re-run must end in the state of an undisturbed run, a rollback in exactly
the old instance: rows by digest, files by hash, owner and mode, packages by list, units by their state.

    faults.py                     every point, both ways
    faults.py --short             one point for each stage, the ways in turn
    faults.py --random 20 [--seed S]
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAIR = "fractal-faults"
INVENTORY = f"""
all:
  vars:
    ansible_python_interpreter: /usr/bin/python3
fractal_server:
  hosts:
    server: {{ansible_host: {PAIR}-server, fractal_wheelhouse: /opt/wheelhouse}}
fractal_web:
  hosts:
    web: {{ansible_host: {PAIR}-web, fractal_web_archive: /opt/archives/node-18-fractal-web-v1.21.1.tar.gz}}
"""
SERVER_STATE = r"""
cd /opt/fractal/server
sha256sum .fractal_server.env* *.json | sort -k2
stat -c '%n %U %G %a' .fractal_server.env* *.json
find /etc/systemd/system/fractal-server.service* -type f -exec sha256sum {} + | sort -k2
find /etc/systemd/system/fractal-server.service* -exec stat -c '%n %U %G %a' {} +
readlink -f /opt/fractal/venv; stat -c %F /opt/fractal/venv
/opt/fractal/venv/bin/python3 -B -m pip list --format freeze --disable-pip-version-check
systemctl is-active fractal-server; systemctl is-enabled fractal-server
su postgres -c "psql -AtXl" | cut -d "|" -f 1 | grep fractal | grep -v _failed_ | sort
ls -d /opt/fractal/* | grep -v -- '-2[.]17[.]' | sort
ls /run | grep -i fractal
curl -s http://127.0.0.1:8000/api/alive/
"""
WEB_STATE = r"""
sha256sum /opt/fractal-web/.env; stat -c '%n %U %G %a' /opt/fractal-web/.env
grep '"version"' /opt/fractal-web/package.json; stat -c %F /opt/fractal-web
systemctl is-active fractal-web; systemctl is-enabled fractal-web
curl -s http://127.0.0.1:5173/alive
"""
DROP_KEPT_ASIDE = r"""
for name in $(su postgres -c "psql -AtXl" | cut -d "|" -f 1 | grep _failed_); do su postgres -c "dropdb $name"; done
"""
# Kills the first process whose command line holds a text, as soon as it is there (and has lived for some time).
KILLER = r"""
import os, pathlib, signal, sys, time
text, delay = sys.argv[1].encode(), float(sys.argv[2])
while True:
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ")
            except OSError:
                continue
            if text in command and not command.startswith((b"/bin/sh -c", b"sudo ")):
                time.sleep(delay)
                os.kill(int(entry.name), signal.SIGKILL)
                sys.exit()
    time.sleep(0.01)
"""
# What is made anew by each run, or counts its time; everything else must be equal.
VOLATILE = {"resource": ["timestamp_created"], "profile": []}


@dataclass(frozen=True)
class Point:
    """Where a run is killed: as a task begins (boundary), or a process on the server as soon as it is seen (inside)."""

    stage: str
    task: str = ""
    process: str = ""
    delay: float = 0.0

    def __str__(self) -> str:
        where = f"before '{self.task}'" if self.task else f"'{self.process}' {self.delay:g} s after its start"
        return f"{self.stage}: {where}"


POINTS = [
    Point("stage", process="-m pip install"),
    Point("stage", task="Validate it with the new release's own settings"),
    Point("stop", task="Stop fractal-server"),
    Point("stop", process="AnsiballZ_fractal_service_hold"),
    Point("backup", task="Back up the instance and prove the backup"),
    Point("backup", process="/pg_dump "),
    Point("backup", process="/pg_restore "),
    Point("backup", process="AnsiballZ_fractal_backup", delay=0.6),
    Point("environment", task="Migrate the environment file"),
    Point("environment", process="AnsiballZ_fractal_env_migrate.py", delay=0.1),
    Point("switch", task="Migrate to each release"),
    Point("switch", task="Switch to the new release"),
    Point("schema", task="Migrate the schema"),
    Point("schema", process="fractalctl set-db"),
    Point("schema", process="fractalctl set-db", delay=1.0),
    Point("schema", process="AnsiballZ_fractal_schema_migrate"),
    Point("data", task="Migrate the data"),
    Point("data", process="fractalctl update-db-data"),
    Point("data", process="fractalctl update-db-data", delay=1.0),
    Point("data", process="AnsiballZ_fractal_data_migrate"),
    Point("start", task="Start fractal-server"),
    Point("start", process="fractalctl start"),
    Point("web", task="Upgrade fractal-web"),
    Point("web", task="Run the new release"),
]
SHORT = [
    "Stop fractal-server",
    "/pg_dump ",
    "Migrate the environment file",
    "Switch to the new release",
    "Migrate the schema",
    "fractalctl update-db-data",
    "Start fractal-server",
    "Run the new release",
]


def run(command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, **options
    )  # type: ignore[call-overload,no-any-return]


def on(host: str, script: str) -> str:
    return run(["podman", "exec", f"{PAIR}-{host}", "bash", "-c", script]).stdout


class Bench:
    """The hosts, what they were at first, and what an undisturbed upgrade makes of them."""

    def __init__(self, folder: str) -> None:
        self.inventory = f"{folder}/inventory.yml"
        self.reports = f"{folder}/reports"
        pathlib.Path(self.inventory).write_text(INVENTORY)

    def playbook(self, name: str, *arguments: str) -> list[str]:
        return [
            "ansible-playbook",
            "-i",
            self.inventory,
            f"fractal_ops.platform.{name}",
            "-e",
            f"fractal_report_dir={self.reports}",
            *arguments,
        ]

    def must(self, name: str, *arguments: str) -> None:
        done = run(self.playbook(name, *arguments))
        if done.returncode != 0:
            raise AssertionError(f"{name} failed:\n{done.stdout[-6000:]}")

    def rows(self) -> dict[str, object]:
        script = (ROOT / "molecule/shared/files/rows.py").read_text()
        done = run(["podman", "exec", "-i", f"{PAIR}-server", "python3", "-"], input=script)
        tables = json.loads(done.stdout)
        for table, columns in VOLATILE.items():
            for column in columns:
                tables.get(table, {}).get("columns", {}).pop(column, None)
        return tables

    def state(self) -> dict[str, object]:
        return {
            "rows": self.rows(),
            "server": on("server", SERVER_STATE).splitlines(),
            "web": on("web", WEB_STATE).splitlines(),
        }

    def roll_back(self) -> None:
        self.must("rollback")
        on("server", DROP_KEPT_ASIDE)

    def predict(self) -> None:
        """Run the upgrade in check mode: it must end well and change nothing, in whatever state the instance is."""
        before = self.state()
        self.must("upgrade", "--check", "--diff")
        check(self, before, "after check mode")

    def interrupted_upgrade(self, point: Point) -> None:
        """Run an upgrade that is killed at the point."""
        environ = {**os.environ}
        if point.task:
            environ |= {
                "ANSIBLE_CALLBACK_PLUGINS": str(ROOT / "tests/faults/callback_plugins"),
                "ANSIBLE_CALLBACKS_ENABLED": "kill_at_task",
                "KILL_AT_TASK": point.task,
            }
        upgrade = subprocess.Popen(
            self.playbook("upgrade"),
            cwd=ROOT,
            env=environ,
            start_new_session=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        killer = None
        if point.process:
            killer = subprocess.Popen(
                ["podman", "exec", "-i", f"{PAIR}-server", "python3", "-", point.process, str(point.delay)],
                stdin=subprocess.PIPE,
                text=True,
            )
            assert killer.stdin
            killer.stdin.write(KILLER)
            killer.stdin.close()
        output, _unused = upgrade.communicate()
        if killer:
            killer.kill()
            killer.wait()
        expected = -signal.SIGKILL if point.task else None
        if expected is not None and upgrade.returncode != expected:
            raise AssertionError(f"the run was not killed {point}:\n{output[-4000:]}")

    def killed_after(self, seconds: float) -> None:
        """Run an upgrade whose controller dies after a time, or ends before."""
        upgrade = subprocess.Popen(
            self.playbook("upgrade"),
            cwd=ROOT,
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            upgrade.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(upgrade.pid, signal.SIGKILL)
            upgrade.wait()


def differences(wanted: dict[str, object], found: dict[str, object]) -> list[str]:
    lines = []
    for part in ("server", "web"):
        before, after = wanted[part], found[part]
        lines += [f"-{line}" for line in before if line not in after] + [
            f"+{line}" for line in after if line not in before
        ]
    tables, now = wanted["rows"], found["rows"]
    for table in sorted({*tables, *now}):
        if tables.get(table) != now.get(table):
            columns = {**(tables.get(table) or {}).get("columns", {})}
            other = (now.get(table) or {}).get("columns", {})
            lines.append(f"rows of {table}: {[name for name in columns if columns[name] != other.get(name)]}")
    return lines


def check(bench: Bench, wanted: dict[str, object], what: str) -> None:
    found = differences(wanted, bench.state())
    if found:
        raise AssertionError(f"{what}:\n" + "\n".join(found))


def one_case(bench: Bench, way: str, old: dict[str, object], new: dict[str, object]) -> None:
    if way == "re-run":
        bench.predict()
        bench.must("upgrade")
        check(bench, new, "after the re-run the instance is not as after an undisturbed run")
    bench.roll_back()
    check(bench, old, "after the rollback the instance is not the old one")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--random", type=int, default=0)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    survived = total = 0
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(folder)
        run(["tests/bed/run_pair.sh", PAIR])
        try:
            old = bench.state()
            bench.predict()
            started = time.monotonic()
            bench.must("upgrade")
            lasted = time.monotonic() - started
            new = bench.state()
            bench.predict()
            bench.must("upgrade")
            check(bench, new, "after a second upgrade")
            bench.roll_back()
            check(bench, old, "after the rollback of an undisturbed upgrade")
            print(f"undisturbed: {lasted:.0f} s, rolled back exactly", flush=True)
            for number, (kill, name, way) in enumerate(cases(bench, options, lasted), 1):
                total += 1
                try:
                    kill()
                    one_case(bench, way, old, new)
                    survived += 1
                    print(f"ok   {number}: {name}, {way}", flush=True)
                except AssertionError as error:
                    print(f"FAIL {number}: {name}, {way}: {error}", flush=True)
                    run(["tests/bed/run_pair.sh", PAIR])
                    old = bench.state()
        finally:
            run(["tests/bed/stop_pair.sh", PAIR])
    seed = f" (seed {options.seed})" if options.random else ""
    print(f"survived {survived} of {total}{seed}")
    sys.exit(survived != total)


def cases(bench: Bench, options: argparse.Namespace, lasted: float) -> list[tuple[object, str, str]]:
    ways = ["re-run", "rollback"]
    if options.random:
        chance = random.Random(options.seed)
        times = [(chance.uniform(0, lasted), chance.choice(ways)) for _unused in range(options.random)]
        return [(lambda s=seconds: bench.killed_after(s), f"after {seconds:.1f} s", way) for seconds, way in times]
    points = [one for one in POINTS if not options.short or ((one.task or one.process) in SHORT and not one.delay)]
    return [(lambda p=one: bench.interrupted_upgrade(p), str(one), way) for one in points for way in ways]


if __name__ == "__main__":
    main()
