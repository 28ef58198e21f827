# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""Releases of fractal-web: unpacked side by side, switched by one rename.

The archive has no top folder (``build/``, ``node_modules/``, ``package.json``, ``LICENSE``), so it is unpacked into a
folder of its own, never over the release in use.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import shutil
import tarfile
import tempfile
import urllib.error
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from ansible.module_utils.urls import open_url
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.masking import mask_urls
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.side_by_side import (
    is_switched,
    own_like,
    release_path,
    switch,
    switch_back,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._releases.path import version_key, web_release

RELEASE_ENTRIES = frozenset({"build", "node_modules", "package.json", "package-lock.json", "LICENSE"})
_CHUNK = 1 << 20


def stage_web_release(instance: Mapping[str, Any], version: str, archive: str, checksum: str | None) -> bool:
    """Unpack ``archive`` (URL or file) beside the release in use. Return whether there was anything to do.

    Raises:
        FractalError: The archive cannot be had, its SHA-256 is not ``checksum``, or it is not fractal-web ``version``.
    """
    if instance["version"] == version:
        return False
    target = release_path(str(instance["release_directory"]), version)
    remove_partial(instance)
    if web_version(target) == version:
        return False
    parent = os.path.dirname(target)
    partial = tempfile.mkdtemp(prefix=os.path.basename(target) + ".", suffix=".partial", dir=parent)
    try:
        file = _fetch(archive, partial)
        _check(file, checksum, archive)
        content = os.path.join(partial, "content")
        os.mkdir(content)
        _unpack(file, content, archive)
        found = web_version(content)
        if found != version or not os.path.isfile(os.path.join(content, "build", "index.js")):
            raise FractalError(
                f"{mask_urls(archive)} is not fractal-web {version}: package.json says {found}, and build/index.js is "
                f"{'there' if os.path.isfile(os.path.join(content, 'build', 'index.js')) else 'missing'}. "
                "Set fractal_web_archive to the right archive."
            )
        own_like(content, str(instance["release_directory"]))
        os.rename(content, target)
    except OSError as error:
        raise FractalError(f"Cannot unpack {mask_urls(archive)} to {target}: {error.strerror}.") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return True


def switch_web_release(instance: Mapping[str, Any], version: str) -> bool:
    """Make the release directory lead to ``version``, with the operator's own files in it. Return whether it changed.

    The environment file is kept as it was, in the old release's folder or beside itself, until the switch back.
    """
    directory, old_version = str(instance["release_directory"]), str(instance["version"])
    if is_switched(directory, version) or old_version == version:
        return False
    for name in own_files(os.listdir(directory)):
        _copy(os.path.join(directory, name), os.path.join(release_path(directory, version), name))
    env_file = str(instance["env_file"])
    if not _inside(env_file, directory) and os.path.isfile(env_file):
        _copy(env_file, release_path(env_file, old_version))
    return switch(directory, old_version, version)


def switch_web_release_back(instance: Mapping[str, Any], version: str) -> bool:
    """Go back to ``version`` with the environment file that it had. Return whether it changed."""
    directory, env_file = str(instance["release_directory"]), str(instance["env_file"])
    kept = release_path(env_file, version)
    remove_partial(instance)
    changed = switch_back(directory, version)
    if not _inside(env_file, directory) and os.path.isfile(kept):
        os.replace(kept, env_file)
        changed = True
    return changed


def remove_partial(instance: Mapping[str, Any]) -> None:
    """Remove what a killed preparation left beside the release directory."""
    for path in glob.glob(glob.escape(str(instance["release_directory"])) + "-*.partial"):
        shutil.rmtree(path)


def runs_older_state(instance: Mapping[str, Any], started_at: float | None) -> bool:
    """Return whether fractal-web was started before its release was switched or its environment file was written."""
    directory, env_file = str(instance["release_directory"]), str(instance["env_file"])
    changed = [os.lstat(directory).st_ctime] if os.path.islink(directory) else []
    changed += [os.stat(env_file).st_mtime] if os.path.isfile(env_file) else []
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


def belongs_to(instance: Mapping[str, Any], server_version: str | None) -> bool:
    """Return whether what was switched to is the release of fractal-web for ``server_version``."""
    return web_release(server_version or "") == instance["version"] and kept_release(instance) is not None


def own_files(names: Iterable[str]) -> list[str]:
    """Return the entries of a release directory that no release archive brought: the operator's."""
    return sorted(set(names) - RELEASE_ENTRIES)


def web_version(directory: str) -> str | None:
    """Return the version that ``package.json`` in ``directory`` names, or None."""
    try:
        data = json.loads(Path(directory, "package.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return data.get("version") if isinstance(data, dict) else None


def _fetch(archive: str, folder: str) -> str:
    if "://" not in archive:
        if not os.path.isfile(archive):
            raise FractalError(f"The fractal-web archive {archive} does not exist on this host.")
        return archive
    file = os.path.join(folder, "archive")
    try:
        with open_url(archive, timeout=60) as answer, open(file, "wb") as stream:
            shutil.copyfileobj(answer, stream, _CHUNK)
    except (urllib.error.URLError, ValueError, TimeoutError) as error:
        reason = getattr(error, "reason", error)
        raise FractalError(
            f"Cannot fetch {mask_urls(archive)}: {reason}. Set fractal_web_archive to a file on this host."
        ) from error
    return file


def _check(file: str, checksum: str | None, archive: str) -> None:
    if not checksum:
        return
    digest = hashlib.sha256()
    with open(file, "rb") as stream:
        for chunk in iter(lambda: stream.read(_CHUNK), b""):
            digest.update(chunk)
    wanted = checksum.split(":", 1)[-1].lower()
    if digest.hexdigest() != wanted:
        raise FractalError(f"{mask_urls(archive)} has SHA-256 {digest.hexdigest()}, not {wanted}. Nothing was changed.")


def _unpack(file: str, folder: str, archive: str) -> None:
    try:
        with tarfile.open(file) as tar:
            for member in tar:
                path = PurePosixPath(member.name)
                if (
                    path.is_absolute()
                    or ".." in path.parts
                    or not (member.isfile() or member.isdir() or member.issym())
                ):
                    raise FractalError(f"{mask_urls(archive)} holds {member.name}, which does not belong in a release.")
                member.uid, member.gid, member.uname, member.gname = 0, 0, "", ""
                member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
                tar.extract(member, folder)
    except (tarfile.TarError, EOFError) as error:
        raise FractalError(f"{mask_urls(archive)} is not a whole tar archive: {error}") from error


def _copy(source: str, target: str) -> None:
    """Copy a file or folder with owner, mode and times; what is there already was copied by an interrupted run."""
    if os.path.isdir(source) and not os.path.islink(source):
        shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True)
    else:
        shutil.copy2(source, target, follow_symlinks=False)
    owner = os.lstat(source)
    os.chown(target, owner.st_uid, owner.st_gid, follow_symlinks=False)


def _inside(path: str, directory: str) -> bool:
    return os.path.normpath(path).startswith(os.path.normpath(directory) + os.sep)
