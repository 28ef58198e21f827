"""What operators keep in Fractal's database besides Fractal: objects by kind and owner, made with real SQL."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from ansible_collections.fractal_ops.platform.plugins.module_utils._backup.make import make_backup
from ansible_collections.fractal_ops.platform.plugins.module_utils._backup.restore_database import restore_database
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.checks import run_checks
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.database import Installation
from ansible_collections.fractal_ops.platform.plugins.module_utils._precheck.database import check_rights
from ansible_collections.fractal_ops.platform.plugins.module_utils._precheck.database_side import DatabaseSide
from ansible_collections.fractal_ops.platform.plugins.module_utils._precheck.way_back import check_way_back
from postgres_cluster import Cluster, Database, postgres_bin
from releases_environments import FractalFolder, python_of

BI, GROUP = "bi", "app_owner"  # another department's role; a group that fractal is a member of


@dataclass(frozen=True)
class Instance:
    """An instance by its environment file only, and what the collection does to it, in this process."""

    folder: FractalFolder
    root: Path

    @property
    def database(self) -> Database:
        return self.folder.database

    @property
    def installation(self) -> Installation:
        return Installation(str(self.folder.env_file))

    def back_up(self, proof: str = "restore", run: str = "run-1", method: str = "dump") -> str:
        result = make_backup(self.installation, python_of("2.16.6"), str(self.root), run, proof, method=method)
        return str(result["backup"]["path"])

    def restore(self, backup: str, **options: Any) -> dict[str, Any]:
        return restore_database(self.installation, python_of("2.16.6"), backup, **options)

    def checked(self, proof: str = "restore") -> dict[str, str]:
        """Return the ids of precheck's findings about rights and the way back, with their messages."""
        params = {"env_file": str(self.folder.env_file), "backup_proof": proof, "python": None}
        side = DatabaseSide(self.installation, params)
        found = run_checks(side, (("rights", check_rights), ("way back", check_way_back)))
        return {finding.id: finding.message for finding in found}


def dump_of(database: Database) -> list[str]:
    """Return everything in a database, owners and privileges included, whatever the order, as a superuser sees it."""
    seen = database.as_role("postgres")
    done = subprocess.run(
        [str(postgres_bin() / "pg_dump"), seen.dbname],
        env={"PGHOST": seen.host, "PGPORT": str(seen.port), "PGUSER": seen.user, "PGPASSWORD": seen.password},
        capture_output=True,
        text=True,
        check=True,
    )
    return sorted(line for line in done.stdout.splitlines() if not line.startswith(("\\restrict", "\\unrestrict")))


def change(database: Database) -> None:
    """Do to a database what an upgrade does, in short."""
    for statement in (
        "CREATE TABLE resource (id serial PRIMARY KEY, name text NOT NULL UNIQUE)",
        "ALTER TABLE projectv2 ADD resource_id int REFERENCES resource (id) ON DELETE RESTRICT",
        "ALTER TABLE user_oauth DROP COLUMN username",
        "UPDATE alembic_version SET version_num = '83bc2ad3ffcc'",
    ):
        database.rows(statement)


def run_as_administrator(database: Database, *statements: str) -> None:
    with psycopg.connect(
        host=database.host, port=database.port, user="postgres", password=database.password, dbname=database.dbname,
        autocommit=True,
    ) as connection:  # fmt: skip
        for statement in statements:
            connection.execute(statement.replace("%D", f'"{database.dbname}"').encode())


def make_roles(cluster: Cluster) -> None:
    """Create the other roles, once."""
    administrator = cluster.superuser()
    known = {row[0] for row in administrator.rows("SELECT rolname FROM pg_roles")}
    if BI not in known:
        administrator.rows(f"CREATE ROLE {BI} LOGIN PASSWORD 'x'")
        administrator.rows(f"CREATE ROLE {GROUP} NOLOGIN")
        administrator.rows(f"GRANT {GROUP} TO fractal, fractal_plain")


# By kind: statements that make it as an administrator, for an owner {o} and in a schema of its own {s}.
KINDS: dict[str, tuple[str, ...]] = {
    "view": ("CREATE VIEW {s}.v AS SELECT id, status FROM public.jobv2", "ALTER VIEW {s}.v OWNER TO {o}"),
    "materialized view": (
        "CREATE MATERIALIZED VIEW {s}.m AS SELECT status, count(*) FROM public.jobv2 GROUP BY status",
        "CREATE UNIQUE INDEX ON {s}.m (status)",
        "ALTER MATERIALIZED VIEW {s}.m OWNER TO {o}",
    ),
    "foreign key": (
        "CREATE TABLE {s}.notes (job_id int REFERENCES public.jobv2 (id), note text)",
        "INSERT INTO {s}.notes SELECT id, 'seen' FROM public.jobv2 LIMIT 1",
        "ALTER TABLE {s}.notes OWNER TO {o}",
        "GRANT SELECT ON {s}.notes TO fractal, fractal_plain",
    ),
    "table": (
        'CREATE TABLE {s}."Odd ""name"".x" (id serial PRIMARY KEY, t text)',
        'INSERT INTO {s}."Odd ""name"".x" (t) VALUES (\'100%\')',
        'ALTER TABLE {s}."Odd ""name"".x" OWNER TO {o}',
        'GRANT SELECT ON {s}."Odd ""name"".x" TO fractal, fractal_plain',
        'GRANT SELECT ON SEQUENCE {s}."Odd ""name"".x_id_seq" TO fractal, fractal_plain',
    ),
    "partitions": (
        "CREATE TABLE {s}.log (at date, what text) PARTITION BY RANGE (at)",
        "CREATE TABLE {s}.log_25 PARTITION OF {s}.log FOR VALUES FROM ('2025-01-01') TO ('2026-01-01')",
        "INSERT INTO {s}.log VALUES ('2025-06-01', 'x')",
        "ALTER TABLE {s}.log OWNER TO {o}",
        "ALTER TABLE {s}.log_25 OWNER TO {o}",
        "GRANT SELECT ON {s}.log, {s}.log_25 TO fractal, fractal_plain",
    ),
    "function": (
        "CREATE FUNCTION {s}.f(a int, b text) RETURNS int LANGUAGE sql AS 'SELECT a'",
        "ALTER FUNCTION {s}.f OWNER TO {o}",
    ),
    "enum": ("CREATE TYPE {s}.mood AS ENUM ('good', 'bad')", "ALTER TYPE {s}.mood OWNER TO {o}"),
    "trigger": (
        "CREATE FUNCTION {s}.t() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
        "CREATE TRIGGER {s}_trigger BEFORE UPDATE ON public.workflowv2 FOR EACH ROW EXECUTE FUNCTION {s}.t()",
        "ALTER FUNCTION {s}.t OWNER TO {o}",
    ),
    "sequence": (
        "CREATE SEQUENCE {s}.n START 7",
        "ALTER SEQUENCE {s}.n OWNER TO {o}",
        "GRANT SELECT ON {s}.n TO fractal, fractal_plain",
    ),
    "default privileges": (
        "ALTER DEFAULT PRIVILEGES FOR ROLE {o} IN SCHEMA {s} GRANT SELECT ON TABLES TO fractal_reader",
    ),
    "large object": (
        "SELECT lo_from_bytea(50{n:03}, 'abc')",
        "ALTER LARGE OBJECT 50{n:03} OWNER TO {o}",
        "GRANT SELECT ON LARGE OBJECT 50{n:03} TO fractal, fractal_plain",
    ),
    "closed large object": (
        "SELECT lo_from_bytea(60{n:03}, 'abc')",
        "ALTER LARGE OBJECT 60{n:03} OWNER TO {o}",
    ),
    "publication": ("CREATE PUBLICATION {s}_pub FOR TABLE public.jobv2", "ALTER PUBLICATION {s}_pub OWNER TO {o}"),
    "event trigger": (
        "CREATE FUNCTION {s}.e() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'",
        "CREATE EVENT TRIGGER {s}_e ON sql_drop EXECUTE FUNCTION {s}.e()",
    ),
    "foreign server": (
        "CREATE EXTENSION IF NOT EXISTS postgres_fdw",
        "GRANT USAGE ON FOREIGN DATA WRAPPER postgres_fdw TO {o}",
        "CREATE SERVER {s}_server FOREIGN DATA WRAPPER postgres_fdw",
        "ALTER SERVER {s}_server OWNER TO {o}",
    ),
    "untrusted extension": ("CREATE EXTENSION IF NOT EXISTS pg_stat_statements SCHEMA public",),
    "trusted extension": (
        "CREATE EXTENSION IF NOT EXISTS pg_trgm SCHEMA {s}",
        "DO $$ BEGIN EXECUTE format('CREATE INDEX {s}_trgm ON public.projectv2 USING gin (name %I.gin_trgm_ops)', "
        "(SELECT nspname FROM pg_extension JOIN pg_namespace AS n ON n.oid = extnamespace WHERE extname = 'pg_trgm')); "
        "END $$",
    ),
    "privileges": ("GRANT SELECT (id) ON public.jobv2 TO {o}", "GRANT USAGE ON SCHEMA public TO {o} WITH GRANT OPTION"),
    "chained privileges": (
        "GRANT SELECT ON public.jobv2 TO {o} WITH GRANT OPTION",
        "SET ROLE {o}",
        "GRANT SELECT ON public.jobv2 TO fractal_reader",
        "RESET ROLE",
    ),
    "indexes": (
        "CREATE TABLE {s}.log (id int GENERATED ALWAYS AS IDENTITY, t text, n int GENERATED ALWAYS AS (1) STORED)",
        "CREATE INDEX ON {s}.log (lower(t))",
        'CREATE TABLE {s}."log s" (id int DEFAULT 7, CHECK (id > 0))',
        "COMMENT ON COLUMN {s}.log.t IS 'it''s 100%'",
        "CREATE RULE quiet AS ON DELETE TO {s}.log DO INSTEAD NOTHING",
        'GRANT SELECT ON {s}.log, {s}."log s" TO fractal, fractal_plain',
        "GRANT SELECT ON SEQUENCE {s}.log_id_seq TO fractal, fractal_plain",
        "ALTER TABLE {s}.log OWNER TO {o}",
        'ALTER TABLE {s}."log s" OWNER TO {o}',
    ),
    "domain": (
        "CREATE DOMAIN {s}.mail AS text CHECK (VALUE LIKE '%@%')",
        "ALTER DOMAIN {s}.mail OWNER TO {o}",
        "CREATE TYPE {s}.pair AS (a int, b text)",
        "ALTER TYPE {s}.pair OWNER TO {o}",
    ),
    "aggregate": (
        "CREATE AGGREGATE {s}.product(int) (SFUNC = int4mul, STYPE = int, INITCOND = '1')",
        "ALTER AGGREGATE {s}.product(int) OWNER TO {o}",
        "CREATE OPERATOR {s}.%% (LEFTARG = int, RIGHTARG = int, PROCEDURE = int4mul)",
        "ALTER OPERATOR {s}.%% (int, int) OWNER TO {o}",
    ),
    "text search": (
        'CREATE COLLATION {s}.c FROM "C"',
        "ALTER COLLATION {s}.c OWNER TO {o}",
        "CREATE TEXT SEARCH CONFIGURATION {s}.plain (COPY = simple)",
        "ALTER TEXT SEARCH CONFIGURATION {s}.plain OWNER TO {o}",
    ),
    "schema's publication": (
        "CREATE PUBLICATION {s}_pub FOR TABLES IN SCHEMA public",
        "ALTER PUBLICATION {s}_pub OWNER TO {o}",
    ),
    "statistics": (
        "CREATE TABLE {s}.st (a int, b int)",
        "CREATE STATISTICS {s}.ab (dependencies) ON a, b FROM {s}.st",
        "ALTER TABLE {s}.st OWNER TO {o}",
        "ALTER STATISTICS {s}.ab OWNER TO {o}",
        "GRANT SELECT ON {s}.st TO fractal, fractal_plain",
    ),
    "row security": (
        "CREATE TABLE {s}.private (who text)",
        "INSERT INTO {s}.private VALUES ('a')",
        "ALTER TABLE {s}.private ENABLE ROW LEVEL SECURITY",
        "CREATE POLICY mine ON {s}.private USING (who = current_user)",
        "ALTER TABLE {s}.private OWNER TO {o}",
        "GRANT SELECT ON {s}.private TO fractal, fractal_plain",
    ),
}


def furnish(database: Database, pieces: list[tuple[str, str, str]]) -> None:
    """Put pieces (kind, owner, owner of its schema) into a database, each into a schema of its own."""
    for number, (kind, owner, schema_owner) in enumerate(pieces):
        schema = f"s{number}"
        run_as_administrator(
            database,
            f"CREATE SCHEMA {schema} AUTHORIZATION {schema_owner}",
            f"GRANT USAGE ON SCHEMA {schema} TO fractal, fractal_plain",
            *(statement.format(o=owner, s=schema, n=number) for statement in KINDS[kind]),
        )
