# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""Whether a session is one's own, or lent for each transaction by a pooler between us and PostgreSQL.

What is set in a lent session stays in it, and somebody else finds it there: after a pg_dump, fractal-server's queries
would find no table. So it has to be known before anything is set.
"""

from __future__ import annotations

import select
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psycopg
else:
    try:
        import psycopg
    except ImportError:
        psycopg = None  # as under the host's Python, which connects to no database

_PROCESS = "SELECT pg_backend_pid()"
_TRIES = 5  # others may work through the pooler, too, and get what was given back
_PATIENCE = 5.0  # seconds; a pooler that has no further session makes us wait for one


def is_lent(connection: psycopg.Connection) -> bool:
    """Return whether a session is lent for each transaction; nothing is set in it.

    A pooler tells each client a process id of its own making. If it lends by transaction, a second client gets the
    process that the first one has just given back.

    Args:
        connection: To ask, in autocommit mode.
    """
    if _process(connection) == connection.info.backend_pid:
        return False
    way = psycopg.conninfo.make_conninfo(**connection.info.get_parameters(), password=connection.info.password)
    try:
        with psycopg.connect(way, autocommit=True) as other:
            for _try in range(_TRIES):
                ours, theirs = _process(connection), _process_soon(other)
                if theirs in (ours, None):
                    return theirs is not None
    except psycopg.Error:
        pass  # there is no room for a second client: each has a session of its own
    return False


def _process(connection: psycopg.Connection) -> int:
    row = connection.execute(_PROCESS, prepare=False).fetchone()
    return int(row[0]) if row else 0


def _process_soon(connection: psycopg.Connection) -> int | None:
    """Return the process that works for a connection; None if it has to wait for one."""
    link = connection.pgconn
    link.send_query(_PROCESS.encode())
    link.flush()
    while link.is_busy():
        if not select.select([link.socket], [], [], _PATIENCE)[0]:
            return None
        link.consume_input()
    result = link.get_result()
    value = result.get_value(0, 0) if result else None
    while result:
        result = link.get_result()
    return int(value) if value else None
