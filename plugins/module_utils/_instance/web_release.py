# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""Releases of fractal-web: unpacked side by side, switched by one rename.

The archive has no top folder (``build/``, ``node_modules/``, ``package.json``, ``LICENSE``), so it is unpacked into a
folder of its own, never over the release in use. There it gets a mark, which also says what its switch would move
aside: a folder of the same kind of name that has no mark, and that no mark speaks of, is the operator's.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import shutil
import stat
import tarfile
import tempfile
from collections.abc import Iterable, Mapping
from typing import IO, Any

from ansible.module_utils.urls import open_url
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.files import (
    make_link,
    read_file,
    remove_file,
    umask,
    write_file,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.masking import mask_urls
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.owners import (
    account_named,
    act_as,
    open_as,
    owner_of,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.side_by_side import (
    is_switched,
    make_beside,
    release_path,
    remove_beside,
    rename_beside,
    switch,
    switch_back,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.systemd import read_unit
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.archives import refuse_another, remember
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.health import running_version
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.web import web_version
from ansible_collections.fractal_ops.platform.plugins.module_utils._releases.path import version_key, web_release

MARK = ".fractal_ops.json"
RELEASE_ENTRIES = frozenset({"build", "node_modules", "package.json", "package-lock.json", "LICENSE", MARK})
_CHUNK = 1 << 20
_LARGEST_PACKAGE, _LARGEST_FILE = 1 << 20, 1 << 30  # bytes


@umask(0o022)
def stage_web_release(
    instance: Mapping[str, Any], version: str, archive: str, checksum: str | None, keep: bool = True
) -> bool:
    """Unpack ``archive`` (URL or file) beside the release in use. Return whether there was anything to do.

    Without ``keep`` nothing is noted of it: it is unpacked to be looked at.

    Raises:
        FractalError: The archive cannot be had, its SHA-256 is not ``checksum`` or, without one, that of the archive
            that this host has had by this name; or it is not fractal-web ``version``.
    """
    if instance["version"] == version:
        return False
    directory = str(instance["release_directory"])
    target = release_path(directory, version)
    remove_partial(instance)
    if web_version(target) == version:
        return False
    if os.path.lexists(target):
        raise FractalError(f"{target} is in the way: it is not fractal-web {version}. Move it elsewhere.")
    partial = target + ".partial"
    try:
        with tempfile.TemporaryFile() as file:
            _fetch(archive, file)
            digest = _check(file, checksum, archive)
            moves_aside = "" if os.path.islink(directory) else instance["version"]
            act_as(make_beside(partial, directory), _unpack, file, partial, archive, version, moves_aside)
        _see_that_it_can_run(instance, partial)
        if keep:
            remember(archive, digest)
        rename_beside(partial, target)
    except OSError as error:
        raise FractalError(f"Cannot unpack {mask_urls(archive)} to {target}: {error.strerror or error}.") from error
    finally:
        remove_beside(partial)
    return True


def switch_web_release(instance: Mapping[str, Any], version: str) -> bool:
    """Make the release directory lead to ``version``, with the operator's own files in it. Return whether it changed.

    The environment file is kept as it was, in the old release's folder or beside itself, until the switch back.

    Raises:
        FractalError: A file cannot be copied, or the account that runs fractal-web cannot read the release.
    """
    directory, old_version = str(instance["release_directory"]), str(instance["version"])
    if is_switched(directory, version) or old_version == version:
        return False
    for name in own_files(os.listdir(directory)):
        _copy(os.path.join(directory, name), os.path.join(release_path(directory, version), name))
    env_file = str(instance["env_file"])
    if not _inside(env_file, directory) and os.path.isfile(env_file):
        _copy_file(env_file, release_path(env_file, old_version))
    _see_that_it_can_run(instance, release_path(directory, version))
    return switch(directory, old_version, version)


def switch_web_release_back(instance: Mapping[str, Any], version: str) -> bool:
    """Go back to ``version`` with the environment file that it had. Return whether it changed."""
    directory, env_file = str(instance["release_directory"]), str(instance["env_file"])
    kept = release_path(env_file, version)
    remove_partial(instance)
    changed = switch_back(directory, version)
    if not _inside(env_file, directory) and os.path.isfile(kept):
        _copy_file(kept, env_file, follow=True)
        remove_file(kept)
        changed = True
    return changed


def remove_partial(instance: Mapping[str, Any]) -> None:
    """Remove what a killed preparation left beside the release directory."""
    remove_beside(*glob.glob(glob.escape(str(instance["release_directory"])) + "-*.partial"))


def is_stale(instance: Mapping[str, Any], version: str) -> bool:
    """Return whether a fractal-web that runs has to be started anew to be ``version`` with its environment file."""
    if instance["active_state"] != "active":
        return False
    if runs_older_state(instance, read_unit(str(instance["service"])).started_at):
        return True
    return running_version(str(instance["url"]), "web") != version  # one that hangs may be another than what lies there


def runs_older_state(instance: Mapping[str, Any], started_at: float | None) -> bool:
    """Return whether fractal-web was started before its release was switched or its environment file was written."""
    directory, env_file = str(instance["release_directory"]), str(instance["env_file"])
    # of a folder, too: a switch back exchanges it, and a process that hangs cannot be asked for its release
    changed = [os.lstat(directory).st_ctime, *([os.stat(env_file).st_mtime] if os.path.isfile(env_file) else [])]
    return started_at is not None and max(changed, default=0.0) > started_at


def official_archive(version: str, node_version: str | None) -> str:
    """Return the address of fractal-web's release archive for a version of Node (fractal-web, docs/quickstart.md)."""
    major = (node_version or "20").split(".", 1)[0]
    releases = "https://github.com/fractal-analytics-platform/fractal-web/releases/download"
    return f"{releases}/v{version}/node-{major}-fractal-web-v{version}.tar.gz"


def kept_release(instance: Mapping[str, Any]) -> str | None:
    """Return the version that the release directory was switched away from, or None if it never was."""
    directory = str(instance["release_directory"])
    if not os.path.islink(directory):
        return None
    found = [folder[len(directory) + 1 :] for folder in glob.glob(glob.escape(directory) + "-*")]
    older = [one for one in found if one != instance["version"] and web_version(release_path(directory, one)) == one]
    return max(older, key=version_key, default=None)


def releases_of_ours(instance: Mapping[str, Any]) -> list[str]:
    """Return the versions beside the release directory that this collection has unpacked there, or moved aside."""
    directory = str(instance["release_directory"])
    beside = [folder[len(directory) + 1 :] for folder in glob.glob(glob.escape(directory) + "-*")]
    folders = {one: release_path(directory, one) for one in beside}
    found = [one for one, folder in folders.items() if not os.path.islink(folder) and web_version(folder) == one]
    marks = {one: _mark(folders[one]) for one in found}
    moved = {mark["moves_aside"] for mark in marks.values() if mark}
    return sorted((one for one in found if marks[one] is not None or one in moved), key=version_key)


def _mark(folder: str) -> dict[str, str] | None:
    found = read_file(os.path.join(folder, MARK), _LARGEST_PACKAGE)
    try:
        return {"moves_aside": str(json.loads(found.content)["moves_aside"])} if found else None
    except (ValueError, KeyError, TypeError):
        return None


def belongs_to(instance: Mapping[str, Any], server_version: str | None) -> bool:
    """Return whether the fractal-web now in use was switched to, and belongs to the release of its server."""
    return web_release(server_version or "") == instance["version"] and kept_release(instance) is not None


def own_files(names: Iterable[str]) -> list[str]:
    """Return the entries of a release directory that no release archive brought: the operator's."""
    return sorted(set(names) - RELEASE_ENTRIES)


def _fetch(archive: str, file: IO[bytes]) -> None:
    """Fetch the archive, or a copy of it, into a file without a name: what is checked is what is unpacked."""
    try:
        if "://" in archive:
            with open_url(archive, timeout=60) as answer:
                shutil.copyfileobj(answer, file, _CHUNK)
        else:
            descriptor = open_as(owner_of(archive), archive, os.O_RDONLY | os.O_NONBLOCK)
            with open(descriptor, "rb") as stream:
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    raise FractalError(f"The fractal-web archive {archive} is no file.")
                shutil.copyfileobj(stream, file, _CHUNK)
    except FileNotFoundError as error:
        raise FractalError(f"The fractal-web archive {archive} does not exist on this host.") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise FractalError(
            f"Cannot fetch {mask_urls(archive)}: {reason}. Set fractal_web_archive to a file on this host, "
            "or with fractal_remote_src=false to one on the controller."
        ) from error


def _check(file: IO[bytes], checksum: str | None, archive: str) -> str:
    """Return the SHA-256 of the archive, which is the one that it has to be."""
    sha256 = hashlib.sha256()
    file.seek(0)
    for chunk in iter(lambda: file.read(_CHUNK), b""):
        sha256.update(chunk)
    digest = sha256.hexdigest()
    if not checksum:
        refuse_another(archive, digest)
        return digest
    wanted = checksum.split(":", 1)[-1].lower()
    if digest != wanted:
        raise FractalError(f"{mask_urls(archive)} has SHA-256 {digest}, not {wanted}. Nothing was changed.")
    return digest


def _unpack(file: IO[bytes], folder: str, archive: str, version: str, moves_aside: str | None) -> None:
    file.seek(0)
    try:
        with tarfile.open(fileobj=file) as tar:
            tar.extraction_filter = lambda member, _folder: member  # each was filtered already
            for member in tar:
                kept = _plain(member, folder)
                if kept is None:
                    raise FractalError(f"{mask_urls(archive)} holds {member.name}, which does not belong in a release.")
                tar.extract(kept, folder)
    except (tarfile.TarError, EOFError) as error:
        raise FractalError(f"{mask_urls(archive)} is not a whole tar archive: {error}") from error
    found, start = web_version(folder), os.path.isfile(os.path.join(folder, "build", "index.js"))
    if found != version or not start:
        raise FractalError(
            f"{mask_urls(archive)} is not fractal-web {version}: package.json says {found}, and build/index.js is "
            f"{'there' if start else 'missing'}. Set fractal_web_archive to the right archive."
        )
    with open(os.path.join(folder, MARK), "w", encoding="utf-8") as stream:
        json.dump({"moves_aside": moves_aside}, stream)


def _plain(member: tarfile.TarInfo, folder: str) -> tarfile.TarInfo | None:
    """Return a member as it is unpacked, ours and readable for all, or ``None`` where it does not belong in a release.

    Python's ``data`` filter has its say where there is one: from 3.12 on, and in the last releases of 3.9 to 3.11.
    """
    if not _belongs_inside(member, folder):
        return None
    kept, mode = member, 0o755 if member.isdir() or member.mode & 0o100 else 0o644
    if hasattr(tarfile, "data_filter"):
        try:
            kept = tarfile.data_filter(member, folder)  # leaves the mode of folders to the umask: set below
        except tarfile.FilterError:
            return None
    kept.uid, kept.gid, kept.uname, kept.gname, kept.mode = os.geteuid(), os.getegid(), "", "", mode
    return kept


def _belongs_inside(member: tarfile.TarInfo, folder: str) -> bool:
    """Return whether a member is a file, folder or link whose place, and what it leads to, lies in ``folder``."""
    name, root = os.path.normpath(member.name), os.path.realpath(folder)
    if name.startswith(("/", "..")) or not (member.isfile() or member.isdir() or member.issym()):
        return False
    led_to = os.path.normpath(os.path.join(os.path.dirname(name), member.linkname)) if member.issym() else "."
    if led_to.startswith(("/", "..")):
        return False
    place = os.path.realpath(os.path.join(folder, os.path.dirname(name)))  # an earlier member may be a link
    return place == root or place.startswith(root + os.sep)


def _see_that_it_can_run(instance: Mapping[str, Any], folder: str) -> None:
    """See that the account of the service can read a release.

    Raises:
        FractalError: It cannot.
    """
    user = str(instance.get("user") or "")
    start = os.path.join(folder, "build", "index.js")
    try:
        os.close(open_as(account_named(user) if user else None, start, os.O_RDONLY | os.O_NONBLOCK))
    except OSError as error:
        raise FractalError(
            f"The account {user or 'of fractal-web'} cannot read {start}: {error.strerror}. Let it enter all the "
            "folders that the release lies in."
        ) from error


def _copy(source: str, target: str) -> None:
    """Copy a file, link or folder with owner and mode; what is there already was copied by an interrupted run."""
    found = os.lstat(source)
    if stat.S_ISLNK(found.st_mode):
        make_link(target, os.readlink(source))
    elif not stat.S_ISDIR(found.st_mode):
        _copy_file(source, target)
    elif owner_of(source) is not None:
        remove_beside(target)
        try:
            act_as(make_beside(target, source), shutil.copytree, source, target, True, None, shutil.copy2, False, True)
        except OSError as error:
            raise FractalError(f"Cannot copy {source} to {target}: {error.strerror or error}.") from error
    else:
        if not os.path.isdir(target):
            make_beside(target, source)
        for name in os.listdir(source):
            _copy(os.path.join(source, name), os.path.join(target, name))
        os.chmod(target, stat.S_IMODE(found.st_mode))


def _copy_file(source: str, target: str, follow: bool = False) -> None:
    """Copy a file with its owner and mode, with the rights of whoever can change its folder."""
    found = read_file(source, _LARGEST_FILE)
    if found is not None:
        write_file(target, found.content, found.uid, found.gid, found.mode, follow=follow)


def _inside(path: str, directory: str) -> bool:
    return os.path.normpath(path).startswith(os.path.normpath(directory) + os.sep)
