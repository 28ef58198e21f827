"""Where an upgrade or a rollback is disturbed, and by what: data only."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace

KILL = "kill -9 $PID"
STOP_POSTGRESQL = "systemctl stop postgresql@15-main"
START_POSTGRESQL = "systemctl start postgresql@15-main"
CUT_CONNECTION = "pkill -9 -f '^sshd: ops'"
WITH_A_DUMP = ("-e", "fractal_backup_method=dump")
WITH_A_PAGE = ("-e", "fractal_maintenance_page=true")
LOCK = "/run/fractal-server.service.upgrade-lock"
WINDOW = "fractal-window-fractal-server.service"
KILL_PROGRAM = f"systemctl kill --kill-who=main -s KILL {WINDOW}"
FREEZE, THAW = (f"systemctl kill -s {signal} {WINDOW}" for signal in ("STOP", "CONT"))
A_MODULE = "^[^ ]*/python3$"  # one that comes through a pipe has no name
KILL_MODULE = f"pkill -9 -f '{A_MODULE}'"
KILL_WHAT_WORKS = f"pkill -9 -f '{A_MODULE}|[.]window/window.py'"  # the program of the window, too
WAIT_FOR_WINDOW = f"while systemctl is-active -q {WINDOW}; do sleep 0.2; done"  # it ends by itself
WAIT_FOR_MODULE = f"{WAIT_FOR_WINDOW}; test ! -e {LOCK} || flock {LOCK} true"  # it works on without its connection


HOLD = "/etc/systemd/system/fractal-server.service.d/90-fractal-upgrade-in-progress.conf"
OLD_PACKAGES = "/opt/fractal/venv/lib/python3.11/site-packages"


def sql(statement: str, database: str = "fractal_db") -> str:
    """Return the shell command that runs a statement on the server as PostgreSQL's administrator."""
    return f"runuser -u postgres -- psql -qAtX -d {database} -c {shlex.quote(statement)}"


@dataclass(frozen=True)
class Point:
    """What happens when a task begins (``task``), when a process is seen on the server (``process``), or when a stage
    of the window begins (``begun``).

    ``do`` is a shell command on the server, ``what`` its name in the output; without it the controller is killed.
    ``first`` is done before the run; ``mend`` undoes ``do`` before the next run. ``back`` says that the failed run
    itself has to bring the old instance back.
    """

    stage: str
    task: str = ""
    process: str = ""
    begun: str = ""
    delay: float = 0.0
    do: str = ""
    what: str = ""
    mend: str = ""
    first: str = ""
    back: bool = False
    arguments: tuple[str, ...] = ()

    def __str__(self) -> str:
        seen = f"in the stage '{self.begun}'" if self.begun else f"'{self.process.strip()}'"
        where = f"as '{self.task}' begins" if self.task else f"{seen} + {self.delay:g} s"
        known = {"": "controller killed", KILL: "killed", KILL_PROGRAM: "the program of the window killed"}
        known |= {KILL_MODULE: "its module killed", KILL_WHAT_WORKS: "the program and who watches it killed"}
        return f"{self.stage}: {where}: {self.what or known.get(self.do, self.do)}"


PIP_IN_PLACE = "-m pip install --disable-pip-version-check --no-input --no-index"
# as it is for a moment: pip takes the scripts of a package away first, and the unit names one of them
KILLED_WITHOUT_SCRIPT = Point(
    "switch",
    process=PIP_IN_PLACE,
    do=f"kill -STOP $PID; rm /opt/fractal/venv/bin/fractalctl; {KILL}",
    what="killed while the unit's program is away",
)
# as it is between two releases of a library
KILLED_WITHOUT_LIBRARY = Point(
    "switch",
    process=PIP_IN_PLACE,
    do=f"kill -STOP $PID; rm -r {OLD_PACKAGES}/[Ss][Qq][Ll][Aa]lchemy*; {KILL_WHAT_WORKS}",
    what="killed with all that works, while a library is away",
)
KILLED_OVER_THE_FORGETTING = Point(
    "start",
    begun="start",
    do=f"while test -e {HOLD}; do :; done; {KILL_WHAT_WORKS}",
    what="the program and who watches it killed while the hold is being forgotten",
)


def killed(stage: str, process: str, delay: float = 0.0, back: bool = False, arguments: tuple[str, ...] = ()) -> Point:
    """Return the point at which a process on the server is killed."""
    return Point(stage, process=process, delay=delay, do=KILL, back=back, arguments=arguments)


def program_killed(begun: str, delay: float = 0.0, back: bool = False, arguments: tuple[str, ...] = ()) -> Point:
    """Return the point at which the program of the window is killed in a stage."""
    return Point(begun.split(maxsplit=1)[0], begun=begun, delay=delay, do=KILL_PROGRAM, back=back, arguments=arguments)


def controller_killed(begun: str, delay: float = 0.0, arguments: tuple[str, ...] = ()) -> Point:
    """Return the point at which the controller is killed in a stage of the window, which ends by itself."""
    return Point(begun.split(maxsplit=1)[0], begun=begun, delay=delay, mend=WAIT_FOR_WINDOW, arguments=arguments)


def a_row_in(table: str) -> str:
    """Return the shell command that waits until a row of a table is committed."""
    return sql(f"DO $$ BEGIN WHILE NOT EXISTS (SELECT FROM {table}) LOOP PERFORM pg_sleep(0.001); END LOOP; END $$")


def killed_with_a_row_in(table: str) -> Point:
    """Return the point at which the data migration is killed as soon as it has committed a row of a table."""
    what = f"killed with the first row in {table}"
    return Point("data", process="fractalctl update-db-data", do=f"{a_row_in(table)}; {KILL}", what=what)


# As each stage begins, in this order: where an upgrade was left half-way, the next one goes on from there. Schema and
# data are inside one stage of the window, so they are met at work.
BOUNDARIES = [
    Point("stage", task="Build the environments of the next releases"),
    Point("window", task="Upgrade fractal-server in its window"),
    program_killed("stop", back=True),
    program_killed("backup", back=True),
    program_killed("environment_file", back=True),
    program_killed("hop 2.17.0", back=True),
    killed("schema", "fractalctl set-db", back=True),
    killed("data", "fractalctl update-db-data"),
    program_killed("start"),
    controller_killed("start", arguments=WITH_A_PAGE),
    Point("web", task="Run the new release"),
]
INSIDE = [
    killed("stage", "-m venv ", back=True),
    killed("stage", "-m pip install", delay=2.0, back=True),
    killed("stage", "AnsiballZ_fractal_server_environment", delay=1.0, back=True),
    Point("stage", task="Validate it with the new release's own settings"),
    program_killed("look", back=True),
    program_killed("drain", back=True),
    Point("drain", begun="drain", do=KILL_WHAT_WORKS),
    program_killed("stop", delay=0.5, back=True),
    killed("backup", "/pg_dump ", back=True, arguments=WITH_A_DUMP),
    killed("backup", "/pg_restore ", back=True, arguments=WITH_A_DUMP),
    program_killed("backup", delay=0.6, back=True),
    program_killed("environment_file", delay=0.05, back=True),
    program_killed("hop 2.17.0", delay=0.3, back=True),
    killed("schema", "fractalctl set-db", delay=1.0),
    program_killed("hop 2.17.0", delay=1.5),
    killed("data", "fractalctl update-db-data", delay=0.8),
    killed_with_a_row_in("resource"),
    killed_with_a_row_in("profile"),
    program_killed("hop 2.17.0", delay=3.0),
    program_killed("note"),
    killed("start", "fractalctl start"),
    program_killed("start", delay=1.0),
    Point("web", task="Upgrade fractal-web"),
    killed("archive", "/pg_dump "),
    killed("archive", "/pg_restore "),
    Point("archive", process="/pg_dump ", do=KILL_MODULE),
]
# The window ends by itself.
UNWATCHED = [
    *[controller_killed(one) for one in ("look", "drain", "stop", "backup", "environment_file")],
    *[controller_killed("hop 2.17.0", delay) for delay in (0.0, 1.0, 2.0, 4.0)],
    controller_killed("note"),
]
# The window stands still until its host goes off: how far it comes does not hang on how quick the machine is.
BEFORE_THE_POWER_GOES = {
    one.stage: replace(one, what="the window frozen")
    for one in (
        Point("stop", begun="stop", delay=0.3, do=FREEZE),
        Point("backup", begun="backup", delay=0.3, do=FREEZE),
        Point("environment_file", begun="environment_file", do=FREEZE),
        Point("schema", process="fractalctl set-db", delay=0.3, do=FREEZE),
        Point("data", process="fractalctl update-db-data", do=f"{a_row_in('profile')}; {FREEZE}"),
        Point("note", begun="note", do=FREEZE),
        Point("start", begun="start", delay=0.5, do=FREEZE),
    )
}


def at_work(program: str) -> str:
    """Return the shell command that waits until a program of Fractal's is at work."""
    return f"until pgrep -f '[f]ractalctl {program}' >/dev/null; do sleep 0.01; done"


def killed_in_its_transaction(release: str, program: str, lock: str) -> Point:
    """Return the point at which a program is killed in the hop to a release, where it waits for what ``lock`` holds.

    The lock is taken when the program has started: nothing begins while there are other sessions.
    """
    holds = sql(f"SET application_name = 'holds'; BEGIN; {lock}; SELECT pg_sleep(120)")
    waits = "WHILE NOT EXISTS (SELECT FROM pg_locks WHERE NOT granted) LOOP PERFORM pg_sleep(0.001); END LOOP;"
    waits = sql(f"DO $$ BEGIN {waits} END $$")
    lets_go = sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'holds'")
    do = f"{holds} >/dev/null & {waits}; pkill -9 -f '[f]ractalctl {program}'; {lets_go}"
    what = f"{program} killed in its transaction"
    return Point(program, begun=f"hop {release}", do=f"{at_work(program)}; {do}", what=what)


def killed_after_its_commit(release: str, program: str, done: str) -> Point:
    """Return the point at which the window's program is killed in the hop to a release, once ``done`` is true."""
    committed = f'until [ "$({sql(f"SELECT {done}")})" = t ]; do :; done'
    what = f"killed after the commit of {program}"
    return Point(program, begun=f"hop {release}", do=f"{at_work(program)}; {committed}; {KILL_PROGRAM}", what=what)


def at_head(head: str) -> str:
    """Return whether the schema is at a revision, as SQL."""
    return f"EXISTS (SELECT FROM alembic_version WHERE version_num = '{head}')"


OVER_TWO_STOPS = (
    *("-e", "fractal_target_version=2.18.5", "-e", '{"fractal_accept": ["viewer.folders_lost"]}'),
    *("-e", "fractal_web_archive=/opt/archives/node-18-fractal-web-v1.22.2.tar.gz"),
)
# Of an upgrade over the stop 2.18.0, in their order: between hops, before and after each commit of their migrations. A
# run that is killed at one of them and runs again comes to the next.
ROAD = [
    program_killed("hop 2.18.0"),
    killed_in_its_transaction("2.18.0", "set-db", "LOCK TABLE resource IN ACCESS SHARE MODE"),
    killed_after_its_commit("2.18.0", "set-db", at_head("88270f589c9b")),
    killed_in_its_transaction(
        "2.18.0", "update-db-data", "SELECT FROM user_oauth WHERE id = (SELECT max(id) FROM user_oauth) FOR UPDATE"
    ),
    killed_after_its_commit("2.18.0", "update-db-data", "EXISTS (SELECT FROM user_oauth WHERE project_dirs <> '{}')"),
    program_killed("hop 2.18.5"),
    killed_in_its_transaction("2.18.5", "set-db", "LOCK TABLE taskgroupv2 IN ACCESS SHARE MODE"),
    killed_after_its_commit("2.18.5", "set-db", at_head("068496367952")),
]
ROAD_ALONE = [controller_killed(f"hop {release}") for release in ("2.18.0", "2.18.5")]  # the window goes on to its end
CONDITIONS = [
    Point(
        "stage",
        process="-m pip install",
        do="mv /opt/wheelhouse /opt/wheelhouse-gone",
        mend="test -e /opt/wheelhouse || mv /opt/wheelhouse-gone /opt/wheelhouse",
        back=True,
    ),
    Point(
        "backup",
        process="/pg_dump ",
        do="head -c 1G /dev/zero > /dev/shm/full",
        mend="rm -f /dev/shm/full",
        first="install -d -m 0700 /dev/shm/backups",
        back=True,
        arguments=(*WITH_A_DUMP, "-e", "fractal_backup_root=/dev/shm/backups"),
    ),
    Point("backup", process="/pg_dump ", do="pkill -9 -x postgres", mend=START_POSTGRESQL, arguments=WITH_A_DUMP),
    Point("backup", process="/pg_restore ", do=CUT_CONNECTION, mend=WAIT_FOR_MODULE, arguments=WITH_A_DUMP),
    Point("schema", process="fractalctl set-db", delay=0.3, do=CUT_CONNECTION, mend=WAIT_FOR_MODULE),
    Point("schema", process="fractalctl set-db", delay=0.7, do=STOP_POSTGRESQL, mend=START_POSTGRESQL),
    Point("data", process="fractalctl update-db-data", delay=0.8, do="pkill -9 -x postgres", mend=START_POSTGRESQL),
    Point(
        "schema",
        process="fractalctl set-db",
        do=sql("ALTER ROLE fractal PASSWORD 'wrong'"),
        what="the database password is another",
        mend=sql("ALTER ROLE fractal PASSWORD 'pg-s3cret-7d793037a0760186'"),
    ),
]
OF_ROLLBACK = [
    Point("rollback", task="Bring back environment, database and files, and start the old fractal-server"),
    *(killed("rollback", "AnsiballZ_fractal_rollback", delay=delay) for delay in (0.3, 1.0, 2.0, 3.0, 4.5, 6.0)),
    Point("rollback", task="Start the old fractal-server"),
    Point("rollback", task="Run the old fractal-web"),
]
