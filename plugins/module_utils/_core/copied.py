# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""Files of the controller on the host: wheels and archives for hosts without a network.

Each set of files has a folder of its own, named by what is in it: two runs with other files never meet in one, and pip
sees no wheel of another upgrade. Only root can change it, and every account can read it, as pip runs as the service
account. What lies in the folder of another set already is not sent again.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
import os
import secrets
import shutil
import stat
from collections.abc import Iterator, Mapping
from typing import IO, Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError

# Option of the modules whose action copies (see doc_fragments/remote_src.py)
REMOTE_SRC_ARGUMENT: dict[str, Any] = {"remote_src": {"type": "bool", "default": True}}
FOLDER = "/var/cache/fractal-ops"
_CHUNK = 1 << 20


def folder_of(files: Mapping[str, str]) -> str:
    """Return the folder for a set of files.

    Args:
        files: The SHA-256 of each in hexadecimal digits, by its name.

    Raises:
        FractalError: A name is not a plain file name.
    """
    for name in files:
        if name.startswith(".") or not name or "/" in name or "\0" in name:
            raise FractalError(f"{name!r} is not a plain file name. Nothing was copied.")
    return os.path.join(FOLDER, hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()[:16])


def missing_files(files: Mapping[str, str]) -> list[str]:
    """Return which files of a set lie in no folder of ours: they have to be sent."""
    there = _there()
    return [name for name, digest in files.items() if (name, digest) not in there]


def lay_out(files: Mapping[str, str], source: str) -> bool:
    """Bring a set of files into its folder. Return whether there was anything to do.

    Args:
        files: The SHA-256 of each in hexadecimal digits, by its name.
        source: Folder with those that had to be sent. Another account may write there, so what counts is what was read.

    Raises:
        FractalError: A file was not sent, has another content than announced, or cannot be written.
    """
    folder, there = folder_of(files), _there()
    todo = [name for name, digest in files.items() if os.path.join(folder, name) not in there.get((name, digest), ())]
    if not todo:
        return False
    try:
        for made in (FOLDER, folder):
            with contextlib.suppress(FileExistsError):
                os.mkdir(made, 0o755)
            os.chmod(made, 0o755)  # whatever the umask says
        for name in todo:
            paths = there.get((name, files[name]))
            with _beside(folder, name) as beside:
                if paths:
                    os.link(paths[0], beside)
                else:
                    _copy(os.path.join(source, name), beside, files[name])
    except OSError as error:
        raise FractalError(
            f"Cannot copy files of the controller to {error.filename or folder}: {error.strerror}. Make room there, or "
            "name files on the host, with fractal_remote_src=true. The service was not touched."
        ) from error
    return True


def copied_folders() -> list[str]:
    """Return the folders of all sets that lie here."""
    return sorted(glob.glob(os.path.join(FOLDER, "[0-9a-f]" * 16)))


def remove_copied() -> list[str]:
    """Remove the folders of all sets. Return them.

    Raises:
        FractalError: One cannot be removed.
    """
    found = copied_folders()
    try:
        for folder in found:
            shutil.rmtree(folder)
    except OSError as error:
        raise FractalError(f"Cannot remove {error.filename}: {error.strerror}.") from error
    return found


def _there() -> dict[tuple[str, str], list[str]]:
    """Return the paths of the files that lie here, by name and SHA-256; each file is read once, whatever its names."""
    found: dict[tuple[str, str], list[str]] = {}
    digests: dict[int, str] = {}
    for folder in copied_folders():
        for entry in os.scandir(folder):
            if entry.name.startswith(".") or not entry.is_file(follow_symlinks=False):
                continue
            if entry.inode() not in digests:
                with open(entry.path, "rb") as stream:
                    digests[entry.inode()] = _sha256(stream)
            found.setdefault((entry.name, digests[entry.inode()]), []).append(entry.path)
    return found


@contextlib.contextmanager
def _beside(folder: str, name: str) -> Iterator[str]:
    """Yield a temporary name; the file takes the name ``name`` at the end. So there is a whole file or none."""
    beside = os.path.join(folder, f".{name}.{secrets.token_hex(4)}")
    try:
        yield beside
        os.rename(beside, os.path.join(folder, name))
    finally:
        with contextlib.suppress(FileNotFoundError):  # also where both are one file: rename(2) leaves them then
            os.unlink(beside)


def _copy(sent: str, target: str, digest: str) -> None:
    try:
        descriptor = os.open(sent, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError as error:
        raise FractalError(f"{os.path.basename(sent)} was not sent to this host. Run it again.") from error
    with open(descriptor, "rb") as stream, open(target, "xb") as copy:
        os.fchmod(copy.fileno(), 0o644)
        regular = stat.S_ISREG(os.fstat(descriptor).st_mode)
        if not regular or _sha256(stream, copy) != digest:
            raise FractalError(
                f"{os.path.basename(sent)} arrived on this host with another content than it has on the controller. "
                "Run it again."
            )
        copy.flush()
        os.fsync(copy.fileno())


def _sha256(stream: IO[bytes], copy: IO[bytes] | None = None) -> str:
    sha256 = hashlib.sha256()
    for chunk in iter(lambda: stream.read(_CHUNK), b""):
        sha256.update(chunk)
        if copy is not None:
            copy.write(chunk)
    return sha256.hexdigest()
