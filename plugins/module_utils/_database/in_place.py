# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""Bringing a dump back within a database: what is dropped for that, what stays, and what forbids it.

Everything that the role can act for is dropped and comes back from the dump, whatever its schema. What belongs to
somebody else stays, untouched. If that needs something of what would be dropped, nothing is: a DROP … CASCADE would
take it along, and the role could not make it again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.programs import (
    PostgresPrograms,
    dump_entries,
    entries_without,
    object_of,
    restore_in_place,
    told_entry,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.scratch import Roles, read_roles

if TYPE_CHECKING:
    from ansible_collections.fractal_ops.platform.plugins.module_utils._database.contents import Contents
    from ansible_collections.fractal_ops.platform.plugins.module_utils._database.database import DatabaseSettings
    from sqlalchemy import Connection

# Every object that has an owner (16384: the first that is not PostgreSQL's own), and whether it is ours: we can act for
# the owner, and both may make it again where it is: PostgreSQL gives nothing to a role that might not make it itself.
# Indexes, row types and the like go with their table; schemas stay.
_OWNED = """
owned AS (
    SELECT class, objid, owner, pg_has_role(owner, 'MEMBER') AND again AND (schema = 0 OR (
               has_schema_privilege(schema, 'CREATE') AND has_schema_privilege(owner, schema, 'CREATE'))) AS ours
    FROM (
        SELECT 'pg_class'::regclass AS class, oid AS objid, relowner AS owner, relnamespace AS schema, true AS again
            FROM pg_class WHERE relkind IN ('r', 'p', 'v', 'm', 'S', 'f', 'c') AND relpersistence <> 't'
        UNION ALL SELECT 'pg_type'::regclass, oid, typowner, typnamespace, true FROM pg_type
            WHERE typtype IN ('e', 'd', 'r') OR (typtype = 'b' AND typelem = 0)
        UNION ALL SELECT 'pg_proc'::regclass, oid, proowner, pronamespace, true FROM pg_proc
        UNION ALL SELECT 'pg_operator'::regclass, oid, oprowner, oprnamespace, true FROM pg_operator
        UNION ALL SELECT 'pg_opclass'::regclass, oid, opcowner, 0, superuser FROM pg_opclass, we
        UNION ALL SELECT 'pg_opfamily'::regclass, oid, opfowner, 0, superuser FROM pg_opfamily, we
        UNION ALL SELECT 'pg_collation'::regclass, oid, collowner, collnamespace, true FROM pg_collation
        UNION ALL SELECT 'pg_conversion'::regclass, oid, conowner, connamespace, true FROM pg_conversion
        UNION ALL SELECT 'pg_ts_config'::regclass, oid, cfgowner, cfgnamespace, true FROM pg_ts_config
        UNION ALL SELECT 'pg_ts_dict'::regclass, oid, dictowner, dictnamespace, true FROM pg_ts_dict
        UNION ALL SELECT 'pg_statistic_ext'::regclass, oid, stxowner, stxnamespace, true FROM pg_statistic_ext
        UNION ALL SELECT 'pg_publication'::regclass, oid, pubowner, 0, superuser OR (
                may_create AND has_database_privilege(pubowner, current_database(), 'CREATE') AND NOT puballtables
                AND NOT EXISTS (SELECT FROM pg_depend AS d  -- FOR TABLES IN SCHEMA
                                WHERE d.refclassid = 'pg_publication'::regclass AND d.refobjid = p.oid
                                      AND d.classid = to_regclass('pg_catalog.pg_publication_namespace')))
            FROM pg_publication AS p, we
        UNION ALL SELECT 'pg_foreign_server'::regclass, oid, srvowner, 0,
                has_foreign_data_wrapper_privilege(srvfdw, 'USAGE')
                AND has_foreign_data_wrapper_privilege(srvowner, srvfdw, 'USAGE')
            FROM pg_foreign_server
        UNION ALL SELECT 'pg_foreign_data_wrapper'::regclass, oid, fdwowner, 0, superuser
            FROM pg_foreign_data_wrapper, we
        UNION ALL SELECT 'pg_event_trigger'::regclass, oid, evtowner, 0, superuser FROM pg_event_trigger, we
        UNION ALL SELECT 'pg_language'::regclass, oid, lanowner, 0, superuser FROM pg_language, we
        UNION ALL SELECT 'pg_largeobject'::regclass, oid, lomowner, 0, true FROM pg_largeobject_metadata
    ) AS everything
    WHERE objid >= 16384
          AND NOT EXISTS (SELECT FROM pg_depend AS d
                          WHERE d.classid = class AND d.objid = everything.objid AND d.deptype = 'e')
), we AS (
    SELECT rolsuper AS superuser, has_database_privilege(current_database(), 'CREATE') AS may_create
    FROM pg_roles WHERE rolname = current_user
)
"""
_DROPS = f"""
WITH RECURSIVE {_OWNED}
SELECT CASE found.type WHEN 'large object' THEN format('SELECT lo_unlink(%s);', objid)
       ELSE format('DROP %s IF EXISTS %s CASCADE;',
                   CASE WHEN found.type IN ('function', 'procedure', 'aggregate') THEN 'ROUTINE'
                        WHEN found.type = 'composite type' THEN 'TYPE'
                        WHEN found.type = 'statistics object' THEN 'STATISTICS'
                        ELSE upper(found.type) END, found.identity) END
FROM owned, pg_identify_object(class, objid, 0) AS found
WHERE ours
ORDER BY class <> 'pg_class'::regclass, objid
"""
# What would go along with that, step by step. Constraints, defaults, triggers, policies and rules belong to a table.
_IN_THE_WAY = f"""
WITH RECURSIVE {_OWNED}, gone (class, objid) AS (
    SELECT class::oid, objid FROM owned WHERE ours
    UNION
    SELECT next.* FROM gone, LATERAL (
        SELECT classid, d.objid FROM pg_depend AS d
        WHERE d.refclassid = gone.class AND d.refobjid = gone.objid AND d.deptype <> 'e'
        UNION ALL
        SELECT refclassid, refobjid FROM pg_depend AS d
        WHERE d.classid = gone.class AND d.objid = gone.objid AND d.deptype = 'i'
    ) AS next
), belongs AS (
    SELECT gone.class, gone.objid, coalesce(
        (SELECT conrelid FROM pg_constraint WHERE gone.class = 'pg_constraint'::regclass AND oid = gone.objid),
        (SELECT adrelid FROM pg_attrdef WHERE gone.class = 'pg_attrdef'::regclass AND oid = gone.objid),
        (SELECT tgrelid FROM pg_trigger WHERE gone.class = 'pg_trigger'::regclass AND oid = gone.objid),
        (SELECT polrelid FROM pg_policy WHERE gone.class = 'pg_policy'::regclass AND oid = gone.objid),
        (SELECT ev_class FROM pg_rewrite WHERE gone.class = 'pg_rewrite'::regclass AND oid = gone.objid)) AS relation,
        (SELECT prpubid FROM pg_publication_rel
         WHERE gone.class = 'pg_publication_rel'::regclass AND oid = gone.objid) AS publication
    FROM gone
)
SELECT DISTINCT pg_describe_object(b.class, b.objid, 0) || coalesce(' of ' || pg_get_userbyid(o.owner), '')
FROM belongs AS b
LEFT JOIN owned AS o ON (o.class, o.objid) = (
    CASE WHEN relation <> 0 THEN 'pg_class'::regclass WHEN publication <> 0 THEN 'pg_publication'::regclass
         ELSE b.class::regclass END,
    coalesce(nullif(relation, 0), publication, b.objid))
WHERE NOT o.ours OR b.class IN ('pg_cast'::regclass, 'pg_transform'::regclass)
ORDER BY 1
"""
# A dump holds the content of all large objects as one entry (before 17), which no part of them comes back from.
_LARGE_OBJECTS = f"""
WITH RECURSIVE {_OWNED}
SELECT 'large object ' || objid || ' of ' || pg_get_userbyid(owner) FROM owned
WHERE ours AND class = 'pg_largeobject'::regclass ORDER BY 1
"""
# Only a superuser can grant in somebody else's name, so a dump's part that does is refused as a whole.
_GRANTED_BY_OTHERS = f"""
WITH RECURSIVE {_OWNED}
SELECT DISTINCT 'privileges on ' || pg_describe_object(class, objid, 0) || ' that ' || pg_get_userbyid(grantor)
                || ' has granted'
FROM owned, we, LATERAL (
    SELECT grantor FROM aclexplode(coalesce(
        (SELECT relacl FROM pg_class WHERE class = 'pg_class'::regclass AND oid = objid),
        (SELECT typacl FROM pg_type WHERE class = 'pg_type'::regclass AND oid = objid),
        (SELECT proacl FROM pg_proc WHERE class = 'pg_proc'::regclass AND oid = objid),
        (SELECT srvacl FROM pg_foreign_server WHERE class = 'pg_foreign_server'::regclass AND oid = objid),
        (SELECT lomacl FROM pg_largeobject_metadata WHERE class = 'pg_largeobject'::regclass AND oid = objid)))
    UNION
    SELECT grantor FROM pg_attribute, aclexplode(attacl) WHERE class = 'pg_class'::regclass AND attrelid = objid
) AS granted
WHERE ours AND NOT superuser AND grantor <> owner
ORDER BY 1
"""
# What stays as it is, by the names of a dump's table of contents
_UNTOUCHED = f"""
WITH RECURSIVE {_OWNED}
SELECT coalesce((SELECT n.nspname || '.' || p.proname FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace
                 WHERE class = 'pg_proc'::regclass AND p.oid = objid),
                (SELECT n.nspname || '.' || p.oprname
                 FROM pg_operator AS p JOIN pg_namespace AS n ON n.oid = p.oprnamespace
                 WHERE class = 'pg_operator'::regclass AND p.oid = objid),
                (SELECT n.nspname || '.' || c.relname
                 FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
                 WHERE class = 'pg_class'::regclass AND c.oid = objid),
                coalesce(found.schema, '-') || '.' || coalesce(found.name, found.identity))
FROM owned, pg_identify_object(class, objid, 0) AS found WHERE NOT ours
UNION ALL
SELECT n.nspname || '.' || c.relname
FROM owned JOIN pg_index ON class = 'pg_class'::regclass AND indrelid = objid
     JOIN pg_class AS c ON c.oid = indexrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE NOT ours
"""
# Entries of a dump that are a part of a table, whose name they begin with; and what belongs to schemas, which stay
_PARTS = ("DEFAULT ", "CONSTRAINT ", "FK CONSTRAINT ", "CHECK CONSTRAINT ", "TRIGGER ", "RULE ", "POLICY ")
_TABLES = ("TABLE ", "VIEW ", "MATERIALIZED VIEW ", "FOREIGN TABLE ")
_OF_SCHEMAS = ("ACL - SCHEMA ", "COMMENT - SCHEMA ")


@dataclass(frozen=True)
class InPlace:
    """How a dump comes back within the database: what is dropped, and which entries of the dump are restored."""

    drops: list[str]
    entries: list[str]
    untouched: list[str]


def in_the_way(connection: Connection) -> list[str]:
    """Return what would be lost within the database: what others have that needs ours, or have granted of ours, and our
    large objects.
    """
    return [one for query in (_IN_THE_WAY, _GRANTED_BY_OTHERS, _LARGE_OBJECTS) for one in _run(connection, query)]


def plan_in_place(connection: Connection, programs: PostgresPrograms, dump: int) -> InPlace:
    """Return how the dump comes back within the database connected to.

    Raises:
        FractalError: It cannot without loss; the text names the objects. Nothing was changed.
    """
    obstacles = in_the_way(connection)
    if obstacles:
        role = connection.exec_driver_sql("SELECT quote_ident(current_user)").scalar()
        raise FractalError(
            f"The backup cannot be restored within the database: {'; '.join(obstacles)} would be lost with what they "
            f"need, and the role {role} could not make them again. Nothing was changed. As PostgreSQL's "
            f"administrator, make {role} a member of their owners for now (GRANT <owner> TO {role};), or let it create "
            f"databases (ALTER ROLE {role} CREATEDB;), then run again."
        )
    untouched = list(_run(connection, _UNTOUCHED))
    there = {*untouched, *_run(connection, "SELECT '-.' || nspname FROM pg_namespace")}
    return InPlace(
        drops=list(_run(connection, _DROPS)),
        entries=_own_entries(dump_entries(programs, dump), read_roles(connection), there),
        untouched=untouched,
    )


def run_in_place(programs: PostgresPrograms, settings: DatabaseSettings, dump: int, plan: InPlace, check: str) -> None:
    """Drop, restore and make the check in one transaction; see `restore_in_place`.

    Raises:
        FractalError: Something failed; the database is unchanged.
    """
    drops = "\n".join(plan.drops)
    settled = "SET LOCAL client_min_messages = error;\nSET LOCAL lock_timeout = '60s';\nSET LOCAL search_path = '';"
    before = f"BEGIN;\n{settled}\n{drops}\n"
    restore_in_place(programs, settings, dump, plan.entries, before, f"\nRESET search_path;\n{check}\nCOMMIT;\n")


def comparable(contents: Contents, plan: InPlace) -> Contents:
    """Return what of the contents a restore in place brings back: others may have gone on writing to the rest."""
    return contents.without(set(plan.untouched))


def _own_entries(entries: Sequence[str], roles: Roles, there: set[str]) -> list[str]:
    """Return the entries of what is dropped; neither those of others, nor what is still there."""
    tables = there | {object_of(entry) for entry in entries if told_entry(entry).startswith(_TABLES)}

    def stays(entry: str) -> bool:
        name, kind = object_of(entry), told_entry(entry)
        if kind.startswith(_PARTS):  # names may hold blanks: the longest table that fits is the right one
            fitting = (table for table in tables if name.startswith(f"{table} "))
            return max(fitting, key=len, default="") in there
        if kind.startswith("PUBLICATION TABLE"):  # SCHEMA, PUBLICATION, and the table or schema in it
            parts = name.partition(".")[2]
            return any(parts.startswith(f"{one[2:]} ") for one in there if one.startswith("-."))
        return kind.startswith(_OF_SCHEMAS) or bool({name, name.partition("(")[0]} & there)

    left_out = [entry for entry in entries if not roles.owns(entry) or stays(entry)]
    return entries_without(entries, left_out)


def _run(connection: Connection, statement: str) -> Sequence[str]:
    found: Sequence[str] = connection.exec_driver_sql(statement.replace("%", "%%")).scalars().all()
    return found
