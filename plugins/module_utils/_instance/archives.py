# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""Which archives this host has installed: the SHA-256 of each by its name, in a file of root's.

Nobody has to look a checksum up: the first archive of a name is believed, unless the operator says what it has to be,
and another one by the same name is refused until it is said.
"""

from __future__ import annotations

import json
import os
import time
import urllib.parse

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.files import (
    private_folder,
    read_file,
    write_file,
)

RECORD = "/var/lib/fractal-ops/archives.json"
_LARGEST = 1 << 20  # bytes


def archive_name(archive: str) -> str:
    """Return the file name of an archive, of which ``archive`` is the path or the URL."""
    path = urllib.parse.urlsplit(archive).path if "://" in archive else archive
    return os.path.basename(path)


def refuse_another(archive: str, digest: str) -> None:
    """Refuse an archive that is not the one that this host has had by its name.

    Args:
        archive: Its path or URL.
        digest: Its SHA-256 in hexadecimal digits.

    Raises:
        FractalError: It is another one, or the record cannot be read.
    """
    name = archive_name(archive)
    seen = _record().get(name)
    if seen and seen["sha256"] != digest:
        raise FractalError(
            f"{name} is not the archive that this host installed on {seen['on']}: its SHA-256 is {digest}, that one's "
            f"was {seen['sha256']}. Ask those who made it. If it is right, set fractal_web_archive_checksum to "
            f"sha256:{digest}. Nothing was changed."
        )


def is_known(archive: str) -> bool:
    """Return whether this host has installed an archive by the name of this one.

    Raises:
        FractalError: The record cannot be read.
    """
    return archive_name(archive) in _record()


def remember(archive: str, digest: str) -> None:
    """Note the archive that was installed.

    Raises:
        FractalError: The record cannot be read or written.
    """
    record, name = _record(), archive_name(archive)
    if record.get(name, {}).get("sha256") == digest:
        return
    record[name] = {"sha256": digest, "on": time.strftime("%Y-%m-%d", time.gmtime())}
    private_folder(os.path.dirname(RECORD))
    write_file(RECORD, json.dumps(record, indent=1, sort_keys=True).encode() + b"\n", os.geteuid(), os.getegid(), 0o600)


def _record() -> dict[str, dict[str, str]]:
    found = read_file(RECORD, _LARGEST)
    if found is None:
        return {}
    try:
        rows = json.loads(found.content).items()
        return {str(name): {"sha256": str(row["sha256"]), "on": str(row["on"])} for name, row in rows}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FractalError(
            f"{RECORD} is damaged: {error}. It holds the SHA-256 of archives that were installed here; move it away."
        ) from error
