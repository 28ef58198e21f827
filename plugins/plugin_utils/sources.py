# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""Files on the controller that are copied to hosts: a folder of wheels, or one archive."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path


def files_of(path: str) -> dict[str, Path]:
    """Return the files to copy, by name: the file that ``path`` is, or those that lie directly in that folder.

    Raises:
        OSError: It cannot be read.
    """
    here = Path(path)
    if not here.is_dir():
        here.stat()
        return {here.name: here}
    return {one.name: one for one in sorted(here.iterdir()) if one.is_file() and not one.name.startswith(".")}


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.sha256(stream.read()).hexdigest()


def why_not_copied(path: str) -> str:
    """Return why what ``path`` names cannot be copied to hosts, or an empty text."""
    try:
        found = files_of(path)
        unreadable = [name for name, one in found.items() if not os.access(one, os.R_OK)]
    except OSError as error:
        return f"which cannot be read on the controller: {error.strerror}"
    if unreadable:
        return f"of which {unreadable[0]} cannot be read on the controller"
    return "" if found else "which is an empty folder on the controller"
