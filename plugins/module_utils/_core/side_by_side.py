# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""Releases side by side, and the one atomic rename that switches between them.

``/opt/fractal/venv`` is the path that units, scripts and SLURM know. ``/opt/fractal/venv-1.2.3`` holds the release
1.2.3, prepared beside it. Switching makes the known path a link to the prepared release; what was there before is
found, untouched, at the known path with its own version appended.

Everything that is renamed lies in the folder of the known path, and is renamed with the rights of whoever can change
that folder.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import shutil
import tempfile

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.accounts import Account
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.files import sync_folder
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.owners import act_as, owner_of

_TRIES = 10  # to remove a folder in which somebody else still writes

_RENAME_EXCHANGE = 2  # renameat2(2)
_AT_FDCWD = -100
_LIBC = ctypes.CDLL(None, use_errno=True)


def release_path(path: str, version: str) -> str:
    """Return where ``version`` of what lives at ``path`` is kept."""
    return f"{path.rstrip('/')}-{version}"


def is_switched(path: str, version: str) -> bool:
    """Return whether ``path`` is a link to the release ``version`` beside it."""
    return os.path.islink(path) and os.path.realpath(path) == os.path.realpath(release_path(path, version))


def switch(path: str, old_version: str, new_version: str) -> bool:
    """Make ``path`` lead to ``new_version`` and keep what it was at ``path-<old_version>``. Return whether it changed.

    At every instant ``path`` leads to exactly one of the two.

    Raises:
        FractalError: The new release is not there, the old one's place is taken, or the file system cannot exchange
            two names.
    """
    return act_as(owner_of(os.path.dirname(path)), _switch, path, old_version, new_version)


def _switch(path: str, old_version: str, new_version: str) -> bool:
    new, old = release_path(path, new_version), release_path(path, old_version)
    if is_switched(path, new_version):
        return False
    if not os.path.isdir(new):
        raise FractalError(f"{new} does not exist: the release {new_version} was not prepared on this host.")
    if os.path.islink(path):
        if not os.path.lexists(old):
            os.symlink(os.readlink(path), old)
        _replace_link(path, os.path.basename(new))
    else:
        if os.path.lexists(old) and not _is_link_to(old, new):
            raise FractalError(f"{old} is in the way: the old release is to be kept there. Move it elsewhere.")
        if not os.path.lexists(old):
            os.symlink(os.path.basename(new), old)
        exchange(old, path)
    sync_folder(os.path.dirname(path))
    return True


def switch_back(path: str, old_version: str, original: str | None = None) -> bool:
    """Make ``path`` be what it was before :func:`switch`, as a real directory if it was one. Return whether it changed.

    Args:
        path: The known path.
        old_version: The release to go back to.
        original: Where ``path`` led to, all links followed, if known.

    Raises:
        FractalError: The old release is not kept beside ``path`` any more.
    """
    return act_as(owner_of(os.path.dirname(path)), _switch_back, path, old_version, original)


def _switch_back(path: str, old_version: str, original: str | None) -> bool:
    old = release_path(path, old_version)
    if not os.path.islink(path):
        return _remove_own_link(old)  # nothing is exchanged; only our link may be left
    if os.path.islink(old):
        return _lead_back(path, os.readlink(old)) | _remove_own_link(old)
    if is_switched(path, old_version):
        return False
    if not os.path.isdir(old):
        raise FractalError(f"{old}, the old release {old_version}, is gone; {path} stays as it is.")
    if original == os.path.realpath(old):  # it was a link then, too
        return _lead_back(path, os.path.basename(old))
    exchange(old, path)
    sync_folder(os.path.dirname(path))
    return _remove_own_link(old)


def _lead_back(path: str, target: str) -> bool:
    changed = os.readlink(path) != target
    if changed:
        _replace_link(path, target)
    return changed


def _remove_own_link(old: str) -> bool:
    """Remove the link at the old release's place; a directory there is the release itself."""
    if not os.path.islink(old):
        return False
    os.unlink(old)
    return True


def make_beside(folder: str, example: str) -> Account | None:
    """Make an empty folder for the account that ``example`` belongs to. Return with whose rights to fill it.

    Only what root alone can rename is given away, so nothing else can be in its place.

    Raises:
        FractalError: It cannot be made.
    """
    names, inside = owner_of(os.path.dirname(folder)), owner_of(example)
    try:
        act_as(names, os.mkdir, folder, 0o755)
        if names is None and inside is not None:
            os.chown(folder, inside.uid, inside.gid, follow_symlinks=False)
    except OSError as error:
        raise FractalError(f"Cannot make the folder {folder}: {error.strerror}.") from error
    return names or inside


def rename_beside(old: str, new: str) -> None:
    """Give what was made beside a release its final name, when the disk has all of it.

    Raises:
        FractalError: It cannot be renamed.
    """
    try:
        act_as(owner_of(os.path.dirname(new)), _rename_synced, old, new)
    except OSError as error:
        raise FractalError(f"Cannot rename {old} to {new}: {error.strerror}.") from error


def remove_beside(*paths: str) -> list[str]:
    """Remove folders, with the rights of whoever can change their names. Return those that there were.

    Raises:
        FractalError: One cannot be removed.
    """
    removed = []
    for path in paths:
        try:
            if act_as(owner_of(os.path.dirname(path)), _remove, path):
                removed.append(path)
        except OSError as error:
            raise FractalError(f"Cannot remove {error.filename or path}: {error.strerror}. Remove {path}.") from error
    return removed


def size_beside(path: str) -> int:
    """Return how many bytes of the disk a file or folder takes, read with the rights of whoever can change its name."""
    return act_as(owner_of(os.path.dirname(path)), _size, path)


def _size(path: str) -> int:
    found = os.lstat(path).st_blocks
    for folder, folders, files in os.walk(path):
        for name in (*folders, *files):
            with contextlib.suppress(FileNotFoundError):
                found += os.lstat(os.path.join(folder, name)).st_blocks
    return found * 512


def _rename_synced(old: str, new: str) -> None:
    folder = os.open(old, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        if _LIBC.syncfs(folder) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), old)
    finally:
        os.close(folder)
    os.rename(old, new)
    sync_folder(os.path.dirname(new))


def _remove(path: str) -> bool:
    if os.path.isdir(path) and not os.path.islink(path):
        _remove_tree(path)
    elif os.path.lexists(path):
        os.unlink(path)
    else:
        return False
    return True


def _remove_tree(path: str) -> None:
    """Remove a folder, without following links, though a program that still runs from it may write its caches there."""
    for left in reversed(range(_TRIES)):
        try:
            shutil.rmtree(path)
            return
        except OSError as error:
            if not left or error.errno not in (errno.ENOTEMPTY, errno.ENOENT):
                raise


def exchange(first: str, second: str) -> None:
    """Exchange two names in one folder in one step (Linux, renameat2), as whoever can change that folder.

    Raises:
        FractalError: The file system cannot.
    """
    act_as(owner_of(os.path.dirname(first)), _exchange, first, second)


def _exchange(first: str, second: str) -> None:
    if _LIBC.renameat2(_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE) != 0:
        code = ctypes.get_errno()
        raise FractalError(
            f"{first} and {second} cannot be exchanged atomically ({errno.errorcode.get(code, code)}). "
            "Put them on one local file system, or set fractal_install_strategy to in_place."
        )


def _replace_link(path: str, target: str) -> None:
    folder = os.path.dirname(path)
    temporary = os.path.join(tempfile.mkdtemp(prefix=".fractal-switch-", dir=folder), "link")
    os.symlink(target, temporary)
    os.replace(temporary, path)
    os.rmdir(os.path.dirname(temporary))
    sync_folder(folder)


def _is_link_to(link: str, target: str) -> bool:
    return os.path.islink(link) and os.path.realpath(link) == os.path.realpath(target)
