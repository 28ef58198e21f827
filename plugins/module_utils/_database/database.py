# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""Where an instance's database is, and how to connect to it as fractal-server does."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.systemd import read_unit
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.pooling import is_lent
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.sessions import (
    APPLICATION,
    how_to_end,
    lock_holders,
    told,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._env_file.reading import read_env_file

if TYPE_CHECKING:
    import sqlalchemy as sa
    from sqlalchemy.pool import NullPool

    DBAPIError = sa.exc.DBAPIError
else:
    try:
        import psycopg  # noqa: F401
        import sqlalchemy as sa
        import sqlalchemy.dialects.postgresql.psycopg  # the first connection needs it: a child that stands by has it
        from sqlalchemy.pool import NullPool

        DBAPIError = sa.exc.DBAPIError
    except ImportError:
        sa = None  # as under the host's Python, which only describes databases
        DBAPIError = Exception

SERVER_ENV_FILE = ".fractal_server.env"
DEFAULT_SERVICE = "fractal-server"
# What a session of ours needs whatever the role or the database has set: a dump and its proof take their time, but
# nobody's lock is waited for without end. A setting that the server does not know yet is left out.
_OUR_SETTINGS = {
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
    "transaction_timeout": "0",
    "lock_timeout": "60s",
    "default_transaction_read_only": "off",
}
_PATIENCE = 30  # seconds; a host that is busy took more than ten, and in a window that would mean to go back
_LOCK_NOT_AVAILABLE = "55P03"
_KNOWN_SETTINGS = "SELECT name FROM unnest(%s::text[]) AS name WHERE current_setting(name, true) IS NOT NULL"
_SET_THEM = """
SELECT set_config(name, value, false) FROM unnest(%s::text[], %s::text[]) AS ours(name, value)
WHERE current_setting(name, true) IS NOT NULL
"""

INSTALLATION_ARGUMENTS: dict[str, dict[str, Any]] = {
    "service": {"type": "str"},
    "env_file": {"type": "path"},
    "run_as": {"type": "str"},
    "python": {"type": "path"},
}
"""Argument spec of the options described in the documentation fragment ``database.installation``."""

DATABASE_ARGUMENTS: dict[str, dict[str, Any]] = {
    **INSTALLATION_ARGUMENTS,
    "host": {"type": "str"},
    "port": {"type": "int"},
    "user": {"type": "str"},
    "password": {"type": "str", "no_log": True},
    "dbname": {"type": "str"},
}
"""Argument spec of the options described in the documentation fragment ``database``."""

_DATABASE_VARIABLES = {
    "host": "POSTGRES_HOST",
    "port": "POSTGRES_PORT",
    "user": "POSTGRES_USER",
    "password": "POSTGRES_PASSWORD",
    "dbname": "POSTGRES_DB",
}


@dataclass(frozen=True)
class DatabaseSettings:
    """How to connect to one database.

    ``host`` may be a socket folder. ``libpq`` holds all other variables of libpq (``PGSSLMODE`` …) that
    fractal-server has. ``home`` is where libpq looks for its files (``~/.pgpass``, a key in ``~/.postgresql``); None
    leaves this process's own home and variables as they are.
    """

    host: str
    port: int
    user: str | None
    password: str | None = field(repr=False)
    dbname: str
    libpq: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    home: str | None = None

    def url(self) -> sa.URL:
        """Return the URL as fractal-server builds it (fractal-server 2.17.0, config/_database.py)."""
        return sa.URL.create(
            drivername="postgresql+psycopg",
            username=self.user,
            password=self.password,
            host=self.host,
            port=self.port,
            database=self.dbname,
        )

    def libpq_environment(self) -> dict[str, str]:
        """Return the variables with which PostgreSQL's programs connect; nothing secret has to be on a command line."""
        values = dict(self.libpq)
        values.update(PGHOST=self.host, PGPORT=str(self.port), PGDATABASE=self.dbname, PGAPPNAME=APPLICATION)
        if self.user is not None:
            values["PGUSER"] = self.user
        if self.password is not None:
            values["PGPASSWORD"] = self.password
        if self.home is not None:
            values["HOME"] = self.home
        return values

    def conninfo(self) -> str:
        """Return what PostgreSQL's programs get as ``--dbname``: a service file (PGSERVICE) does not win over it."""
        parts = {"host": self.host, "port": str(self.port), "user": self.user, "dbname": self.dbname}
        escaped = {key: value.replace("\\", "\\\\").replace("'", "\\'") for key, value in parts.items() if value}
        return " ".join(f"{key}='{value}'" for key, value in escaped.items())

    @property
    def secrets(self) -> list[str]:
        """What no message may show."""
        return [
            value for value in (self.password, *map(dict(self.libpq).get, ("PGPASSWORD", "PGSSLPASSWORD"))) if value
        ]

    def at(self, dbname: str) -> DatabaseSettings:
        """Return the settings for another database of the same cluster."""
        return replace(self, dbname=dbname)

    @property
    def where(self) -> str:
        """Name of the database and its server, for messages."""
        return f"database {self.dbname!r} at {self.host}:{self.port}"


@dataclass(frozen=True)
class Installation:
    """Where fractal-server's settings come from: its environment file, and the unit's own variables, which win.

    ``database`` holds variables that lead to a database in their stead. Without an ``env_file`` nothing else is known.
    """

    env_file: str
    process_environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    run_as: str | None = None
    service: str | None = None
    database: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def working_directory(self) -> str:
        """The folder in which fractal-server and fractalctl run; relative paths start there."""
        return os.path.dirname(self.env_file)

    def variables(self) -> dict[str, str]:
        """Return all variables as fractal-server reads them, with their values.

        Raises:
            FractalError: The environment file cannot be read.
        """
        if not self.env_file:
            return {}
        return {**read_env_file(self.env_file, self.process_environment), **self.process_environment}


def find_installation(params: Mapping[str, Any]) -> Installation:
    """Return the installation that the options of a database module name.

    ``env_file`` or ``dbname`` without ``service`` stand alone; otherwise the unit ``service`` (default fractal-server)
    leads to it.

    Raises:
        FractalError: The unit does not exist, or a file that it requires cannot be read.
    """
    service, env_file, run_as = params.get("service"), params.get("env_file"), params.get("run_as")
    options = {name: params.get(option) for option, name in _DATABASE_VARIABLES.items()}
    database = {name: str(value) for name, value in options.items() if value} if params.get("dbname") else {}
    if (env_file or database) and not service:
        return Installation(os.path.abspath(env_file) if env_file else "", {}, run_as, database=database)
    unit = read_unit(service or DEFAULT_SERVICE)
    if unit.load_state != "loaded":
        raise FractalError(
            f"The systemd unit {unit.name} is {unit.load_state} on this host, so the database settings cannot be "
            "found. Name the right unit in fractal_server_service."
        )
    return Installation(
        env_file=env_file or os.path.join(unit.working_directory, SERVER_ENV_FILE),
        process_environment=unit.process_environment(),
        run_as=run_as or unit.user,
        service=unit.name,
        database=database,
    )


def database_settings(params: Mapping[str, Any]) -> DatabaseSettings:
    """Return the settings that the options of a database module lead to; ``dbname`` makes them explicit.

    Raises:
        FractalError: Nothing leads to a database.
    """
    return installation_settings(find_installation(params))


def installation_settings(installation: Installation) -> DatabaseSettings:
    """Return the database settings of an installation.

    Raises:
        FractalError: They are incomplete or make no sense; the text names the variable.
    """
    settings = settings_from_values(installation.database or installation.variables(), installation.env_file)
    if installation.database:
        return settings
    return replace(settings, home=installation.process_environment.get("HOME") or os.path.expanduser("~"))


def settings_from_values(values: Mapping[str, str], source: str = SERVER_ENV_FILE) -> DatabaseSettings:
    """Return the settings from fractal-server's own variables.

    Source: fractal-server 2.16.6, config.py; fractal-server 2.17.0, config/_database.py.

    Raises:
        FractalError: ``POSTGRES_DB`` is missing, or ``POSTGRES_PORT`` is no number.
    """
    dbname = values.get("POSTGRES_DB")
    if not dbname:
        raise FractalError(f"POSTGRES_DB is not set in {source} nor in the unit. fractal-server needs it.")
    port = values.get("POSTGRES_PORT") or "5432"
    if not port.isdigit():
        raise FractalError(f"POSTGRES_PORT in {source} must be a number.")
    return DatabaseSettings(
        host=values.get("POSTGRES_HOST") or "localhost",
        port=int(port),
        user=values.get("POSTGRES_USER") or None,
        password=values.get("POSTGRES_PASSWORD"),
        dbname=dbname,
        libpq=tuple(sorted((name, value) for name, value in values.items() if name.startswith("PG") and value)),
    )


@contextlib.contextmanager
def connect(settings: DatabaseSettings, read_only: bool = False, autocommit: bool = False) -> Iterator[sa.Connection]:
    """Connect, and close at the end; what was not committed is rolled back.

    ``read_only`` gives one consistent view of the database for the whole connection, and no right to write.
    ``autocommit`` is for statements that take no transaction (``CREATE DATABASE``).

    Raises:
        FractalError: The server cannot be reached, refuses, goes away, lends its sessions, or a statement fails.
    """
    if sa is None:
        raise FractalError(
            f"{sys.executable} has no sqlalchemy or psycopg, so it is not what fractal-server runs with. Name the "
            "interpreter that does in fractal_server_python."
        )
    engine = sa.create_engine(
        settings.url(),
        poolclass=NullPool,
        connect_args={"connect_timeout": _PATIENCE, "application_name": APPLICATION},
        isolation_level="AUTOCOMMIT" if autocommit else "REPEATABLE READ" if read_only else None,
    )
    sa.event.listen(engine, "connect", functools.partial(_apply_our_settings, settings), insert=True)
    try:
        with _libpq_variables(settings):
            connection = engine.connect()
    except sa.exc.SQLAlchemyError as error:
        raise FractalError(
            f"Cannot connect to the {settings.where}: {reason_of(error, settings)}. Check that PostgreSQL runs and the "
            "POSTGRES_… variables of fractal-server are right."
        ) from error
    try:
        with connection:
            if read_only:
                connection.execution_options(postgresql_readonly=True)
            yield connection
    except sa.exc.SQLAlchemyError as error:
        blocked = getattr(getattr(error, "orig", None), "sqlstate", None) == _LOCK_NOT_AVAILABLE
        raise FractalError(
            f"A statement failed in the {settings.where}: {reason_of(error, settings)}."
            f"{who_holds_locks(settings) if blocked else ''}"
        ) from error


def _apply_our_settings(settings: DatabaseSettings, dbapi_connection: Any, _record: object) -> None:
    before, dbapi_connection.autocommit = dbapi_connection.autocommit, True  # a rollback would take them back
    if is_lent(dbapi_connection):
        raise FractalError(
            f"The {settings.where} is reached through a pooler that lends its sessions for each transaction, as "
            "pgbouncer does with pool_mode = transaction: what a dump sets in one would then be in the way of "
            "fractal-server. Let its POSTGRES_HOST and POSTGRES_PORT lead to PostgreSQL itself, or give this database "
            "pool_mode = session."
        )
    with dbapi_connection.cursor() as cursor:
        cursor.execute("SET statement_timeout = 0")
        cursor.execute(_SET_THEM, [list(_OUR_SETTINGS), list(_OUR_SETTINGS.values())])
    dbapi_connection.autocommit = before


@functools.lru_cache
def guarded_options(settings: DatabaseSettings) -> str:
    """Return the PGOPTIONS with which a program connects: those of fractal-server, then ours.

    Only its own where the way to the database takes no options (some connection poolers).

    Raises:
        FractalError: The database cannot be reached.
    """
    own = dict(settings.libpq).get("PGOPTIONS", "")
    with connect(settings, autocommit=True) as connection:
        known = connection.exec_driver_sql(_KNOWN_SETTINGS, (list(_OUR_SETTINGS),)).scalars().all()
    wanted = " ".join([*([own] if own else []), *(f"-c {name}={_OUR_SETTINGS[name]}" for name in known)])
    others = tuple(pair for pair in settings.libpq if pair[0] != "PGOPTIONS")
    try:
        with connect(replace(settings, libpq=(*others, ("PGOPTIONS", wanted)))):
            return wanted
    except FractalError:
        return own


def who_holds_locks(settings: DatabaseSettings) -> str:
    """Return a sentence that names those whose locks may have been waited for in vain; empty if there are none."""
    try:
        with connect(settings, autocommit=True) as connection:
            holders = lock_holders(connection)
    except FractalError:
        return ""
    if not holders:
        return ""
    return (
        f" Locks on its tables are held by {told(holders)}. End what these programs do, or, as PostgreSQL's "
        f"administrator: {how_to_end(holders)} Then run again."
    )


@contextlib.contextmanager
def _libpq_variables(settings: DatabaseSettings) -> Iterator[None]:
    """Let libpq find in this process what it finds in fractal-server's: its variables and its home."""
    before = {name: value for name, value in os.environ.items() if name.startswith("PG") or name == "HOME"}
    if settings.home is not None:
        for name in before:
            del os.environ[name]
        os.environ["HOME"] = settings.home
    os.environ.update(settings.libpq)
    try:
        yield
    finally:
        for name in [name for name in os.environ if name.startswith("PG") or name == "HOME"]:
            del os.environ[name]
        os.environ.update(before)


def reason_of(error: Exception, settings: DatabaseSettings) -> str:
    """Return what PostgreSQL said, in one line, without statement, parameters and password."""
    text = " ".join(str(getattr(error, "orig", None) or type(error).__name__).split()).rstrip(".")
    for secret in settings.secrets:
        text = text.replace(secret, "********")
    return text
