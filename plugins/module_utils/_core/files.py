# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""Reading small files with care and replacing them atomically, with explicit owner and mode."""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError

_SELINUX = "security.selinux"


@dataclass(frozen=True)
class FileState:
    """A regular file as it was read: content, numeric owner and group, permission bits."""

    path: str
    content: bytes
    uid: int
    gid: int
    mode: int


def read_file(path: str, limit: int) -> FileState | None:
    """Return the file at ``path``, or None if there is none.

    Args:
        path: Followed if it is a link.
        limit: Largest size in bytes that makes sense for this file.

    Raises:
        FractalError: It is no regular file, larger than ``limit``, or cannot be read.
    """
    try:
        # without O_NONBLOCK, opening a named pipe would wait for a writer
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
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


def narrow_mode(mode: int, widest: int) -> int:
    """Return ``mode`` without the permission bits that ``widest`` does not have."""
    return mode & widest


def write_file(path: str, content: bytes, uid: int, gid: int, mode: int) -> None:
    """Replace ``path`` atomically: readers see the whole old file or the whole new one, also after a power cut.

    A link stays a link; what it leads to is replaced. The new file is created with mode 0600 and gets owner and mode
    before it gets its name.

    Raises:
        FractalError: The directory is missing or not writable, the disk is full, or the owner cannot be set. The old
            file is untouched then, and nothing is left behind.
    """
    target = os.path.realpath(path)
    folder, name = os.path.split(target)
    try:
        with _temporary(folder, name) as (descriptor, temporary):
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fchown(stream.fileno(), uid, gid)
                os.fchmod(stream.fileno(), mode)
                _copy_label(target, stream.fileno())
                os.fsync(stream.fileno())
            os.replace(temporary, target)
        sync_folder(folder)
    except OSError as error:
        raise FractalError(f"Cannot write {path}: {error.strerror}. It is unchanged.") from error


def sync_folder(folder: str) -> None:
    """Make a rename in ``folder`` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _temporary(folder: str, name: str) -> Iterator[tuple[int, str]]:
    for left_over in glob.glob(os.path.join(glob.escape(folder), f".{glob.escape(name)}.????????.new")):
        os.unlink(left_over)  # of a run that was killed; it may hold secrets
    descriptor, temporary = tempfile.mkstemp(prefix=f".{name}.", suffix=".new", dir=folder)
    try:
        yield descriptor, temporary
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def _copy_label(source: str, descriptor: int) -> None:
    """Keep the SELinux label of the file that is replaced; a new file has its folder's default."""
    try:
        os.setxattr(descriptor, _SELINUX, os.getxattr(source, _SELINUX))
    except OSError as error:
        if error.errno not in (errno.ENODATA, errno.ENOTSUP, errno.ENOENT, errno.EPERM, errno.EACCES):
            raise
