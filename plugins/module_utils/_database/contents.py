# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""What is in a database, small enough to be kept and compared: rows, digests, sequences and structure.

PostgreSQL computes all of it; no row leaves the server. A table's digest is the sum of 64 bits of the MD5 of every
row's text: it needs no order and no memory, uses parallel workers, and is the same on every version of PostgreSQL.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sqlalchemy import Connection

# Columns that a migration of the schema takes away: 2.17.0 (83bc2ad3ffcc) and 2.17.1 (caba9fb1ea5e, 49d0856e9569).
# Whatever is left has the same content before and after an upgrade that nobody has worked on.
_TAKEN_AWAY = {"user_oauth": frozenset({"username", "user_settings_id"})}
_TABLES_TAKEN_AWAY = frozenset({"user_settings", "alembic_version"})

_TABLES = """
SELECT c.relname, json_agg(a.attname ORDER BY a.attname COLLATE "C") AS columns,
       bool_or(a.attname = 'id' AND a.atttypid IN ('int4'::regtype, 'int8'::regtype)) AS has_id
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relkind IN ('r', 'p') AND pg_table_is_visible(c.oid) AND n.nspname !~ '^(pg_|information_schema)'
GROUP BY c.relname ORDER BY c.relname COLLATE "C"
"""
_SEQUENCES = """
SELECT sequencename, last_value FROM pg_sequences
WHERE pg_table_is_visible(format('%I.%I', schemaname, sequencename)::regclass)
ORDER BY sequencename COLLATE "C"
"""
# Names and types, but no expressions: PostgreSQL writes those of CHECK and DEFAULT differently after a restore.
_STRUCTURE = """
SELECT md5(string_agg(line, E'\\n' ORDER BY line COLLATE "C")) FROM (
    SELECT format('column %s.%s %s %s', relname, attname, format_type(atttypid, atttypmod), attnotnull) AS line
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND attnum > 0 AND NOT attisdropped
    WHERE relkind IN ('r', 'p', 'v', 'm') AND relnamespace = current_schema()::regnamespace
    UNION ALL
    SELECT format('constraint %s.%s %s', relname, conname, contype)
    FROM pg_constraint JOIN pg_class c ON c.oid = conrelid WHERE relnamespace = current_schema()::regnamespace
    UNION ALL
    SELECT format('index %s.%s', tablename, indexname) FROM pg_indexes WHERE schemaname = current_schema()
) AS lines
"""
_ONE_NOTATION = (
    "SET TimeZone = 'UTC'; SET DateStyle = 'ISO, YMD'; SET IntervalStyle = 'postgres'; SET extra_float_digits = 1; "
    "SET bytea_output = 'hex'"
)


@dataclass(frozen=True)
class TableContents:
    """What a table holds. ``kept`` is the digest of those ``columns`` that every later release still has."""

    rows: int
    digest: str
    columns: list[str]
    kept: str
    max_id: int | None


@dataclass(frozen=True)
class Contents:
    """What a database holds."""

    revision: str | None
    tables: dict[str, TableContents]
    sequences: dict[str, int | None]
    structure: str

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Contents:
        """Return what `as_dict` gave."""
        tables = {name: TableContents(**table) for name, table in data["tables"].items()}
        return cls(data["revision"], tables, data["sequences"], data["structure"])


@dataclass(frozen=True)
class TableChange:
    """How a table differs from what it was; ``created`` counts rows with a new id."""

    table: str
    rows_before: int
    rows_now: int
    created: int

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for Ansible."""
        return asdict(self)


def read_contents(connection: Connection) -> Contents:
    """Return what the database holds; reads every row of every table."""
    _run(connection, _ONE_NOTATION)
    tables = [tuple(row) for row in _run(connection, _TABLES)]
    found = {}
    if tables:
        statement = " UNION ALL ".join(_table_query(*table) for table in tables)
        found = {row[0]: row[1:] for row in _run(connection, statement)}
    has_revision = "alembic_version" in found
    return Contents(
        revision=_scalar(connection, "SELECT max(version_num) FROM alembic_version") if has_revision else None,
        tables={
            name: TableContents(found[name][0], found[name][1], columns, found[name][2], found[name][3])
            for name, columns, _has_id in tables
        },
        sequences={row[0]: row[1] for row in _run(connection, _SEQUENCES)},
        structure=_scalar(connection, _STRUCTURE) or "",
    )


def differences(wanted: Contents, found: Contents) -> list[str]:
    """Return, one line each, what two databases that should be equal differ in."""
    lines = []
    if wanted.revision != found.revision:
        lines.append(f"alembic revision {found.revision} instead of {wanted.revision}")
    for name in sorted(wanted.tables.keys() | found.tables.keys()):
        before, now = wanted.tables.get(name), found.tables.get(name)
        if before is None or now is None:
            lines.append(f"table {name} is {'missing' if now is None else 'additional'}")
        elif before.rows != now.rows:
            lines.append(f"table {name} has {now.rows} rows instead of {before.rows}")
        elif before.digest != now.digest or before.columns != now.columns:
            lines.append(f"table {name} has other content in its {now.rows} rows")
    if wanted.sequences != found.sequences:
        lines.append("the sequences stand elsewhere")
    if wanted.structure != found.structure:
        lines.append("columns, constraints or indexes differ")
    return lines


def check_statement(wanted: Contents) -> str:
    """Return SQL that raises an exception unless the tables are those wanted, for a script that commits afterwards."""
    queries = " UNION ALL ".join(
        _contents_query(name, table.columns, table.columns, False) for name, table in wanted.tables.items()
    )
    values = ", ".join(f"('{name}', {table.rows}, '{table.digest}')" for name, table in wanted.tables.items())
    return f"""{_ONE_NOTATION};
DO $check$
DECLARE wrong text;
BEGIN
    SELECT string_agg(name, ', ') INTO wrong
    FROM (VALUES {values}) AS wanted (name, rows, digest) LEFT JOIN ({queries}) AS found USING (name)
    WHERE (found.rows, found.digest) IS DISTINCT FROM (wanted.rows::bigint, wanted.digest);
    IF wrong IS NOT NULL THEN RAISE EXCEPTION 'what was restored differs from the manifest in: %', wrong; END IF;
END $check$;"""


def changes_since(connection: Connection, before: Contents) -> list[TableChange]:
    """Return the tables that somebody has written to since ``before``, schema and data migrations apart.

    Looks only at columns that were there before and still are; migrations add and take away columns and tables, but
    leave the content of all others alone.
    """
    _run(connection, _ONE_NOTATION)
    present = {row[0]: set(row[1]) for row in _run(connection, _TABLES)}
    changes = []
    for name, table in before.tables.items():
        if name in _TABLES_TAKEN_AWAY:
            continue
        columns = _kept_columns(name, table.columns)
        if not present.get(name, set()).issuperset(columns):
            changes.append(TableChange(name, table.rows, 0, 0))
            continue
        query = _contents_query(name, columns, columns, table.max_id is not None)
        _name, rows, digest, _kept, _max_id = _run(connection, query).one()
        if (rows, digest) != (table.rows, table.kept):
            changes.append(TableChange(name, table.rows, rows, _created(connection, name, table)))
    return changes


def _created(connection: Connection, name: str, table: TableContents) -> int:
    if table.max_id is None:
        return 0
    return _scalar(connection, f"SELECT count(*) FROM {_quoted(name)} WHERE id > {table.max_id}") or 0


def _table_query(name: str, columns: Sequence[str], has_id: bool) -> str:
    return _contents_query(name, columns, _kept_columns(name, columns), has_id)


def _contents_query(name: str, columns: Sequence[str], kept: Sequence[str], has_id: bool) -> str:
    digest = _digest(columns)
    kept_digest = digest if list(kept) == list(columns) else _digest(kept)
    max_id = "coalesce(max(t.id), 0)::bigint" if has_id else "NULL::bigint"
    return (
        f"SELECT '{name}' AS name, count(*) AS rows, {digest} AS digest, {kept_digest} AS kept, {max_id} AS max_id "
        f"FROM {_quoted(name)} AS t"
    )


def _digest(columns: Sequence[str]) -> str:
    row = ", ".join(f"t.{_quoted(column)}" for column in columns)
    return f"coalesce(sum(('x' || left(md5(ROW({row})::text), 16))::bit(64)::bigint), 0)::text"


def _kept_columns(table: str, columns: Sequence[str]) -> list[str]:
    return [column for column in columns if column not in _TAKEN_AWAY.get(table, ())]


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _scalar(connection: Connection, query: str) -> Any:
    return _run(connection, query).scalar()


def _run(connection: Connection, statement: str) -> Any:
    return connection.exec_driver_sql(statement.replace("%", "%%"))
