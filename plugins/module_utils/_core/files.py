# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""Reading small files with care and replacing them atomically, with explicit owner and mode."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import re
import secrets
import stat
from collections.abc import Iterator
from dataclasses import dataclass

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.accounts import Account
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.owners import (
    Place,
    act_as,
    locate,
    open_as,
    opened_folder,
    owner_of,
)

_SELINUX = "security.selinux"
_LARGEST_TEXT = 1 << 20  # bytes; a file of variables or settings has a few thousand


@dataclass(frozen=True)
class FileState:
    """A regular file as it was read: content, numeric owner and group, permission bits."""

    path: str
    content: bytes
    uid: int
    gid: int
    mode: int


def read_file(path: str, limit: int, owner: Account | None = None) -> FileState | None:
    """Return the file at ``path``, or None if there is none.

    Args:
        path: Followed if it is a link; in folders of another account, with that account's rights.
        limit: Largest size in bytes that makes sense for this file.
        owner: The account whose rights count. The default is whoever can change the folder.

    Raises:
        FractalError: It is no regular file, larger than ``limit``, or cannot be read.
    """
    try:
        descriptor = _open(path, owner)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise FractalError(f"Cannot read {path}: {error.strerror}.") from error
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            kind = "a directory" if stat.S_ISDIR(found.st_mode) else "no regular file"
            raise FractalError(f"{path} is {kind}; a file is needed.")
        if found.st_size > limit:
            raise FractalError(f"{path} has {found.st_size} bytes; a file of at most {limit} bytes makes sense here.")
        content = os.read(descriptor, limit)
    except OSError as error:
        raise FractalError(f"Cannot read {path}: {error.strerror}.") from error
    finally:
        os.close(descriptor)
    return FileState(path, content, found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode))


def _open(path: str, owner: Account | None) -> int:
    # without O_NONBLOCK, opening a named pipe would wait for a writer
    flags = os.O_RDONLY | os.O_NONBLOCK
    place = Place(path, owner) if owner else locate(path)
    if place.owner is None:
        return open_as(None, place.path, flags | (os.O_NOFOLLOW if os.geteuid() == 0 else 0))
    try:
        return open_as(place.owner, path, flags)
    except PermissionError:
        if owner:
            raise
    # root's own file in a folder of the account, as systemd reads it; not a second name of a file from elsewhere
    with opened_folder(path) as (folder, name, _owner):
        descriptor = os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    found = os.fstat(descriptor)
    if found.st_uid != 0 or found.st_nlink != 1:
        os.close(descriptor)
        raise PermissionError(errno.EACCES, f"the account {place.owner.name}, whose folder it is in, may not")
    return descriptor


def file_text(path: str, errors: str = "strict") -> str | None:
    """Return the text of a file of variables or settings, or None if there is no file. See `read_file`.

    Args:
        path: The file. Its lines are ended as ``open`` ends them.
        errors: What to do with what is not UTF-8, as for ``open``.

    Raises:
        FractalError: It cannot be read, or is not UTF-8 where that is to be an error.
    """
    found = read_file(path, _LARGEST_TEXT)
    if found is None:
        return None
    try:
        return io.TextIOWrapper(io.BytesIO(found.content), encoding="utf-8", errors=errors).read()
    except UnicodeDecodeError as error:
        raise FractalError(f"Cannot read {path}: it is not UTF-8.") from error


def narrow_mode(mode: int, widest: int) -> int:
    """Return ``mode`` without the permission bits that ``widest`` does not have."""
    return mode & widest


def write_file(
    path: str, content: bytes, uid: int, gid: int, mode: int, owner: Account | None = None, follow: bool = True
) -> None:
    """Replace ``path`` atomically: readers see the whole old file or the whole new one, also after a power cut.

    A link stays a link; what it leads to is replaced, if it lies where the account that made the link may write. The
    new file is created with mode 0600 and gets owner and mode before it gets its name.

    Args:
        path: The file.
        content: All of it.
        uid: Its owner.
        gid: Its group.
        mode: Its permission bits.
        owner: The account whose rights count. The default is whoever can change the folder.
        follow: Without it, a link is replaced itself.

    Raises:
        FractalError: The directory is missing or not writable, the disk is full, or the owner cannot be set. The old
            file is untouched then, and nothing is left behind.
    """
    try:
        with opened_folder(path, owner, follow) as (folder, name, keeper):
            if keeper is not None and os.fstat(folder).st_uid != keeper.uid:
                uid, gid = keeper.uid, keeper.gid  # elsewhere, a file of root's might mean something
            with _temporary(folder, name) as (descriptor, temporary):
                with os.fdopen(descriptor, "wb") as stream:
                    stream.write(content)
                    stream.flush()
                    os.fchown(stream.fileno(), uid, gid)
                    os.fchmod(stream.fileno(), mode & 0o777 if keeper else mode)
                    _copy_label(f"/proc/self/fd/{folder}/{name}", stream.fileno())
                    os.fsync(stream.fileno())
                os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
            os.fsync(folder)
    except OSError as error:
        raise FractalError(f"Cannot write {path}: {error.strerror}.{_whose(path, error)} It is unchanged.") from error


def check_writable(path: str) -> None:
    """See whether `write_file` may replace ``path``, and change nothing. A missing folder is for `make_folders`.

    Raises:
        FractalError: It may not; the text is that of `write_file`.
    """
    try:
        with opened_folder(path, follow=True):
            pass
    except FileNotFoundError:
        return
    except OSError as error:
        raise FractalError(f"Cannot write {path}: {error.strerror}.{_whose(path, error)}") from error


def remove_file(path: str, owner: Account | None = None) -> bool:
    """Remove a file, or the link that ``path`` is, and return whether there was one.

    What a killed `write_file` has left beside it is removed, too.

    Raises:
        FractalError: It cannot be removed.
    """
    try:
        with opened_folder(path, owner) as (folder, name, _keeper):
            _remove_left_over(folder, name)
            os.unlink(name, dir_fd=folder)
            os.fsync(folder)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise FractalError(f"Cannot remove {path}: {error.strerror}.{_whose(path, error)}") from error
    return True


def make_link(path: str, target: str, owner: Account | None = None) -> None:
    """Make ``path`` a link to ``target``, in place of the file that may be there.

    Raises:
        FractalError: It cannot be made.
    """
    remove_file(path, owner)
    try:
        with opened_folder(path, owner) as (folder, name, _keeper):
            os.symlink(target, name, dir_fd=folder)
    except OSError as error:
        raise FractalError(f"Cannot make the link {path}: {error.strerror}.{_whose(path, error)}") from error


def make_folders(path: str, owner: Account | None = None) -> None:
    """Make a folder and those that it lies in, with mode 0755, each as whoever can change the one before it.

    Raises:
        FractalError: They cannot be made.
    """
    try:
        act_as(owner or owner_of(path), _make_folders, path)
    except OSError as error:
        raise FractalError(f"Cannot make the folder {path}: {error.strerror}.{_whose(path, error)}") from error


def private_folder(path: str) -> str:
    """Make a folder that only root can enter; return its path. What is above it is made so too, or left as it is.

    Raises:
        FractalError: It cannot be made.
    """
    try:
        with umask(0o077):
            os.makedirs(path, exist_ok=True)
        os.chmod(path, 0o700)
    except OSError as error:
        raise FractalError(f"Cannot make the folder {path}: {error.strerror}. Nothing was changed.") from error
    return path


def _make_folders(path: str) -> None:
    with umask(0o022):  # under root's 077 nobody but root could reach what is put back there
        os.makedirs(path, exist_ok=True)


@contextlib.contextmanager
def umask(mask: int) -> Iterator[None]:
    """Make files and folders with this mask, whatever that of this process is; also as a decorator."""
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def _whose(path: str, error: OSError) -> str:
    """Say why root was refused, where it worked as somebody else."""
    if error.errno not in (errno.EACCES, errno.EPERM):
        return ""
    owner = owner_of(os.path.dirname(path))
    return (
        f" Its folder belongs to the account {owner.name}, so no more is done there than that account may; if it is a "
        "link, put the file itself there."
        if owner
        else ""
    )


def sync_folder(folder: str) -> None:
    """Make a rename in ``folder`` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_left_over(folder: int, name: str) -> None:
    """Remove what a killed run has left of a half-written file; it may hold secrets."""
    ours = re.compile(rf"\.{re.escape(name)}\.[0-9a-z_]{{8}}\.new", re.DOTALL)
    for left_over in filter(ours.fullmatch, os.listdir(folder)):
        with contextlib.suppress(IsADirectoryError):
            os.unlink(left_over, dir_fd=folder)


@contextlib.contextmanager
def _temporary(folder: int, name: str) -> Iterator[tuple[int, str]]:
    _remove_left_over(folder, name)
    temporary = f".{name}.{secrets.token_hex(4)}.new"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(temporary, flags, 0o600, dir_fd=folder)
    try:
        yield descriptor, temporary
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=folder)
        raise


def _copy_label(source: str, descriptor: int) -> None:
    """Keep the SELinux label of the file that is replaced; a new file has its folder's default."""
    try:
        os.setxattr(descriptor, _SELINUX, os.getxattr(source, _SELINUX, follow_symlinks=False))
    except OSError as error:
        if error.errno not in (errno.ENODATA, errno.ENOTSUP, errno.ENOENT, errno.EPERM, errno.EACCES):
            raise
