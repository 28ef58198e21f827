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
import glob
import json
import os
import shutil
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

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
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.door import Door
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.files import sync_folder
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.systemd import Unit, read_unit
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.contents import Contents, ContentsAfter
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.database import Installation
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.hold import read_hold
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.service_side import A_DAY, service_side
from ansible_collections.fractal_ops.platform.plugins.module_utils._releases.path import first_release_with_head
from ansible_collections.fractal_ops.platform.plugins.module_utils._venv.build import package_lines
from ansible_collections.fractal_ops.platform.plugins.module_utils._venv.interpreter import installed_version

PROOFS = ("restore", "list", "none")


def make_backup(
    installation: Installation,
    python: str | None,
    root: str,
    run: str,
    proof: str = "restore",
    extra_paths: Iterable[str] = (),
    check_mode: bool = False,
) -> dict[str, Any]:
    """Back up an instance into ``root/run``; a finished backup of the same run is left as it is.

    Args:
        installation: Whose database and files.
        python: Interpreter that runs fractal-server, by default the unit's; its packages are listed.
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
    door = service_side(installation, python, A_DAY)
    if check_mode:
        read_files(instance_files(installation, _unit(installation), extra_paths))
        door.call(see_that_it_can_be_dumped, installation)
        return {"changed": True, "backup": {"path": path, "run": run}, "dump_seconds": 0.0, "proof_seconds": 0.0}
    with partial_folder(root, run) as folder:
        manifest = _fill(folder, installation, door, run, proof, extra_paths)
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
    try:
        after = ContentsAfter.from_dict(answer)
    except (KeyError, TypeError, AttributeError) as error:
        raise FractalError("What the environment of fractal-server says of the database makes no sense.") from error
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


def tidy_up(installation: Installation, python: str | None, root: str, check_mode: bool = False) -> list[str]:
    """Remove what killed backups left: unfinished folders and scratch databases. Return their names."""
    refuse_unsafe_root(root)
    removed = sorted(glob.glob(partial_path(glob.escape(root), "*")))
    if not check_mode:
        for folder in removed:
            shutil.rmtree(folder)
    dropped = service_side(installation, python).call(drop_scratch_databases, installation, check_mode)
    return removed + [str(name) for name in dropped["names"]]


# -- making -----------------------------------------------------------------------------------------------------------


def _fill(
    folder: str, installation: Installation, door: Door, run: str, proof: str, extra_paths: Iterable[str]
) -> dict[str, Any]:
    """Write everything but the manifest into the folder, prove it, and return the manifest."""
    path = os.path.join(folder, DUMP)
    unit = _unit(installation)
    with explained("write", path):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        # root keeps the file to itself; the service account gets it opened
        told = replace(door, fds=(descriptor,)).call(dump_and_prove, installation, run, proof, descriptor, path)
    finally:
        os.close(descriptor)
    try:
        contents = Contents.from_dict(told["contents"])
        database, left_out = dict(told["database"]), [str(entry) for entry in told["left_out"]]
        seconds = {name: float(told[f"{name}_seconds"]) for name in ("dump", "proof")}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FractalError("What the environment of fractal-server says of the database makes no sense.") from error
    files = save_files(folder, read_files(instance_files(installation, unit, extra_paths)))
    return {
        "format": FORMAT,
        "run": run,
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "service": _service(unit),
        "environment": _environment(door),
        "database": database,
        "release": first_release_with_head(contents.revision),
        "dump": {"file": DUMP, "seconds": seconds["dump"], **measure(path)},
        "proof": {"kind": proof, "seconds": seconds["proof"], "left_out": left_out},
        "contents": contents.as_dict(),
        "files": [*files, _packages(folder, door.python)],
        "absent": [one.path for one in instance_files(installation, unit) if not os.path.lexists(one.path)],
    }


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


def _environment(door: Door) -> dict[str, Any]:
    """Return where the old environment is, which stays untouched for a rollback."""
    path = os.path.dirname(os.path.dirname(door.python))
    version = installed_version(door.python, door.account)
    return {"python": door.python, "path": path, "real_path": os.path.realpath(path), "version": version}
