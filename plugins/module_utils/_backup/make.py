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
import hashlib
import json
import os
import shutil
import stat
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.files import sync_folder
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.systemd import Unit, read_unit
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.contents import (
    Contents,
    differences,
    read_contents,
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
    administrators_entries,
    dump_entries,
    find_programs,
    read_through,
    restoring,
    start_dump,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.scratch import (
    DATABASE_FACTS,
    PROOF,
    beside,
    drop_all,
    own_databases,
    scratch_database,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.hold import HOLD_NAME, read_hold
from ansible_collections.fractal_ops.platform.plugins.module_utils._releases.path import first_release_with_head
from ansible_collections.fractal_ops.platform.plugins.module_utils._venv.build import package_lines
from ansible_collections.fractal_ops.platform.plugins.module_utils._venv.interpreter import installed_version

if TYPE_CHECKING:
    from sqlalchemy import Connection

DUMP, MANIFEST, PACKAGES, FILES = "database.dump", "manifest.json", "packages.txt", "files"
PROOFS = ("restore", "list", "none")
_FORMAT = 1
_CONFIG_VARIABLES = ("FRACTAL_SLURM_CONFIG_FILE", "FRACTAL_PIXI_CONFIG_FILE", "FRACTAL_LOCAL_CONFIG_FILE")


@dataclass(frozen=True)
class Backup:
    """A finished backup: its folder and its manifest."""

    path: str
    manifest: Mapping[str, Any]

    @property
    def dump(self) -> str:
        """Path of the database dump."""
        return os.path.join(self.path, DUMP)

    @property
    def contents(self) -> Contents:
        """What the database held."""
        return Contents.from_dict(self.manifest["contents"])

    def summary(self) -> dict[str, Any]:
        """Return what the report shows."""
        manifest = self.manifest
        return {
            "path": self.path,
            "run": manifest["run"],
            "created": manifest["created"],
            "version": manifest["environment"]["version"],
            "revision": manifest["contents"]["revision"],
            "release": manifest["release"],
            "proof": manifest["proof"],
            "dump_bytes": manifest["dump"]["size"],
            "size_bytes": manifest["dump"]["size"] + sum(entry["size"] for entry in manifest["files"]),
            "rows": sum(table["rows"] for table in manifest["contents"]["tables"].values()),
        }


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
    settings = installation_settings(installation)
    if check_mode:
        with connect(settings, read_only=True) as source:
            find_programs(source.exec_driver_sql(DATABASE_FACTS).mappings().one()["server_version_num"])
        return {"changed": True, "backup": {"path": path, "run": run}, "dump_seconds": 0.0, "proof_seconds": 0.0}
    with _partial_folder(root, run) as folder:
        manifest = _fill(folder, installation, settings, python, run, proof, extra_paths)
        with _explained("finish", folder):
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


def open_backup(path: str, verify: bool = True) -> Backup:
    """Return the finished backup in a folder, its files checked against their checksums unless told otherwise.

    Raises:
        FractalError: It is no backup, or not what it was.
    """
    try:
        with open(os.path.join(path, MANIFEST), encoding="utf-8") as stream:
            manifest = json.load(stream)
        if manifest["format"] != _FORMAT:
            raise FractalError(f"The backup {path} has the format {manifest['format']}, known here is {_FORMAT}.")
        backup = Backup(path, manifest)
        if verify:
            _verify(backup)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FractalError(
            f"{path} is not a finished backup ({type(error).__name__}: {error}). Move it elsewhere if it is in the way."
        ) from error
    return backup


def saved_file(backup: Backup, path: str) -> str | None:
    """Return where the backup keeps its copy of ``path``, or None."""
    found = (entry["file"] for entry in backup.manifest["files"] if entry["path"] == path)
    return next((os.path.join(backup.path, name) for name in found), None)


def tidy_up(installation: Installation, root: str, check_mode: bool = False) -> list[str]:
    """Remove what killed backups left: unfinished folders and scratch databases. Return their names."""
    removed = sorted(glob.glob(_partial_path(glob.escape(root), "*")))
    if not check_mode:
        for folder in removed:
            shutil.rmtree(folder)
    settings = installation_settings(installation)
    with connect(settings, autocommit=True) as connection:
        names = own_databases(connection, beside(settings.dbname, PROOF))
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
    unit = read_unit(installation.service) if installation.service else None
    started = time.monotonic()
    with contextlib.ExitStack() as stack:
        source = stack.enter_context(connect(settings, read_only=True))
        database = dict(source.exec_driver_sql(DATABASE_FACTS).mappings().one())
        programs = find_programs(database["server_version_num"])
        scratch = None
        with _dumping(programs, settings, source, dump) as dumping:
            if proof == "restore":
                scratch = stack.enter_context(scratch_database(settings, run, database))
            contents = read_contents(source)
            dumping.finish(f"dump the {settings.where}")
        dumped = _since(started)
        if contents.revision is None:
            raise FractalError(f"The {settings.where} has no alembic revision: it is not fractal-server's.")
        started = time.monotonic()
        left_out = administrators_entries(dump_entries(programs, dump)) if scratch else []
        if proof == "list":
            read_through(programs, dump)
        proving = restoring(programs, scratch, dump, database["size_bytes"]) if scratch else contextlib.nullcontext()
        with proving as restore:
            files = _copy_files(folder, installation, unit, extra_paths)
            packages = _packages(folder, python)
            if scratch and restore:
                restore.finish("prove the backup by restoring it")
                _compare(contents, scratch)
        proved = {"kind": proof, "seconds": _since(started), "left_out": left_out}
    return {
        "format": _FORMAT,
        "run": run,
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "service": _service(unit),
        "environment": _environment(python),
        "database": {"name": settings.dbname, "host": settings.host, "port": settings.port, **database},
        "release": first_release_with_head(contents.revision),
        "dump": {"file": DUMP, "seconds": dumped, **_measure(dump)},
        "proof": proved,
        "contents": contents.as_dict(),
        "files": [*files, packages],
        "absent": [path for path in _instance_files(installation, unit) if not os.path.lexists(path)],
    }


@contextlib.contextmanager
def _dumping(
    programs: PostgresPrograms, settings: DatabaseSettings, source: Connection, target: str
) -> Iterator[PostgresProcess]:
    """Dump the database, as the transaction of ``source`` sees it, for as long as this context lasts."""
    snapshot = str(source.exec_driver_sql("SELECT pg_export_snapshot()").scalar())
    with _explained("write", target), open(target, "xb") as stream:
        with start_dump(programs, settings, snapshot, stream) as dump:
            yield dump
        os.fsync(stream.fileno())
        # pg_dump 15 ends with 0 when only its last write, that of the table of contents, finds the disk full
        if os.fstatvfs(stream.fileno()).f_bfree == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), target)


def _compare(contents: Contents, scratch: DatabaseSettings) -> None:
    with connect(scratch, read_only=True) as connection:
        found = differences(contents, read_contents(connection))
    if found:
        raise FractalError(
            "The backup is not proved: what was restored from the dump differs from the database: "
            f"{'; '.join(found)}. Was the database written to, or is its disk failing? Nothing was changed."
        )


def _copy_files(
    folder: str, installation: Installation, unit: Unit | None, extra_paths: Iterable[str]
) -> list[dict[str, Any]]:
    """Copy the instance's files under ``files/`` by their own paths; return their entries for the manifest."""
    entries: list[dict[str, Any]] = []
    for path in [*_instance_files(installation, unit), *map(os.path.abspath, extra_paths)]:
        if os.path.lexists(path) and path not in {entry["path"] for entry in entries}:
            with _explained("copy", path):
                entries.append(_copy_file(path, folder))
    return entries


def _copy_file(path: str, folder: str) -> dict[str, Any]:
    relative = os.path.join(FILES, path.lstrip("/"))
    with open(path, "rb") as stream:
        found = os.fstat(stream.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise FractalError(f"{path} is no regular file and cannot be backed up.")
        content = stream.read()
    target = os.path.join(folder, relative)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    write_synced(target, content)
    return {
        "path": path,
        "file": relative,
        "size": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "uid": found.st_uid,
        "gid": found.st_gid,
        "mode": f"{stat.S_IMODE(found.st_mode):04o}",
        "link": os.readlink(path) if os.path.islink(path) else None,
    }


def _instance_files(installation: Installation, unit: Unit | None) -> list[str]:
    """Return the paths of everything that configures the instance, existing or not, without doubles."""
    variables = installation.variables()
    named = [variables[name] for name in _CONFIG_VARIABLES if variables.get(name)]
    paths = [installation.env_file, installation.env_file + ".old"]
    paths += [os.path.join(installation.working_directory, name) for name in named]
    if unit is not None:
        own = [path for path in unit.drop_in_paths if os.path.basename(path) != HOLD_NAME]
        paths += [*unit.environment_files, unit.fragment_path, *own]
    return list(dict.fromkeys(os.path.abspath(path) for path in paths))


def _packages(folder: str, python: str) -> dict[str, Any]:
    """Write the list of installed packages, as ``pip freeze`` would; return its entry for the manifest."""
    path = os.path.join(folder, PACKAGES)
    write_synced(path, "".join(line + "\n" for line in package_lines(python)).encode())
    return {"path": None, "file": PACKAGES, **_measure(path)}


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


# -- files ------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _partial_folder(root: str, run: str) -> Iterator[str]:
    """Yield a new folder, and remove it unless it was given its final name. Those of killed runs go first."""
    path = _partial_path(root, run)
    with _explained("make the folder", path):
        os.makedirs(root, mode=0o700, exist_ok=True)
        shutil.rmtree(path, ignore_errors=True)
        os.mkdir(path, mode=0o700)
    umask = os.umask(0o077)
    try:
        yield path
    finally:
        os.umask(umask)
        shutil.rmtree(path, ignore_errors=True)


def _partial_path(root: str, run: str) -> str:
    return os.path.join(root, f".{run}.partial")


def write_synced(path: str, content: bytes) -> None:
    """Write a new file that only root can read, and wait until the disk has it."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def _measure(path: str) -> dict[str, Any]:
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return {"size": os.path.getsize(path), "sha256": digest.hexdigest()}


def _verify(backup: Backup) -> None:
    for entry in [backup.manifest["dump"], *backup.manifest["files"]]:
        path = os.path.join(backup.path, entry["file"])
        if _measure(path) != {"size": entry["size"], "sha256": entry["sha256"]}:
            raise FractalError(
                f"The backup {backup.path} is damaged: {entry['file']} is not what it was when the backup was made. Do "
                "not go on without a good one: move this folder elsewhere, if the instance is still the old one."
            )


@contextlib.contextmanager
def _explained(doing: str, path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise FractalError(
            f"Cannot {doing} {error.filename or path}: {error.strerror}. No backup was made, and nothing half-made is "
            "left. Nothing else was changed."
        ) from error


def _since(started: float) -> float:
    return round(time.monotonic() - started, 3)
