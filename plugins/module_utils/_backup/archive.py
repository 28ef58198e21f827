# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""The archive: the proved dump of a frozen copy, made when the service is up again, which finishes the copy's backup.

A dump that was made inside the downtime without compression is packed then (`packing.py`).

The manifest gets the dump at one instant. Killed before that, the backup still is its copy, and the next call begins
anew: what lies there without being in the manifest is nothing.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._backup.copy import drop_superseded
from ansible_collections.fractal_ops.platform.plugins.module_utils._backup.dump import keep_out_of_the_way
from ansible_collections.fractal_ops.platform.plugins.module_utils._backup.make import dumped
from ansible_collections.fractal_ops.platform.plugins.module_utils._backup.packing import not_packed, pack_dump
from ansible_collections.fractal_ops.platform.plugins.module_utils._backup.store import (
    DUMP,
    FORMAT_WITH_COPY,
    Backup,
    explained,
    open_backup,
    without_dump,
    write_manifest,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.files import sync_folder, umask
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.contents import Contents, differences
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.service_side import A_DAY, service_side

if TYPE_CHECKING:
    from ansible_collections.fractal_ops.platform.plugins.module_utils._core.door import Door
    from ansible_collections.fractal_ops.platform.plugins.module_utils._database.database import Installation


def archive_backups(
    installation: Installation, python: str | None, root: str, proof: str = "restore", check_mode: bool = False
) -> dict[str, Any]:
    """Add the proved dump to every backup in ``root`` that is a frozen copy alone, the newest first, and pack others.

    Args:
        installation: Whose database.
        python: Interpreter that runs fractal-server, by default the unit's.
        root: Folder that holds the backups.
        proof: ``restore``, ``list`` or ``none``.
        check_mode: Only say which would get one.

    Returns:
        ``changed``, ``archived`` (summaries of the backups that got one), ``packed_dumps`` (paths of those whose dump
        had no compression, and is packed now), ``gone`` (paths of those whose copy is not there, such as one that a
        rollback gave back), ``dump_seconds`` and ``proof_seconds``.

    Raises:
        FractalError: A dump could not be made or proved, or a copy is not what it was. The backup is as before.
    """
    waiting, plain = without_dump(root), not_packed(root)
    result: dict[str, Any] = {"archived": [], "packed_dumps": [], "gone": [], "dump_seconds": 0.0, "proof_seconds": 0.0}
    if check_mode or not (waiting or plain):
        return {"changed": bool(waiting or plain), **result}
    if plain:
        keep_out_of_the_way()
        result["packed_dumps"] = [pack_dump(path).path for path in plain]
    door = service_side(installation, python, A_DAY)
    for path in waiting:
        done = _archive(door, installation, open_backup(path), proof)
        if done is None:
            result["gone"].append(path)
            continue
        result["archived"].append(done.summary())
        for part in ("dump", "proof"):
            result[f"{part}_seconds"] += done.manifest[part]["seconds"]
    return {"changed": bool(result["archived"] or plain), **result}


def drop_other_copies(
    installation: Installation, python: str | None, root: str, run: str, check_mode: bool = False
) -> list[str]:
    """Drop the frozen copies of other runs than ``run``, but not of those that would have nothing left without it.

    Returns their names.
    """
    alone = [os.path.basename(path) for path in without_dump(root)]
    told = service_side(installation, python).call(drop_superseded, installation, [run, *alone], check_mode)
    return [str(name) for name in told["names"]]


@umask(0o077)
def _archive(door: Door, installation: Installation, backup: Backup, proof: str) -> Backup | None:
    """Return the backup with its dump, or None if its copy is gone."""
    manifest = backup.manifest
    half = backup.dump + ".partial"
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(half)
        made = dumped(door, installation, manifest["run"], proof, half, manifest["copy"])
        if not made:
            return None
        found = differences(backup.contents, Contents.from_dict(made["contents"]))
        if found:
            raise FractalError(
                f"The frozen copy {manifest['copy']['name']} is not what the backup {backup.path} says: "
                f"{'; '.join(found)}. Somebody has changed it, so no dump is made of it. Nothing else was touched."
            )
        # facts about the original stay: the copy has other ones, such as its size
        kept = {name: made[name] for name in ("dump", "proof", "contents")}
        finished = Backup(backup.path, {**manifest, **kept, "format": FORMAT_WITH_COPY})
        with explained("finish", backup.path):
            os.replace(half, os.path.join(backup.path, DUMP))
            sync_folder(backup.path)
            write_manifest(backup.path, finished.manifest)
        return finished
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(half)
