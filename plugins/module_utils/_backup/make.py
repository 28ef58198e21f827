# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""The backup of an instance: one folder, proved to bring the instance back.

The folder gets its name only when everything in it is written, synced and proved. So a folder with that name is a good
backup, and is never touched again, but to add the dump of a frozen copy.
"""

from __future__ import annotations

import datetime
import glob
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Callable

from ansible_collections.fractal_ops.platform.plugins.module_utils._backup.copy import copy_database, why_not_copied
from ansible_collections.fractal_ops.platform.plugins.module_utils._backup.dump import (
    drop_scratch_databases,
    dump_and_prove,
    read_after,
    see_that_it_can_be_dumped,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._backup.instance_files import (
    instance_files,
    read_files,
    save_files,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._backup.store import (
    AFTER,
    DUMP,
    FORMAT,
    FORMAT_WITH_COPY,
    PACKAGES,
    Backup,
    explained,
    finished_backups,
    left_over_files,
    measure,
    open_backup,
    partial_folder,
    partial_path,
    refuse_unsafe_root,
    run_of_partial,
    write_json,
    write_manifest,
    write_synced,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.door import Door
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.files import sync_folder
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.systemd import Unit, read_unit
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.contents import Contents, ContentsAfter
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.database import Installation
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.task_folders import read_groups
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.hold import read_hold
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.service_side import (
    A_DAY,
    sensible,
    service_side,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._releases.path import first_release_with_head
from ansible_collections.fractal_ops.platform.plugins.module_utils._venv.build import package_lines
from ansible_collections.fractal_ops.platform.plugins.module_utils._venv.interpreter import (
    PythonFacts,
    facts,
    no_server,
)

PROOFS = ("restore", "list", "none")
METHODS = ("auto", "copy", "dump")
COPY = "copy"
"""The proof of a frozen copy without a dump: it was compared with the original."""


@dataclass(frozen=True)
class Before:
    """What a backup has to know that a stop of the service does not change: so it need not be asked in the window.

    Attributes:
        environment: What its interpreter says; it has a fractal-server.
        packages: What is installed in it, see `package_lines`.
        why_not_copied: What forbids a frozen copy, in words; empty where none is wanted.
    """

    environment: PythonFacts
    packages: list[str]
    why_not_copied: list[str]


def see_before(installation: Installation, python: str | None, method: str) -> Before:
    """Return what a backup by this ``method`` has to know. See `make_backup`.

    Raises:
        FractalError: The database or the environment does not tell.
    """
    door = service_side(installation, python, A_DAY)
    reasons = why_not_copied(door, installation) if method != "dump" else []
    environment = facts(door.python, door.account)
    if environment.version is None:
        raise no_server(door.python)
    return Before(environment, package_lines(door.python), reasons)


def make_backup(
    installation: Installation,
    python: str | None,
    root: str,
    run: str,
    proof: str = "restore",
    extra_paths: Iterable[str] = (),
    check_mode: bool = False,
    method: str = "dump",
    before: Before | None = None,
    meanwhile: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Back up an instance into ``root/run``; a finished backup of the same run is left as it is.

    By a frozen copy it takes seconds, and its dump is made later (`archive.py`).

    Args:
        installation: Whose database and files.
        python: Interpreter that runs fractal-server, by default the unit's; its packages are listed.
        root: Folder that holds the backups; made with mode 0700 if missing.
        run: Name of the backup's folder.
        proof: ``restore`` (into a scratch database, contents compared), ``list`` (only readable) or ``none``.
        extra_paths: Further files to keep.
        check_mode: Only say whether a backup would be made, and fail where the database or the programs are missing.
        method: ``copy`` (frozen copy), ``dump``, or ``auto`` (a copy where one can be made, else a dump).
        before: What was asked already, while the service still ran.
        meanwhile: What to do while PostgreSQL copies the database, once the files are saved.

    Returns:
        ``changed``, ``backup`` (see `Backup.summary`), ``why_not_copied`` (empty unless a copy was wanted),
        ``copy_seconds``, ``dump_seconds`` and ``proof_seconds``.

    Raises:
        FractalError: It could not be made or proved. Nothing half-made is left, and nothing else was touched.
    """
    if not run or "/" in run or run.startswith("."):
        raise FractalError(f"{run!r} cannot be the name of a backup's folder.")
    path = os.path.join(root, run)
    if os.path.lexists(path):
        return {"changed": False, "backup": open_backup(path).summary(), **_NO_TIME}
    refuse_unsafe_root(root)
    door = service_side(installation, python, A_DAY)
    if check_mode:
        read_files(instance_files(installation, _unit(installation), extra_paths))
        door.call(see_that_it_can_be_dumped, installation)
        if method == COPY:
            _refuse_without_copy(before.why_not_copied if before else why_not_copied(door, installation))
        return {"changed": True, "backup": {"path": path, "run": run}, **_NO_TIME}
    before = before or see_before(installation, python, method)
    with partial_folder(root, run) as folder:
        files = cache(lambda: _fill(folder, installation, door, before, extra_paths))

        def while_copying() -> None:
            files()
            meanwhile()

        saved, why = _saved(folder, installation, door, run, proof, method, before.why_not_copied, while_copying)
        manifest = _manifest(saved, run, files())
        with explained("finish", folder):
            write_manifest(folder, manifest)
            for parent, _folders, _files in os.walk(folder):
                sync_folder(parent)
            os.rename(folder, path)
            sync_folder(root)
    seconds = {f"{part}_seconds": (manifest.get(part) or {}).get("seconds", 0.0) for part in ("copy", "dump", "proof")}
    return {"changed": True, "backup": Backup(path, manifest).summary(), "why_not_copied": why, **seconds}


def note_after(installation: Installation, python: str | None, path: str, check_mode: bool = False) -> dict[str, Any]:
    """Note beside a finished backup what the upgraded database holds that the old one did not.

    To be called when the last migration is done and before the new release starts: what differs from it at a rollback
    is somebody's work.

    Returns:
        ``changed`` and ``noted`` (the names of the tables).

    Raises:
        FractalError: It is no backup, or the note cannot be written.
    """
    backup = open_backup(path, verify=False)
    answer = service_side(installation, python).call(read_after, installation, backup.manifest["contents"])
    with sensible():
        after = ContentsAfter.from_dict(answer)
    note = os.path.join(path, AFTER)
    changed = not os.path.exists(note) or backup.contents_after != after
    if changed and not check_mode:
        with explained("write", note):
            write_json(note, after.as_dict())
    return {"changed": changed, "noted": sorted(after.tables)}


def tidy_up(installation: Installation, python: str | None, root: str, check_mode: bool = False) -> list[str]:
    """Remove what killed backups left: unfinished folders and files, scratch databases, copies. Return their names."""
    refuse_unsafe_root(root)
    removed = sorted(glob.glob(partial_path(glob.escape(root), "*")))
    runs = [run for run in map(run_of_partial, removed) if not os.path.lexists(os.path.join(root, run))]
    files = left_over_files(finished_backups(root))
    # the folders tell whose copies they are, so they go last
    dropped = service_side(installation, python).call(drop_scratch_databases, installation, runs, check_mode)
    if not check_mode:
        for folder in removed:
            shutil.rmtree(folder)
        for file in files:
            os.unlink(file)
    return removed + files + [str(name) for name in dropped["names"]]


_NO_TIME = {"why_not_copied": "", "copy_seconds": 0.0, "dump_seconds": 0.0, "proof_seconds": 0.0}

# -- making -----------------------------------------------------------------------------------------------------------


def _saved(
    folder: str,
    installation: Installation,
    door: Door,
    run: str,
    proof: str,
    method: str,
    reasons: Sequence[str],
    meanwhile: Callable[[], Any],
) -> tuple[dict[str, Any], str]:
    """Save the database; return its part of the manifest, and why there is no copy where one was wanted."""
    why = ""
    if method != "dump":
        if not reasons:
            with door.begin(copy_database, installation, run, method == "auto") as copying:
                meanwhile()
                told = copying.answer()
            if "refused" not in told:
                return _of_copy(told), ""
            reasons = [str(told["refused"])]
        if method == COPY:
            _refuse_without_copy(reasons)
        why = "; ".join(reasons)
    path = os.path.join(folder, DUMP)
    return dumped(door, installation, run, proof, path), why


def _of_copy(told: Mapping[str, Any]) -> dict[str, Any]:
    with sensible():
        copy = {"name": str(told["copy"]["name"]), "oid": int(told["copy"]["oid"])}
        return {
            "format": FORMAT_WITH_COPY,
            "database": dict(told["database"]),
            "dump": None,
            "copy": {
                **copy,
                "search_path": str(told["copy"]["search_path"]),
                "seconds": float(told["copy_seconds"]),
            },
            "proof": {"kind": COPY, "seconds": float(told["compare_seconds"]), "left_out": []},
            "contents": Contents.from_dict(told["contents"]).as_dict(),
            "task_groups": [group.as_dict() for group in read_groups(told["task_groups"])],
        }


def dumped(
    door: Door,
    installation: Installation,
    run: str,
    proof: str,
    path: str,
    copy: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Dump a database, or its frozen copy, into a new file, prove the dump, and return their part of the manifest.

    Empty if the copy is gone.
    """
    with explained("write", path):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        # root keeps the file to itself; the service account gets it opened
        opened = replace(door, fds=(descriptor,))
        told = opened.call(dump_and_prove, installation, run, proof, descriptor, path, copy)
    finally:
        os.close(descriptor)
    if copy and "gone" in told:
        return {}
    with sensible():
        return {
            "format": FORMAT,
            "database": dict(told["database"]),
            "dump": {
                "file": DUMP,
                "seconds": float(told["dump_seconds"]),
                "compress": str(told["compress"]),
                **measure(path),
            },
            "proof": {
                "kind": proof,
                "seconds": float(told["proof_seconds"]),
                "left_out": [str(entry) for entry in told["left_out"]],
            },
            "contents": Contents.from_dict(told["contents"]).as_dict(),
            "task_groups": [group.as_dict() for group in read_groups(told["task_groups"])],
        }


def _refuse_without_copy(reasons: Sequence[str]) -> None:
    if reasons:
        raise FractalError(
            f"No frozen copy of the database can be made, as fractal_backup_method wants it: {'; '.join(reasons)}. "
            "Nothing was changed. Mend that, or set fractal_backup_method to auto: the backup is then a dump."
        )


def _fill(
    folder: str, installation: Installation, door: Door, before: Before, extra_paths: Iterable[str]
) -> dict[str, Any]:
    """Write the files into the folder, and return their part of the manifest."""
    unit = _unit(installation)
    files = save_files(folder, read_files(instance_files(installation, unit, extra_paths)))
    return {
        "service": _service(unit),
        "environment": _environment(door.python, before.environment.version),
        "files": [*files, _packages(folder, before.packages)],
        "absent": [one.path for one in instance_files(installation, unit) if not os.path.lexists(one.path)],
    }


def _manifest(saved: Mapping[str, Any], run: str, filled: Mapping[str, Any]) -> dict[str, Any]:
    """Return the manifest of what is ``saved`` of the database, and of the files."""
    return {
        **saved,
        "run": run,
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "release": first_release_with_head(saved["contents"]["revision"]),
        **filled,
    }


def _packages(folder: str, packages: Iterable[str]) -> dict[str, Any]:
    """Write the list of installed packages; return its entry for the manifest."""
    path = os.path.join(folder, PACKAGES)
    write_synced(path, "".join(line + "\n" for line in packages).encode())
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


def _environment(python: str, version: str | None) -> dict[str, Any]:
    """Return where the old environment is, which stays untouched for a rollback."""
    path = os.path.dirname(os.path.dirname(python))
    return {"python": python, "path": path, "real_path": os.path.realpath(path), "version": version}
