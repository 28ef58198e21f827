# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""Who else is connected to a database, and whose locks are in the way: told so that a person can end them."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Callable

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError

if TYPE_CHECKING:
    from sqlalchemy import Connection

# An ordinary role sees of others' sessions only user, database and application. Autovacuum has no user.
OTHER_SESSIONS = """datname = current_database() AND pid <> pg_backend_pid() AND usename IS NOT NULL
              AND coalesce(backend_type, 'client backend') = 'client backend'"""
CLIENT = "CASE WHEN backend_type IS NULL THEN 'unknown' ELSE coalesce(host(client_addr), 'local') END"
APPLICATION = "fractal_ops.platform"  # how our own sessions are called in pg_stat_activity

_COLUMNS = f"a.pid, a.usename::text, coalesce(nullif(a.application_name, ''), 'unnamed'), {CLIENT}"
_FOREIGN = f"""
SELECT {_COLUMNS} FROM pg_stat_activity AS a
WHERE datname = %(dbname)s AND a.pid <> pg_backend_pid() AND usename <> current_user
      AND coalesce(backend_type, 'client backend') = 'client backend'
ORDER BY a.pid
"""
# pg_locks is open to everybody; 16384 is the first object that is not PostgreSQL's own
_LOCK_HOLDERS = f"""
SELECT DISTINCT {_COLUMNS} FROM pg_stat_activity AS a JOIN pg_locks AS l ON l.pid = a.pid
WHERE l.granted AND l.locktype = 'relation' AND l.relation >= 16384 AND a.pid <> pg_backend_pid()
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND a.usename IS NOT NULL AND a.application_name <> '{APPLICATION}'
ORDER BY 1
"""


@dataclass(frozen=True)
class Session:
    """A session of somebody else."""

    pid: int
    role: str
    application: str
    client: str

    def __str__(self) -> str:
        """Return what finds it again."""
        return f"pid {self.pid} (role {self.role}, application {self.application}, client {self.client})"


def foreign_sessions(connection: Connection, dbname: str) -> list[Session]:
    """Return the sessions of other roles in a database."""
    return [Session(*row) for row in connection.exec_driver_sql(_FOREIGN, {"dbname": dbname})]


def lock_holders(connection: Connection) -> list[Session]:
    """Return the sessions, but ours, that hold a lock on any table of the database connected to."""
    return [Session(*row) for row in connection.exec_driver_sql(_LOCK_HOLDERS)]


def told(sessions: Iterable[Session]) -> str:
    """Return sessions as one text."""
    return "; ".join(map(str, sessions))


def how_to_end(sessions: Iterable[Session]) -> str:
    """Return the statement with which an administrator of PostgreSQL ends sessions."""
    pids = ", ".join(str(session.pid) for session in sessions)
    return f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid IN ({pids});"


def wait_until_unlocked(connection: Connection, timeout: float) -> None:
    """Wait until no session of another holds a lock for long (connection in autocommit mode).

    Locks come and go with every query; what counts is a session that is met at each look. Sessions of the role itself
    are fractal-server's, which will be stopped.

    Raises:
        FractalError: Somebody still holds one after ``timeout`` seconds; the text names the session.
    """
    own_role = connection.exec_driver_sql("SELECT current_user").scalar()
    found = met_at_each_look(lambda: [one for one in lock_holders(connection) if one.role != own_role], timeout)
    if found:
        raise FractalError(
            f"Locks on tables of this database are held by {told(found)}. The schema migration would wait for "
            f"them. End what these programs do, or, as PostgreSQL's administrator: {how_to_end(found)}"
        )


def met_at_each_look(look: Callable[[], Iterable[Session]], timeout: float) -> list[Session]:
    """Return the sessions that are met at each look for ``timeout`` seconds; none as soon as no session was."""
    deadline = time.monotonic() + timeout
    always = set(look())
    while always and time.monotonic() <= deadline:
        time.sleep(0.2)
        always &= set(look())
    return sorted(always, key=lambda session: session.pid)
