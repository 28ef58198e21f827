# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""Databases made beside the instance's own: to prove a backup in, and to restore one into.

A name proves nothing: an operator may have called a database so. Ours is one that carries our mark, a comment that says
what the database is for, and that still has just the name that we gave it. Nothing else is ever dropped.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.database import DatabaseSettings, connect
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.programs import (
    PostgresPrograms,
    entries_without,
    grants_of_others,
    refused_entries,
    told_entry,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.quoting import literal, quoted
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.sessions import APPLICATION

if TYPE_CHECKING:
    from sqlalchemy import Connection

PROOF, RESTORE, SWAP, FAILED, TRIAL, FROZEN = "proof", "restore", "swap", "failed", "trial", "frozen"
REHEARSAL = "rehearsal"
LEFT_OVER = (PROOF, TRIAL, REHEARSAL, RESTORE, SWAP)
"""The kinds that nobody needs once the run that made them has ended; whoever finds one under the lock drops it."""

_DEFAULT_TABLESPACE = "pg_default"  # open to all, but not by its name
_LONGEST_NAME = 63  # NAMEDATALEN - 1

DATABASE_FACTS = """
SELECT current_setting('server_version_num')::int AS server_version_num,
       current_setting('server_version') AS server_version,
       pg_database_size(oid) AS size_bytes, pg_get_userbyid(datdba) AS owner,
       pg_encoding_to_char(encoding) AS encoding, datcollate AS collate, datctype AS ctype,
       to_jsonb(d) ->> 'datlocprovider' AS locale_provider,
       coalesce(to_jsonb(d) ->> 'daticulocale', to_jsonb(d) ->> 'datlocale') AS locale,
       to_jsonb(d) ->> 'daticurules' AS icu_rules,
       (SELECT spcname FROM pg_tablespace WHERE oid = dattablespace) AS tablespace
FROM pg_database d WHERE datname = current_database()
"""
"""What another database needs to be like the one connected to."""

# What a dump does not hold, as statements in this order: settings (ALTER DATABASE … SET, also those per role), limit,
# comment, privileges, owner. The values of some settings are lists, quoted already.
_PROPERTIES = """
SELECT statement FROM (
    SELECT 1 AS place, format(
        '%%s SET %%s TO %%s',
        CASE setrole WHEN 0 THEN format('ALTER DATABASE %%I', %(name)s::text)
                     ELSE format('ALTER ROLE %%I IN DATABASE %%I', pg_get_userbyid(setrole), %(name)s::text) END,
        setting,
        CASE WHEN setting IN ('search_path', 'temp_tablespaces', 'local_preload_libraries',
                              'session_preload_libraries') THEN value ELSE quote_literal(value) END) AS statement
    FROM pg_db_role_setting,
         unnest(setconfig) AS pair,
         LATERAL (SELECT split_part(pair, '=', 1) AS setting, substr(pair, strpos(pair, '=') + 1) AS value) AS parts
    WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
    UNION ALL
    SELECT 2, format('ALTER DATABASE %%I CONNECTION LIMIT %%s', %(name)s::text, datconnlimit)
    FROM pg_database WHERE datname = current_database() AND datconnlimit <> -1
    UNION ALL
    SELECT 3, format('REVOKE ALL ON DATABASE %%I FROM PUBLIC', %(name)s::text)
    FROM pg_database WHERE datname = current_database() AND datacl IS NOT NULL
    UNION ALL
    SELECT 4, format('GRANT %%s ON DATABASE %%I TO %%s %%s', privilege_type, %(name)s::text,
                     CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END,
                     CASE WHEN is_grantable THEN 'WITH GRANT OPTION' END)
    FROM pg_database, aclexplode(datacl) WHERE datname = current_database()
    UNION ALL
    SELECT 5, format('ALTER DATABASE %%I OWNER TO %%I', %(name)s::text, pg_get_userbyid(datdba))
    FROM pg_database WHERE datname = current_database()
) AS statements ORDER BY place
"""
_COMMENT = """
SELECT datname, shobj_description(oid, 'pg_database') AS comment FROM pg_database
WHERE pg_has_role(datdba, 'MEMBER') AND datname <> current_database() ORDER BY datname
"""
_CLOSED = """
SELECT datname FROM pg_database
WHERE NOT datallowconn AND pg_has_role(datdba, 'USAGE') AND shobj_description(oid, 'pg_database') IS NULL
"""
# A copy of template0 that nobody has connected to is as large as template0: there can be nothing in it.
_EMPTY = f"""{_CLOSED}      AND starts_with(datname, %(prefix)s)
      AND pg_database_size(oid) = (SELECT pg_database_size(oid) FROM pg_database WHERE datname = 'template0')
ORDER BY datname
"""
# how versions without marks called what they left: the time of a run, "database" (from which names were exchanged)
_EARLY_RUN = re.compile(r"(\d{8}T\d{6}Z|database)(_\d+)?")
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


def create_like(
    connection: Connection, name: str, facts: Mapping[str, Any], mark: str, tablespace: bool = False
) -> None:
    """Create an empty, marked database with the encoding and locale in ``facts`` (connection in autocommit mode).

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
    wanted = create_options(facts)
    if tablespace and facts.get("tablespace") not in (None, _DEFAULT_TABLESPACE):
        wanted += f" TABLESPACE {quoted(facts['tablespace'])}"
    # closed until it is marked: whoever is killed in between leaves a database that is known to hold nothing
    run(connection, f"CREATE DATABASE {quoted(name)} TEMPLATE template0 ALLOW_CONNECTIONS false {wanted}")
    run(connection, comment_statement(name, mark))
    for setting in _FAST_RESTORE:
        run(connection, f"ALTER DATABASE {quoted(name)} SET {setting}")
    run(connection, f"ALTER DATABASE {quoted(name)} ALLOW_CONNECTIONS true")


def create_options(facts: Mapping[str, Any]) -> str:
    """Return the options of CREATE DATABASE for the encoding and locale in ``facts`` (PostgreSQL 10 to 18)."""
    options = {"ENCODING": facts["encoding"], "LC_COLLATE": facts["collate"], "LC_CTYPE": facts["ctype"]}
    if facts["locale_provider"] == "i":
        options.update(LOCALE_PROVIDER="icu", ICU_LOCALE=facts["locale"])
        if facts.get("icu_rules"):
            options["ICU_RULES"] = facts["icu_rules"]
    elif facts["locale_provider"] == "b":
        options.update(LOCALE_PROVIDER="builtin", BUILTIN_LOCALE=facts["locale"])
    return " ".join(f"{option} {literal(value)}" for option, value in options.items())


def mark_of(kind: str, run: str, dbname: str, name: str) -> str:
    """Return the comment that marks the database ``name``, made beside ``dbname``, as ours."""
    return f"{APPLICATION} {kind} {run} beside {dbname}: {name}"


def comment_statement(name: str, comment: str | None) -> str:
    """Return the statement that gives a database a comment, or takes it away."""
    return f"COMMENT ON DATABASE {quoted(name)} IS {'NULL' if comment is None else literal(comment)}"


def own_databases(connection: Connection, dbname: str, kind: str, run: str = "") -> list[str]:
    """Return the names of the marked databases of one kind beside ``dbname``, of all runs or of one."""
    return [name for name, made_by in runs_of(connection, dbname, kind).items() if run in ("", made_by)]


def runs_of(connection: Connection, dbname: str, kind: str) -> dict[str, str]:
    """Return the marked databases of one kind beside ``dbname``, and for each the run that made it."""
    begin, end = f"{APPLICATION} {kind} ", f" beside {dbname}: "
    return {
        name: comment[len(begin) : -len(end + name)]
        for name, comment in connection.exec_driver_sql(_COMMENT)
        if comment and comment.startswith(begin) and comment.endswith(end + name)
    }


def half_made(connection: Connection, dbname: str, made_by: str) -> list[str]:
    """Return the copies of one run, whose backup is known not to be finished."""
    closed = set(connection.exec_driver_sql(_CLOSED).scalars())
    wanted = beside(dbname, FROZEN, made_by)
    ours = [name for name in sorted(closed) if re.fullmatch(re.escape(wanted) + r"(_\d+)?", name)]
    return [*own_databases(connection, dbname, FROZEN, made_by), *ours]


def left_over(connection: Connection, dbname: str, kinds: Iterable[str] = LEFT_OVER) -> list[str]:
    """Return what killed runs left beside ``dbname``: databases of these kinds, and before each the copies of it.

    A rehearsal copies its database once. That copy is only known by the database that it is of, so it goes first.
    What has no mark yet has the name of such a kind, is closed, and holds nothing.
    """
    found = []
    for kind in kinds:
        for name, made_by in runs_of(connection, dbname, kind).items():
            found += [*half_made(connection, name, made_by), name]
        found += connection.exec_driver_sql(_EMPTY, {"prefix": beside(dbname, kind)}).scalars()
    return list(dict.fromkeys(found))  # a copy that has no mark yet may be found both ways


def unmarked_databases(connection: Connection, dbname: str) -> list[str]:
    """Return the names of databases that an early version left: called as ours were, but without a mark."""
    prefixes = [beside(dbname, kind) for kind in (PROOF, RESTORE, SWAP, FAILED)]
    return [
        name
        for name, comment in connection.exec_driver_sql(_COMMENT)
        if not (comment or "").startswith(APPLICATION)
        and any(name.startswith(prefix) and _EARLY_RUN.fullmatch(name[len(prefix) :]) for prefix in prefixes)
    ]


def free_name(connection: Connection, name: str) -> str:
    """Return the name, or the name with the first number that makes it free."""
    taken = database_names(connection)
    ends = ("" if number == 1 else f"_{number}" for number in range(1, 1000))
    return next(free for end in ends if (free := name[: _LONGEST_NAME - len(end)] + end) not in taken)


def database_names(connection: Connection) -> set[str]:
    """Return the names of all databases of the cluster."""
    return set(connection.exec_driver_sql("SELECT datname FROM pg_database").scalars())


def finish_like(connection: Connection, name: str, exists: bool, without: Sequence[str] = ()) -> list[str]:
    """Return what undoes our own settings, and gives the database those of the one that it replaces.

    That one is connected to, if it exists. Neither a dump nor a copy holds its settings, privileges, limit and owner.
    Its comment follows with its name. ``without`` are statements of `cannot_carry` to do without.
    """
    properties = _properties(connection, name) if exists else []
    return [
        f"ALTER DATABASE {quoted(name)} RESET ALL",
        *(statement for statement in properties if statement not in without),
    ]


def cannot_carry(connection: Connection, name: str) -> list[str]:
    """Return the statements of `finish_like` that the role may not make (settings per other role, for example).

    Tried on the database ``name``, in a transaction that is rolled back (connection in autocommit mode).
    """
    refused = []
    for statement in _properties(connection, name):
        cursor = connection.connection.cursor()
        try:
            cursor.execute("BEGIN")
            cursor.execute(statement)
        except Exception as error:  # whatever driver it is
            if getattr(error, "sqlstate", None) is None:
                raise
            refused.append(statement)
        finally:
            cursor.execute("ROLLBACK")
            cursor.close()
    return refused


def _properties(connection: Connection, name: str) -> list[str]:
    return list(connection.exec_driver_sql(_PROPERTIES, {"name": name}).scalars())


def comment_of(connection: Connection, name: str) -> str | None:
    """Return the comment on a database."""
    query = "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %(name)s"
    found: str | None = connection.exec_driver_sql(query, {"name": name}).scalar()
    return found


def drop_all(connection: Connection, names: Iterable[str]) -> None:
    """Drop databases, after ending the role's own sessions in them (connection in autocommit mode).

    Not ``WITH (FORCE)``, which refuses as soon as autovacuum is at work there; without it PostgreSQL sends that away.
    """
    for name in names:
        end_sessions(connection, name)
        run(connection, f"DROP DATABASE IF EXISTS {quoted(name)}")


def end_sessions(connection: Connection, name: str) -> None:
    """End all other sessions of this role in a database, such as those that a killed program left."""
    connection.exec_driver_sql(_END_SESSIONS, {"name": name}).all()


@contextlib.contextmanager
def scratch_database(
    settings: DatabaseSettings, run: str, facts: Mapping[str, Any], kind: str = PROOF, keep: bool = False
) -> Iterator[DatabaseSettings]:
    """Create an empty scratch database, yield its settings, and drop it whatever happens.

    Those of killed runs go first. With ``keep`` it stays unless something fails.
    """
    with connect(settings, autocommit=True) as connection:
        drop_all(connection, left_over(connection, settings.dbname, (kind,)))
        name = free_name(connection, beside(settings.dbname, kind, run))
        make_scratch(connection, settings, name, kind, run, facts)
    try:
        yield settings.at(name)
    except BaseException:
        keep = False
        raise
    finally:
        if not keep:
            with connect(settings, autocommit=True) as connection:
                drop_all(connection, [name])


def make_scratch(
    connection: Connection, settings: DatabaseSettings, name: str, kind: str, run: str, facts: Mapping[str, Any]
) -> None:
    """Create an empty database beside the one of ``settings``; one that is restored into gets the same tablespace."""
    create_like(connection, name, dict(facts), mark_of(kind, run, settings.dbname, name), tablespace=kind == RESTORE)


NO_OWNERS = ("--no-owner",)
"""Options of pg_restore for a proof: what belongs to somebody else is proved as well, as the role's own."""

# Roles whose objects the role may make in their name, the members of which it is or could be
_ROLES = "SELECT rolname, pg_has_role(oid, 'MEMBER'), rolname = current_user FROM pg_roles"
# What a role can always make again that has made it; fractal-server's own tables are nothing else
_PLAIN = (
    *("TABLE ", "SEQUENCE ", "DEFAULT ", "CONSTRAINT ", "FK CONSTRAINT ", "INDEX ", "TYPE ", "VIEW "),
    *("SCHEMA ", "ACL ", "COMMENT "),
)


@dataclass(frozen=True)
class Roles:
    """All roles of the cluster, those of them that the role connected as can act for, and that role."""

    names: frozenset[str]
    own: frozenset[str]
    itself: str

    def owner_of(self, entry: str) -> str:
        """Return the owner that an entry of a dump's table of contents ends with, empty if there is none."""
        ends = (name for name in self.names if entry.endswith(f" {name}"))
        return max(ends, key=len, default="")

    def makes(self, entry: str) -> bool:
        """Whether the role itself can make an entry again, without a trial."""
        return self.owner_of(entry) == self.itself and told_entry(entry).startswith(_PLAIN)

    def owns(self, entry: str) -> bool:
        """Whether an entry of a dump's table of contents is that of a role that we can act for."""
        return self.owner_of(entry) in self.own


def read_roles(connection: Connection) -> Roles:
    """Return the roles."""
    rows = connection.exec_driver_sql(_ROLES).all()
    names, own = frozenset(row[0] for row in rows), frozenset(row[0] for row in rows if row[1])
    return Roles(names, own, next(row[0] for row in rows if row[2]))


def restorable(
    connection: Connection,
    programs: PostgresPrograms,
    scratch: DatabaseSettings,
    dump: int,
    entries: Sequence[str],
    options: Sequence[str] = (),
) -> tuple[list[str], list[str]]:
    """Return the entries of a dump that the role can restore into an empty database, and those that it cannot.

    PostgreSQL is asked, not a list of kinds: the schema is restored, and what is refused is left out until nothing is.
    What needs something that was left out is refused the next time. ``scratch`` is empty before and after
    (``connection``, to another database, in autocommit mode).

    Raises:
        FractalError: It cannot be tried.
    """
    roles = read_roles(connection)
    if all(roles.makes(entry) for entry in entries) and not grants_of_others(programs, dump):
        return list(entries), []
    left_out: list[str] = []
    # before 17, large objects are no part of a schema to try; one that cannot be given its owner takes all along
    large = [e for e in entries if told_entry(e).startswith("BLOB") or " LARGE OBJECT " in told_entry(e)]
    if not options and any(told_entry(entry).startswith("BLOB - ") and not roles.owns(entry) for entry in large):
        left_out = large
    kept = entries_without(entries, left_out)
    while True:
        refused = refused_entries(programs, scratch, dump, kept, options)
        _empty_again(connection, scratch.dbname)
        if not refused:
            return kept, left_out
        left_out += refused
        kept = entries_without(entries, left_out)


def told_about_public(entry: str) -> bool:
    """Whether an entry is about the schema ``public`` itself, which every database has from the beginning.

    So has what an administrator owns there; its owner or privileges are refused to the role, and nothing is lost.
    """
    return told_entry(entry).startswith(("SCHEMA - public ", "COMMENT - SCHEMA public ", "ACL - SCHEMA public "))


def _empty_again(connection: Connection, name: str) -> None:
    """Replace one of our databases by an empty one like it."""
    query = DATABASE_FACTS.replace("datname = current_database()", f"datname = {literal(name)}")
    facts = connection.exec_driver_sql(query.replace("%", "%%")).mappings().one()
    mark = comment_of(connection, name) or ""
    drop_all(connection, [name])
    create_like(connection, name, dict(facts), mark, tablespace=True)


def run(connection: Connection, statement: str) -> None:
    """Run a statement that has no parameters."""
    connection.exec_driver_sql(statement.replace("%", "%%"))


def _checksum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
