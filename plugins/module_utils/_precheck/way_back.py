# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""Whether everything in the database can be backed up, proved and brought back: tried with its schema, without a row.

What else lies in the database is not guessed from a list of kinds. pg_dump reads the schema, and PostgreSQL is asked to
make it in a scratch database, with the role's rights, as the backup's proof and a rollback will.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.findings import (
    Finding,
    FindingRule,
    blocker,
    rule_table,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.wording import examples
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.contents import FRACTAL_TABLES
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.database import connect
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.in_place import in_the_way
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.programs import (
    dump_entries,
    dump_schema,
    find_programs,
    object_of,
    told_entry,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.quoting import quoted
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.scratch import (
    DATABASE_FACTS,
    NO_OWNERS,
    TRIAL,
    cannot_carry,
    may_create,
    restorable,
    scratch_database,
    told_about_public,
    unmarked_databases,
)

if TYPE_CHECKING:
    from ansible_collections.fractal_ops.platform.plugins.module_utils._precheck.database_side import DatabaseSide
    from sqlalchemy import Connection

CHAPTERS = {"database": "Database"}
FINDINGS = rule_table(
    blocker(
        "database.not_dumped",
        "Database cannot be dumped",
        "pg_dump cannot read the schema as the role {subject}. {reason}",
        "Mend what pg_dump names.",
    ),
    blocker(
        "database.scratch_unreachable",
        "No other database can be used",
        "The backup is proved in another database beside {subject}, which cannot be made or connected to: {reason}",
        "Let the role connect to all databases whose names begin with {subject}: in pg_hba.conf, and in [databases] "
        "of pgbouncer (an entry for *), if there is one. Or set fractal_backup_proof to list; a rollback then works "
        "within the database.",
        settles={"fractal_backup_proof": "list"},
        asks=True,
    ),
    blocker(
        "database.trial_failed",
        "Backup cannot be proved",
        "The schema of {subject} cannot be restored into a scratch database: {reason}",
        "Mend what PostgreSQL names, or set fractal_backup_proof to list.",
        settles={"fractal_backup_proof": "list"},
        asks=True,
    ),
    FindingRule(
        "database.left_out",
        "info",
        "Some of the database is left out of the proof",
        "Only an administrator of PostgreSQL can make {count} thing(s) in the database again, so the proof of the "
        "backup goes without them: {objects}.",
        "Nothing: the backup holds them, and fractal-server needs none. The manifest lists all.",
    ),
    FindingRule(
        "database.left_behind",
        "warning",
        "Not all would come back",
        "A rollback makes a fresh database, in which the role {subject} cannot make again: {behind}. Nor can it "
        "restore within the database, because of {objects}. What had the name is kept aside and has them.",
        "Make {quoted} a member of their owners for the time of the upgrade, or keep the statements that make them.",
    ),
    FindingRule(
        "database.no_way_back",
        "blocker",
        "A rollback would be refused",
        "The role {subject} can only restore within the database, where {objects} would be lost: they need Fractal's "
        "tables, and the role could not make them again. A rollback would be refused.",
        "As PostgreSQL's administrator: GRANT <their owner> TO {quoted}; or ALTER ROLE {quoted} CREATEDB; or remove "
        "them until the upgrade is finished.",
    ),
    FindingRule(
        "database.unmarked_copies",
        "info",
        "Databases of an earlier version",
        "These databases beside {subject} look like those that an early version of this collection made. They carry no "
        "mark of it, so they are never dropped: {names}.",
        "Drop them if you do not need them.",
    ),
)

# Of an extension's own, a dump holds no more than the extension. Large objects have no function that tells, before 18.
_UNREADABLE = """
SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'S') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
      AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = c.oid AND deptype = 'e')
      AND NOT (has_schema_privilege(n.oid, 'USAGE') AND NOT row_security_active(c.oid) AND
               CASE c.relkind WHEN 'S' THEN has_sequence_privilege(c.oid, 'SELECT')
                              ELSE has_table_privilege(c.oid, 'SELECT') END)
UNION ALL
SELECT format('large object %s', oid) FROM pg_largeobject_metadata
WHERE NOT pg_has_role(lomowner, 'MEMBER')
      AND NOT EXISTS (SELECT FROM aclexplode(lomacl) WHERE privilege_type = 'SELECT'
                      AND CASE grantee WHEN 0 THEN true ELSE pg_has_role(grantee, 'USAGE') END)
ORDER BY 1
"""
# pg_dump --schema-only leaves them out before 17
_LARGE_OBJECTS_OF_OTHERS = """
SELECT format('large object %%s', oid) FROM pg_largeobject_metadata WHERE NOT pg_has_role(lomowner, 'MEMBER')
"""


def unreadable_objects(connection: Connection) -> list[str]:
    """Return what the role may not read, or not all rows of, so that pg_dump refuses."""
    return list(connection.exec_driver_sql(_UNREADABLE.replace("%", "%%")).scalars())


def check_way_back(host: DatabaseSide) -> Iterator[Finding]:
    """The schema can be dumped, made again in another database, and brought back by a rollback."""
    with host.connection() as connection:
        facts = dict(connection.exec_driver_sql(DATABASE_FACTS).mappings().one())
        role = str(connection.exec_driver_sql("SELECT current_user").scalar())
        creates, unreadable = may_create(connection), unreadable_objects(connection)
        obstacles, old = in_the_way(connection), unmarked_databases(connection, host.database.dbname)
    if old:
        yield FINDINGS["database.unmarked_copies"].finding(host.database.dbname, names=", ".join(map(quoted, old)))
    try:
        programs = find_programs(facts["server_version_num"])
    except FractalError:
        return  # a finding of its own
    if unreadable:
        return  # so is this
    reached, behind = False, ["all of it"]
    with tempfile.NamedTemporaryFile(prefix="fractal-schema-") as dump:
        try:
            dump_schema(programs, host.database, dump.file)
        except FractalError as error:
            yield FINDINGS["database.not_dumped"].finding(role, reason=str(error))
            return
        entries = dump_entries(programs, dump.fileno())
        if creates:
            try:
                with scratch_database(host.database, "precheck", facts, TRIAL) as scratch:
                    with connect(scratch, read_only=True):
                        reached = True
                    with connect(host.database, autocommit=True) as connection:
                        _kept, left_out = restorable(connection, programs, scratch, dump.fileno(), entries, NO_OWNERS)
                        yield from _not_proved(role, left_out)
                        _kept, left_out = restorable(connection, programs, scratch, dump.fileno(), entries)
                        behind = [told_entry(entry) for entry in left_out if not told_about_public(entry)]
                        behind += cannot_carry(connection, scratch.dbname)
                        behind += connection.exec_driver_sql(_LARGE_OBJECTS_OF_OTHERS).scalars().all()
            except FractalError as error:
                if host.params["backup_proof"] == "restore":
                    rule = FINDINGS["database.trial_failed" if reached else "database.scratch_unreachable"]
                    yield rule.finding(host.database.dbname, reason=str(error))
    if behind and obstacles:
        rule = FINDINGS["database.left_behind" if creates and reached else "database.no_way_back"]
        yield rule.finding(role, quoted=quoted(role), objects=examples(obstacles), behind=examples(behind))


def _not_proved(role: str, left_out: list[str]) -> Iterator[Finding]:
    told = [told_entry(entry) for entry in left_out if not told_about_public(entry)]
    own = [told_entry(e) for e in left_out if told_entry(e).startswith("TABLE ") and _name(e) in FRACTAL_TABLES]
    if own:
        yield FINDINGS["database.trial_failed"].finding(role, reason=f"{examples(own)} cannot be made there.")
    elif told:
        yield FINDINGS["database.left_out"].finding(role, count=len(told), objects=examples(told))


def _name(entry: str) -> str:
    return object_of(entry).rpartition(".")[2]
