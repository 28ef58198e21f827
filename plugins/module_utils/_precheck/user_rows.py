# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""Users and their settings out of the database: a fixed number of statements, rows streamed.

Works on schemas where users have settings, profiles, or both.
Password hashes and OAuth tokens stay in the database.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.pydantic_or_stand_ins import from_json

if TYPE_CHECKING:
    from sqlalchemy import Connection

RECENT_DAYS = 90

# Production hours: no further processes of PostgreSQL, and no temporary files where a little memory will do.
_MODEST = "SELECT set_config('max_parallel_workers_per_gather', '0', true), set_config('work_mem', '64MB', true)"

_SCHEMA = """
SELECT to_regclass('user_oauth') IS NOT NULL,
       'user_settings_id' = ANY (names), 'profile_id' = ANY (names), 'username' = ANY (names)
FROM (SELECT coalesce(array_agg(attname::text), '{}') AS names FROM pg_attribute
      WHERE attrelid = to_regclass('user_oauth') AND NOT attisdropped) AS columns
"""
_RESOURCE = "SELECT EXISTS (SELECT FROM resource)"
_HOSTS = "SELECT ssh_host, count(*) FROM user_settings WHERE ssh_host IS NOT NULL GROUP BY ssh_host"
_SETTINGS_COLUMNS = (
    "u.user_settings_id",
    "s.project_dir",
    "s.slurm_user",
    "s.slurm_accounts",
    "s.ssh_host",
    "s.ssh_username",
    "s.ssh_private_key_path",
    "s.ssh_tasks_dir",
    "s.ssh_jobs_dir",
)
# bcrypt is Fractal's only password hasher (fractal-server 2.16.6, app/security/__init__.py)
_USERS = """
SELECT u.id, u.email, u.is_active, u.is_superuser, u.is_verified,
       {username}, left(u.hashed_password, 2) = '$2', o.accounts, coalesce(p.number, 0), coalesce(j.running, 0),
       to_char(greatest(j.latest, a.latest) AT TIME ZONE 'UTC', 'YYYY-MM-DD'),
       coalesce(greatest(j.latest, a.latest) > now() - interval '{days} days', false),
       {profile}, {settings}
FROM user_oauth AS u {join}
LEFT JOIN (SELECT user_id, array_agg(ARRAY[oauth_name, account_email]) AS accounts
           FROM oauthaccount GROUP BY user_id) AS o ON o.user_id = u.id
LEFT JOIN (SELECT user_id, count(*) AS number FROM linkuserprojectv2 GROUP BY user_id) AS p ON p.user_id = u.id
LEFT JOIN (SELECT user_email, count(*) FILTER (WHERE status = 'submitted') AS running, max(start_timestamp) AS latest
           FROM jobv2 GROUP BY user_email) AS j ON j.user_email = u.email
LEFT JOIN (SELECT user_id, max(timestamp_started) AS latest
           FROM taskgroupactivityv2 GROUP BY user_id) AS a ON a.user_id = u.id
ORDER BY u.id
"""


class UserRow(NamedTuple):
    """One user, as the database holds it, with what they have at stake.

    ``oauth`` holds pairs (provider as the database calls it, address at the provider). ``settings_id`` and
    ``profile_id`` are None where the schema has no such column. ``last_activity`` is an ISO date (UTC); ``recent``
    says whether that is recent.
    """

    id: int
    email: str
    is_active: bool
    is_superuser: bool
    is_verified: bool
    has_username: bool
    has_password: bool
    oauth: Sequence[Sequence[str]] | None
    projects: int
    running_jobs: int
    last_activity: str | None
    recent: bool
    profile_id: int | None
    settings_id: int | None
    project_dir: str | None
    slurm_user: str | None
    slurm_accounts: Any
    ssh_host: str | None
    ssh_username: str | None
    ssh_private_key_path: str | None
    ssh_tasks_dir: str | None
    ssh_jobs_dir: str | None

    @property
    def providers(self) -> set[str]:
        """The OAuth providers with which the user has an account, as the database calls them."""
        return {provider for provider, _address in self.oauth or ()}

    def stake(self) -> str:
        """Return what the user has to lose, in brackets, or an empty text."""
        parts = []
        if self.projects:
            parts.append(f"owns {self.projects} project(s)")
        if self.running_jobs:
            parts.append(f"has {self.running_jobs} running job(s)")
        if self.recent:
            parts.append(f"was active on {self.last_activity}")
        return f" ({', '.join(parts)})" if parts else ""


@dataclass(frozen=True)
class UserSchema:
    """What the schema of ``user_oauth`` says of users."""

    has_settings: bool
    has_profile: bool
    has_username: bool


def read_schema(connection: Connection) -> UserSchema:
    """Return which columns the users have.

    Raises:
        FractalError: There is no table of users: this is not Fractal's database.
    """
    exists, *flags = connection.exec_driver_sql(_SCHEMA).one()
    if not exists:
        raise FractalError("The database has no table user_oauth: it is not Fractal's. Check POSTGRES_DB.")
    return UserSchema(*flags)


def read_ssh_hosts(connection: Connection) -> dict[str, int]:
    """Return how many settings rows have each SSH host, as the data migration counts them that makes profiles."""
    return {str(host): int(number) for host, number in connection.exec_driver_sql(_HOSTS)}


def has_resource(connection: Connection) -> bool:
    """Return whether there is a resource, which the data migration makes first."""
    return bool(connection.exec_driver_sql(_RESOURCE).scalar_one())


@contextmanager
def read_users(connection: Connection, schema: UserSchema) -> Iterator[Iterator[UserRow]]:
    """Give every user by id; one statement, and only the rows at hand in memory.

    Raises:
        FractalError: The database refuses.
    """
    statement = _USERS.format(
        days=RECENT_DAYS,
        username="u.username IS NOT NULL" if schema.has_username else "false",
        profile="u.profile_id" if schema.has_profile else "NULL",
        settings=", ".join(_SETTINGS_COLUMNS if schema.has_settings else ["NULL"] * len(_SETTINGS_COLUMNS)),
        join="LEFT JOIN user_settings AS s ON s.id = u.user_settings_id" if schema.has_settings else "",
    )
    connection.exec_driver_sql(_MODEST)
    psycopg: Any = connection.dialect.loaded_dbapi
    raw: Any = connection.connection.driver_connection
    capabilities = getattr(psycopg, "capabilities", None)  # psycopg 3.2; chunks need libpq 17 as well
    chunks = {"size": 500} if capabilities is not None and capabilities.has_stream_chunked() else {}
    try:
        # an open stream holds the connection, so it has to end before anything else is done, rollback included
        with raw.cursor() as cursor:
            psycopg.types.json.set_json_loads(from_json, cursor)  # several times as fast as json.loads
            with closing(cursor.stream(statement, **chunks)) as rows:
                yield map(UserRow._make, rows)
    except psycopg.Error as error:
        reason = " ".join(str(error).split())
        raise FractalError(f"The users cannot be read from the database: {reason}.") from error
