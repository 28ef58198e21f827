# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""Releases side by side, and the one atomic rename that switches between them.

``/opt/fractal/venv`` is the path that units, scripts and SLURM know. ``/opt/fractal/venv-2.17.0`` holds a release
that was prepared beside it. Switching makes the known path a link to the prepared release; what was there before is
found, untouched, at the known path with its own version appended.
"""

from __future__ import annotations

import ctypes
import errno
import os
import tempfile

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.files import sync_folder

_RENAME_EXCHANGE = 2  # renameat2(2)
_AT_FDCWD = -100


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
    old = release_path(path, old_version)
    if not os.path.islink(path):
        return _remove_own_link(old)  # killed before the exchange, or after the exchange of an earlier switch back
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


def own_like(folder: str, example: str) -> None:
    """Give all that is in ``folder``, and itself, to the owner and group of ``example``."""
    owner = os.stat(example)
    for root, _folders, files in os.walk(folder):
        for name in ["", *files]:
            os.chown(os.path.join(root, name), owner.st_uid, owner.st_gid, follow_symlinks=False)


def exchange(first: str, second: str) -> None:
    """Exchange two names in one step (Linux, renameat2).

    Raises:
        FractalError: The file system cannot.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE) != 0:
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
