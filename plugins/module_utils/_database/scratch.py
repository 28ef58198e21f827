# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""Databases made beside the instance's own: to prove a backup in, and to restore one into."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.database import DatabaseSettings, connect

if TYPE_CHECKING:
    from sqlalchemy import Connection

PROOF, RESTORE, SWAP, FAILED = "proof", "restore", "swap", "failed"
_LONGEST_NAME = 63  # NAMEDATALEN - 1

DATABASE_FACTS = """
SELECT current_setting('server_version_num')::int AS server_version_num,
       current_setting('server_version') AS server_version,
       pg_database_size(oid) AS size_bytes, pg_get_userbyid(datdba) AS owner,
       pg_encoding_to_char(encoding) AS encoding, datcollate AS collate, datctype AS ctype,
       to_jsonb(d) ->> 'datlocprovider' AS locale_provider,
       coalesce(to_jsonb(d) ->> 'daticulocale', to_jsonb(d) ->> 'datlocale') AS locale
FROM pg_database d WHERE datname = current_database()
"""
"""What another database needs to be like the one connected to."""

# Settings (ALTER DATABASE … SET) and privileges, as statements. The values of some settings are lists, quoted already.
_PROPERTIES = """
SELECT format('ALTER DATABASE %%I SET %%s TO %%s', %(name)s::text, setting,
              CASE WHEN setting IN ('search_path', 'temp_tablespaces', 'local_preload_libraries',
                                    'session_preload_libraries') THEN value ELSE quote_literal(value) END)
FROM pg_db_role_setting,
     unnest(setconfig) AS pair,
     LATERAL (SELECT split_part(pair, '=', 1) AS setting, substr(pair, strpos(pair, '=') + 1) AS value) AS parts
WHERE setrole = 0 AND setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
UNION ALL
SELECT format('REVOKE ALL ON DATABASE %%I FROM PUBLIC', %(name)s::text)
FROM pg_database WHERE datname = current_database() AND datacl IS NOT NULL
UNION ALL
SELECT format('GRANT %%s ON DATABASE %%I TO %%s %%s', privilege_type, %(name)s::text,
              CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END,
              CASE WHEN is_grantable THEN 'WITH GRANT OPTION' END)
FROM pg_database, aclexplode(datacl) WHERE datname = current_database()
"""
_END_SESSIONS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = %(name)s AND pid <> pg_backend_pid() AND usename = current_user
"""
# A restore commits some hundred times; what makes it durable is the commit that gives the database its name.
_FAST_RESTORE = ("synchronous_commit = off", "maintenance_work_mem = '256MB'")
_MAY_CREATE = "SELECT rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = current_user"


def beside(dbname: str, kind: str, run: str = "") -> str:
    """Return the name of the database of one kind beside ``dbname``; without ``run``, what all of them begin with.

    PostgreSQL cuts longer names off without a word, so a long one ends with a checksum instead.
    """
    prefix = f"{dbname}_{kind}_"
    if len(prefix.encode()) > _LONGEST_NAME - 16:
        prefix = f"{dbname.encode()[:24].decode('utf-8', 'ignore')}_{_checksum(dbname)}_{kind}_"
    name = prefix + run
    return name if len(name.encode()) <= _LONGEST_NAME else prefix + _checksum(run)


def may_create(connection: Connection) -> bool:
    """Return whether the role may create databases."""
    return bool(connection.exec_driver_sql(_MAY_CREATE).scalar())


def create_like(connection: Connection, name: str, facts: Mapping[str, Any]) -> None:
    """Create an empty database with the encoding and locale in ``facts`` (connection in autocommit mode).

    Raises:
        FractalError: The role may not; the text has the statement that grants it.
    """
    if not may_create(connection):
        role = connection.exec_driver_sql("SELECT current_user").scalar()
        raise FractalError(
            f"The database role {role} may not create databases, which the proof of a backup needs. An "
            f"administrator of PostgreSQL grants it with:  ALTER ROLE {quoted(str(role))} CREATEDB;  Without it, set "
            "fractal_backup_proof to 'list': the backup is then made, but not proved."
        )
    options = {"ENCODING": facts["encoding"], "LC_COLLATE": facts["collate"], "LC_CTYPE": facts["ctype"]}
    if facts["locale_provider"] == "i":
        options.update(LOCALE_PROVIDER="icu", ICU_LOCALE=facts["locale"])
    wanted = " ".join(f"{option} {literal(value)}" for option, value in options.items())
    connection.exec_driver_sql(f"CREATE DATABASE {quoted(name)} TEMPLATE template0 {wanted}".replace("%", "%%"))
    for setting in _FAST_RESTORE:
        connection.exec_driver_sql(f"ALTER DATABASE {quoted(name)} SET {setting}".replace("%", "%%"))


def own_databases(connection: Connection, prefix: str) -> list[str]:
    """Return the names of the role's databases that begin with ``prefix``."""
    query = (
        "SELECT datname FROM pg_database WHERE starts_with(datname, %(prefix)s) "
        "AND pg_has_role(datdba, 'MEMBER') AND datname <> current_database() ORDER BY datname"
    )
    return list(connection.exec_driver_sql(query, {"prefix": prefix}).scalars())


def database_names(connection: Connection) -> set[str]:
    """Return the names of all databases of the cluster."""
    return set(connection.exec_driver_sql("SELECT datname FROM pg_database").scalars())


def finish_like(connection: Connection, name: str, exists: bool) -> None:
    """Undo the settings for a restore, and give the database those of the one that it replaces.

    That one is connected to, if it exists. A dump holds neither its settings nor its privileges.
    """
    statements = [f"ALTER DATABASE {quoted(name)} RESET ALL"]
    if exists:
        statements += connection.exec_driver_sql(_PROPERTIES, {"name": name}).scalars().all()
    for statement in statements:
        connection.exec_driver_sql(statement.replace("%", "%%"))


def drop_all(connection: Connection, names: Iterable[str]) -> None:
    """Drop databases, after ending the role's own sessions in them (connection in autocommit mode).

    Not ``WITH (FORCE)``, which refuses as soon as autovacuum is at work there; without it PostgreSQL sends that away.
    """
    for name in names:
        end_sessions(connection, name)
        connection.exec_driver_sql(f"DROP DATABASE IF EXISTS {quoted(name)}".replace("%", "%%"))


def end_sessions(connection: Connection, name: str) -> None:
    """End all other sessions of this role in a database, such as those that a killed program left."""
    connection.exec_driver_sql(_END_SESSIONS, {"name": name}).all()


@contextlib.contextmanager
def scratch_database(settings: DatabaseSettings, run: str, facts: Mapping[str, Any]) -> Iterator[DatabaseSettings]:
    """Create an empty scratch database, yield its settings, and drop it whatever happens.

    Those of killed runs go first.
    """
    name = beside(settings.dbname, PROOF, run)
    with connect(settings, autocommit=True) as connection:
        drop_all(connection, own_databases(connection, beside(settings.dbname, PROOF)))
        create_like(connection, name, facts)
    try:
        yield settings.at(name)
    finally:
        with connect(settings, autocommit=True) as connection:
            drop_all(connection, [name])


def quoted(name: str) -> str:
    """Return a name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(value: str) -> str:
    """Return a text as an SQL literal (standard_conforming_strings)."""
    return "'" + value.replace("'", "''") + "'"


def _checksum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
