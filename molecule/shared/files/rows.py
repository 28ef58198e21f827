"""Print as JSON what the tables of the Fractal database hold: per table the count, per column a digest of its values.

Runs on the server host, before and after an upgrade; a column that is in both must have the same digest.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
from typing import Any

TABLES = """
select c.relname, string_agg(quote_ident(a.attname), ', ' order by a.attnum)
from pg_class c join pg_index i on i.indrelid = c.oid and i.indisprimary
join pg_attribute a on a.attrelid = c.oid and a.attnum = any(i.indkey)
where c.relnamespace = 'public'::regnamespace and c.relname <> 'alembic_version' group by c.relname
"""


def psql(statement: str) -> list[str]:
    """Return the lines of a query's result."""
    command = ["runuser", "-u", "postgres", "--", "psql", "-AtX", "-d", "fractal_db", "-c", statement]
    return subprocess.run(command, check=True, capture_output=True, text=True, cwd="/").stdout.splitlines()


def digests(rows: list[dict[str, Any]]) -> dict[str, str]:
    """Return a digest of each column's values, in the order of the rows."""
    columns = {name: json.dumps([row[name] for row in rows], sort_keys=True) for name in (rows[0] if rows else ())}
    return {name: hashlib.sha256(values.encode()).hexdigest() for name, values in columns.items()}


def main() -> None:
    tables = {}
    for line in psql(TABLES):
        table, key = line.split("|")
        rows = [json.loads(row) for row in psql(f'select to_jsonb(t) from "{table}" t order by {key}')]
        tables[table] = {"count": len(rows), "columns": digests(rows)}
    print(json.dumps(tables, indent=1, sort_keys=True))


if __name__ == "__main__":
    main()
