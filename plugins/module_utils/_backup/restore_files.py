# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""Bringing the files of an instance back to the same bytes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._backup.instance_files import named_by_root
from ansible_collections.fractal_ops.platform.plugins.module_utils._backup.store import LARGEST_FILE, read_manifest
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.accounts import Account
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.files import (
    make_folders,
    make_link,
    read_file,
    remove_file,
    write_file,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.owners import account_named
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.systemd import read_unit


def restore_files(backup: str, created: Iterable[str], check_mode: bool = False) -> list[dict[str, str]]:
    """Give every file in the backup its old content, owner and mode; remove what was not there. Return the changes.

    What the unit leads to comes back with the rights of whoever can change its folder. Everything else was named by
    the service account, so only that account's rights count; where they do not suffice, the upgrade has not changed
    the file either, and it is left.

    Args:
        backup: Folder of the backup.
        created: Further paths that an upgrade may have made; they go unless the backup holds them.
        check_mode: Only say what would change.

    Raises:
        FractalError: A file in the backup is damaged, then nothing is changed; or the unit's own cannot be written.
    """
    manifest = read_manifest(backup)
    entries = [entry for entry in manifest["files"] if entry["path"]]
    contents = {entry["path"]: _intact(backup, entry) for entry in entries}
    created = list(created)
    rights = _rights([*contents, *manifest["absent"]], manifest["service"])
    changes = []
    for entry in entries:
        path, owner = entry["path"], rights[entry["path"]]
        if not _is_as_it_was(entry, contents[path], owner):
            done = check_mode or _done(owner, _put_back, entry, contents[path], owner)
            changes.append({"path": path, "action": "restored" if done else "left"})
    for path in dict.fromkeys([*manifest["absent"], *created]):
        if path not in contents and os.path.lexists(path):
            done = check_mode or _done(rights.get(path), remove_file, path, rights.get(path))
            changes.append({"path": path, "action": "removed" if done else "left"})
    return changes


def _rights(paths: Iterable[str], service: Mapping[str, Any] | None) -> dict[str, Account | None]:
    """Return for each path the account whose rights count, None for that of its folder."""
    if service is None:
        return dict.fromkeys(paths)
    unit, account = read_unit(service["name"]), account_named(service["user"])
    return {path: None if named_by_root(unit, path) else account for path in paths}


def _done(owner: Account | None, work: Any, *arguments: Any) -> bool:
    try:
        work(*arguments)
    except FractalError:
        if owner is None:
            raise
        return False
    return True


def _intact(backup: str, entry: Mapping[str, Any]) -> bytes:
    path = os.path.join(backup, entry["file"])
    found = read_file(path, LARGEST_FILE)
    if found is None or hashlib.sha256(found.content).hexdigest() != entry["sha256"]:
        raise FractalError(f"{path} is missing or damaged; nothing was changed. Restore it from another copy.")
    return found.content


def _is_as_it_was(entry: Mapping[str, Any], content: bytes, owner: Account | None) -> bool:
    if entry["link"] != _link(entry["path"]):
        return False
    try:
        now = read_file(entry["path"], LARGEST_FILE, owner)
    except FractalError:  # something else lies there now
        return False
    wanted = (entry["uid"], entry["gid"], int(entry["mode"], 8))
    return now is not None and now.content == content and (now.uid, now.gid, now.mode) == wanted


def _put_back(entry: Mapping[str, Any], content: bytes, owner: Account | None) -> None:
    path, link = entry["path"], entry["link"]
    make_folders(os.path.dirname(path), owner)
    if link is not None and _link(path) != link:
        make_link(path, link, owner)
    owned = {"uid": entry["uid"], "gid": entry["gid"], "mode": int(entry["mode"], 8)}
    write_file(path, content, **owned, owner=owner, follow=link is not None)


def _link(path: str) -> str | None:
    return os.readlink(path) if os.path.islink(path) else None
