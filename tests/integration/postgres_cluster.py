"""A private PostgreSQL cluster for tests: real server, random port, gone at the end."""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

PASSWORD = "s3cret-canary-Pa%%55 wörd"  # odd on purpose: whatever handles it must quote it, and never show it
_PREFIX, _OWNER = "fo-pg-", "owner"  # of the cluster's folder; the file with the process that uses it
OWNER, PLAIN, READER = "fractal", "fractal_plain", "fractal_reader"


def postgres_bin() -> Path:
    """Return the folder of the newest PostgreSQL programs (package ``postgresql``)."""
    folders = sorted(glob.glob("/usr/lib/postgresql/*/bin"), key=lambda p: int(p.split("/")[4]))
    if not folders:
        raise RuntimeError("PostgreSQL is not installed: apt-get install postgresql")
    return Path(folders[-1])


@dataclass(frozen=True)
class Database:
    """One database of the cluster; ``user`` is the role that tests act as (its owner unless said otherwise)."""

    host: str
    port: int
    user: str
    password: str
    dbname: str

    def connect(self, autocommit: bool = True) -> psycopg.Connection[Any]:
        """Open a plain psycopg connection (close it, or use it in ``with``)."""
        return psycopg.connect(
            host=self.host,
            port=self.port,
            user=self.user,
            password=self.password,
            dbname=self.dbname,
            autocommit=autocommit,
        )

    def rows(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Run one statement and return its rows (none for a statement without a result)."""
        with self.connect() as connection:
            cursor = connection.execute(statement.encode(), values or None)
            return cursor.fetchall() if cursor.description else []

    def value(self, statement: str, *values: Any) -> Any:
        """Return the first column of the first row."""
        return self.rows(statement, *values)[0][0]

    def insert(self, table: str, **columns: Any) -> int:
        """Insert one row (dict and list values as JSON) and return its ``id``, or 0 for a table without one."""
        values = [psycopg.types.json.Jsonb(v) if isinstance(v, (dict, list)) else v for v in columns.values()]
        with self.connect() as connection:
            row = connection.execute(
                sql.SQL("INSERT INTO {} AS t ({}) VALUES ({}) RETURNING to_jsonb(t) ->> 'id'").format(
                    sql.Identifier(table),
                    sql.SQL(", ").join(map(sql.Identifier, columns)),
                    sql.SQL(", ").join([sql.Placeholder()] * len(columns)),
                ),
                values,
            ).fetchone()
        return int(row[0] or 0) if row else 0

    def as_role(self, user: str) -> Database:
        """Return the same database seen by another role of the cluster (all have the same password)."""
        return Database(self.host, self.port, user, self.password, self.dbname)

    def module_args(self) -> dict[str, Any]:
        """Return the explicit connection options of the database modules."""
        return {
            "host": self.host,
            "port": self.port,
            "user": self.user,
            "password": self.password,
            "dbname": self.dbname,
        }

    def env_lines(self) -> str:
        """Return the POSTGRES_* lines for ``.fractal_server.env``."""
        return (
            f"POSTGRES_HOST={self.host}\nPOSTGRES_PORT={self.port}\nPOSTGRES_USER={self.user}\n"
            f"POSTGRES_PASSWORD='{self.password}'\nPOSTGRES_DB={self.dbname}\n"
        )


class Cluster:
    """A PostgreSQL cluster of its own, run by ``postgres`` when the tests run as root (PostgreSQL refuses root).

    TCP connections need the password, those through the socket in ``socket_folder`` none. Roles: ``postgres``
    (superuser), ``fractal`` (owner of the databases, may create databases), ``fractal_plain`` (may not),
    ``fractal_reader`` (may only SELECT; grant with ``grant_reader``).
    """

    def __init__(self) -> None:
        self.bin = postgres_bin()
        self._account = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}
        self._remove_orphans()
        self.folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
        (self.folder / _OWNER).write_text(str(os.getpid()), encoding="utf-8")
        self.data = self.folder / "data"
        self.socket_folder = self.folder
        self.host = "127.0.0.1"
        with socket.socket() as probe:
            probe.bind((self.host, 0))
            self.port = int(probe.getsockname()[1])
        self._number = 0

    def start(self) -> None:
        """Make the cluster and start it."""
        password_file = self.folder / "password"
        password_file.write_text(PASSWORD, encoding="utf-8")
        if self._account:
            for path in (self.folder, password_file):
                shutil.chown(path, "postgres", "postgres")
        self._run(
            "initdb", "-D", str(self.data), "-U", "postgres", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync",
            "--auth-local=trust", "--auth-host=scram-sha-256", f"--pwfile={password_file}",
        )  # fmt: skip
        self.start_server()
        with self.superuser().connect() as connection:
            for role, right in ((OWNER, "CREATEDB"), (PLAIN, "NOCREATEDB"), (READER, "NOCREATEDB")):
                connection.execute(
                    sql.SQL("CREATE ROLE {} LOGIN {} PASSWORD {}").format(
                        sql.Identifier(role), sql.SQL(right), sql.Literal(PASSWORD)
                    )
                )

    def start_server(self) -> None:
        """Start the server and wait until it answers."""
        options = (
            f"-c listen_addresses={self.host} -c port={self.port} -c unix_socket_directories={self.socket_folder} "
            "-c fsync=off -c synchronous_commit=off -c full_page_writes=off -c max_connections=60"
        )
        self._run("pg_ctl", "-D", str(self.data), "-l", str(self.folder / "log"), "-w", "-o", options, "start")

    def stop_server(self, mode: str = "immediate") -> None:
        """Stop the server (``immediate`` is what a crash looks like); ``start_server`` brings it back."""
        self._run("pg_ctl", "-D", str(self.data), "-w", "-m", mode, "stop")

    def remove(self) -> None:
        """Stop the server and delete the cluster."""
        if (self.data / "postmaster.pid").exists():
            self.stop_server()
        shutil.rmtree(self.folder, ignore_errors=True)

    def superuser(self, dbname: str = "postgres") -> Database:
        """Return a database seen by the superuser."""
        return Database(self.host, self.port, "postgres", PASSWORD, dbname)

    def create(self, template: str = "template1", owner: str = OWNER, dbname: str | None = None) -> Database:
        """Create a database of its own name from a template and return it as its owner sees it."""
        self._number += 1
        name = dbname or f"fractal_{self._number}"
        with self.superuser().connect() as connection:
            connection.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER {}").format(*map(sql.Identifier, (name, template, owner)))
            )
        if owner != OWNER:  # the template's tables belong to OWNER
            with self.superuser(name).connect() as connection:
                connection.execute(
                    sql.SQL("REASSIGN OWNED BY {} TO {}").format(sql.Identifier(OWNER), sql.Identifier(owner))
                )
        return Database(self.host, self.port, owner, PASSWORD, name)

    def grant_reader(self, database: Database) -> Database:
        """Let ``fractal_reader`` SELECT everywhere in the database, and return it as that role sees it."""
        with self.superuser(database.dbname).connect() as connection:
            connection.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO fractal_reader")
        return database.as_role(READER)

    def require_peer(self, dbname: str, accounts: dict[str, str]) -> None:
        """Demand peer authentication at the socket for one database; ``accounts``: system account to role."""
        rules = self.data / "pg_hba.conf"
        rules.write_text(f"local {dbname} all peer map=tests\n" + rules.read_text())
        (self.data / "pg_ident.conf").write_text("".join(f"tests {a} {role}\n" for a, role in accounts.items()))
        self.superuser().rows("SELECT pg_reload_conf()")

    def names(self) -> set[str]:
        """Return the names of all databases."""
        return {row[0] for row in self.superuser().rows("SELECT datname FROM pg_database")}

    def drop(self, name: str) -> None:
        """Drop a database, connected sessions or not."""
        with self.superuser().connect() as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def _remove_orphans(self) -> None:
        """Stop and remove the clusters of test sessions that were killed."""
        for folder in Path(tempfile.gettempdir()).glob(_PREFIX + "*"):
            owner = folder / _OWNER
            if owner.exists() and not Path("/proc", owner.read_text(encoding="utf-8")).exists():
                if (folder / "data" / "postmaster.pid").exists():
                    self.folder = folder
                    with contextlib.suppress(RuntimeError, OSError):  # another session may do the same
                        self._run("pg_ctl", "-D", str(folder / "data"), "-w", "-m", "immediate", "stop")
                shutil.rmtree(folder, ignore_errors=True)

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [str(self.bin / program), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if program == "initdb" else subprocess.DEVNULL,
            stderr=subprocess.PIPE if program == "initdb" else subprocess.DEVNULL,
            check=False,
            cwd=self.folder,
            text=True,
            **self._account,  # type: ignore[call-overload]
        )
        if done.returncode != 0:
            log = self.folder / "log"
            tail = log.read_text()[-2000:] if log.exists() else ""
            raise RuntimeError(f"{program} failed: {done.stdout}{done.stderr}{tail}")


def running_cluster() -> Iterator[Cluster]:
    """Yield a started cluster and remove it afterwards."""
    cluster = Cluster()
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.remove()
