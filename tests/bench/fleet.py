"""Upgrade a fleet of servers, one of them broken: python fleet.py [N], by default three of Debian 12.

The second fails inside its window, because something of its own keeps the new release from starting. With three, each
is a wave and the third does not begin; with more, all are one wave, as by default, and no other one is touched. Then
the second is mended, and the same command brings the rest along. The wheels lie on the controller only.

What has to be so is asserted: exit code, outcomes, the index page, which release each service is. What it takes is
printed, beside the bare commands of one server times N: those that build the new environment, and those of the window
(bare_window.sh), made on one more server before.
"""

from __future__ import annotations

import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from pair import ROOT, run

BENCH = ROOT / "tests/bench"
FLEET = "fractal-fleet"
BARE, BROKEN, OLD, NEW = "bare", "s2", "2.16.6", "2.17.0"
ENV_FILE = "/opt/fractal/server/.fractal_server.env"
DROP_IN = "/etc/systemd/system/fractal-server.service.d/60-broken.conf"
# it may start as long as the old release is in its place
BREAK = f"""
printf '[Service]\\nExecStartPre=/bin/sh -c "! test -e /opt/fractal/venv-{OLD}"\\n' > {DROP_IN}
systemctl daemon-reload
"""
MEND = f"rm {DROP_IN}; systemctl daemon-reload"
BUILD = f"""
cd /opt/fractal && runuser -u fractal -- sh -ec '
    python3 -m venv venv-{NEW}
    venv-{NEW}/bin/python3 -m pip install --quiet --no-index --find-links /opt/wheelhouse \\
        fractal-server=={NEW} "bcrypt<5" prometheus-client==0.25.0 setproctitle==1.3.7'
"""
STARTED = "systemctl show -P ActiveEnterTimestamp fractal-server"
ANSWERS = "curl -s http://127.0.0.1:8000/api/alive/"


def on(name: str, script: str) -> str:
    return run("podman", "exec", "-i", f"{FLEET}-{name}-server", "bash", "-ec", script)


def expect(what: str, found: object, wanted: object) -> None:
    if found != wanted:
        sys.exit(f"{what}: {found!r}, not {wanted!r}")
    print(f"  {what}: {found}")


@dataclass(frozen=True)
class Ran:
    """A playbook that ran: its exit code, what it printed, and its seconds."""

    code: int
    screen: str
    seconds: float


class Fleet:
    """N servers, each on a network of its own, with the inventory and the reports in a folder."""

    def __init__(self, folder: pathlib.Path, size: int) -> None:
        self.folder, self.names = folder, [f"s{number}" for number in range(1, size + 1)]
        self.serial = [1] if size == 3 else []
        self.wave_of = {name: place if self.serial else 0 for place, name in enumerate(self.names)}
        hosts = {name: {"ansible_host": f"{FLEET}-{name}-server"} for name in (*self.names, BARE)}
        variables = {
            "ansible_python_interpreter": "/usr/bin/python3",
            "fractal_wheelhouse": str(folder / "wheelhouse"),
            "fractal_remote_src": False,
            "fractal_serial": self.serial,
            "fractal_report_dir": str(folder / "reports"),
        }
        fleet = {"hosts": {name: hosts[name] for name in self.names}}
        inventory = {"all": {"hosts": hosts, "vars": variables}, "fractal_server": fleet}
        (folder / "inventory.json").write_text(json.dumps(inventory))

    def start(self) -> None:
        """Start all servers, two at a time, and bring the wheels to where they are to be."""
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda name: run("tests/bed/run_pair.sh", f"{FLEET}-{name}", "server"), (*self.names, BARE)))
        run("podman", "cp", f"{FLEET}-{BARE}-server:/opt/wheelhouse", str(self.folder / "wheelhouse"))
        for name in self.names:
            on(name, "mv /opt/wheelhouse /opt/wheelhouse-of-the-image")

    def stop(self) -> None:
        run("tests/bed/stop_pair.sh", *(f"{FLEET}-{name}" for name in (*self.names, BARE)))

    def playbook(self, name: str) -> Ran:
        inventory = str(self.folder / "inventory.json")
        command = ["ansible-playbook", "-i", inventory, f"fractal_ops.platform.{name}", "--limit", "fractal_server"]
        began = time.monotonic()
        done = subprocess.run(
            [*command, "--forks", "20"],
            cwd=self.folder,
            env={**os.environ, "ANSIBLE_NOCOLOR": "1"},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        (self.folder / f"{name}.log").write_text(done.stdout)
        return Ran(done.returncode, done.stdout, time.monotonic() - began)

    def outcomes(self) -> dict[str, str]:
        return {name: self.record(name)["outcome"] for name in self.names}

    def record(self, name: str) -> dict[str, object]:
        found: dict[str, object] = json.loads((self.folder / "reports" / name / "latest.json").read_text())
        return found

    def releases(self, names: Iterable[str]) -> dict[str, str]:
        return {name: json.loads(on(name, ANSWERS))["version"] for name in names}

    def bare(self) -> dict[str, float]:
        """Make the bare commands on the server beside the fleet; return the seconds of each."""
        began = time.monotonic()
        on(BARE, BUILD)
        built = time.monotonic() - began
        on(BARE, f"install -d -o fractal /run/bench; cp -p {ENV_FILE} /run/bench/new")
        files = {"path": "/run/bench/new", "old_path": "/run/bench/old"}
        options = {**files, "server_python": "/opt/fractal/venv/bin/python3", "service": "fractal-server"}
        call = ("ansible", "--become", "-i", str(self.folder / "inventory.json"), BARE)
        run(*call, "-m", "fractal_ops.platform.fractal_env_migrate", "-a", json.dumps(options))
        steps = json.loads(on(BARE, (BENCH / "bare_window.sh").read_text()).splitlines()[-1])
        return {"build": built, **{name: seconds for name, seconds in steps.items() if name != "file copy"}}


def lines(ran: Ran) -> str:
    return f"{len(ran.screen.splitlines())} lines, {len(re.findall('^TASK ', ran.screen, re.MULTILINE))} tasks"


def upgrade_with_one_broken(fleet: Fleet) -> Ran:
    on(BROKEN, BREAK)
    started = {name: on(name, STARTED) for name in fleet.names}
    ran = fleet.playbook("upgrade")
    print(f"\nfirst run, {BROKEN} broken, fractal_serial {fleet.serial}: {ran.seconds:.0f} s, {lines(ran)}")
    later = [name for name in fleet.names if fleet.wave_of[name] > fleet.wave_of[BROKEN]]
    well = [name for name in fleet.names if name not in (BROKEN, *later)]
    wanted = {name: "upgraded" if name in well else "failed" if name == BROKEN else "not begun" for name in fleet.names}
    try:
        expect("outcomes", fleet.outcomes(), wanted)
    except FileNotFoundError:
        sys.exit(ran.screen[-4000:])
    expect("exit code", ran.code, 2)
    expect("answers", fleet.releases([*well, *later]), {**dict.fromkeys(well, NEW), **dict.fromkeys(later, OLD)})
    expect("not begun and never stopped", [name for name in later if on(name, STARTED) == started[name]], later)
    index = (fleet.folder / "reports" / "index.html").read_text()
    told = [name for name in fleet.names if f"{name}/" in index and wanted[name] in index]
    expect("in the index page", told, fleet.names)
    print(f"  why {BROKEN} failed: {str(fleet.record(BROKEN)['failure']).splitlines()[0]}")
    return ran


def mend_and_run_again(fleet: Fleet, first: Ran) -> Ran:
    done = [name for name, outcome in fleet.outcomes().items() if outcome == "upgraded"]
    started = {name: on(name, STARTED) for name in done}
    on(BROKEN, MEND)
    ran = fleet.playbook("upgrade")
    print(f"\nsecond run, {BROKEN} mended: {ran.seconds:.0f} s, {lines(ran)}")
    wanted = {name: "up to date" if name in done else "upgraded" for name in fleet.names}
    expect("outcomes", fleet.outcomes(), wanted)
    expect("exit code", ran.code, 0)
    expect("answers", fleet.releases(fleet.names), dict.fromkeys(fleet.names, NEW))
    expect("left alone", [name for name in done if on(name, STARTED) == started[name]], done)
    print(f"  both runs together: {first.seconds + ran.seconds:.0f} s")
    return ran


def main() -> None:
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    size = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    if size < 3:
        sys.exit("A fleet has three servers at least.")
    with tempfile.TemporaryDirectory(prefix="fractal-fleet-") as folder:
        fleet = Fleet(pathlib.Path(folder), size)
        try:
            fleet.start()
            steps = fleet.bare()
            first = upgrade_with_one_broken(fleet)
            second = mend_and_run_again(fleet, first)
            for playbook in ("upgrade", "precheck"):
                ran = fleet.playbook(playbook)
                print(f"{playbook} of the finished fleet: exit code {ran.code}, {ran.seconds:.0f} s, {lines(ran)}")
        finally:
            fleet.stop()
    window = sum(seconds for name, seconds in steps.items() if name != "build")
    print(f"\nbare, one server alone: {', '.join(f'{name} {seconds:.1f} s' for name, seconds in steps.items())}")
    bare, both = size * (steps["build"] + window), first.seconds + second.seconds
    print(f"bare, {size} servers, one after another: {bare:.0f} s, of which {size * window:.0f} s in windows")
    print("ours, with prechecks, rehearsals, proofs, verifications, archives:")
    print(f"  first run {first.seconds:.0f} s, ratio {first.seconds / bare:.2f} (goal: at most 2)")
    print(f"  with the second, for {BROKEN}: {both:.0f} s, ratio {both / bare:.2f}")
    print(f"load {os.getloadavg()[1]:.1f}")


if __name__ == "__main__":
    main()
