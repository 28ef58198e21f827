"""Promises about failures that are no kill: each begins with the old instance, and ends with it."""

from __future__ import annotations

import hashlib
import json
import pathlib
import subprocess
import tarfile
import time
from collections.abc import Callable
from functools import partial

from bench import LIMIT, ROOT, UNTIL_THE_PAGE_IS_GONE, Bench, Failed, remove
from points import (
    BEFORE_THE_POWER_GOES,
    FREEZE,
    HOLD,
    KILL,
    KILLED_OVER_THE_FORGETTING,
    KILLED_WITHOUT_LIBRARY,
    KILLED_WITHOUT_SCRIPT,
    LOCK,
    THAW,
    UNWATCHED,
    WITH_A_PAGE,
    Point,
    controller_killed,
    sql,
)

State = dict[str, object]
Promise = Callable[[Bench, State, State], None]
KILLED_IN_DATA = Point("data", process="fractalctl update-db-data", delay=0.8, do=KILL)
# That a program which systemd runs before the service writes no environment file is what the operator says of it.
WRITES_NO_FILE = ("-e", '{"fractal_accept": ["unit.start_writes_file"]}')
WRITE_SINCE = sql("INSERT INTO usergroup (name, timestamp_created, viewer_paths) VALUES ('since', now(), '[]')")
COUNT_SINCE = "SELECT count(*) FROM usergroup WHERE name = 'since'"


def says(output: str, *texts: str) -> None:
    """Fail if the output does not say all of this; it may break lines anywhere."""
    flat = " ".join(output.split())
    missing = [text for text in texts if text not in flat]
    if missing:
        raise Failed(f"it does not say {missing}:\n{output[-5000:]}")


def reported(bench: Bench) -> str:
    """Return the last report of the server: on the screen its texts are broken into columns."""
    return pathlib.Path(bench.reports, "server", "latest.json").read_text()


def back(bench: Bench, old: State, *arguments: str) -> None:
    bench.must("rollback", *arguments)
    bench.clean_up()
    bench.on("server", remove("/opt/fractal/venv-2.17.0.wheels /opt/fractal/venv-2.16.6"))  # prepared for one in place
    bench.must_be(old, "after the rollback the instance is not the old one")


def second_controller(bench: Bench, old: State, new: State) -> None:
    """The second of two runs is refused and told by whom; the first one ends well and leaves no lock."""
    first = subprocess.Popen(
        bench.playbook("upgrade"), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    end = time.monotonic() + LIMIT
    while not bench.on("server", "ls /run/*.upgrade-lock 2>/dev/null") and time.monotonic() < end:
        time.sleep(0.2)
    for playbook in ("upgrade", "rollback"):
        output = bench.must_fail(playbook)
        says(output, "Another run works on fractal-server.service", "holds its lock since")
    said, _unused = first.communicate(timeout=LIMIT)
    if first.returncode != 0:
        raise Failed(f"the first run failed:\n{said[-4000:]}")
    bench.must_be(new, "after the first run")
    back(bench, old)


def going_back_by_itself(bench: Bench, old: State, _new: State) -> None:
    """With fractal_on_failure=rollback a failure after the change of the database brings the old instance back."""
    output = bench.disturbed("upgrade", KILLED_IN_DATA, "-e", "fractal_on_failure=rollback")
    says(output, "The old instance is back in service")
    bench.clean_up()
    bench.must_be(old, "after the failure the instance is not the old one")


def a_window_nobody_watches(bench: Bench, old: State, new: State, point: Point) -> None:
    """With its controller killed the window ends by itself; one more run tells it and changes nothing on the server."""
    bench.disturbed("upgrade", point)
    bench.on("server", point.mend)
    alive = bench.on("server", "curl -s http://127.0.0.1:8000/api/alive/")
    if "2.17.0" not in alive:
        raise Failed(f"the window did not end by itself: {alive}")
    rows = bench.state()["rows"]
    bench.must("upgrade")
    told = json.loads(reported(bench))
    if (told["server_outcome"], told["from"], told["to"]) != ("upgraded", "2.16.6", "2.17.0"):
        raise Failed(f"it is not told as an upgrade: {told['server_outcome']}, {told['from']} to {told['to']}")
    if not told["window_seconds"] or not told["backup"] or not told["undo"]:
        raise Failed(f"the report lacks the window or the backup: {told['window_seconds']}, {told['backup']}")
    if bench.state()["rows"] != rows:
        raise Failed("the run that tells it changed rows")
    bench.must("upgrade")
    if json.loads(reported(bench))["server_outcome"] != "up to date":
        raise Failed("it is told twice")
    bench.clean_up()
    bench.must_be(new, "after the window that nobody watched")
    back(bench, old)


def a_killed_run_that_waits(bench: Bench, old: State, _new: State) -> None:
    """What a killed run left works on, a rollback that waits for it is killed, too, and its module gets the lock first.

    The next rollback, which has looked at the host before, takes the lock of the dead run all the same.
    """
    bench.on("server", remove("/opt/fractal/venv-2.17.0*"))
    bench.killed_at("upgrade", Point("stage", process="-m pip install", do="kill -STOP $PID"))
    bench.killed_at("rollback", Point("rollback", process="AnsiballZ_fractal_lock", delay=0.5))
    goes_on = f"was=$(cat {LOCK}); pkill -CONT -f '[-]m pip install'"
    until_another_has_it = f'until [ "$(cat {LOCK})" != "$was" ]; do sleep 0.05; done'
    script = bench.command(f"{goes_on}; {until_another_has_it}")
    bench.must("rollback", acts=[{"task": "Take the lock on fractal-server", "command": script}])
    bench.must_be(old, "after the rollback the instance is not the old one")


def a_window_that_is_joined(bench: Bench, old: State, new: State) -> None:
    """A run that comes while the window of a killed one has stopped the service watches that to its end."""
    bench.disturbed("upgrade", controller_killed("backup"))
    bench.on("server", FREEZE)
    bench.must("upgrade", acts=[{"task": "Upgrade fractal-server in its window", "command": bench.command(THAW)}])
    if json.loads(reported(bench))["outcome"] != "upgraded":
        raise Failed(f"it is not told as an upgrade: {reported(bench)[:2000]}")
    bench.clean_up()
    bench.must_be(new, "after the window that another run watched")
    back(bench, old)


def a_page_that_nobody_takes_away(bench: Bench, old: State, new: State) -> None:
    """With its controller killed the maintenance page goes after the window by itself; one more run ends well."""
    status = "curl -s -o /dev/null -w '%{http_code} ' http://127.0.0.1:5173/; systemctl is-active fractal-web"
    point = controller_killed("backup", arguments=WITH_A_PAGE)
    bench.disturbed("upgrade", point)
    seen = bench.on("web", status).split()
    if seen != ["503", "inactive"]:
        raise Failed(f"no page in the window: {seen}")
    bench.on("server", point.mend)
    alive = bench.on("web", UNTIL_THE_PAGE_IS_GONE)
    if '"version":"1.20.1"' not in alive or bench.on("web", status).split() != ["200", "active"]:
        raise Failed(f"fractal-web is not back: {alive}")
    bench.must("upgrade", *WITH_A_PAGE)
    bench.clean_up()
    bench.must_be(new, "after the re-run the instance is not as after an undisturbed run")
    back(bench, old, *WITH_A_PAGE)


def a_unit_that_refuses(bench: Bench, old: State, _new: State) -> None:
    """A unit that refuses to start with the new release: back by itself, and its last lines are told."""
    refuse = "/etc/systemd/system/fractal-server.service.d/10-refuse.conf"
    check = "/bin/sh -c 'test ! -e /opt/fractal/venv-2.16.6 || { echo refused-by-the-bench; exit 1; }'"
    bench.on("server", f'printf "[Service]\\nExecStartPre=%s\\n" "{check}" > {refuse}; systemctl daemon-reload')
    output = bench.must_fail("upgrade", "-e", "fractal_on_failure=rollback", *WRITES_NO_FILE)
    says(output, "The old instance is back in service", "refused-by-the-bench")
    bench.on("server", f"rm {refuse}; systemctl daemon-reload")
    bench.clean_up()
    bench.must_be(old, "after a unit that refused the instance is not the old one")


def an_answer_that_comes_too_late(bench: Bench, old: State, _new: State) -> None:
    """An API that answers too late: back by itself, and the stage start is told as what failed."""
    slow = "/etc/systemd/system/fractal-server.service.d/10-slow.conf"
    wait = "/bin/sh -c 'test ! -e /opt/fractal/venv-2.16.6 || sleep 40'"
    bench.on(
        "server", f'printf "[Service]\\nType=exec\\nExecStartPre=-%s\\n" "{wait}" > {slow}; systemctl daemon-reload'
    )
    late = ("-e", "fractal_start_timeout=15")
    output = bench.must_fail("upgrade", "-e", "fractal_on_failure=rollback", *late, *WRITES_NO_FILE)
    says(output, "The old instance is back in service")
    bench.on("server", f"rm {slow}; systemctl daemon-reload")
    bench.clean_up()
    bench.must_be(old, "after an answer that came too late the instance is not the old one")


def stopping(bench: Bench, old: State, _new: State) -> None:
    """By default a failure after the change of the database says the state and the two commands."""
    output = bench.disturbed("upgrade", KILLED_IN_DATA)
    says(output, "is stopped, and held since", "at revision 83bc2ad3ffcc", "platform.upgrade", "platform.rollback")
    back(bench, old)


def without_the_right_to_create_databases(bench: Bench, old: State, new: State) -> None:
    """Precheck names the statement; with the opt-out both ways work, and the reports say what could not be had."""
    bench.on("server", sql("ALTER ROLE fractal NOCREATEDB"))
    bench.must_fail("precheck")
    says(reported(bench), r"ALTER ROLE \"fractal\" CREATEDB;")
    opt_out = ("-e", "fractal_backup_proof=list")
    bench.disturbed("upgrade", KILLED_IN_DATA, *opt_out)
    bench.must("rollback", *opt_out)
    says(reported(bench), "no copy of the failed database could be kept")
    bench.must_be(old, "after the rollback the instance is not the old one")
    bench.disturbed("upgrade", KILLED_IN_DATA, *opt_out)
    bench.must("upgrade", *opt_out)
    bench.must_be(new, "after the re-run the instance is not as after an undisturbed run")
    back(bench, old, *opt_out)
    bench.must("upgrade", *opt_out)
    says(reported(bench), "not proved by a restore", "ALTER ROLE fractal CREATEDB;")
    back(bench, old, *opt_out)
    bench.on("server", sql("ALTER ROLE fractal CREATEDB"))


def work_of_users_is_not_lost_in_silence(bench: Bench, old: State, _new: State) -> None:
    """Rows written to the new release are named by table; only with consent does the rollback go on, keeping them."""
    bench.must("upgrade")
    bench.on("server", WRITE_SINCE)
    before = bench.state()
    says(bench.must_fail("rollback"), "usergroup:", "fractal_accept_data_loss=true")
    bench.must_be(before, "the refused rollback changed something")
    bench.must("rollback", "-e", "fractal_accept_data_loss=true")
    aside = bench.kept_aside()
    if len(aside) != 1 or bench.on("server", sql(COUNT_SINCE, aside[0])).strip() != "1":
        raise Failed(f"the row written since is not in the database kept aside: {aside}")
    bench.clean_up()
    bench.must_be(old, "after the rollback the instance is not the old one")


def in_place(bench: Bench, old: State, _new: State) -> None:
    """An upgrade in place whose pip is killed goes back by itself; if nobody is left to do that, a re-run goes on.

    Whatever pip has taken away: the program that the unit names, or a library with which the database is asked.
    """
    strategy = ("-e", "fractal_install_strategy=in_place")
    output = bench.disturbed("upgrade", KILLED_WITHOUT_SCRIPT, *strategy)
    says(output, "The old instance is back in service")
    back(bench, old, *strategy)
    bench.disturbed("upgrade", KILLED_WITHOUT_LIBRARY, *strategy)
    bench.must("upgrade", *strategy)
    alive = bench.on("server", "curl -s http://127.0.0.1:8000/api/alive/; stat -c %F /opt/fractal/venv")
    if "2.17.0" not in alive or "directory" not in alive:
        raise Failed(f"the upgrade in place ended with: {alive}")
    back(bench, old, *strategy)


def killed_over_the_forgetting(bench: Bench, old: State, new: State) -> None:
    """A program that is killed at its very end leaves what let the unit start; one more run ends it."""
    bench.disturbed("upgrade", KILLED_OVER_THE_FORGETTING)
    left = bench.on("server", f"ls -d $(dirname {HOLD})/*upgrade*; systemctl is-active fractal-server")
    if "/upgrade-in-progress--" not in left or HOLD in left or "inactive" in left:
        raise Failed(f"it was not killed over the forgetting: {left}")
    bench.must("upgrade")
    bench.clean_up()
    bench.must_be(new, "after one more run the instance is not as after an undisturbed one")
    back(bench, old)


def backups_as_the_operator_wants_them(bench: Bench, old: State, _new: State) -> None:
    """Only after an upgrade the older backups go; its own is copied to the controller, whole and for nobody else."""
    copies = pathlib.Path(bench.reports).with_name("copies")
    bench.must("upgrade")
    back(bench, old)
    bench.must("upgrade", "-e", "fractal_backup_keep=1", "-e", f"fractal_backup_copy_to={copies}")
    left = bench.on("server", "ls -A /var/backups/fractal/fractal-server.service").split()
    copied = list(copies.iterdir())
    if len(left) != 1 or [path.name for path in copied] != [f"server-{left[0]}.tar"]:
        raise Failed(f"backups on the host: {left}, copies: {copied}")
    if copied[0].stat().st_mode & 0o777 != 0o600 or copies.stat().st_mode & 0o777 != 0o700:
        raise Failed("others can read the copy")
    with tarfile.open(copied[0]) as tar:
        manifest = json.load(tar.extractfile(f"{left[0]}/manifest.json"))  # type: ignore[arg-type]
        for entry in [manifest["dump"], *manifest["files"]]:
            content = tar.extractfile(f"{left[0]}/{entry['file']}").read()  # type: ignore[union-attr]
            if hashlib.sha256(content).hexdigest() != entry["sha256"]:
                raise Failed(f"{entry['file']} in the copy is damaged")
    if bench.on("server", "ls -d /var/tmp/fractal-backup-* 2>/dev/null"):
        raise Failed("the packed backup is left on the host")
    back(bench, old)


def one_upgrade_after_the_other(bench: Bench, old: State, new: State) -> None:
    """An upgraded instance is upgraded once more; back goes one upgrade at a time, and further to a backup by name.

    A try that fails before its window then goes back to nothing that is newer.
    """
    target = ("-e", "fractal_target_version=2.17.2")
    bench.must("upgrade")
    first = bench.on("server", "ls -d /var/backups/fractal/fractal-server.service/* | tail -1").strip()
    bench.must_fail("precheck", *target, "-e", "fractal_wheelhouse=/nowhere")
    says(reported(bench), "release.not_offered")
    bench.must("upgrade", *target)
    alive = bench.on("server", "curl -s http://127.0.0.1:8000/api/alive/")
    if "2.17.2" not in alive:
        raise Failed(f"the second upgrade ended with: {alive}")
    bench.must("rollback", *target)
    bench.clean_up()
    bench.on("server", remove("/opt/fractal/venv-2.17.[12]"))  # prepared releases stay for the next try
    bench.must_be(new, "after the rollback of the second upgrade the instance is not as after the first")
    back(bench, old, "-e", f"fractal_backup={first}")
    # the newest backup is of a release that the instance has gone back from
    bench.on("server", remove("/opt/fractal/venv-2.17.0*"))
    bench.disturbed("upgrade", Point("stage", task="Build the environments of the next releases"))
    back(bench, old)


def a_host_without_power(bench: Bench, old: State, new: State, stage: str) -> None:
    """The server goes off in the window and on again: what is half-way does not start, and both ways end well."""
    bench.without_power("upgrade", BEFORE_THE_POWER_GOES[stage])
    found = bench.on("server", "systemctl is-active fractal-server").strip()
    if found != ("active" if stage == "start" else "inactive"):  # in `start` the new release may start
        raise Failed(f"off in the stage {stage}, and after the start fractal-server is {found}")
    if stage not in ("schema", "note", "start"):  # from these straight back
        bench.must("upgrade")
        bench.clean_up()
        bench.must_be(new, f"off in the stage {stage}: after the re-run it is not as after an undisturbed run")
    back(bench, old)


PROMISES: dict[str, Promise] = {
    "two controllers at once": second_controller,
    "fractal_on_failure rollback": going_back_by_itself,
    "fractal_on_failure stop": stopping,
    **{f"a window nobody watches, {point}": partial(a_window_nobody_watches, point=point) for point in UNWATCHED},
    "a killed run that waits": a_killed_run_that_waits,
    "a window that another run joins": a_window_that_is_joined,
    "a page that nobody takes away": a_page_that_nobody_takes_away,
    **{f"a host without power, {stage}": partial(a_host_without_power, stage=stage) for stage in BEFORE_THE_POWER_GOES},
    "a unit that refuses": a_unit_that_refuses,
    "an answer that comes too late": an_answer_that_comes_too_late,
    "without CREATEDB": without_the_right_to_create_databases,
    "in place, pip killed": in_place,
    "killed over the forgetting": killed_over_the_forgetting,
    "backups kept and copied": backups_as_the_operator_wants_them,
    "one upgrade after the other": one_upgrade_after_the_other,
    "rows written since": work_of_users_is_not_lost_in_silence,
}
