# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""PostgreSQL's own programs: dumping a database and restoring a dump."""

from __future__ import annotations

import contextlib
import glob
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.accounts import Account
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.programs import ends_with_us
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.database import (
    DatabaseSettings,
    guarded_options,
    who_holds_locks,
)

_FOLDERS = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin")  # Debian; PostgreSQL's own RPMs

_QUICK = ("lz4", "zstd:1")  # ways to compress that cost next to nothing, the cheapest first
UNCOMPRESSED = "0"
_ROOM_UNCOMPRESSED = 3  # room for a dump without compression, compared with the database
_FAILED_ENTRY = re.compile(r"from TOC entry (\d+);")
# What entries of a table of contents are (pg_dump 12 to 18); the longest first, as one may begin with another.
_KINDS = (
    "ACCESS METHOD,ACL,AGGREGATE,BLOB,BLOB METADATA,BLOBS,CAST,CHECK CONSTRAINT,COLLATION,COMMENT,CONSTRAINT,"
    "CONVERSION,DATABASE,DATABASE PROPERTIES,DEFAULT,DEFAULT ACL,DOMAIN,ENCODING,EVENT TRIGGER,EXTENSION,FK CONSTRAINT,"
    "FOREIGN DATA WRAPPER,FOREIGN TABLE,FUNCTION,INDEX,INDEX ATTACH,MATERIALIZED VIEW,MATERIALIZED VIEW DATA,OPERATOR,"
    "OPERATOR CLASS,OPERATOR FAMILY,POLICY,PROCEDURAL LANGUAGE,PROCEDURE,PUBLICATION,PUBLICATION TABLE,"
    "PUBLICATION TABLES IN SCHEMA,ROW SECURITY,RULE,SCHEMA,SEARCHPATH,SECURITY LABEL,SEQUENCE,SEQUENCE OWNED BY,"
    "SEQUENCE SET,SERVER,SHELL TYPE,STATISTICS,STATISTICS DATA,STDSTRINGS,SUBSCRIPTION,SUBSCRIPTION TABLE,TABLE,"
    "TABLE ATTACH,TABLE DATA,TEXT SEARCH CONFIGURATION,TEXT SEARCH DICTIONARY,TEXT SEARCH PARSER,TEXT SEARCH TEMPLATE,"
    "TRANSFORM,TRIGGER,TYPE,USER MAPPING,VIEW"
).split(",")
_KIND = re.compile(f"(?:{'|'.join(sorted(_KINDS, key=len, reverse=True))}) ")
# these hold the rows of an object that has an entry of its own
_ROWS_OF = {"TABLE": "TABLE DATA", "SEQUENCE": "SEQUENCE SET", "MATERIALIZED VIEW": "MATERIALIZED VIEW DATA"}


@dataclass(frozen=True)
class PostgresPrograms:
    """The folder with ``pg_dump``, ``pg_restore`` and ``psql``, and their major version."""

    folder: str
    major: int


def find_programs(server_version_num: int, folders: Iterable[str] | None = None) -> PostgresPrograms:
    """Return the programs to use with a server: those of its own major version, or else the oldest newer ones.

    Newer ones are second best, as what they write may be unknown to an older server when it is restored.

    Raises:
        FractalError: There are none, or all are older than the server, which they refuse.
    """
    server = server_version_num // 10000
    found = [
        PostgresPrograms(folder, major)
        for folder in (_candidates() if folders is None else folders)
        for major in [_major_version(os.path.join(folder, "pg_dump"))]
        if major is not None and os.access(os.path.join(folder, "pg_restore"), os.X_OK)
    ]
    usable = [programs for programs in found if programs.major >= server]
    if not usable:
        has = f"those found are for PostgreSQL {max(p.major for p in found)}" if found else "none was found"
        raise FractalError(
            f"Backing up needs pg_dump and pg_restore of PostgreSQL {server} or later on this host; {has}. Install the "
            f"client programs, for example the package postgresql-client-{server} or postgresql-client."
        )
    return min(usable, key=lambda programs: programs.major)


def cheapest_compression(programs: PostgresPrograms, size: int, free: int) -> str:
    """Return the value of ``--compress`` that makes a dump of a database of ``size`` bytes the soonest.

    lz4 and zstd cost next to nothing and write less, where this pg_dump has them. Without, gzip's lightest level still
    takes several times as long as no compression at all, for which the disk (``free`` bytes) needs room: rows that
    PostgreSQL has compressed itself are a dump's in full.
    """
    # an old one takes any word for a number
    known = [way for way in _QUICK if _takes(programs, way)] if not _takes(programs, "nonsense") else []
    return next(iter(known), UNCOMPRESSED if free > _ROOM_UNCOMPRESSED * size else "1")


def _takes(programs: PostgresPrograms, way: str) -> bool:
    """Whether this build of pg_dump takes a way to compress: it refuses one before it connects to anything."""
    command = [os.path.join(programs.folder, "pg_dump"), "--format=custom", f"--compress={way}", "--file=/dev/null"]
    nowhere = "host=/nonexistent dbname=nowhere"
    done = subprocess.run(  # pylint: disable=ansible-bad-function
        [*command, "--no-password", f"--dbname={nowhere}"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        env={"LC_ALL": "C"},
    )
    return done.returncode != 0 and "compress" not in done.stderr


def start_dump(
    programs: PostgresPrograms, settings: DatabaseSettings, snapshot: str, target: int, compress: str
) -> PostgresProcess:
    """Start dumping the database, as the snapshot shows it, in custom format into an open file.

    ``compress`` is the value of pg_dump's option.
    """
    arguments = [
        "--format=custom",
        f"--compress={compress}",
        "--no-password",
        "--lock-wait-timeout=60s",
        f"--snapshot={snapshot}",
    ]
    return PostgresProcess(programs, settings, "pg_dump", arguments, stdout=target)


def dump_schema(programs: PostgresPrograms, settings: DatabaseSettings, target: IO[bytes]) -> None:
    """Write what a dump of the database would hold, but no rows, into an open file.

    Raises:
        FractalError: pg_dump refuses; the text has its words.
    """
    arguments = ["--format=custom", "--schema-only", "--no-password", "--lock-wait-timeout=10s"]
    with PostgresProcess(programs, settings, "pg_dump", arguments, stdout=target) as dump:
        dump.finish(f"read the schema of the {settings.where}")


@contextlib.contextmanager
def restoring(
    programs: PostgresPrograms,
    settings: DatabaseSettings,
    dump: int,
    entries: Sequence[str] = (),
    options: Sequence[str] = (),
    jobs: int = 1,
) -> Iterator[PostgresProcess]:
    """Restore a dump into an empty database, everything or an error, for as long as this context lasts.

    ``dump`` is an open file. ``entries`` are those of its table of contents to restore, all if there are none. Each of
    several ``jobs`` opens the file for itself, so it has to be this account's own.
    """
    several = [f"--jobs={jobs}", "/proc/self/fd/0"] if jobs > 1 else []
    with _pg_restore(programs, settings, dump, entries, ["--exit-on-error", *options, *several]) as restore:
        yield restore


def refused_entries(
    programs: PostgresPrograms, settings: DatabaseSettings, dump: int, entries: Sequence[str], options: Sequence[str]
) -> list[str]:
    """Restore the schema of a dump into an empty database; return the entries that PostgreSQL refused.

    Raises:
        FractalError: Not even that can be tried.
    """
    # only with --verbose does it say which entry an error is about
    with _pg_restore(programs, settings, dump, entries, ["--schema-only", "--verbose", *options]) as restore:
        returncode, said = restore.end()
    numbers = set(_FAILED_ENTRY.findall(said))
    if returncode != 0 and not numbers:
        last = "\n".join(said.splitlines()[-6:])
        raise FractalError(f"Cannot restore the schema into the {settings.where}:\n{last}")
    return [entry for entry in entries if entry.split(";")[0] in numbers]


def entries_without(entries: Iterable[str], left_out: Iterable[str]) -> list[str]:
    """Return the entries of a table of contents but for some, and for the rows of these.

    Rows of a table that has no entry belong to an extension; they go with it.
    """
    entries = list(entries)
    left = set(left_out)
    told = {told_entry(entry) for entry in left}
    extensions_left = any(entry.startswith("EXTENSION ") for entry in told)
    tables = {told_entry(entry) for entry in entries}
    kept = []
    for entry in entries:
        what = told_entry(entry)
        of = next(
            (f"{kind} {what[len(rows) + 1 :]}" for kind, rows in _ROWS_OF.items() if what.startswith(rows + " ")), ""
        )
        if (
            entry not in left
            and of not in told
            and not (extensions_left and of.startswith("TABLE ") and of not in tables)
        ):
            kept.append(entry)
    return kept


def told_entry(entry: str) -> str:
    """Return an entry of a table of contents for people: what, schema, name and owner."""
    return " ".join(entry.split()[3:])


def object_of(entry: str) -> str:
    """Return the ``schema.name`` of an entry, as far as its words tell."""
    told = " ".join(entry.split(" ")[3:])  # the last word is the owner, empty where there is none
    kind = _KIND.match(told)
    schema, _blank, rest = told[kind.end() if kind else 0 :].partition(" ")
    return f"{schema}.{rest.rpartition(' ')[0]}"


@contextlib.contextmanager
def _pg_restore(
    programs: PostgresPrograms, settings: DatabaseSettings, dump: int, entries: Sequence[str], options: Sequence[str]
) -> Iterator[PostgresProcess]:
    with contextlib.ExitStack() as stack:
        arguments = ["--no-password", *options, *stack.enter_context(use_list(entries))]
        restore = PostgresProcess(programs, settings, "pg_restore", arguments, stdin=_from_start(dump))
        yield stack.enter_context(restore)


@contextlib.contextmanager
def use_list(entries: Sequence[str]) -> Iterator[list[str]]:
    """Yield the option of pg_restore that restores these entries only; none if there are no entries."""
    if not entries:
        yield []
        return
    with tempfile.NamedTemporaryFile("w", prefix="fractal-restore-", suffix=".list") as listed:
        os.fchmod(listed.fileno(), 0o644)  # holds names only; another account may have to read it
        listed.writelines(f"{entry}\n" for entry in entries)
        listed.flush()
        yield [f"--use-list={listed.name}"]


def restore_in_place(
    programs: PostgresPrograms, settings: DatabaseSettings, dump: int, entries: Sequence[str], before: str, after: str
) -> None:
    """Run ``before``, the restore of some entries and ``after`` in one session, all of it or nothing.

    ``before`` has to begin a transaction, ``after`` to commit it; an error anywhere, also in between, commits nothing.

    Raises:
        FractalError: Something failed; the database is unchanged.
    """
    arguments = ["--no-psqlrc", "--quiet", "--no-password", "--set=ON_ERROR_STOP=1", "--output=/dev/null"]
    with contextlib.ExitStack() as stack:
        listed = stack.enter_context(use_list(entries))
        extract = [os.path.join(programs.folder, "pg_restore"), *listed, "--file=-"]
        psql = stack.enter_context(PostgresProcess(programs, settings, "psql", arguments, stdin=subprocess.PIPE))
        script = stack.enter_context(
            subprocess.Popen(  # pylint: disable=ansible-bad-function
                extract, stdin=_from_start(dump), stdout=subprocess.PIPE, stderr=subprocess.PIPE, **ends_with_us()
            )
        )
        if psql.stdin is None or script.stdout is None or script.stderr is None:
            raise AssertionError("all three are pipes")
        with contextlib.suppress(BrokenPipeError), psql.stdin as target:  # psql may stop; finish() says why
            target.write(before.encode())
            shutil.copyfileobj(script.stdout, target, 1 << 20)
            if script.wait() == 0:
                target.write(after.encode())
        script.stdout.close()
        psql.finish("restore within the database, which is unchanged")
        if script.wait() != 0:
            reason = script.stderr.read().decode("utf-8", "replace").strip()
            raise FractalError(f"pg_restore cannot read the dump, so the database is unchanged: {reason}.")


def dump_entries(programs: PostgresPrograms, dump: int) -> list[str]:
    """Return the lines of a dump's table of contents.

    Raises:
        FractalError: pg_restore cannot read it.
    """
    lines = _pg_restore_alone(programs, dump, "--list").splitlines()
    return [line for line in lines if line and not line.startswith(";")]


def grants_of_others(programs: PostgresPrograms, dump: int) -> bool:
    """Return whether others than the owners have granted privileges in a dump, which only a superuser can repeat.

    Raises:
        FractalError: pg_restore cannot read it.
    """
    return "\nSET SESSION AUTHORIZATION " in _pg_restore_alone(programs, dump, "--schema-only", "--file=-")


def read_through(programs: PostgresPrograms, dump: int) -> None:
    """Read a dump from the first to the last byte, without a server.

    Raises:
        FractalError: It cannot be read.
    """
    _pg_restore_alone(programs, dump, "--file=/dev/null")


def _pg_restore_alone(programs: PostgresPrograms, dump: int, *options: str) -> str:
    command = [os.path.join(programs.folder, "pg_restore"), *options]
    done = subprocess.run(  # pylint: disable=ansible-bad-function
        command, stdin=_from_start(dump), capture_output=True, text=True, errors="replace", check=False
    )
    if done.returncode != 0:
        raise FractalError(f"pg_restore cannot read the dump: {done.stderr.strip()}")
    return done.stdout


def _from_start(dump: int) -> int:
    os.lseek(dump, 0, os.SEEK_SET)
    return dump


class PostgresProcess:
    """A running program of PostgreSQL; ``finish`` waits for it, leaving the context ends it."""

    def __init__(
        self,
        programs: PostgresPrograms,
        settings: DatabaseSettings,
        program: str,
        arguments: Sequence[str],
        stdin: Any = subprocess.DEVNULL,
        stdout: Any = subprocess.DEVNULL,
    ) -> None:
        """Start the program with the settings in its environment, never on its command line."""
        account = Account.named(None)  # this process is the service account's
        self._program = program
        self._settings = settings
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed when the program has ended
        environment = {**account.environment, "LC_ALL": "C", **settings.libpq_environment()}
        environment["PGOPTIONS"] = guarded_options(settings)
        try:
            self._process = subprocess.Popen(  # pylint: disable=ansible-bad-function
                [os.path.join(programs.folder, program), f"--dbname={settings.conninfo()}", *arguments],
                stdin=stdin,
                stdout=stdout,
                stderr=self._errors,
                env=environment,
                cwd="/",
                **ends_with_us(),
            )
        except OSError as error:
            raise FractalError(f"Cannot run {program}: {error.strerror}.") from error

    @property
    def stdin(self) -> IO[bytes] | None:
        """The program's standard input, when it was started with a pipe."""
        return self._process.stdin

    def __enter__(self) -> PostgresProcess:
        """Return the program itself."""
        return self

    def __exit__(self, *_exception: object) -> None:
        """End the program if it still runs."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._errors.close()

    def finish(self, purpose: str) -> None:
        """Wait for the end.

        Raises:
            FractalError: The program failed; the text ends with its last words.
        """
        returncode, said = self.end()
        if returncode != 0:
            last = "\n".join(said.splitlines()[-6:])
            raise FractalError(
                f"Cannot {purpose}: {self._program} ended with {returncode}.\n{last}{who_holds_locks(self._settings)}"
            )

    def end(self) -> tuple[int, str]:
        """Wait for the end; return the program's exit code and its words, no secret among them."""
        returncode = self._process.wait()
        self._errors.seek(0)
        said = self._errors.read().decode("utf-8", "replace").strip()
        for secret in self._settings.secrets:
            said = said.replace(secret, "********")
        return returncode, said


def _candidates() -> list[str]:
    on_path = shutil.which("pg_dump")
    folders = [folder for pattern in _FOLDERS for folder in glob.glob(pattern)]
    return [*folders, *([os.path.dirname(on_path)] if on_path else [])]


def _major_version(pg_dump: str) -> int | None:
    try:
        done = subprocess.run([pg_dump, "--version"], capture_output=True, text=True, check=True, env={"LC_ALL": "C"})  # pylint: disable=ansible-bad-function
    except (OSError, subprocess.SubprocessError):
        return None
    match = re.search(r"\(PostgreSQL\) (\d+)", done.stdout)
    return int(match.group(1)) if match else None
