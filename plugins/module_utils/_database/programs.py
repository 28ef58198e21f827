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
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.programs import ENDS_WITH_US
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.database import DatabaseSettings

_FOLDERS = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin")  # Debian; PostgreSQL's own RPMs

_ADMINISTRATORS = re.compile(
    r"\d+; \d+ \d+ (SCHEMA - public |(ACL|COMMENT) - SCHEMA public |EXTENSION - |COMMENT - EXTENSION )"
)
_WORTH_JOBS = 64 * 1024 * 1024


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


def start_dump(
    programs: PostgresPrograms, settings: DatabaseSettings, snapshot: str, target: IO[bytes]
) -> PostgresProcess:
    """Start dumping the database, as the snapshot shows it, in custom format into an open file."""
    # light compression: the dump lies in the downtime, and the disk is rarely the narrow place
    arguments = [
        "--format=custom",
        "--compress=1",
        "--no-password",
        "--lock-wait-timeout=60s",
        f"--snapshot={snapshot}",
    ]
    return PostgresProcess(programs, settings, "pg_dump", arguments, stdout=target)


@contextlib.contextmanager
def restoring(
    programs: PostgresPrograms, settings: DatabaseSettings, dump: str, size_bytes: int
) -> Iterator[PostgresProcess]:
    """Restore a dump into an empty database, everything or an error, for as long as this context lasts.

    Left out is what belongs to PostgreSQL's administrator (see `administrators_entries`).
    """
    entries = dump_entries(programs, dump)
    arguments = ["--no-password", "--exit-on-error", f"--dbname={settings.dbname}"]
    with tempfile.NamedTemporaryFile("w", prefix="fractal-restore-", suffix=".list") as listed:
        os.fchmod(listed.fileno(), 0o644)  # holds names only; another account may have to read it
        if administrators_entries(entries):
            listed.writelines(f"{entry}\n" for entry in entries if not _ADMINISTRATORS.match(entry))
            listed.flush()
            arguments.append(f"--use-list={listed.name}")
        if settings.run_as is None:
            arguments += [f"--jobs={_jobs(size_bytes)}", dump]
            with PostgresProcess(programs, settings, "pg_restore", arguments) as restore:
                yield restore
            return
        # another account cannot read the backup; it gets it opened, but one job only
        with open(dump, "rb") as stream:
            process = PostgresProcess(programs, settings, "pg_restore", arguments, stdin=stream)
        with process as restore:
            yield restore


def administrators_entries(entries: Iterable[str]) -> list[str]:
    """Return what of a dump only an administrator can restore: extensions, and owner and privileges of ``public``.

    Fractal uses no extension, and an empty database has a schema ``public`` of its own.
    """
    return [" ".join(entry.split()[3:]) for entry in entries if _ADMINISTRATORS.match(entry)]


def restore_in_place(
    programs: PostgresPrograms, settings: DatabaseSettings, dump: str, schema: str, before: str, after: str
) -> None:
    """Run ``before``, the restore of one schema and ``after`` in one session, all of it or nothing.

    ``before`` has to begin a transaction, ``after`` to commit it; an error anywhere, also in between, commits nothing.

    Raises:
        FractalError: Something failed; the database is unchanged.
    """
    arguments = ["--no-psqlrc", "--quiet", "--no-password", "--set=ON_ERROR_STOP=1", "--output=/dev/null"]
    extract = [os.path.join(programs.folder, "pg_restore"), f"--schema={schema}", "--file=-", dump]
    with contextlib.ExitStack() as stack:
        psql = stack.enter_context(PostgresProcess(programs, settings, "psql", arguments, stdin=subprocess.PIPE))
        script = stack.enter_context(
            subprocess.Popen(extract, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **ENDS_WITH_US)
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
            raise FractalError(f"pg_restore cannot read the dump {dump}, so the database is unchanged: {reason}.")


def dump_entries(programs: PostgresPrograms, dump: str) -> list[str]:
    """Return the lines of a dump's table of contents.

    Raises:
        FractalError: pg_restore cannot read it.
    """
    lines = _pg_restore_alone(programs, dump, "--list").splitlines()
    return [line for line in lines if line and not line.startswith(";")]


def read_through(programs: PostgresPrograms, dump: str) -> None:
    """Read a dump from the first to the last byte, without a server.

    Raises:
        FractalError: It cannot be read.
    """
    _pg_restore_alone(programs, dump, "--file=/dev/null")


def _pg_restore_alone(programs: PostgresPrograms, dump: str, option: str) -> str:
    command = [os.path.join(programs.folder, "pg_restore"), option, dump]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode != 0:
        raise FractalError(f"pg_restore cannot read the dump {dump}: {done.stderr.strip()}")
    return done.stdout


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
        account = Account.named(settings.run_as)
        self._program = program
        self._settings = settings
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed when the program has ended
        environment = {**account.environment, "LC_ALL": "C", **settings.libpq_environment()}
        try:
            self._process = subprocess.Popen(
                [os.path.join(programs.folder, program), *arguments],
                stdin=stdin,
                stdout=stdout,
                stderr=self._errors,
                env=environment,
                cwd="/",
                **ENDS_WITH_US,
                **account.subprocess_options,
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
        returncode = self._process.wait()
        self._errors.seek(0)
        said = self._errors.read().decode("utf-8", "replace").strip()
        if returncode != 0:
            if self._settings.password:
                said = said.replace(self._settings.password, "********")
            last = "\n".join(said.splitlines()[-6:])
            raise FractalError(f"Cannot {purpose}: {self._program} ended with {returncode}.\n{last}")


def _jobs(size_bytes: int) -> int:
    """Return how many jobs restore a database of this size fastest; starting them costs more than a small one takes."""
    return 1 if size_bytes < _WORTH_JOBS else max(1, min(4, os.cpu_count() or 1))


def _candidates() -> list[str]:
    on_path = shutil.which("pg_dump")
    folders = [folder for pattern in _FOLDERS for folder in glob.glob(pattern)]
    return [*folders, *([os.path.dirname(on_path)] if on_path else [])]


def _major_version(pg_dump: str) -> int | None:
    try:
        done = subprocess.run([pg_dump, "--version"], capture_output=True, text=True, check=True, env={"LC_ALL": "C"})
    except (OSError, subprocess.SubprocessError):
        return None
    match = re.search(r"\(PostgreSQL\) (\d+)", done.stdout)
    return int(match.group(1)) if match else None
