# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""Backups on disk: finding, opening, checking, thinning out and packing them, and their manifest.

A backup can make root write files. So all of it lies in folders that only root can change, and its manifest is read as
data: a name in it never leads out of its folder.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
import os
import shutil
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.files import read_file, sync_folder, umask
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.owners import (
    opened_folder,
    refuse_unless_root_only,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.contents import (
    Contents,
    ContentsAfter,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._releases.path import is_later

DUMP, MANIFEST, PACKAGES, FILES = "database.dump", "manifest.json", "packages.txt", "files"
PACKED, AFTER = DUMP + ".gz", "after.json"
FORMAT = 1
FORMAT_WITH_COPY = 2  # of a manifest whose dump is packed, or that names a frozen copy: earlier versions know neither
_FORMATS = (FORMAT, FORMAT_WITH_COPY)
LARGEST_FILE = 64 << 20  # bytes; what is backed up by file are configurations
_REMOVED = ".removed"
_PURPOSE = "backups, which bring files back with root's rights"


@dataclass(frozen=True)
class Backup:
    """A finished backup: its folder and its manifest."""

    path: str
    manifest: Mapping[str, Any]

    @property
    def dump(self) -> str:
        """Path of the database dump."""
        return os.path.join(self.path, self.manifest["dump"]["file"] if self.has_dump else DUMP)

    @property
    def has_dump(self) -> bool:
        """Whether the dump is made: a backup begins with a frozen copy, where there is one."""
        return self.manifest["dump"] is not None

    @property
    def contents(self) -> Contents:
        """What the database held."""
        return Contents.from_dict(self.manifest["contents"])

    @property
    def contents_after(self) -> ContentsAfter | None:
        """What only the new release had when the upgrade ended; None if that was not noted.

        Raises:
            FractalError: The note cannot be read.
        """
        path = os.path.join(self.path, AFTER)
        found = read_file(path, LARGEST_FILE)
        try:
            return ContentsAfter.from_dict(json.loads(found.content)) if found else None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise FractalError(
                f"{path} cannot be read ({type(error).__name__}: {error}), so it is not known what was written since "
                "the upgrade. Without that file, only what the old release had is looked at."
            ) from error

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
            "frozen_copy": (manifest.get("copy") or {}).get("name", ""),
            "dump_bytes": manifest["dump"]["size"] if self.has_dump else 0,
            "size_bytes": sum(entry["size"] for entry in files_of(manifest)),
            "rows": sum(table["rows"] for table in manifest["contents"]["tables"].values()),
        }


def refuse_unsafe_root(root: str) -> None:
    """Refuse a folder for backups that another account could change, whether it exists yet or not.

    Raises:
        FractalError: Says which folder, and what to do.
    """
    refuse_unless_root_only(root, _PURPOSE)


def open_backup(path: str, verify: bool = True, by_copy: bool = False) -> Backup:
    """Return the finished backup in a folder, its files checked against their checksums unless told otherwise.

    ``by_copy``: where it has a frozen copy, that large file, the dump, is left out.

    Raises:
        FractalError: It is no backup, or not what it was, or another account could have changed it.
    """
    try:
        backup = Backup(path, read_manifest(path))
        if verify:
            _verify(backup, dump=not (by_copy and backup.manifest.get("copy")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FractalError(
            f"{path} is not a finished backup ({type(error).__name__}: {error}). Move it elsewhere if it is in the way."
        ) from error
    return backup


def read_manifest(backup: str) -> dict[str, Any]:
    """Return the manifest of a backup, whose names were seen to stay in its folder.

    Raises:
        FractalError: It cannot be read, is no manifest, or another account could have changed it.
    """
    refuse_unsafe_root(backup)
    path = os.path.join(backup, MANIFEST)
    found = read_file(path, LARGEST_FILE)
    try:
        if found is None:
            raise ValueError("there is none")
        manifest: dict[str, Any] = json.loads(found.content)
        if manifest["format"] not in _FORMATS:
            known = " and ".join(map(str, _FORMATS))
            raise FractalError(f"The backup {backup} has the format {manifest['format']}, known here are {known}.")
        if manifest["dump"] is None and not manifest["copy"]["name"]:
            raise ValueError("it names neither a dump nor a copy")
        for entry in files_of(manifest):
            _refuse_strange(entry)
        for listed in manifest["absent"]:
            _refuse_strange({"path": listed})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FractalError(
            f"{backup} is not a finished backup ({MANIFEST}: {type(error).__name__}: {error}). Move it elsewhere if it "
            "is in the way."
        ) from error
    return manifest


def files_of(manifest: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the entries of all files of a backup, its dump included where it is made."""
    return [*([manifest["dump"]] if manifest["dump"] is not None else []), *manifest["files"]]


def write_manifest(folder: str, manifest: Mapping[str, Any]) -> None:
    """Write the manifest of a backup, or replace it."""
    write_json(os.path.join(folder, MANIFEST), manifest)


def write_json(path: str, content: Mapping[str, Any]) -> None:
    """Write a file of a backup, or replace it at one instant; wait until the disk has it."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path + ".partial")
    write_synced(path + ".partial", json.dumps(content, indent=2, ensure_ascii=False).encode())
    os.replace(path + ".partial", path)
    sync_folder(os.path.dirname(path))


def _refuse_strange(entry: Mapping[str, Any]) -> None:
    file, path = entry.get("file", "x"), entry.get("path")
    if os.path.isabs(file) or ".." in file.split("/"):
        raise ValueError(f"{file!r} is no file of a backup")
    if path is not None and (not os.path.isabs(path) or path != os.path.abspath(path)):
        raise ValueError(f"{path!r} is no path of a file")


def saved_file(backup: Backup, path: str) -> str | None:
    """Return where the backup keeps its copy of ``path``, or None."""
    found = (entry["file"] for entry in backup.manifest["files"] if entry["path"] == path)
    return next((os.path.join(backup.path, name) for name in found), None)


def find_backup(folder: str, named: str = "", held: str = "", installed: str = "") -> str | None:
    """Return the backup to go back to, or None if there is none.

    Args:
        folder: Where the backups of this instance are.
        named: The one that the operator names; it must exist.
        held: The one of the upgrade in progress. Until it is finished that upgrade has changed nothing, and there is
            nothing to go back to: an older one belongs to an earlier upgrade.
        installed: The release that is there, or empty if that is not known. Backups of later ones are passed over: the
            instance has gone back from those releases, and comes from nothing that they held.

    Raises:
        FractalError: The named backup is not there.
    """
    if named:
        if not _is_finished(named):
            raise FractalError(f"{named} holds no finished backup. Name its folder in fractal_backup.")
        return named
    if held:
        return held if _is_finished(held) else None
    found = came_from(finished_backups(folder), installed)
    return found.path if found else None


def came_from(backups: Iterable[Backup], installed: str) -> Backup | None:
    """Return the first backup that is of no later release than the one ``installed``; see `find_backup`."""
    return next((one for one in backups if not is_later(one.manifest["environment"]["version"], installed)), None)


def finished_backups(folder: str) -> list[Backup]:
    """Return the finished backups in a folder, the newest first; no file of theirs is checked."""
    refuse_unsafe_root(folder)
    with contextlib.suppress(FileNotFoundError):
        found = [
            Backup(entry.path, read_manifest(entry.path)) for entry in os.scandir(folder) if _is_finished(entry.path)
        ]
        return sorted(found, key=lambda backup: str(backup.manifest["created"]), reverse=True)
    return []


def without_dump(folder: str) -> list[str]:
    """Return the finished backups in a folder that are a frozen copy alone, the newest first."""
    return [backup.path for backup in finished_backups(folder) if not backup.has_dump]


def newest_without_dump(folder: str) -> list[str]:
    """Return the newest backup if it is a frozen copy alone. Older ones wait for the next upgrade, if for anything.

    One whose copy a rollback gave back never gets a dump; once there is a newer one, no run has to look at it.
    """
    return [backup.path for backup in finished_backups(folder)[:1] if not backup.has_dump]


def prune_backups(folder: str, keep: int, spared: str, check_mode: bool = False) -> list[str]:
    """Remove finished backups beyond the ``keep`` newest, but not the one called ``spared``; return their paths.

    One that is being removed has a hidden name, so that a half of it is never taken for a backup.
    """
    paths = [backup.path for backup in finished_backups(folder)]
    old = [path for path in paths[keep:] if os.path.basename(path) != spared]
    if check_mode:
        return old
    for path in old:
        os.rename(path, os.path.join(folder, f".{os.path.basename(path)}{_REMOVED}"))
    for entry in os.scandir(folder):
        if entry.name.startswith(".") and entry.name.endswith(_REMOVED):  # includes those left by a killed run
            shutil.rmtree(entry.path)
    return old


def left_over_folders(folder: str) -> list[str]:
    """Return the folders of backups that killed runs were making, or removing."""
    names = ("*.partial", f"*{_REMOVED}")
    return sorted(path for name in names for path in glob.glob(os.path.join(glob.escape(folder), f".{name}")))


def left_over_files(backups: Iterable[Backup]) -> list[str]:
    """Return the files in finished backups that killed runs were writing, or had replaced by others."""
    found = []
    for backup in backups:
        names = {DUMP, PACKED, *(name + ".partial" for name in (DUMP, MANIFEST, AFTER))}
        if backup.has_dump:
            names.discard(os.path.basename(backup.dump))
        found += [os.path.join(backup.path, name) for name in names]
    return sorted(path for path in found if os.path.lexists(path))


def pack_backup(backup: str, folder: str) -> str:
    """Write a backup as one tar file into a folder, for the folder's owner only; return its path.

    Raises:
        FractalError: It cannot be written.
    """
    target = os.path.join(folder, os.path.basename(backup) + ".tar")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with opened_folder(target) as (opened, name, _owner):
            owner = os.fstat(opened)
            descriptor = os.open(name, flags, 0o600, dir_fd=opened)
        with os.fdopen(descriptor, "wb") as stream:
            with tarfile.open(fileobj=stream, mode="w") as tar:
                tar.add(backup, os.path.basename(backup))
            os.fchown(stream.fileno(), owner.st_uid, owner.st_gid)
    except OSError as error:
        raise FractalError(f"Cannot pack {backup} into {target}: {error.strerror}.") from error
    return target


def _is_finished(path: str) -> bool:
    return not os.path.basename(path).startswith(".") and os.path.isfile(os.path.join(path, MANIFEST))


@contextlib.contextmanager
def partial_folder(root: str, run: str) -> Iterator[str]:
    """Yield a new folder, and remove it unless it was given its final name. Those of killed runs go first."""
    path = partial_path(root, run)
    with explained("make the folder", path):
        refuse_unsafe_root(root)
        os.makedirs(root, mode=0o700, exist_ok=True)
        refuse_unsafe_root(root)  # nobody was quicker
        shutil.rmtree(path, ignore_errors=True)
        os.mkdir(path, mode=0o700)
    try:
        with umask(0o077):
            yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def partial_path(root: str, run: str) -> str:
    """Return where the backup ``run`` is while it is being made."""
    return os.path.join(root, f".{run}.partial")


def run_of_partial(path: str) -> str:
    """Return the name of the backup that is being made in `partial_path`; empty for another folder."""
    return os.path.basename(path)[1:].rpartition(".partial")[0]


def write_synced(path: str, content: bytes) -> None:
    """Write a new file that only root can read, and wait until the disk has it."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def measure(path: str) -> dict[str, Any]:
    """Return size and SHA-256 of a file."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return {"size": os.path.getsize(path), "sha256": digest.hexdigest()}


def _verify(backup: Backup, dump: bool) -> None:
    for entry in files_of(backup.manifest) if dump else backup.manifest["files"]:
        path = os.path.join(backup.path, entry["file"])
        if measure(path) != {"size": entry["size"], "sha256": entry["sha256"]}:
            raise FractalError(
                f"The backup {backup.path} is damaged: {entry['file']} is not what it was when the backup was made. Do "
                "not go on without a good one: move this folder elsewhere, if the instance is still the old one."
            )


@contextlib.contextmanager
def explained(doing: str, path: str) -> Iterator[None]:
    """Tell an error of the operating system in the words of a backup."""
    try:
        yield
    except OSError as error:
        raise FractalError(
            f"Cannot {doing} {error.filename or path}: {error.strerror}. No backup was made, and nothing half-made is "
            "left. Nothing else was changed."
        ) from error
