# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""Which backup belongs to an instance, and bringing its files back to the same bytes."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.files import read_file, write_file

MANIFEST = "manifest.json"
_REMOVED = ".removed"
_LIMIT = 64 << 20  # bytes; what is backed up by file are configurations


def find_backup(folder: str, named: str = "", held: str = "") -> str | None:
    """Return the backup to go back to, or None if there is none.

    Args:
        folder: Where the backups of this instance are.
        named: The one that the operator names; it must exist.
        held: The one of the upgrade in progress. Until it is finished that upgrade has changed nothing, and there is
            nothing to go back to: an older one belongs to an earlier upgrade.

    Raises:
        FractalError: The named backup is not there.
    """
    if named:
        if not _is_finished(named):
            raise FractalError(f"{named} holds no finished backup. Name its folder in fractal_backup.")
        return named
    if held:
        return held if _is_finished(held) else None
    return next(iter(finished_backups(folder)), None)


def finished_backups(folder: str) -> list[str]:
    """Return the finished backups in a folder, the newest first."""
    with contextlib.suppress(FileNotFoundError):
        found = [entry.path for entry in os.scandir(folder) if _is_finished(entry.path)]
        return sorted(found, key=lambda path: str(read_manifest(path)["created"]), reverse=True)
    return []


def prune_backups(folder: str, keep: int, spared: str, check_mode: bool = False) -> list[str]:
    """Remove finished backups beyond the ``keep`` newest, but not the one called ``spared``; return their paths.

    One that is being removed has a hidden name, so that a half of it is never taken for a backup.
    """
    old = [path for path in finished_backups(folder)[keep:] if os.path.basename(path) != spared]
    if check_mode:
        return old
    for path in old:
        os.rename(path, os.path.join(folder, f".{os.path.basename(path)}{_REMOVED}"))
    for entry in os.scandir(folder):
        if entry.name.startswith(".") and entry.name.endswith(_REMOVED):  # of a run that was killed, too
            shutil.rmtree(entry.path)
    return old


def pack_backup(backup: str, folder: str) -> str:
    """Write a backup as one tar file into a folder, for the folder's owner only; return its path.

    Raises:
        FractalError: It cannot be written.
    """
    target = os.path.join(folder, os.path.basename(backup) + ".tar")
    owner = os.stat(folder)
    try:
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            with tarfile.open(fileobj=stream, mode="w") as tar:
                tar.add(backup, os.path.basename(backup))
            os.fchown(stream.fileno(), owner.st_uid, owner.st_gid)
    except OSError as error:
        raise FractalError(f"Cannot pack {backup} into {target}: {error.strerror}.") from error
    return target


def _is_finished(path: str) -> bool:
    return not os.path.basename(path).startswith(".") and os.path.isfile(os.path.join(path, MANIFEST))


def read_manifest(backup: str) -> dict[str, Any]:
    """Return the manifest of a backup.

    Raises:
        FractalError: It cannot be read.
    """
    path = os.path.join(backup, MANIFEST)
    try:
        manifest: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FractalError(f"The manifest {path} cannot be read: {error}") from error
    return manifest


def restore_files(backup: str, created: Iterable[str], check_mode: bool = False) -> list[dict[str, str]]:
    """Give every file in the backup its old content, owner and mode; remove what was not there. Return the changes.

    Args:
        backup: Folder of the backup.
        created: Further paths that an upgrade may have made; they go unless the backup holds them.
        check_mode: Only say what would change.

    Raises:
        FractalError: A file in the backup is damaged; then nothing is changed.
    """
    manifest = read_manifest(backup)
    entries = [entry for entry in manifest["files"] if entry["path"]]
    contents = {entry["path"]: _intact(backup, entry) for entry in entries}
    changes = []
    for entry in entries:
        if not _is_as_it_was(entry, contents[entry["path"]]):
            changes.append({"path": entry["path"], "action": "restored"})
            if not check_mode:
                _put_back(entry, contents[entry["path"]])
    for path in dict.fromkeys([*manifest["absent"], *created]):
        if path not in contents and os.path.lexists(path):
            changes.append({"path": path, "action": "removed"})
            if not check_mode:
                os.unlink(path)
    return changes


def _intact(backup: str, entry: Mapping[str, Any]) -> bytes:
    path = os.path.join(backup, entry["file"])
    found = read_file(path, _LIMIT)
    if found is None or hashlib.sha256(found.content).hexdigest() != entry["sha256"]:
        raise FractalError(f"{path} is missing or damaged; nothing was changed. Restore it from another copy.")
    return found.content


def _is_as_it_was(entry: Mapping[str, Any], content: bytes) -> bool:
    path = entry["path"]
    if entry["link"] is not None and not (os.path.islink(path) and os.readlink(path) == entry["link"]):
        return False
    now = read_file(path, _LIMIT)
    owner = (entry["uid"], entry["gid"], int(entry["mode"], 8))
    return now is not None and now.content == content and (now.uid, now.gid, now.mode) == owner


def _put_back(entry: Mapping[str, Any], content: bytes) -> None:
    path = entry["path"]
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    if entry["link"] is not None and not os.path.islink(path):
        if os.path.lexists(path):
            os.unlink(path)
        os.symlink(entry["link"], path)
    write_file(path, content, uid=entry["uid"], gid=entry["gid"], mode=int(entry["mode"], 8))
