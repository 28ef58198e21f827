# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""Where PostgreSQL runs, if it is on this host: its main process, and the folder with its data."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy import Connection

_SIZE = "SELECT pg_database_size(current_database()), pg_backend_pid()"


def size_and_postmaster(connection: Connection) -> tuple[int, int]:
    """Return the size of the database in bytes, and the process id of PostgreSQL, 0 where that is on another host."""
    size, pid = connection.exec_driver_sql(_SIZE).one()
    return size, postmaster_of(pid)


def postmaster_of(pid: int) -> int:
    """Return the process id of the PostgreSQL whose process ``pid`` serves us, 0 where that runs on another host."""
    try:
        if not Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"postgres"):
            return 0
        return int(Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return 0


def data_folder(postmaster: int) -> str | None:
    """Return PostgreSQL's data folder, where it runs on this host: it works in there. For root only."""
    try:
        program = os.path.basename(os.readlink(f"/proc/{postmaster}/exe"))
        return os.readlink(f"/proc/{postmaster}/cwd") if program.startswith("postgres") else None
    except OSError:
        return None
