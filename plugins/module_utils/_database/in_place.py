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
    restore_in_place,
    told_entry,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.scratch import Roles, read_roles

if TYPE_CHECKING:
    from ansible_collections.fractal_ops.platform.plugins.module_utils._database.contents import Contents
    from ansible_collections.fractal_ops.platform.plugins.module_utils._database.database import DatabaseSettings
    from sqlalchemy import Connection

# Every object that has an owner (16384: the first that is not PostgreSQL's own), and whether we can act for the owner.
# Indexes, row types and the like go with their table; schemas stay.
_OWNED = """
owned AS (
    SELECT class, objid, owner, pg_has_role(owner, 'MEMBER') AS ours FROM (
        SELECT 'pg_class'::regclass AS class, oid AS objid, relowner AS owner FROM pg_class
        WHERE relkind IN ('r', 'p', 'v', 'm', 'S', 'f', 'c') AND relpersistence <> 't'
        UNION ALL SELECT 'pg_type'::regclass, oid, typowner FROM pg_type
            WHERE typtype IN ('e', 'd', 'r') OR (typtype = 'b' AND typelem = 0)
        UNION ALL SELECT 'pg_proc'::regclass, oid, proowner FROM pg_proc
        UNION ALL SELECT 'pg_operator'::regclass, oid, oprowner FROM pg_operator
        UNION ALL SELECT 'pg_opclass'::regclass, oid, opcowner FROM pg_opclass
        UNION ALL SELECT 'pg_opfamily'::regclass, oid, opfowner FROM pg_opfamily
        UNION ALL SELECT 'pg_collation'::regclass, oid, collowner FROM pg_collation
        UNION ALL SELECT 'pg_conversion'::regclass, oid, conowner FROM pg_conversion
        UNION ALL SELECT 'pg_ts_config'::regclass, oid, cfgowner FROM pg_ts_config
        UNION ALL SELECT 'pg_ts_dict'::regclass, oid, dictowner FROM pg_ts_dict
        UNION ALL SELECT 'pg_statistic_ext'::regclass, oid, stxowner FROM pg_statistic_ext
        UNION ALL SELECT 'pg_publication'::regclass, oid, pubowner FROM pg_publication
        UNION ALL SELECT 'pg_foreign_server'::regclass, oid, srvowner FROM pg_foreign_server
        UNION ALL SELECT 'pg_foreign_data_wrapper'::regclass, oid, fdwowner FROM pg_foreign_data_wrapper
        UNION ALL SELECT 'pg_event_trigger'::regclass, oid, evtowner FROM pg_event_trigger
        UNION ALL SELECT 'pg_language'::regclass, oid, lanowner FROM pg_language
        UNION ALL SELECT 'pg_largeobject'::regclass, oid, lomowner FROM pg_largeobject_metadata
    ) AS everything
    WHERE objid >= 16384
          AND NOT EXISTS (SELECT FROM pg_depend AS d
                          WHERE d.classid = class AND d.objid = everything.objid AND d.deptype = 'e')
)
"""
_DROPS = f"""
WITH {_OWNED}
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
# Tables and others, by the names of a dump's table of contents, that stay as they are
_UNTOUCHED = f"""
WITH {_OWNED}
SELECT n.nspname || '.' || c.relname FROM owned JOIN pg_class AS c ON c.oid = objid AND class = 'pg_class'::regclass
JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE NOT ours
"""


@dataclass(frozen=True)
class InPlace:
    """How a dump comes back within the database: what is dropped, and which entries of the dump are restored."""

    drops: list[str]
    entries: list[str]
    untouched: list[str]


def in_the_way(connection: Connection) -> list[str]:
    """Return what others have in the database that needs something of what would be dropped."""
    return list(_run(connection, _IN_THE_WAY))


def plan_in_place(connection: Connection, programs: PostgresPrograms, dump: int) -> InPlace:
    """Return how the dump comes back within the database connected to.

    Raises:
        FractalError: It cannot without loss; the text names the objects. Nothing was changed.
    """
    obstacles = in_the_way(connection)
    if obstacles:
        role = connection.exec_driver_sql("SELECT quote_ident(current_user)").scalar()
        raise FractalError(
            f"The backup cannot be restored within the database: {'; '.join(obstacles)} would be lost with the tables "
            f"that they need, and the role {role} could not make them again. Nothing was changed. As PostgreSQL's "
            f"administrator, make {role} a member of their owners for now (GRANT <owner> TO {role};), or let it create "
            f"databases (ALTER ROLE {role} CREATEDB;), then run again."
        )
    schemas = set(_run(connection, "SELECT nspname FROM pg_namespace"))
    return InPlace(
        drops=list(_run(connection, _DROPS)),
        entries=_own_entries(dump_entries(programs, dump), read_roles(connection), schemas),
        untouched=list(_run(connection, _UNTOUCHED)),
    )


def run_in_place(programs: PostgresPrograms, settings: DatabaseSettings, dump: int, plan: InPlace, check: str) -> None:
    """Drop, restore and make the check in one transaction; see `restore_in_place`.

    Raises:
        FractalError: Something failed; the database is unchanged.
    """
    drops = "\n".join(plan.drops)
    before = f"BEGIN;\nSET LOCAL client_min_messages = error;\nSET LOCAL search_path = '';\n{drops}\n"
    restore_in_place(programs, settings, dump, plan.entries, before, f"\nRESET search_path;\n{check}\nCOMMIT;\n")


def comparable(contents: Contents, plan: InPlace) -> Contents:
    """Return what of the contents a restore in place brings back: others may have gone on writing to the rest."""
    return contents.without(set(plan.untouched))


def _own_entries(entries: Sequence[str], roles: Roles, schemas: set[str]) -> list[str]:
    left_out = [
        entry
        for entry in entries
        if not roles.owns(entry) or any(told_entry(entry).startswith(f"SCHEMA - {schema} ") for schema in schemas)
    ]
    return [entry for entry in entries_without(entries, left_out) if entry not in left_out]


def _run(connection: Connection, statement: str) -> Sequence[str]:
    found: Sequence[str] = connection.exec_driver_sql(statement.replace("%", "%%")).scalars().all()
    return found
