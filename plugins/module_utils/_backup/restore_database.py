# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""Bringing an instance's database back from its backup.

The backup is restored into a fresh database, compared with the manifest, and only then takes the old one's name, in one
transaction; what had the name is kept aside. Where the role may not create databases, the restore happens within the
existing database, in one transaction that also makes the comparison.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._backup.store import Backup, open_backup, saved_file
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.contents import (
    TableChange,
    changes_since,
    check_statement,
    differences,
    read_contents,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.database import (
    DatabaseSettings,
    Installation,
    connect,
    installation_settings,
    revision_of,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.programs import (
    PostgresPrograms,
    find_programs,
    restore_in_place,
    restoring,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.scratch import (
    FAILED,
    PROOF,
    RESTORE,
    SWAP,
    beside,
    create_like,
    database_names,
    drop_all,
    end_sessions,
    finish_like,
    may_create,
    own_databases,
    quoted,
)

if TYPE_CHECKING:
    from sqlalchemy import Connection

_ALWAYS_THERE = ("postgres", "template1")
METHODS = ("auto", "fresh_database", "in_place")

_OWNS_DATABASE = "SELECT pg_has_role(datdba, 'MEMBER') FROM pg_database WHERE datname = current_database()"
# Everything of the schema that no extension brought. What goes with something else is gone when its turn comes.
_DROP_EVERYTHING = """
DO $drop$
DECLARE
    schema_oid oid := current_schema()::regnamespace;
    statement text;
BEGIN
    FOREACH statement IN ARRAY (
        SELECT coalesce(array_agg(format('DROP %s IF EXISTS %s CASCADE', kind, name)), '{}')
        FROM (
            SELECT oid, CASE relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'S' THEN 'SEQUENCE'
                                     WHEN 'f' THEN 'FOREIGN TABLE' ELSE 'TABLE' END AS kind, oid::regclass::text AS name
            FROM pg_class WHERE relnamespace = schema_oid AND relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
            UNION ALL
            SELECT oid, 'TYPE', oid::regtype::text FROM pg_type
            WHERE typnamespace = schema_oid AND typtype IN ('e', 'd')
            UNION ALL
            SELECT oid, 'ROUTINE', oid::regprocedure::text FROM pg_proc WHERE pronamespace = schema_oid
        ) AS objects
        WHERE NOT EXISTS (SELECT FROM pg_depend WHERE objid = objects.oid AND deptype = 'e')
    ) LOOP
        EXECUTE statement;
    END LOOP;
END $drop$;
"""


def restore_database(
    installation: Installation,
    backup_path: str,
    accept_data_loss: bool = False,
    method: str = "auto",
    check_mode: bool = False,
) -> dict[str, Any]:
    """Make the database what it was when the backup was made; nothing happens when it is.

    Returns:
        ``changed``, ``method`` (``fresh_database`` or ``in_place``, empty if unchanged), ``kept_aside`` (name of the
        database that was replaced, also by an earlier call, empty if none could be kept), ``lost`` (tables written to
        since the backup) and ``removed`` (left-over databases of killed runs).

    Raises:
        FractalError: The backup is damaged, rows would get lost without consent, or the restore failed. The database
            is what it was before.
    """
    backup = open_backup(backup_path)
    settings = _settings(installation, backup)
    with _administration(settings) as (admin, exists):
        lost, equal = _compare(settings, backup) if exists else ([], False)
        leftovers = [
            name for kind in (PROOF, RESTORE, SWAP) for name in own_databases(admin, beside(settings.dbname, kind))
        ]
        result = {
            "changed": False,
            "method": "",
            "kept_aside": "",
            "lost": [c.as_dict() for c in lost],
            "removed": leftovers,
        }
        if lost and not accept_data_loss:
            raise FractalError(_what_would_be_lost(lost, settings, backup))
        if not check_mode:
            drop_all(admin, leftovers)
        if equal:
            aside = own_databases(admin, beside(settings.dbname, FAILED, backup.manifest["run"]))
            return {**result, "kept_aside": aside[-1] if aside else ""}
        fresh = method == "fresh_database" or (method == "auto" and (not exists or _may_swap(settings)))
        result.update(changed=True, method="fresh_database" if fresh else "in_place")
        if check_mode:
            return result
        programs = find_programs(backup.manifest["database"]["server_version_num"])
        if fresh:
            result["kept_aside"] = _restore_and_swap(admin, programs, settings, backup, exists)
        else:
            _restore_in_place(programs, settings, backup)
        return result


def _settings(installation: Installation, backup: Backup) -> DatabaseSettings:
    """Return settings that work: those of the environment file in use, or else of the one in the backup.

    Raises:
        FractalError: Neither leads to the database that was backed up.
    """
    saved = saved_file(backup, installation.env_file)
    candidates = [installation, *([replace(installation, env_file=saved)] if saved else [])]
    wanted = backup.manifest["database"]
    reasons = []
    for candidate in candidates:
        try:
            settings = installation_settings(candidate)
            if (settings.dbname, settings.host, settings.port) != (wanted["name"], wanted["host"], wanted["port"]):
                raise FractalError(f"{candidate.env_file} names the {settings.where}, which is not the one backed up.")
            with _administration(settings):
                return settings
        except FractalError as error:
            reasons.append(str(error))
    raise FractalError("\n".join(reasons))


@contextlib.contextmanager
def _administration(settings: DatabaseSettings) -> Iterator[tuple[Connection, bool]]:
    """Yield an autocommit connection, and whether the database exists; if not, it is one to another database."""
    with contextlib.ExitStack() as stack:
        try:
            connection, exists = stack.enter_context(connect(settings, autocommit=True)), True
        except FractalError as error:
            connection, exists = stack.enter_context(_elsewhere(settings, error)), False
            if settings.dbname in database_names(connection):
                raise
        yield connection, exists


@contextlib.contextmanager
def _elsewhere(settings: DatabaseSettings, otherwise: FractalError) -> Iterator[Connection]:
    """Yield an autocommit connection to a database that every cluster has."""
    name = next((name for name in _ALWAYS_THERE if _can_connect(settings.at(name))), None)
    if name is None:
        raise otherwise
    with connect(settings.at(name), autocommit=True) as connection:
        yield connection


def _compare(settings: DatabaseSettings, backup: Backup) -> tuple[list[TableChange], bool]:
    """Return what was written since the backup, and whether the database is just what the backup holds."""
    wanted = backup.contents
    with connect(settings, read_only=True) as connection:
        if revision_of(connection) == wanted.revision and not differences(wanted, read_contents(connection)):
            return [], True
        return changes_since(connection, wanted), False


def _what_would_be_lost(lost: list[TableChange], settings: DatabaseSettings, backup: Backup) -> str:
    tables = "\n".join(
        f"  {change.table}: {change.rows_before} rows then, {change.rows_now} now, {change.created} of them new"
        for change in lost
    )
    return (
        f"The {settings.where} was written to after the backup of {backup.manifest['created']}. Going back loses:\n"
        f"{tables}\nNothing was changed. To go back all the same, run again with fractal_accept_data_loss=true"
        "; the database as it is now is kept aside if the role may create databases."
    )


def _may_swap(settings: DatabaseSettings) -> bool:
    with connect(settings, read_only=True) as connection:
        return may_create(connection) and bool(connection.exec_driver_sql(_OWNS_DATABASE).scalar())


# -- with the right to create databases -------------------------------------------------------------------------------


def _restore_and_swap(
    admin: Connection, programs: PostgresPrograms, settings: DatabaseSettings, backup: Backup, exists: bool
) -> str:
    """Restore into a fresh database, compare, and give it the name; return the name of the one kept aside."""
    run = backup.manifest["run"]
    fresh = settings.at(beside(settings.dbname, RESTORE, run))
    create_like(admin, fresh.dbname, backup.manifest["database"])
    try:
        with restoring(programs, fresh, backup.dump, backup.manifest["database"]["size_bytes"]) as restore:
            restore.finish("restore the backup")
        with connect(fresh, read_only=True) as connection:
            found = differences(backup.contents, read_contents(connection))
        if found:
            raise FractalError(f"The restored database differs from the backup's manifest: {'; '.join(found)}.")
        finish_like(admin, fresh.dbname, exists)
        aside = _free_name(admin, beside(settings.dbname, FAILED, run)) if exists else ""
        admin.close()  # nobody may be connected to a database that is renamed
        _swap(settings, fresh.dbname, aside)
    except BaseException:
        with _administration(settings) as (own, _exists):
            drop_all(own, [fresh.dbname])
        raise
    return aside


def _swap(settings: DatabaseSettings, fresh: str, aside: str) -> None:
    """Give the fresh database the name, and what has it now the name ``aside``, at one instant."""
    with _third_database(settings, fresh) as third, connect(third) as connection, connection.begin():
        if aside:
            end_sessions(connection, settings.dbname)
            _rename(connection, settings.dbname, aside)
        _rename(connection, fresh, settings.dbname)


def _rename(connection: Connection, old: str, new: str) -> None:
    connection.exec_driver_sql(f"ALTER DATABASE {quoted(old)} RENAME TO {quoted(new)}".replace("%", "%%"))


@contextlib.contextmanager
def _third_database(settings: DatabaseSettings, fresh: str) -> Iterator[DatabaseSettings]:
    """Yield settings of a database from which the others can be renamed; if need be, make one for that."""
    for name in _ALWAYS_THERE:
        if _can_connect(settings.at(name)):
            yield settings.at(name)
            return
    name = beside(settings.dbname, SWAP, "database")
    with connect(settings.at(fresh), autocommit=True) as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {quoted(name)} TEMPLATE template0".replace("%", "%%"))
    try:
        yield settings.at(name)
    finally:
        with connect(settings, autocommit=True) as connection:
            drop_all(connection, [name])


def _can_connect(settings: DatabaseSettings) -> bool:
    try:
        with connect(settings):
            return True
    except FractalError:
        return False


def _free_name(connection: Connection, name: str) -> str:
    taken = database_names(connection)
    return next(free for number in range(1, 1000) if (free := name if number == 1 else f"{name}_{number}") not in taken)


# -- without it -------------------------------------------------------------------------------------------------------


def _restore_in_place(programs: PostgresPrograms, settings: DatabaseSettings, backup: Backup) -> None:
    with connect(settings, autocommit=True) as connection:
        schema = str(connection.exec_driver_sql("SELECT current_schema()").scalar())
        end_sessions(connection, settings.dbname)
    before = f"BEGIN;\nSET LOCAL client_min_messages = warning;\nSET LOCAL lock_timeout = '60s';\n{_DROP_EVERYTHING}"
    after = f"\nRESET search_path;\n{check_statement(backup.contents)}\nCOMMIT;\n"
    restore_in_place(programs, settings, backup.dump, schema, before, after)
    with connect(settings, read_only=True) as connection:
        found = differences(backup.contents, read_contents(connection))
    if found:
        raise FractalError(f"The restored database differs from the backup's manifest: {'; '.join(found)}.")
