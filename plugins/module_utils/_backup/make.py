# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""The backup of an instance: one folder, proved to bring the instance back.

The folder gets its name only when everything in it is written, synced and proved. So a folder with that name is a good
backup, and is never touched again.
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import glob
import json
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._backup.instance_files import (
    instance_files,
    read_files,
    save_files,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._backup.store import (
    AFTER,
    DUMP,
    FORMAT,
    MANIFEST,
    PACKAGES,
    Backup,
    explained,
    measure,
    open_backup,
    partial_folder,
    partial_path,
    refuse_unsafe_root,
    write_synced,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.files import sync_folder
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.systemd import Unit, read_unit
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
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.programs import (
    PostgresProcess,
    PostgresPrograms,
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
    TRIAL,
    drop_all,
    own_databases,
    restorable,
    scratch_database,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.sessions import wait_until_unlocked
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.hold import read_hold
from ansible_collections.fractal_ops.platform.plugins.module_utils._releases.path import first_release_with_head
from ansible_collections.fractal_ops.platform.plugins.module_utils._venv.build import package_lines
from ansible_collections.fractal_ops.platform.plugins.module_utils._venv.interpreter import installed_version

if TYPE_CHECKING:
    from sqlalchemy import Connection

PROOFS = ("restore", "list", "none")
_LOCK_PATIENCE = 30.0  # seconds; only asked for in check mode, while nothing waits


def make_backup(
    installation: Installation,
    python: str,
    root: str,
    run: str,
    proof: str = "restore",
    extra_paths: Iterable[str] = (),
    check_mode: bool = False,
) -> dict[str, Any]:
    """Back up an instance into ``root/run``; a finished backup of the same run is left as it is.

    Args:
        installation: Whose database and files.
        python: Interpreter that runs fractal-server; its packages are listed.
        root: Folder that holds the backups; made with mode 0700 if missing.
        run: Name of the backup's folder.
        proof: ``restore`` (into a scratch database, contents compared), ``list`` (only readable) or ``none``.
        extra_paths: Further files to keep.
        check_mode: Only say whether a backup would be made, and fail where the database or the programs are missing.

    Returns:
        ``changed``, ``backup`` (see `Backup.summary`), ``dump_seconds`` and ``proof_seconds``.

    Raises:
        FractalError: It could not be made or proved. Nothing half-made is left, and nothing else was touched.
    """
    if not run or "/" in run or run.startswith("."):
        raise FractalError(f"{run!r} cannot be the name of a backup's folder.")
    path = os.path.join(root, run)
    if os.path.lexists(path):
        return {"changed": False, "backup": open_backup(path).summary(), "dump_seconds": 0.0, "proof_seconds": 0.0}
    refuse_unsafe_root(root)
    settings = installation_settings(installation)
    if check_mode:
        read_files(instance_files(installation, _unit(installation), extra_paths))
        with connect(settings, read_only=True) as source:
            find_programs(source.exec_driver_sql(DATABASE_FACTS).mappings().one()["server_version_num"])
        with connect(settings, autocommit=True) as source:
            wait_until_unlocked(source, _LOCK_PATIENCE)
        return {"changed": True, "backup": {"path": path, "run": run}, "dump_seconds": 0.0, "proof_seconds": 0.0}
    with partial_folder(root, run) as folder:
        manifest = _fill(folder, installation, settings, python, run, proof, extra_paths)
        with explained("finish", folder):
            write_synced(os.path.join(folder, MANIFEST), json.dumps(manifest, indent=2, ensure_ascii=False).encode())
            for parent, _folders, _files in os.walk(folder):
                sync_folder(parent)
            os.rename(folder, path)
            sync_folder(root)
    seconds = {name: manifest[name]["seconds"] for name in ("dump", "proof")}
    return {
        "changed": True,
        "backup": Backup(path, manifest).summary(),
        "dump_seconds": seconds["dump"],
        "proof_seconds": seconds["proof"],
    }


def note_after(installation: Installation, path: str, check_mode: bool = False) -> dict[str, Any]:
    """Note beside a finished backup what the upgraded database holds that the old one did not.

    To be called when the last migration is done and before the new release starts: what differs from it at a rollback
    is somebody's work.

    Returns:
        ``changed`` and ``noted`` (the names of the tables).

    Raises:
        FractalError: It is no backup, or the note cannot be written.
    """
    backup = open_backup(path, verify=False)
    with connect(installation_settings(installation), read_only=True) as connection:
        after = note_contents_after(connection, backup.contents)
    note = os.path.join(path, AFTER)
    changed = not os.path.exists(note) or backup.contents_after != after
    if changed and not check_mode:
        with explained("write", note):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(note + ".partial")
            write_synced(note + ".partial", json.dumps(after.as_dict(), indent=2, ensure_ascii=False).encode())
            os.replace(note + ".partial", note)
            sync_folder(path)
    return {"changed": changed, "noted": sorted(after.tables)}


def tidy_up(installation: Installation, root: str, check_mode: bool = False) -> list[str]:
    """Remove what killed backups left: unfinished folders and scratch databases. Return their names."""
    refuse_unsafe_root(root)
    removed = sorted(glob.glob(partial_path(glob.escape(root), "*")))
    if not check_mode:
        for folder in removed:
            shutil.rmtree(folder)
    settings = installation_settings(installation)
    with connect(settings, autocommit=True) as connection:
        names = [name for kind in (PROOF, TRIAL) for name in own_databases(connection, settings.dbname, kind)]
        if not check_mode:
            drop_all(connection, names)
    return removed + names


# -- making -----------------------------------------------------------------------------------------------------------


def _fill(
    folder: str,
    installation: Installation,
    settings: DatabaseSettings,
    python: str,
    run: str,
    proof: str,
    extra_paths: Iterable[str],
) -> dict[str, Any]:
    """Write everything but the manifest into the folder, prove it, and return the manifest."""
    dump = os.path.join(folder, DUMP)
    unit = _unit(installation)
    started = time.monotonic()
    with contextlib.ExitStack() as stack:
        source = stack.enter_context(connect(settings, read_only=True))
        database = dict(source.exec_driver_sql(DATABASE_FACTS).mappings().one())
        programs = find_programs(database["server_version_num"])
        scratch = None
        with _dumping(programs, settings, source, dump) as dumping:
            if proof == "restore":
                scratch = stack.enter_context(scratch_database(settings, run, database))
            search_path = search_path_of(source)
            contents = read_contents(source)
            dumping.finish(f"dump the {settings.where}")
        dumped = _since(started)
        if contents.revision is None:
            raise FractalError(f"The {settings.where} has no alembic revision: it is not fractal-server's.")
        started = time.monotonic()
        kept: list[str] = []
        left_out: list[str] = []
        if scratch:
            with connect(settings, autocommit=True) as connection:
                kept, left_out = restorable(
                    connection, programs, scratch, dump, dump_entries(programs, dump), NO_OWNERS
                )
            refuse_unproved(left_out, contents)
        if proof == "list":
            read_through(programs, dump)
        size = database["size_bytes"]
        proving = restoring(programs, scratch, dump, size, kept, NO_OWNERS) if scratch else contextlib.nullcontext()
        with proving as restore:
            files = save_files(folder, read_files(instance_files(installation, unit, extra_paths)))
            packages = _packages(folder, python)
            if scratch and restore:
                restore.finish("prove the backup by restoring it")
                _compare(contents, scratch, search_path, left_out)
        proved = {"kind": proof, "seconds": _since(started), "left_out": [told_entry(entry) for entry in left_out]}
    return {
        "format": FORMAT,
        "run": run,
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "service": _service(unit),
        "environment": _environment(python),
        "database": {"name": settings.dbname, "host": settings.host, "port": settings.port, **database},
        "release": first_release_with_head(contents.revision),
        "dump": {"file": DUMP, "seconds": dumped, **measure(dump)},
        "proof": proved,
        "contents": contents.as_dict(),
        "files": [*files, packages],
        "absent": [one.path for one in instance_files(installation, unit) if not os.path.lexists(one.path)],
    }


@contextlib.contextmanager
def _dumping(
    programs: PostgresPrograms, settings: DatabaseSettings, source: Connection, target: str
) -> Iterator[PostgresProcess]:
    """Dump the database, as the transaction of ``source`` sees it, for as long as this context lasts."""
    snapshot = str(source.exec_driver_sql("SELECT pg_export_snapshot()").scalar())
    with explained("write", target), open(target, "xb") as stream:
        with start_dump(programs, settings, snapshot, stream) as dump:
            yield dump
        os.fsync(stream.fileno())
        # pg_dump 15 ends with 0 when only its last write, that of the table of contents, finds the disk full
        if os.fstatvfs(stream.fileno()).f_bfree == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), target)


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


def _packages(folder: str, python: str) -> dict[str, Any]:
    """Write the list of installed packages, as ``pip freeze`` would; return its entry for the manifest."""
    path = os.path.join(folder, PACKAGES)
    write_synced(path, "".join(line + "\n" for line in package_lines(python)).encode())
    return {"path": None, "file": PACKAGES, **measure(path)}


def _unit(installation: Installation) -> Unit | None:
    return read_unit(installation.service) if installation.service else None


def _service(unit: Unit | None) -> dict[str, Any] | None:
    """Return what the unit was like; its hold knows whether it ran before it was stopped for this backup."""
    if unit is None:
        return None
    hold = read_hold(unit.name)
    ran = hold.ran_before if hold else unit.active_state == "active"
    return {"name": unit.name, "enabled_state": unit.enabled_state, "user": unit.user, "ran_before": ran}


def _environment(python: str) -> dict[str, Any]:
    """Return where the old environment is, which stays untouched for a rollback."""
    path = os.path.dirname(os.path.dirname(python))
    return {"python": python, "path": path, "real_path": os.path.realpath(path), "version": installed_version(python)}


def _since(started: float) -> float:
    return round(time.monotonic() - started, 3)
