# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""Packing a dump that was written without compression, as somebody waited for it, and giving it back as it was."""

from __future__ import annotations

import contextlib
import gzip
import os
import shutil
import tempfile
import zlib
from collections.abc import Iterator

from ansible_collections.fractal_ops.platform.plugins.module_utils._backup.store import (
    DUMP,
    FORMAT_WITH_COPY,
    PACKED,
    Backup,
    explained,
    finished_backups,
    measure,
    open_backup,
    write_manifest,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.files import sync_folder
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.programs import UNCOMPRESSED

_LEVEL = 1  # more takes long, and wins little on what job logs are
_CHUNK = 1 << 20


def not_packed(root: str) -> list[str]:
    """Return the finished backups in a folder that have a dump without compression, the newest first."""
    return [backup.path for backup in finished_backups(root) if backup.has_dump and _is_to_pack(backup)]


def _is_to_pack(backup: Backup) -> bool:
    dump = backup.manifest["dump"]
    if dump["file"] == PACKED:  # killed just before the other one went
        return os.path.lexists(os.path.join(backup.path, DUMP))
    return bool(dump.get("compress") == UNCOMPRESSED)


def pack_dump(path: str) -> Backup:
    """Pack the dump of a backup; the manifest has the packed one at one instant, and then the other goes.

    One that is not smaller for it stays as it is.

    Raises:
        FractalError: The backup is damaged, or there is no room. It is as before.
    """
    backup = open_backup(path)
    plain, packed = os.path.join(path, DUMP), os.path.join(path, PACKED)
    if backup.dump == plain:
        smaller = _pack(plain, packed)
        new = {"file": PACKED, "compress": "gzip", **measure(packed)} if smaller else {"compress": "as it is"}
        dump = {**backup.manifest["dump"], **new}
        backup = Backup(path, {**backup.manifest, "dump": dump, "format": FORMAT_WITH_COPY})
        with explained("finish", path):
            write_manifest(path, backup.manifest)
    with explained("finish", path):
        os.unlink(plain if backup.dump == packed else packed)
        sync_folder(path)
    return backup


def _pack(plain: str, packed: str) -> bool:
    """Write the packed file, and return whether it is smaller."""
    descriptor = os.open(packed, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with explained("write", packed), os.fdopen(descriptor, "wb") as target, open(plain, "rb") as source:
            with gzip.GzipFile(filename="", fileobj=target, mode="wb", compresslevel=_LEVEL, mtime=0) as stream:
                shutil.copyfileobj(source, stream, _CHUNK)
            target.flush()
            os.fsync(target.fileno())
    except BaseException:
        os.unlink(packed)
        raise
    return os.path.getsize(packed) < os.path.getsize(plain)


@contextlib.contextmanager
def opened_dump(backup: Backup) -> Iterator[int]:
    """Yield the open dump as pg_restore reads it; a packed one as a file beside it that has no name.

    Raises:
        FractalError: It cannot be unpacked.
    """
    with open(backup.dump, "rb") as stream:
        if os.path.basename(backup.dump) != PACKED:
            yield stream.fileno()
            return
        with tempfile.TemporaryFile(dir=backup.path) as plain:
            try:
                with gzip.GzipFile(fileobj=stream) as unpacked:
                    shutil.copyfileobj(unpacked, plain, _CHUNK)
                plain.flush()
            except (OSError, EOFError, zlib.error) as error:
                reason = getattr(error, "strerror", None) or error
                raise FractalError(f"Cannot unpack {backup.dump} beside it: {reason}. Nothing was changed.") from error
            yield plain.fileno()
