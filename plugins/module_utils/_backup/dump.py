# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""The database's half of a backup: the dump and its proof, made in the service account's child."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._backup.store import explained
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.programs import run as run_program
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.contents import (
    FRACTAL_TABLES,
    Contents,
    differences,
    note_contents_after,
    read_contents,
    search_path_of,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.database import (
    DatabaseSettings,
    Installation,
    connect,
    installation_settings,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.frozen import find_copy
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.programs import (
    PostgresProcess,
    PostgresPrograms,
    cheapest_compression,
    dump_entries,
    find_programs,
    object_of,
    read_through,
    restoring,
    start_dump,
    told_entry,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.scratch import (
    DATABASE_FACTS,
    NO_OWNERS,
    PROOF,
    REHEARSAL,
    drop_all,
    half_made,
    left_over,
    restorable,
    scratch_database,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.sessions import wait_until_unlocked
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.task_folders import task_groups

if TYPE_CHECKING:
    from sqlalchemy import Connection

_IN_THE_ARCHIVE = "1"  # gzip, lightly: what every pg_restore can read, as an archive may be read elsewhere
_LOCK_PATIENCE = 30.0  # seconds; only asked for in check mode, while nothing waits


def see_that_it_can_be_dumped(installation: Installation) -> dict[str, Any]:
    """Return nothing if there are a database and programs for it.

    Raises:
        FractalError: There are not.
    """
    settings = installation_settings(installation)
    with connect(settings, read_only=True) as source:
        find_programs(source.exec_driver_sql(DATABASE_FACTS).mappings().one()["server_version_num"])
    with connect(settings, autocommit=True) as source:
        wait_until_unlocked(source, _LOCK_PATIENCE)
    return {}


def read_after(installation: Installation, contents: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the database holds beyond ``contents``, as plain data."""
    with connect(installation_settings(installation), read_only=True) as connection:
        return note_contents_after(connection, Contents.from_dict(contents)).as_dict()


def drop_scratch_databases(installation: Installation, runs: list[str], check_mode: bool) -> dict[str, Any]:
    """Drop the databases that killed runs left, also the copies of these ``runs``, and return their ``names``."""
    settings = installation_settings(installation)
    with connect(settings, autocommit=True) as connection:
        names = left_over(connection, settings.dbname)
        names += [name for run in runs for name in half_made(connection, settings.dbname, run)]
        if not check_mode:
            drop_all(connection, names)
    return {"names": names}


def dump_and_prove(
    installation: Installation,
    run: str,
    proof: str,
    dump: int,
    path: str,
    copy: Mapping[str, Any] | None = None,
    keep: bool = False,
    jobs: int = 1,
) -> dict[str, Any]:
    """Dump the database, or its frozen copy, into an open file and prove the dump.

    Args:
        installation: Whose database.
        run: Name of the backup.
        proof: ``restore``, ``list`` or ``none``.
        dump: The file, empty, to read and write.
        path: What it is called, for messages.
        copy: The frozen copy to dump, as the manifest names it: nobody waits for that, so it keeps out of the way.
        keep: Leave the database that the dump was proved by, for a rehearsal.
        jobs: How many parts to restore at once; see `restoring`.

    Returns:
        ``database`` (what another one needs to be like it), ``contents``, ``task_groups`` (see `task_folders.py`),
        ``left_out`` (what only an administrator can restore), ``compress`` (pg_dump's option), ``dump_seconds``,
        ``proof_seconds`` and, if it was to be kept, the
        name of the ``scratch`` database. Of a copy that is gone, only ``gone``.

    Raises:
        FractalError: It could not be made or proved.
    """
    settings = installation_settings(installation)
    dumped_from = settings.at(copy["name"]) if copy else settings
    if copy:
        keep_out_of_the_way()
        with connect(settings, autocommit=True) as connection:
            if not find_copy(connection, settings.dbname, run, copy):
                return {"gone": copy["name"]}
    started = time.monotonic()
    with contextlib.ExitStack() as stack:
        source = stack.enter_context(connect(dumped_from, read_only=True))
        database = dict(source.exec_driver_sql(DATABASE_FACTS).mappings().one())
        programs = find_programs(database["server_version_num"])
        compress = _IN_THE_ARCHIVE if copy else _cheapest(programs, database["size_bytes"], dump)
        scratch = None
        with _dumping(programs, dumped_from, source, dump, path, compress) as dumping:
            if proof == "restore":
                kind = REHEARSAL if keep else PROOF
                scratch = stack.enter_context(scratch_database(settings, run, database, kind, keep))
            search_path = copy["search_path"] if copy else search_path_of(source)
            contents = read_contents(source, search_path, versions=bool(copy))
            groups = task_groups(source)
            dumping.finish(f"dump the {settings.where}")
        dumped = _since(started)
        if contents.revision is None:
            raise FractalError(f"The {settings.where} has no alembic revision: it is not fractal-server's.")
        started = time.monotonic()
        left_out: list[str] = []
        if scratch:
            with connect(settings, autocommit=True) as connection:
                entries = dump_entries(programs, dump)
                kept, left_out = restorable(connection, programs, scratch, dump, entries, NO_OWNERS)
            refuse_unproved(left_out, contents)
            with restoring(programs, scratch, dump, kept, NO_OWNERS, jobs) as restore:
                restore.finish("prove the backup by restoring it")
            _compare(contents, scratch, search_path, left_out)
        elif proof == "list":
            read_through(programs, dump)
    return {
        "database": {"name": settings.dbname, "host": settings.host, "port": settings.port, **database},
        "contents": contents.as_dict(),
        "task_groups": groups,
        "left_out": [told_entry(entry) for entry in left_out],
        "compress": compress,
        "dump_seconds": dumped,
        "proof_seconds": _since(started),
        "scratch": scratch.dbname if scratch and keep else "",
    }


def keep_out_of_the_way() -> None:
    """Let everybody else's work go first, on the processor and the disk, also before that of our children."""
    os.nice(19)
    run_program(["ionice", "-c", "3", "-p", str(os.getpid())])  # where there is none, the processor is enough


def _cheapest(programs: PostgresPrograms, size: int, dump: int) -> str:
    disk = os.fstatvfs(dump)
    return cheapest_compression(programs, size, disk.f_bavail * disk.f_frsize)


@contextlib.contextmanager
def _dumping(
    programs: PostgresPrograms, settings: DatabaseSettings, source: Connection, dump: int, path: str, compress: str
) -> Iterator[PostgresProcess]:
    """Dump the database, as the transaction of ``source`` sees it, for as long as this context lasts."""
    snapshot = str(source.exec_driver_sql("SELECT pg_export_snapshot()").scalar())
    with explained("write", path):
        with start_dump(programs, settings, snapshot, dump, compress) as dumping:
            yield dumping
        os.fsync(dump)
        # pg_dump 15 ends with 0 when only its last write, that of the table of contents, finds the disk full
        if os.fstatvfs(dump).f_bfree == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)


def refuse_unproved(left_out: Iterable[str], contents: Contents) -> None:
    """Raise an error if something of Fractal's own is among the entries that cannot be restored.

    Raises:
        FractalError: It is; the text names it.
    """
    own = {f"{contents.schema}.{table}" for table in FRACTAL_TABLES}
    found = [
        told_entry(entry) for entry in left_out if told_entry(entry).startswith("TABLE ") and object_of(entry) in own
    ]
    if found:
        raise FractalError(
            f"The backup cannot be proved: PostgreSQL does not let the role restore {'; '.join(found)}, a table of "
            "fractal-server. Nothing was changed."
        )


def left_out_objects(entries: Iterable[str]) -> set[str]:
    """Return the ``schema.name`` of what entries of a table of contents define."""
    names = {object_of(entry) for entry in entries}
    return names | {name.split("(")[0] for name in names}


def _compare(contents: Contents, scratch: DatabaseSettings, search_path: str, left_out: Iterable[str]) -> None:
    objects = left_out_objects(left_out)
    with connect(scratch, read_only=True) as connection:
        found = differences(contents.without(objects), read_contents(connection, search_path).without(objects))
    if found:
        raise FractalError(
            "The backup is not proved: what was restored from the dump differs from the database: "
            f"{'; '.join(found)}. Was the database written to, or is its disk failing? Nothing was changed."
        )


def _since(started: float) -> float:
    return round(time.monotonic() - started, 3)
