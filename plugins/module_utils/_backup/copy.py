# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""Whether a backup can be a frozen copy of the database, and making it. The child asks for rights, root for room."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.wording import human_size
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.database import (
    Installation,
    connect,
    installation_settings,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.frozen import (
    NoCopy,
    drop_copies,
    make_copy,
    why_no_copy,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.server import (
    data_folder,
    size_and_postmaster,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.service_side import sensible

if TYPE_CHECKING:
    from ansible_collections.fractal_ops.platform.plugins.module_utils._core.door import Door

# Room, compared with the database: for the copy, and beside it later for the one that proves the dump; some is spare.
_ROOM = 2.4


def why_not_copied(door: Door, installation: Installation) -> list[str]:
    """Return, in words, what forbids a frozen copy: rights, place, and room where that is known."""
    told = door.call(ask_about_copy, installation)
    with sensible():
        return [*map(str, told["why_not"]), *no_room(int(told["size_bytes"]), int(told["postmaster"]))]


def no_room(size: int, postmaster: int) -> list[str]:
    """Return, in words, that PostgreSQL's disk has no room for a copy; nothing where it runs on another host.

    Args:
        size: Size of the database in bytes.
        postmaster: Process id of PostgreSQL on this host, 0 if it runs elsewhere.
    """
    folder = data_folder(postmaster)
    needed = size * _ROOM
    free = shutil.disk_usage(folder).free if folder and os.path.isdir(folder) else needed
    if free >= needed:
        return []
    return [f"{folder} has {human_size(free)} free, a copy, and the proof of its dump, need {human_size(needed)}"]


def ask_about_copy(installation: Installation) -> dict[str, Any]:
    """Return ``why_not`` a copy can be made, as far as the database tells, its ``size_bytes`` and ``postmaster``."""
    with connect(installation_settings(installation), read_only=True) as connection:
        size, postmaster = size_and_postmaster(connection)
        return {"why_not": why_no_copy(connection), "size_bytes": size, "postmaster": postmaster}


def copy_database(installation: Installation, run: str, complete: bool) -> dict[str, Any]:
    """Return what `make_copy` does, or in ``refused`` why none can be made."""
    try:
        return make_copy(installation_settings(installation), run, complete)
    except NoCopy as error:
        return {"refused": str(error)}


def drop_superseded(installation: Installation, spared: list[str], check_mode: bool) -> dict[str, Any]:
    """Drop the frozen copies of all runs but some, and return their ``names``."""
    settings = installation_settings(installation)
    with connect(settings, autocommit=True) as connection:
        return {"names": drop_copies(connection, settings.dbname, spared, check_mode)}
