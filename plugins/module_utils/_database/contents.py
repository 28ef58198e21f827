# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""What is in a database, small enough to be kept and compared: rows, digests, sequences and structure.

All schemas count, as a dump holds all of them; what an extension brought does not, as the extension brings it again.
PostgreSQL computes all of it; no row leaves the server. A table's digest is the sum of 64 bits of the MD5 of every
row's text: it needs no order and no memory, uses parallel workers, and is the same on every version of PostgreSQL.

Much cheaper are the versions of its rows: where each lies, and which transaction wrote it. No column is read for that,
least of all what PostgreSQL keeps outside of the row. They are the same in a copy of the files, and stay so until
somebody writes: an UPDATE makes a new version elsewhere, and VACUUM moves none.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._database.quoting import literal, quoted
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.verification_rows import somebodys
from ansible_collections.fractal_ops.platform.plugins.module_utils._releases import path
from ansible_collections.fractal_ops.platform.plugins.module_utils._releases.release import TakenAway

if TYPE_CHECKING:
    from sqlalchemy import Connection

# What no migration of a schema on the way takes away has the same content before and after an upgrade that nobody has
# worked on; but for the table in which alembic notes where it is.
_ALWAYS_CHANGED = "alembic_version"

# fractal-server's own tables. Later ones are made by its role itself.
FRACTAL_TABLES = frozenset(
    "accountingrecord accountingrecordslurm alembic_version datasetv2 historyimagecache historyrun historyunit jobv2 "
    "linkusergroup linkuserproject linkuserprojectv2 oauthaccount profile projectv2 resource taskgroupactivityv2 "
    "taskgroupv2 taskv2 user_oauth user_settings usergroup workflowtaskv2 workflowv2".split()
)

_NO_MEMBER = (
    "NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.classid = {0}::regclass AND d.objid = {1} AND d.deptype = 'e')"
)
_NO_MEMBER_CLASS = _NO_MEMBER.format("'pg_class'", "c.oid")
_OURS = "n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'"
# A table is called by its bare name where the search path finds it, and else as SQL names it, with a dot or quotes.
_KEY = """CASE WHEN NOT pg_table_is_visible(c.oid) THEN format('%I.%I', n.nspname, c.relname)
               WHEN c.relname ~ '[."]' THEN quote_ident(c.relname) ELSE c.relname END"""
_TABLES = f"""
SELECT {_KEY} AS key, json_agg(a.attname ORDER BY a.attname COLLATE "C") AS columns,
       bool_or(a.attname = 'id' AND a.atttypid IN ('int4'::regtype, 'int8'::regtype)) AS has_id,
       bool_and(has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')
                AND NOT row_security_active(c.oid)) AS readable
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relkind = 'r' AND {_OURS} AND {_NO_MEMBER_CLASS}
GROUP BY 1 ORDER BY 1
"""
_SEQUENCES = f"""
SELECT {_KEY}, s.last_value
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_sequences s ON s.schemaname = n.nspname AND s.sequencename = c.relname
WHERE {_OURS} AND {_NO_MEMBER_CLASS}
"""
_SCHEMA = """
SELECT coalesce((SELECT n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                 WHERE c.oid = to_regclass('alembic_version')), current_schema(), 'public')
"""
# By schema and name, as a dump's table of contents writes them. Names and types, but no expressions: PostgreSQL writes
# those of CHECK and DEFAULT differently after a restore.
_STRUCTURE = f"""
SELECT coalesce(n.nspname, '-') || '.' || tag, md5(string_agg(detail, E'\\n' ORDER BY detail COLLATE "C"))
FROM (
    SELECT 'pg_class'::regclass AS class, c.oid, relnamespace AS schema, relname::text AS tag,
           format('%s %s %s %s', relkind, attname, format_type(atttypid, atttypmod), attnotnull) AS detail
    FROM pg_class c LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND attnum > 0 AND NOT attisdropped
    WHERE relkind IN ('r', 'p', 'v', 'm', 'f', 'c', 'S')
    UNION ALL
    SELECT 'pg_class'::regclass, c.oid, relnamespace, relname || ' ' || conname, contype::text
    FROM pg_constraint JOIN pg_class c ON c.oid = conrelid WHERE contype IN ('p', 'u', 'f', 'c', 'x')
    UNION ALL
    SELECT 'pg_class'::regclass, indrelid, relnamespace, relname, 'index'
    FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
    WHERE NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid AND contype IN ('p', 'u', 'x'))
    UNION ALL
    SELECT 'pg_class'::regclass, tgrelid, relnamespace, relname || ' ' || tgname, tgenabled::text
    FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid WHERE NOT tgisinternal
    UNION ALL
    SELECT 'pg_class'::regclass, polrelid, relnamespace, relname || ' ' || polname, polcmd::text
    FROM pg_policy JOIN pg_class ON pg_class.oid = polrelid
    UNION ALL
    SELECT 'pg_class'::regclass, ev_class, relnamespace, relname || ' ' || rulename, ev_type::text
    FROM pg_rewrite JOIN pg_class ON pg_class.oid = ev_class WHERE rulename <> '_RETURN'
    UNION ALL
    SELECT 'pg_proc'::regclass, p.oid, pronamespace,
           format('%s(%s)', proname, (SELECT string_agg(format_type(t, NULL), ', ' ORDER BY place)
                                      FROM unnest(proargtypes) WITH ORDINALITY AS u (t, place))), md5(prosrc)
    FROM pg_proc p
    UNION ALL
    SELECT 'pg_type'::regclass, t.oid, typnamespace, typname, typtype::text
    FROM pg_type t WHERE typtype IN ('e', 'd')
    UNION ALL
    SELECT 'pg_statistic_ext'::regclass, s.oid, stxnamespace, stxname, 'statistics' FROM pg_statistic_ext s
    UNION ALL
    SELECT 'pg_publication'::regclass, p.oid, 0, pubname, 'publication' FROM pg_publication p
    UNION ALL
    SELECT 'pg_foreign_server'::regclass, s.oid, 0, srvname, 'server' FROM pg_foreign_server s
    UNION ALL
    SELECT 'pg_event_trigger'::regclass, e.oid, 0, evtname, 'event trigger' FROM pg_event_trigger e
    UNION ALL
    SELECT 'pg_largeobject'::regclass, l.oid, 0, l.oid::text, 'large object' FROM pg_largeobject_metadata l
) AS objects LEFT JOIN pg_namespace n ON n.oid = schema
WHERE (schema = 0 OR {_OURS}) AND {_NO_MEMBER.format("class", "objects.oid")}
GROUP BY 1
"""
_IN_SQL = re.compile(r'"((?:[^"]|"")+)"|([^".]+)')  # a part of a name
_VERSIONS = "coalesce(sum(hashtextextended(t.ctid::text || t.xmin::text, 0)), 0)::text"
_ONE_NOTATION = (
    "SET TimeZone = 'UTC'; SET DateStyle = 'ISO, YMD'; SET IntervalStyle = 'postgres'; SET extra_float_digits = 1; "
    "SET bytea_output = 'hex'; SET row_security = off"
)


@dataclass(frozen=True)
class TableContents:
    """What a table holds. ``kept`` is the digest of those ``columns`` that every later release still has.

    Where only rows were counted, both digests are empty. ``versions`` is the digest of the rows' versions, empty where
    it was not asked for: it says something only of this database and its frozen copy.
    """

    rows: int
    digest: str
    columns: list[str]
    kept: str
    max_id: int | None
    versions: str = ""


@dataclass(frozen=True)
class Contents:
    """What a database holds.

    ``structure`` has a digest for each object, called ``schema.name`` as in a dump's table of contents; None in a
    manifest of an early version, which knew Fractal's schema only. ``schema`` is the one of Fractal's own tables.
    """

    revision: str | None
    tables: dict[str, TableContents]
    sequences: dict[str, int | None]
    structure: dict[str, str] | None
    schema: str = "public"

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Contents:
        """Return what `as_dict` gave."""
        tables = {name: TableContents(**table) for name, table in data["tables"].items()}
        structure = data["structure"] if isinstance(data["structure"], dict) else None
        return cls(data["revision"], tables, data["sequences"], structure, data.get("schema", "public"))

    def address(self, key: str) -> str:
        """Return the ``schema.name`` of a table or a sequence, as a dump's table of contents writes it."""
        *schema, name = (part.replace('""', '"') for pair in _IN_SQL.findall(key) for part in pair if part)
        return f"{schema[0] if schema else self.schema}.{name}"

    def without(self, objects: set[str]) -> Contents:
        """Return the contents but for some tables, sequences and other objects, named ``schema.name``."""

        def stays(name: str) -> bool:
            # a constraint, trigger or policy is called by its table first, a function has its arguments behind it
            return not {name, name.partition("(")[0], *(name[: at.start()] for at in re.finditer(" ", name))} & objects

        return replace(
            self,
            tables={key: table for key, table in self.tables.items() if stays(self.address(key))},
            sequences={key: value for key, value in self.sequences.items() if stays(self.address(key))},
            structure={n: d for n, d in self.structure.items() if stays(n)} if self.structure is not None else None,
        )


@dataclass(frozen=True)
class TableChange:
    """How a table differs from what it was; ``created`` counts new ids, ``rows_now`` is None if unreadable.

    ``gone`` are the columns that it does not have any more; none where the table itself is gone.
    """

    table: str
    rows_before: int
    rows_now: int | None
    created: int
    gone: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for Ansible."""
        return asdict(self)


def search_path_of(connection: Connection) -> str:
    """Return where the role finds what has no schema in its name, whoever has set it."""
    return str(_scalar(connection, "SELECT current_setting('search_path')"))


def read_contents(
    connection: Connection,
    search_path: str = "",
    digests: bool | Collection[str] = True,
    versions: bool = False,
    readable: bool = False,
) -> Contents:
    """Return what the database holds; reads every row of every table.

    Args:
        connection: To the database.
        search_path: That of the database to compare with; without it, the one in effect.
        digests: Whether to take digests, or of which tables. Without, rows are only counted.
        versions: Whether to take those of the rows' versions.
        readable: Whether to leave out the tables that the role may not read, or not all of, instead of failing.
    """
    _run(connection, _ONE_NOTATION)
    if search_path:
        connection.exec_driver_sql("SELECT set_config('search_path', %s, false)", (search_path,))
    tables: list[tuple[str, list[str], bool]] = [
        (row[0], row[1], row[2]) for row in _run(connection, _TABLES) if row[3] or not readable
    ]
    found = {}
    if tables:
        wanted = {name for name, *_rest in tables if digests is True or (digests and name in digests)}
        statement = " UNION ALL ".join(_table_query(*table, table[0] in wanted, versions) for table in tables)
        found = {row[0]: row[1:] for row in _run(connection, statement)}
    has_revision = "alembic_version" in found
    return Contents(
        revision=_scalar(connection, "SELECT max(version_num) FROM alembic_version") if has_revision else None,
        tables={
            name: TableContents(found[name][0], found[name][1], columns, *found[name][2:])
            for name, columns, _has_id in tables
        },
        sequences={row[0]: row[1] for row in _run(connection, _SEQUENCES)},
        structure={row[0]: row[1] for row in _run(connection, _STRUCTURE)},
        schema=str(_scalar(connection, _SCHEMA)),
    )


def row_versions(connection: Connection) -> dict[str, str]:
    """Return the digest of the rows' versions of every table that the role may read, soon even where rows are large."""
    tables: list[str] = [row[0] for row in _run(connection, _TABLES) if row[3]]
    if not tables:
        return {}
    queries = (f"SELECT {literal(name)}, {_VERSIONS} FROM ONLY {_address(name)} AS t" for name in tables)
    return {row[0]: row[1] for row in _run(connection, " UNION ALL ".join(queries))}


def differences(wanted: Contents, found: Contents) -> list[str]:
    """Return, one line each, what two databases that should be equal differ in.

    Of a table's content the digests count where both have them, or else the versions of its rows where both have those.
    """
    if wanted.structure is None:  # an early manifest knows Fractal's own schema only
        foreign = {found.address(key) for key in (*found.tables, *found.sequences) if "." in key}
        found = replace(found.without(foreign), structure=None)
    lines = []
    if wanted.revision != found.revision:
        lines.append(f"alembic revision {found.revision} instead of {wanted.revision}")
    for name in sorted(wanted.tables.keys() | found.tables.keys()):
        before, now = wanted.tables.get(name), found.tables.get(name)
        if before is None or now is None:
            lines.append(f"table {name} is {'missing' if now is None else 'additional'}")
        elif before.rows != now.rows:
            lines.append(f"table {name} has {now.rows} rows instead of {before.rows}")
        elif before.columns != now.columns or not _same_content(before, now):
            lines.append(f"table {name} has other content in its {now.rows} rows")
    if wanted.sequences != found.sequences:
        lines.append("the sequences stand elsewhere")
    before_structure, now_structure = wanted.structure or {}, found.structure or {}
    told = {found.address(name) for name in wanted.tables.keys() ^ found.tables.keys()}
    for name in sorted(before_structure.keys() | now_structure.keys()):
        if before_structure.get(name) != now_structure.get(name) and name.split(" ")[0] not in told:
            how = "is additional" if name not in before_structure else "is missing" if name not in now_structure else ""
            lines.append(f"{name} {how or 'is defined differently'}")
    return lines


def _same_content(before: TableContents, now: TableContents) -> bool:
    if before.digest and now.digest:
        return before.digest == now.digest
    return before.versions == now.versions or not before.versions or not now.versions


def check_statement(wanted: Contents) -> str:
    """Return SQL that raises an exception unless the tables are those wanted, for a script that commits afterwards."""
    queries = " UNION ALL ".join(
        _contents_query(name, table.columns, table.columns, False) for name, table in wanted.tables.items()
    )
    values = ", ".join(f"({literal(name)}, {table.rows}, '{table.digest}')" for name, table in wanted.tables.items())
    return f"""{_ONE_NOTATION};
DO $check$
DECLARE wrong text;
BEGIN
    SELECT string_agg(name, ', ') INTO wrong
    FROM (VALUES {values}) AS wanted (name, rows, digest) LEFT JOIN ({queries}) AS found USING (name)
    WHERE (found.rows, found.digest) IS DISTINCT FROM (wanted.rows::bigint, wanted.digest);
    IF wrong IS NOT NULL THEN RAISE EXCEPTION 'what was restored differs from the manifest in: %', wrong; END IF;
END $check$;"""


@dataclass(frozen=True)
class ContentsAfter:
    """What only the new release has, noted when the upgrade ended: tables, and tables that got further columns."""

    tables: dict[str, TableContents] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ContentsAfter:
        """Return what `as_dict` gave."""
        return cls({name: TableContents(**table) for name, table in data["tables"].items()})


def note_contents_after(connection: Connection, before: Contents) -> ContentsAfter:
    """Return what the database holds beyond ``before``, at the end of an upgrade and before anybody works with it."""
    _run(connection, _ONE_NOTATION)
    noted = {}
    for key, columns, has_id, readable in _run(connection, _TABLES).all():
        known = before.tables.get(key)
        if readable and not _goes(key) and (known is None or not set(columns) <= set(known.columns)):
            _name, rows, digest, kept, max_id, _none = _run(connection, _table_query(key, columns, has_id)).one()
            noted[key] = TableContents(rows, digest, list(columns), kept, max_id)
    return ContentsAfter(noted)


def changes_since(
    connection: Connection, before: Contents, after: ContentsAfter | None = None, known: Collection[str] = ()
) -> list[TableChange]:
    """Return the tables that somebody has written to since ``before``, schema and data migrations apart.

    Looks only at columns that were there before and still are; migrations add and take away columns and tables, but
    leave the content of all others alone. What they added is compared with what was noted when they ended, if it was.
    A table outside Fractal's schema that nobody noted is somebody's work, too; so is one that the role may not
    read, and so are new large objects. Tables that are ``known`` to the caller are not looked at, nor are rows that a
    verification has left.
    """
    _run(connection, _ONE_NOTATION)
    tables = _run(connection, _TABLES).all()
    present = {row[0]: list(row[1]) for row in tables}
    closed = {row[0] for row in tables if not row[3]}
    noted = after.tables if after else {}
    expected = [
        *((name, table, _kept_columns(name, table.columns), table.kept) for name, table in before.tables.items()),
        *((name, table, table.columns, table.digest) for name, table in noted.items()),
    ]
    changes: dict[str, TableChange] = {}
    for name, table, columns, wanted in expected:
        if _goes(name) or name in changes or name in known:
            continue
        if name in closed:
            changes[name] = TableChange(name, table.rows, None, 0)
            continue
        if name not in present:
            changes[name] = TableChange(name, table.rows, 0, 0)
            continue
        there = [column for column in columns if column in present[name]]
        max_id = table.max_id if "id" in present[name] else None
        only = somebodys(name, present[name], max_id)
        query = _contents_query(name, there, there, max_id is not None, only=only)
        _name, rows, digest, *_others = _run(connection, query).one()
        gone = sorted(set(columns) - set(there))
        if gone or (rows, digest) != (table.rows, wanted):
            changes[name] = TableChange(name, table.rows, rows, _created(connection, name, max_id, only), gone)
    if before.structure is not None:
        changes.update(_new_large_objects(connection, before.structure))
        unknown = closed - {*before.tables, *noted, *known}
        changes.update({name: TableChange(name, 0, None, 0) for name in unknown})
        for name in (key for key in present if "." in key and not {key} & {*before.tables, *noted, *known, *closed}):
            rows = _scalar(connection, f"SELECT count(*) FROM ONLY {_address(name)}") or 0
            if rows:
                changes[name] = TableChange(name, 0, rows, rows)
    return list(changes.values())


def _new_large_objects(connection: Connection, structure: Collection[str]) -> dict[str, TableChange]:
    """Return large objects that somebody has made since as a change of a table; only a superuser sees their content."""
    before = {name[2:] for name in structure if re.fullmatch(r"-\.\d+", name)}
    now = {row[0] for row in _run(connection, "SELECT oid::text FROM pg_largeobject_metadata")}
    change = TableChange("large objects", len(before), len(now), len(now - before))
    return {change.table: change} if now - before else {}


def _created(connection: Connection, name: str, max_id: int | None, only: str) -> int:
    if max_id is None:
        return 0
    new = " AND ".join(filter(None, (f"t.id > {max_id}", only)))
    return _scalar(connection, f"SELECT count(*) FROM ONLY {_address(name)} AS t WHERE {new}") or 0


def _table_query(name: str, columns: Sequence[str], has_id: bool, digests: bool = True, versions: bool = False) -> str:
    return _contents_query(name, columns, _kept_columns(name, columns), has_id, digests, versions)


def _contents_query(
    name: str,
    columns: Sequence[str],
    kept: Sequence[str],
    has_id: bool,
    digests: bool = True,
    versions: bool = False,
    only: str = "",
) -> str:
    digest = _digest(columns) if digests else "''"
    kept_digest = digest if not digests or list(kept) == list(columns) else _digest(kept)
    max_id = "coalesce(max(t.id), 0)::bigint" if has_id else "NULL::bigint"
    of_rows = _VERSIONS if versions else "''"
    return (
        f"SELECT {literal(name)} AS name, count(*) AS rows, {digest} AS digest, {kept_digest} AS kept, "
        f"{max_id} AS max_id, {of_rows} AS versions "
        f"FROM ONLY {_address(name)} AS t" + (f" WHERE {only}" if only else "")
    )


def _digest(columns: Sequence[str]) -> str:
    row = ", ".join(f"t.{quoted(column)}" for column in columns)
    return f"coalesce(sum(('x' || left(md5(ROW({row})::text), 16))::bit(64)::bigint), 0)::text"


def _kept_columns(table: str, columns: Sequence[str]) -> list[str]:
    gone = _taken_away()
    return [column for column in columns if TakenAway(table, column) not in gone]


def _goes(table: str) -> bool:
    return table == _ALWAYS_CHANGED or TakenAway(table) in _taken_away()


def _taken_away() -> set[TakenAway]:
    return {gone for known in path.RELEASES for gone in known.takes_away}


def _address(key: str) -> str:
    """Return a table's key as SQL."""
    return quoted(key) if re.fullmatch('[^."]+', key) else key


def _scalar(connection: Connection, query: str) -> Any:
    return _run(connection, query).scalar()


def _run(connection: Connection, statement: str) -> Any:
    return connection.exec_driver_sql(statement.replace("%", "%%"))
