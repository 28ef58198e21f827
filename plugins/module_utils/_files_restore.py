# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""Which backup belongs to an instance, and bringing its files back to the same bytes."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._atomic_file import read_file, write_file
from ansible_collections.fractal_ops.platform.plugins.module_utils._errors import FractalError

MANIFEST = "manifest.json"
_LIMIT = 64 << 20  # bytes; what is backed up by file are configurations


def find_backup(folder: str, named: str = "", held: str = "") -> str | None:
    """Return the backup to go back to, or None if there is none.

    Args:
        folder: Where the backups of this instance are.
        named: The one that the operator names; it must exist. Only that of the upgrade in progress need not be
            finished: then that upgrade has changed nothing yet, and there is nothing to go back to.
        held: The one of the upgrade in progress; it wins over older ones if it was finished.

    Raises:
        FractalError: The named backup is not there.
    """
    if named:
        if not os.path.isfile(os.path.join(named, MANIFEST)):
            if named == held:
                return None
            raise FractalError(f"{named} holds no finished backup. Name its folder in fractal_backup.")
        return named
    if held and os.path.isfile(os.path.join(held, MANIFEST)):
        return held
    with contextlib.suppress(FileNotFoundError):
        finished = [e.path for e in os.scandir(folder) if os.path.isfile(os.path.join(e.path, MANIFEST))]
        return max(finished, key=lambda path: str(read_manifest(path)["created"]), default=None)
    return None


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
