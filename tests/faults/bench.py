"""The two hosts of the fault tests: running playbooks on them, disturbing these, and telling one state from another."""

from __future__ import annotations

import json
import os
import pathlib
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from points import Point, sql

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/bench"))

from pair import inventory

LIMIT = 1800  # seconds for one playbook; on a loaded machine the first builds an environment in four minutes
SERVER_STATE = r"""
cd /opt/fractal/server
sha256sum .fractal_server.env* *.json | sort -k2
stat -c '%n %U %G %a' .fractal_server.env* *.json
find /etc/systemd/system/fractal-server.service* -type f -exec sha256sum {} + | sort -k2
find /etc/systemd/system/fractal-server.service* -exec stat -c '%n %U %G %a' {} +
readlink -f /opt/fractal/venv; stat -c %F /opt/fractal/venv
runuser -u fractal -- /opt/fractal/venv/bin/python3 -B -m pip list --format freeze --disable-pip-version-check
systemctl is-active fractal-server; systemctl is-enabled fractal-server
find /var/backups /dev/shm/backups -name '*.partial' 2>/dev/null
ls -d /opt/fractal/* | grep -v -- '-2[.]1[78][.][05]$' | sort
ls /run | grep -i fractal
curl -s http://127.0.0.1:8000/api/alive/
"""
WEB_STATE = r"""
sha256sum /opt/fractal-web/.env; stat -c '%n %U %G %a' /opt/fractal-web/.env
grep '"version"' /opt/fractal-web/package.json; stat -c %F /opt/fractal-web
ls -d /opt/fractal-web* | grep -v -- '-1[.]2[12][.][12]$'
ls /run | grep -i fractal
systemctl is-active fractal-web; systemctl is-enabled fractal-web
curl -s http://127.0.0.1:5173/alive
"""
# A page that its controller has left goes half a minute after the server is back, whoever looks meanwhile.
PAGE_IS_UP = "systemctl is-active -q fractal-maintenance-fractal-web"
UNTIL_THE_PAGE_IS_GONE = (
    f"timeout 120 sh -c 'until ! {PAGE_IS_UP} && curl -sf http://127.0.0.1:5173/alive; do sleep 0.5; done'"
)
# Runs a command as soon as a process whose command line holds a text has lived for some time.
WATCHER = r"""
import os, pathlib, subprocess, sys, time
text, delay, command = sys.argv[1].encode(), float(sys.argv[2]), sys.argv[3]
while True:
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ")
            except OSError:
                continue
            if text in line and not line.startswith((b"/bin/sh -c", b"sh -c", b"sudo ", b"bash -c")):
                time.sleep(delay)
                subprocess.run(command, shell=True, env={**os.environ, "PID": entry.name}, stderr=subprocess.DEVNULL)
                print("done", flush=True)
                sys.exit()
    time.sleep(0.01)
"""
# Runs a command as soon as a stage of the window has begun, and some time has passed; $PID is the program's.
STAGE_WATCHER = r"""
import json, os, pathlib, subprocess, sys, time
stage, delay, command, began = sys.argv[1], float(sys.argv[2]), sys.argv[3], time.time()
path = pathlib.Path("/var/lib/fractal-ops/fractal-server.service/window.jsonl")
def events():
    for line in path.read_bytes().split(b"\n") if path.exists() else []:
        try:
            yield json.loads(line)
        except ValueError:
            pass
def is_it(one):
    name = f"{one.get('stage', '')} {one.get('release', '')}".strip()
    return one["event"] == "stage" and one["at"] >= began and name == stage
while not any(is_it(one) for one in events()):
    time.sleep(0.01)
time.sleep(delay)
if command:
    subprocess.run(command, shell=True, stderr=subprocess.DEVNULL)
print("done", flush=True)
"""
# Notes the arguments of all processes of some containers, and of those here that name the pair, until it is ended.
SAMPLER = r"""
import pathlib, signal, sys, time
seen = set()
def end(*_unused):
    print("\n".join(seen), flush=True)
    sys.exit()
signal.signal(signal.SIGTERM, end)
while True:
    for entry in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
            group = (entry / "cgroup").read_text()
        except OSError:
            continue
        if sys.argv[1] in line or any(one in group for one in sys.argv[2:]):
            seen.add(line)
    time.sleep(0.005)
"""
# Somebody works while the upgrade prepares: a row between precheck and stop, noted only once it is committed.
# In the new release, as after a window that its controller had left, a rollback would refuse to lose it.
WRITE_AT = "Upgrade fractal-server in its window"
WRITE = (
    "systemctl is-active -q fractal-server && curl -s http://127.0.0.1:8000/api/alive/ | grep -q 2.16.6 || exit 0; "
    + sql("INSERT INTO usergroup (name, timestamp_created, viewer_paths) "
          "VALUES ('written-' || now(), now(), '[]') RETURNING replace(name, ' ', '_')")
    + " >> /root/written"
)  # fmt: skip
WRITTEN = sql("SELECT replace(name, ' ', '_') FROM usergroup WHERE name LIKE 'written-%'")
OTHER_GROUPS = sql(
    "SELECT md5(string_agg(to_jsonb(g)::text, '' ORDER BY id)) FROM usergroup g WHERE name NOT LIKE 'written-%'"
)
DATABASES = sql("SELECT datname FROM pg_database WHERE datname LIKE 'fractal%' ORDER BY 1")
KEPT_ASIDE = sql("SELECT datname FROM pg_database WHERE datname LIKE '%\\_failed\\_%'")
FROZEN = sql("SELECT datname FROM pg_database WHERE datname LIKE '%\\_frozen\\_%'")
# What is made anew by each run, or counts its time; everything else must be equal. Groups are told apart by hand.
VOLATILE = {"resource": ["timestamp_created"]}
SECRET_VARIABLE = re.compile(r"^\w*(?:PASSWORD|SECRET|_KEY)=['\"]?([^'\"\s]{8,})", re.MULTILINE)


def remove(names: str) -> str:
    """Return the script that removes what has these names, though somebody plants files there all the time."""
    return f"for _try in 1 2 3 4 5; do rm -rf {names} && break; sleep 0.3; done"


class Failed(AssertionError):
    """A case did not end as it has to."""


def run(command: Sequence[str], **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, **options
    )  # type: ignore[call-overload,no-any-return]


class Bench:
    """A pair of hosts, always from the same images, and the runs of playbooks on it."""

    def __init__(self, pair: str, folder: str, arguments: Sequence[str] = ()) -> None:
        self.pair, self.arguments = pair, arguments
        self.inventory = f"{folder}/{pair}.yml"
        self.reports = f"{folder}/{pair}-reports"
        self.secrets: set[str] = set()
        self.images = [
            f"{alias}={run(['podman', 'image', 'inspect', '-f', '{{.Id}}', image]).stdout.strip()}"
            for alias, image in (
                ("server", "localhost/fractal-ops/server:prepared"),
                ("web", "localhost/fractal-ops/web:prepared"),
            )
        ]
        # a rehearsal runs the same programs as the window, and the points are meant for that one
        pathlib.Path(self.inventory).write_text(inventory(pair, rehearsal=False))

    def start(self) -> None:
        """Begin with new hosts."""
        done = run(["tests/bed/run_pair.sh", self.pair, *self.images], env={**os.environ, "FRACTAL_BED_TRAPS": "yes"})
        if done.returncode != 0:
            raise SystemExit(f"the hosts do not start:\n{done.stdout}")
        self.learn_secrets()

    def stop(self) -> None:
        """Remove the hosts.

        Raises:
            Failed: Root ran something that the service account had planted.
        """
        done = run(["tests/bed/stop_pair.sh", self.pair])
        if done.returncode != 0:
            raise Failed(done.stdout)

    def on(self, host: str, script: str) -> str:
        return run(["podman", "exec", f"{self.pair}-{host}", "bash", "-c", script]).stdout

    # -- states -------------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, object]:
        return {
            "rows": self._rows(),
            "groups": self.on("server", OTHER_GROUPS).splitlines(),
            "databases": [
                one for one in self.on("server", DATABASES).splitlines() if not re.search("_(failed|frozen)_", one)
            ],
            "server": self.on("server", SERVER_STATE).splitlines(),
            "web": self.on("web", WEB_STATE).splitlines(),
        }

    def _rows(self) -> dict[str, object]:
        script = (ROOT / "molecule/shared/files/rows.py").read_text()
        done = run(["podman", "exec", "-i", f"{self.pair}-server", "python3", "-"], input=script)
        if done.returncode != 0:
            raise Failed(f"the rows cannot be read: {done.stdout}")
        tables: dict[str, dict[str, dict[str, str]]] = json.loads(done.stdout)
        del tables["usergroup"]
        for table, columns in VOLATILE.items():
            for column in columns:
                tables.get(table, {}).get("columns", {}).pop(column, None)
        return dict(tables)

    def written(self) -> set[str]:
        return set(self.on("server", "cat /root/written 2>/dev/null").split())

    def must_be(self, wanted: dict[str, object], what: str) -> None:
        found = differences(wanted, self.state())
        written = self.written()
        lost = written - set(self.on("server", WRITTEN).split())
        found += [f"lost, of {len(written)} rows written before a stop: {sorted(lost)}"] if lost else []
        if found:
            raise Failed(f"{what}:\n" + "\n".join(found))

    def clean_up(self) -> None:
        """Do what the operator does when sure: drop the databases that were kept aside, and the frozen copies."""
        for name in [*self.kept_aside(), *self.on("server", FROZEN).split()]:
            self.on("server", sql(f'DROP DATABASE "{name}"'))

    def kept_aside(self) -> list[str]:
        return self.on("server", KEPT_ASIDE).split()

    # -- runs ---------------------------------------------------------------------------------------------------------

    def playbook(self, name: str, *arguments: str) -> list[str]:
        call = ["ansible-playbook", "-i", self.inventory, f"fractal_ops.platform.{name}"]
        return [*call, "-e", f"fractal_report_dir={self.reports}", *self.arguments, *arguments]

    def must(self, name: str, *arguments: str, acts: Sequence[dict[str, object]] = ()) -> str:
        """Run a playbook, which must end well."""
        done = run(self.playbook(name, *arguments), env=acting([*acts]), timeout=LIMIT)
        self.must_hold_no_secret(done.stdout, f"the output of {name}")
        if done.returncode != 0:
            raise Failed(f"{name} failed:\n{done.stdout[-6000:]}")
        return done.stdout

    def must_fail(self, name: str, *arguments: str) -> str:
        """Run a playbook, which must fail."""
        done = run(self.playbook(name, *arguments), timeout=LIMIT)
        self.must_hold_no_secret(done.stdout, f"the output of {name}")
        if done.returncode == 0:
            raise Failed(f"{name} should have failed:\n{done.stdout[-6000:]}")
        return done.stdout

    def predict(self, *arguments: str) -> None:
        """Run the upgrade in check mode: it must end well and change nothing, in whatever state the instance is."""
        self.on("web", f"{PAGE_IS_UP} && {UNTIL_THE_PAGE_IS_GONE}")
        before = self.state()
        self.must("upgrade", "--check", "--diff", *arguments)
        self.must_be(before, "check mode changed something")

    def disturbed(self, name: str, point: Point, *arguments: str) -> str:
        """Run a playbook that is disturbed at the point, and must not end well. Return its output."""
        acts = [{"task": WRITE_AT, "command": self.command(WRITE)}]
        if point.first:
            self.on("server", point.first)
        if point.task:
            acts.append({"task": point.task, "command": self.command(point.do) if point.do else []})
        watcher = self._watch(point) if point.process or point.begun else None
        kills = watcher if point.begun and not point.do else None
        try:
            ended, output = self._run(self.playbook(name, *arguments, *point.arguments), acts, point, kills)
        finally:
            self.on("server", "pkill -f '[w]atch-for-a-fault'")
        self.must_hold_no_secret(output, f"the output of {name}")
        if watcher and not kills and "done" not in watcher.communicate()[0]:
            raise Failed(f"never seen {point}:\n{output[-4000:]}")
        expected = -signal.SIGKILL if (point.task or point.begun) and not point.do else None
        if expected is not None and ended != expected:
            raise Failed(f"not killed {point}:\n{output[-4000:]}")
        if "Traceback (most recent call last)" in output:
            raise Failed(f"a traceback, {point}:\n{output[-6000:]}")
        return output if ended else ""

    def _run(
        self,
        command: list[str],
        acts: list[dict[str, object]],
        point: Point,
        kills: subprocess.Popen[str] | None = None,
    ) -> tuple[int, str]:
        environ = acting(acts)
        if point.process.startswith("AnsiballZ"):  # a module that comes through a pipe has no name
            environ["ANSIBLE_PIPELINING"] = environ["ANSIBLE_SSH_PIPELINING"] = "false"
        with subprocess.Popen(
            command, cwd=ROOT, env=environ, start_new_session=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        ) as process:  # fmt: skip
            while kills and kills.poll() is None and process.poll() is None:
                time.sleep(0.02)
            if kills and kills.poll() == 0:
                os.killpg(process.pid, signal.SIGKILL)
            output, _unused = process.communicate(timeout=LIMIT)
        return process.returncode, output

    def killed_at(self, name: str, point: Point) -> None:
        """Run a playbook whose controller is killed once the point's command has run; what works on works on."""
        watcher = self._watch(point)
        ended, output = self._run(self.playbook(name), [], point, watcher)
        if ended != -signal.SIGKILL:
            raise Failed(f"not killed {point}:\n{output[-4000:]}")

    def _watch(self, point: Point) -> subprocess.Popen[str]:
        script = STAGE_WATCHER if point.begun else WATCHER
        what = point.begun or point.process
        program = ["python3", "-c", script, what, str(point.delay), point.do, "watch-for-a-fault"]
        call = ["podman", "exec", f"{self.pair}-server", *program]
        return subprocess.Popen(call, stdout=subprocess.PIPE, text=True)

    def command(self, script: str) -> list[str]:
        """Return the command that runs a script on the server."""
        return ["podman", "exec", f"{self.pair}-server", "bash", "-c", script]

    def without_power(self, name: str, point: Point, *arguments: str) -> None:
        """Run a playbook whose server goes off at the point, and on again."""
        watcher = self._watch(point)
        with subprocess.Popen(
            self.playbook(name, *arguments), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            if "done" not in watcher.communicate()[0]:
                raise Failed(f"never seen {point}:\n{process.communicate()[0][-4000:]}")
            self._off_and_on("server")
            output, _unused = process.communicate(timeout=LIMIT)
        self.must_hold_no_secret(output, f"the output of {name}")
        if process.returncode == 0 or "Traceback (most recent call last)" in output:
            raise Failed(f"off at {point}, {name} ended with {process.returncode}:\n{output[-4000:]}")

    def _off_and_on(self, host: str) -> None:
        name, known = f"{self.pair}-{host}", ROOT / ".cache/ssh/hosts.d" / self.pair
        for command in (["kill", "--signal", "KILL", name], ["start", name]):
            done = run(["podman", *command])
            if done.returncode != 0:
                raise Failed(f"podman {command[0]}: {done.stdout}")
        template = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
        address = run(["podman", "inspect", "--format", template, name]).stdout.strip()
        known.write_text(re.sub(rf"(Host {name}\n +HostName ).*", rf"\g<1>{address}", known.read_text()))
        booted = run(["bash", "-euc", '. tests/bed/lib.sh; wait_for 90 "$0 to boot" booted "$0"', name])
        if booted.returncode != 0:
            raise Failed(f"{name} does not boot:\n{booted.stdout}")

    def killed_after(self, name: str, seconds: float, victims: str) -> bool:
        """Run a playbook; say whether its controller, or what works for it on the server, was there to be killed."""
        environ = acting([{"task": WRITE_AT, "command": self.command(WRITE)}])
        met = False
        with subprocess.Popen(
            self.playbook(name), cwd=ROOT, env=environ, start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        ) as process:  # fmt: skip
            try:
                process.wait(timeout=seconds)
            except subprocess.TimeoutExpired:
                if victims == "controller":
                    os.killpg(process.pid, signal.SIGKILL)
                    met = True
                while not met and process.poll() is None:  # between two modules nothing works
                    met = "killed" in self.on("server", f"{victims} && echo killed")
                process.wait(timeout=LIMIT)
        return met

    # -- secrets ------------------------------------------------------------------------------------------------------

    def learn_secrets(self) -> None:
        """Note every secret in the environment files as they are now; they are canaries."""
        text = self.on("server", "cat /opt/fractal/server/.fractal_server.env*")
        self.secrets |= set(SECRET_VARIABLE.findall(text))

    def must_hold_no_secret(self, text: str, where: str) -> None:
        found = [line for line in text.splitlines() if any(secret in line for secret in self.secrets)]
        if found:
            raise Failed(f"a secret in {where}:\n" + "\n".join(found[:5]))

    @contextmanager
    def sampled_arguments(self) -> Iterator[None]:
        """Sample the arguments of all processes on both hosts and here meanwhile: no secret may be among them."""
        ids = run(
            ["podman", "ps", "-q", "--no-trunc", "--filter", f"label=fractal_ops.pair={self.pair}"]
        ).stdout.split()
        sampler = subprocess.Popen(
            ["python3", "-c", SAMPLER, self.pair, *ids], stdout=subprocess.PIPE, text=True
        )  # this machine sees the processes of the containers, too
        try:
            yield
        finally:
            sampler.terminate()
            seen = sampler.communicate()[0]
        if "fractalctl set-db" not in seen or "pg_dump" not in seen:
            raise Failed("the sampled arguments hold neither fractalctl nor pg_dump: nothing was sampled")
        self.must_hold_no_secret(seen, "the arguments of a process")

    def must_have_leaked_nothing(self) -> None:
        """Look for secrets in the journals, the reports, the manifests and what else the backups hold for people."""
        self.learn_secrets()
        for host in ("server", "web"):
            self.must_hold_no_secret(self.on(host, "journalctl --no-pager --quiet"), f"the journal of {host}")
        for path in pathlib.Path(self.reports).glob("**/*.*"):
            self.must_hold_no_secret(path.read_text(), str(path))
        said = self.on("server", "cat /var/backups/fractal/*/*/{manifest.json,packages.txt} /run/*.upgrade-lock")
        self.must_hold_no_secret(said, "a manifest")
        left = self.on(
            "server", "find /tmp /run /root /home -type f -newer /root -print0 | xargs -0 grep -la fractal_db"
        )
        for path in left.split():
            self.must_hold_no_secret(self.on("server", f"cat {shlex.quote(path)}"), path)


def acting(acts: list[dict[str, object]]) -> dict[str, str]:
    """Return the environment of a playbook in which commands are run as tasks begin."""
    return {
        **os.environ,
        "ANSIBLE_CALLBACK_PLUGINS": str(ROOT / "tests/faults/callback_plugins"),
        "ANSIBLE_CALLBACKS_ENABLED": "at_task",
        "AT_TASK": json.dumps(acts),
    }


def differences(wanted: dict[str, object], found: dict[str, object]) -> list[str]:
    lines = []
    for part in ("server", "web", "groups", "databases"):
        before, after = list(wanted[part]), list(found[part])  # type: ignore[call-overload]
        lines += [f"-{line}" for line in before if line not in after]
        lines += [f"+{line}" for line in after if line not in before]
    tables, now = dict(wanted["rows"]), dict(found["rows"])  # type: ignore[call-overload]
    for table in sorted({*tables, *now}):
        if tables.get(table) != now.get(table):
            columns = (tables.get(table) or {}).get("columns", {})
            other = (now.get(table) or {}).get("columns", {})
            changed = [name for name in {**columns, **other} if columns.get(name) != other.get(name)]
            lines.append(f"rows of {table}: {changed}")
    return lines
