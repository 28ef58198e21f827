# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""The frozen copy: a database beside the instance's own, which PostgreSQL itself makes from the stopped one.

Its files are copied, so it has everything, whoever owns it, in seconds. It is marked like all our databases
(`scratch.py`), open to its owner only, and read-only by default: it holds what the instance's own database held.
While it is made nobody can connect to it, so an unmarked one with our name that is still closed is half-made, too.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.contents import (
    Contents,
    differences,
    read_contents,
    search_path_of,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.database import (
    DatabaseSettings,
    DBAPIError,
    connect,
    reason_of,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.quoting import quoted
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.scratch import (
    DATABASE_FACTS,
    FROZEN,
    TRIAL,
    beside,
    cannot_carry,
    comment_statement,
    drop_all,
    end_sessions,
    free_name,
    half_made,
    mark_of,
    may_create,
    run,
    runs_of,
    scratch_database,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.sessions import (
    foreign_sessions,
    how_to_end,
    told,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.task_folders import task_groups

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sqlalchemy import Connection

_OBJECT_IN_USE, _DUPLICATE = "55006", "42P04"
_PATIENCE = 20.0  # seconds for others to leave the stopped instance's database; it is downtime
_WITH_STRATEGY = 150000  # the release of PostgreSQL that has CREATE DATABASE … STRATEGY; older ones copy files anyway
_TRIAL_RUN = "copy"

# CREATE DATABASE asks for the owner's privileges, unless the database is a template
_OWNS = "SELECT pg_has_role(datdba, 'USAGE') FROM pg_database WHERE datname = current_database()"
_TABLESPACES = """
SELECT spcname FROM pg_tablespace AS t WHERE spcname NOT IN ('pg_default', 'pg_global')
       AND (EXISTS (SELECT FROM pg_class WHERE reltablespace = t.oid)
            OR oid = (SELECT dattablespace FROM pg_database WHERE datname = current_database())) ORDER BY 1
"""
_OID = "SELECT oid::bigint FROM pg_database WHERE datname = %(name)s"


class NoCopy(FractalError):
    """A frozen copy cannot be made here; nothing was changed."""


def why_no_copy(connection: Connection) -> list[str]:
    """Return, in words, what forbids a copy of the database connected to: rights, and room that nobody can see."""
    role = connection.exec_driver_sql("SELECT quote_ident(current_user)").scalar()
    reasons = []
    if not may_create(connection):
        reasons.append(f"the role {role} may not create databases (ALTER ROLE {role} CREATEDB;)")
    if not connection.exec_driver_sql(_OWNS).scalar():
        owner = connection.exec_driver_sql(DATABASE_FACTS).mappings().one()["owner"]
        reasons.append(f"the database belongs to {quoted(owner)}, not to the role {role}")
    spaces = connection.exec_driver_sql(_TABLESPACES).scalars().all()
    if spaces:
        reasons.append(f"parts of it lie in the tablespace(s) {', '.join(spaces)}, whose room is not known")
    return reasons


def try_copy(settings: DatabaseSettings) -> list[str]:
    """Return, in words, what would forbid a copy, or to go back to one: tried with an empty database."""
    with connect(settings, read_only=True) as connection:
        reasons = why_no_copy(connection)
        facts = dict(connection.exec_driver_sql(DATABASE_FACTS).mappings().one())
        others = foreign_sessions(connection, settings.dbname)
    if not reasons:
        try:
            with scratch_database(settings, _TRIAL_RUN, facts, TRIAL) as scratch:
                with connect(scratch, read_only=True):
                    pass
                with connect(settings, autocommit=True) as connection:
                    left = cannot_carry(connection, scratch.dbname)
            if left:
                reasons.append(_not_carried(left))
        except FractalError as error:
            reasons.append(f"another database cannot be made or connected to: {error}".rstrip("."))
    if others:
        reasons.append(f"others are connected to it, who would have to leave: {told(others)}")
    return reasons


def make_copy(settings: DatabaseSettings, made_by: str, complete: bool) -> dict[str, Any]:
    """Make the frozen copy of a stopped instance's database, and compare it.

    Those of a killed call for the same run go first.

    Args:
        settings: The database.
        made_by: Name of the run.
        complete: Whether to refuse a copy that could not get all settings and privileges of the original one day.

    Returns:
        ``database`` (facts about the original), ``contents`` (rows counted, and their versions), ``task_groups`` (see
        `task_folders.py`), ``copy`` (its ``name``, ``oid`` and the ``search_path`` of the original), ``copy_seconds``
        and ``compare_seconds``.

    Raises:
        NoCopy: None can be made here.
        FractalError: The copy differs from the original. It was dropped.
    """
    started = time.monotonic()
    with connect(settings, autocommit=True) as connection:
        database = dict(connection.exec_driver_sql(DATABASE_FACTS).mappings().one())
        name = _create(connection, settings, made_by, database["server_version_num"])
        try:
            for statement in (
                comment_statement(name, mark_of(FROZEN, made_by, settings.dbname, name)),
                f"REVOKE ALL ON DATABASE {quoted(name)} FROM PUBLIC",
                f"ALTER DATABASE {quoted(name)} SET default_transaction_read_only = on",
                f"ALTER DATABASE {quoted(name)} ALLOW_CONNECTIONS true",
            ):
                run(connection, statement)
            copied = time.monotonic()
            left = cannot_carry(connection, name) if complete else []
            if left:
                raise NoCopy(_not_carried(left))
            search_path = search_path_of(connection)
            contents = _compared(settings, name, search_path)
            groups = task_groups(connection)
            oid = oid_of(connection, name)
        except BaseException:
            drop_all(connection, [name])
            raise
    return {
        "database": {"name": settings.dbname, "host": settings.host, "port": settings.port, **database},
        "contents": contents.as_dict(),
        "task_groups": groups,
        "copy": {"name": name, "oid": oid, "search_path": search_path},
        "copy_seconds": round(copied - started, 3),
        "compare_seconds": round(time.monotonic() - copied, 3),
    }


def find_copy(connection: Connection, dbname: str, made_by: str, copy: Mapping[str, Any]) -> bool:
    """Return whether the copy that a manifest names is there: by name, mark, and PostgreSQL's own number of it."""
    marked = runs_of(connection, dbname, FROZEN).get(copy["name"]) == made_by
    return marked and oid_of(connection, copy["name"]) == copy["oid"]


def oid_of(connection: Connection, name: str) -> int | None:
    """Return PostgreSQL's own number of a database, which stays when it is renamed."""
    found: int | None = connection.exec_driver_sql(_OID, {"name": name}).scalar()
    return found


def drop_copies(connection: Connection, dbname: str, spared: Iterable[str], check_mode: bool) -> list[str]:
    """Drop the copies of all runs but some; return their names."""
    spared = set(spared)
    names = [name for name, made_by in runs_of(connection, dbname, FROZEN).items() if made_by not in spared]
    if not check_mode:
        drop_all(connection, names)
    return names


def opened_again(name: str) -> str:
    """Return the statement that opens a copy to others, as every database begins."""
    return f"GRANT CONNECT, TEMPORARY ON DATABASE {quoted(name)} TO PUBLIC"


def _create(connection: Connection, settings: DatabaseSettings, made_by: str, server: int) -> str:
    """Copy the database, closed to everybody, and return the copy's name."""
    strategy = " STRATEGY file_copy" if server >= _WITH_STRATEGY else ""
    deadline = time.monotonic() + _PATIENCE
    while True:
        end_sessions(connection, settings.dbname)
        drop_all(connection, half_made(connection, settings.dbname, made_by))
        name = free_name(connection, beside(settings.dbname, FROZEN, made_by))
        try:
            run(
                connection,
                f"CREATE DATABASE {quoted(name)} TEMPLATE {quoted(settings.dbname)} ALLOW_CONNECTIONS false{strategy}",
            )
            return name
        except DBAPIError as error:
            state = getattr(error.orig, "sqlstate", None)
            if state not in (_OBJECT_IN_USE, _DUPLICATE):
                raise NoCopy(f"PostgreSQL refuses to copy it: {reason_of(error, settings)}") from error
            others = foreign_sessions(connection, settings.dbname)
            if time.monotonic() > deadline:
                who = f"{told(others)}. PostgreSQL's administrator ends them: {how_to_end(others)}" if others else ""
                raise NoCopy(f"others stay connected to it: {who or reason_of(error, settings)}") from error


def _compared(settings: DatabaseSettings, name: str, search_path: str) -> Contents:
    """Return what the original holds, after it was compared with the copy; both are read at once."""

    def copied() -> Contents:
        try:
            with connect(settings.at(name), read_only=True) as connection:
                return read_contents(connection, search_path, digests=False, versions=True)
        except FractalError as error:
            raise NoCopy(f"the copy cannot be connected to: {error}".rstrip(".")) from error

    with ThreadPoolExecutor() as pool:
        reading = pool.submit(copied)
        with connect(settings, read_only=True) as connection:
            contents = read_contents(connection, digests=False, versions=True)
    copy = reading.result()
    if contents.revision is None:
        raise FractalError(f"The {settings.where} has no alembic revision: it is not fractal-server's.")
    found = differences(contents, copy)
    if found:
        raise FractalError(
            f"The frozen copy differs from the database: {'; '.join(found)}. Was the database written to, or is its "
            "disk failing? Nothing was changed."
        )
    return contents


def _not_carried(left: list[str]) -> str:
    return f"only an administrator of PostgreSQL can repeat this on a copy: {'; '.join(left)}"
