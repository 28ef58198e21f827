# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""What the database says about the upgrade, apart from users: rights, programs, sessions, work in flight, workflows."""

from __future__ import annotations

import datetime
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.findings import (
    Finding,
    FindingRule,
    blocker,
    rule_table,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.wording import examples
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.contents import FRACTAL_TABLES
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.programs import find_programs
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.quoting import quoted
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.scratch import may_create
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.sessions import (
    APPLICATION,
    CLIENT,
    OTHER_SESSIONS,
    Session,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.state import revision_of
from ansible_collections.fractal_ops.platform.plugins.module_utils._precheck.way_back import unreadable_objects
from ansible_collections.fractal_ops.platform.plugins.module_utils._releases.path import (
    RELEASES,
    release,
    schema_in_words,
)

if TYPE_CHECKING:
    from ansible_collections.fractal_ops.platform.plugins.module_utils._precheck.database_side import DatabaseSide

CHAPTERS = {"database": "Database", "host": "Hosts", "work": "Work in flight"}
FINDINGS = rule_table(
    blocker(
        "database.postgres_too_old",
        "PostgreSQL too old",
        "{subject} runs on PostgreSQL {version}; fractal-server's driver needs 10 or later.",
        "Upgrade PostgreSQL first.",
        "psycopg 3",
    ),
    blocker(
        "database.no_dump_programs",
        "No suitable pg_dump and pg_restore",
        "{reason}",
        "Install PostgreSQL's client programs, of the server's version or later, on this host.",
    ),
    blocker(
        "database.not_readable",
        "Database cannot be dumped",
        "The role {subject} may not read {objects}, or not all rows of it, so the database cannot be dumped.",
        "Let {subject} be their owner, or give it SELECT on them and USAGE on their schema; a table with row-level "
        "security, whose owner it is not, needs BYPASSRLS or another database.",
    ),
    blocker(
        "database.not_owner",
        "Schema cannot be migrated",
        "The role {subject} does not own {objects}, so set-db cannot alter them.",
        "As PostgreSQL's administrator, in this database: REASSIGN OWNED BY <their owner> TO the role {subject}.",
        "fractal-server 2.17.0, migrations/versions",
    ),
    blocker(
        "database.no_create",
        "Tables cannot be made",
        "The role {subject} may not create tables in the schema {schema}, so neither can set-db make those of the new "
        "release nor a rollback those of the backup.",
        "As PostgreSQL's administrator, in this database: GRANT CREATE ON SCHEMA {schema} TO {quoted};",
        "fractal-server 2.17.0, migrations/versions; PostgreSQL 15, release notes (schema public)",
    ),
    blocker(
        "database.no_createdb",
        "Backup cannot be proved",
        "The role {subject} may not create databases, so the backup cannot be proved by restoring it.",
        "As PostgreSQL's administrator: ALTER ROLE {quoted} CREATEDB; or set fractal_backup_proof to list.",
        settles={"fractal_backup_proof": "list"},
        asks=True,
    ),
    FindingRule(
        "database.other_sessions",
        "warning",
        "Others are connected to the database",
        "{count} session(s) of others are connected to the database {subject}: {who}. Their locks could stop the "
        "schema migration, and what they write after the backup would be lost by a rollback.",
        "Stop these programs for the upgrade.",
    ),
    FindingRule(
        "database.revision_differs",
        "blocker",
        "Schema and installed release do not belong together",
        "The database {subject} is at alembic revision {revision} ({at}); fractal-server {version} expects {expected}.",
        "Install the release that the schema belongs to, or run set-db of {version} if that was forgotten.",
        "fractal-server, migrations/versions of each release",
    ),
    FindingRule(
        "work.job_in_flight",
        "warning",
        "Jobs run",
        "{count} job(s) run now: {who}. fractal_jobs_in_flight is {mode}.",
        "With 'fail', the upgrade does not begin while jobs run; with 'wait', it waits for their end; with 'abort', it "
        "ends them as failed. Choose a quiet hour.",
        "fractal-server 2.16.6, runner/shutdown.py",
        settles={"fractal_jobs_in_flight": "wait"},
        asks=True,
    ),
    FindingRule(
        "work.activity_in_flight",
        "warning",
        "Task collections run",
        "{count} task-group activities run now: {who}. fractal_jobs_in_flight is {mode}.",
        "Let them end before the upgrade; a stop kills them. With 'abort', they are marked as failed then.",
        "fractal-server 2.16.6, schemas/v2/task_group.py",
    ),
    FindingRule(
        "work.job_stale",
        "warning",
        "Jobs that only seem to run",
        "{count} job(s) are 'submitted' but began before fractal-server was last started, so nothing runs them any "
        "more: {who}. They block their datasets.",
        "For each: PATCH /admin/v2/job/<id>/ with status failed, before the upgrade; or fractal_jobs_in_flight: abort.",
        "fractal-server 2.16.6, routes/admin/v2/job.py",
        settles={"fractal_jobs_in_flight": "abort"},
        asks=True,
    ),
    FindingRule(
        "work.activity_stale",
        "warning",
        "Task collections that only seem to run",
        "{count} task-group activities began before fractal-server was last started, so nothing runs them any "
        "more: {who}.",
        "Set their status to failed in the table taskgroupactivityv2, Fractal has no endpoint for it; or "
        "fractal_jobs_in_flight: abort.",
        "fractal-server 2.16.6, schemas/v2/task_group.py",
        settles={"fractal_jobs_in_flight": "abort"},
        asks=True,
    ),
    FindingRule(
        "work.workflow_starts_non_parallel",
        "warning",
        "Workflows that fail on an empty dataset",
        "{count} workflow(s) begin with a plain non_parallel task; the new release does not run them on a dataset "
        "without images: {who}.",
        "Tell their owners: the first task must be of type converter_non_parallel.",
        "fractal-server 2.17.1, CHANGELOG (2971)",
    ),
    FindingRule(
        "host.clock_differs",
        "warning",
        "Clocks differ",
        "The clocks of this host and of the database server {subject} differ by {seconds} seconds.",
        "Synchronize both (NTP): log-in tokens and times of jobs depend on it.",
    ),
)

_OLDEST_POSTGRES = 10  # what psycopg 3 talks to
_CLOCK_TOLERANCE = 60.0  # seconds
_NOT_OWNED = """
SELECT c.relname FROM pg_class AS c
WHERE c.relkind IN ('r', 'p') AND c.relname = ANY(%s) AND pg_table_is_visible(c.oid)
      AND NOT pg_has_role(c.relowner, 'MEMBER')
ORDER BY 1
"""
# without any schema that is there and may be used, PostgreSQL would take public for what is meant
_ROLE = """
SELECT current_user, quote_ident(coalesce(current_schema(), 'public')),
       coalesce(has_schema_privilege(current_schema(), 'CREATE'), false)
"""
_SESSIONS = f"""
SELECT pid, usename, coalesce(nullif(application_name, ''), 'unnamed'), {CLIENT}
FROM pg_stat_activity
WHERE {OTHER_SESSIONS} AND application_name IS DISTINCT FROM %(own)s
      AND (usename <> current_user OR client_addr IS DISTINCT FROM inet_client_addr())
ORDER BY pid
"""
_JOBS = "SELECT id, user_email, start_timestamp FROM jobv2 WHERE status = 'submitted' ORDER BY id"
_ACTIVITIES = """
SELECT a.id, u.email, a.timestamp_started FROM taskgroupactivityv2 AS a JOIN user_oauth AS u ON u.id = a.user_id
WHERE a.status IN ('pending', 'ongoing') ORDER BY a.id
"""
_WORKFLOWS = """
SELECT p.name || ' / ' || w.name FROM workflowtaskv2 AS t
JOIN workflowv2 AS w ON w.id = t.workflow_id JOIN projectv2 AS p ON p.id = w.project_id
WHERE t."order" = 0 AND t.task_type = 'non_parallel' ORDER BY w.id
"""


def check_programs_for_dump(host: DatabaseSide) -> Iterator[Finding]:
    """pg_dump and pg_restore are there and not older than the server, which is not too old itself."""
    with host.connection() as connection:
        number = int(connection.exec_driver_sql("SHOW server_version_num").scalar_one())
    if number // 10000 < _OLDEST_POSTGRES:
        yield FINDINGS["database.postgres_too_old"].finding(host.database.where, version=number // 10000)
    try:
        find_programs(number)
    except FractalError as error:
        yield FINDINGS["database.no_dump_programs"].finding("pg_dump", reason=str(error))


def check_rights(host: DatabaseSide) -> Iterator[Finding]:
    """The role may read all (dump), alter and make tables (set-db, restore), and databases (proof of the backup)."""
    with host.connection() as connection:
        role, schema, may_make_tables = connection.exec_driver_sql(_ROLE).one()
        foreign = connection.exec_driver_sql(_NOT_OWNED, (sorted(FRACTAL_TABLES),)).scalars().all()
        unreadable = unreadable_objects(connection)
        creates = may_create(connection)
    if unreadable:
        yield FINDINGS["database.not_readable"].finding(role, objects=examples(unreadable))
    if foreign:
        yield FINDINGS["database.not_owner"].finding(role, objects=examples(foreign))
    if not may_make_tables:
        yield FINDINGS["database.no_create"].finding(role, schema=schema, quoted=quoted(role))
    if not creates and host.params["backup_proof"] == "restore":
        yield FINDINGS["database.no_createdb"].finding(role, quoted=quoted(role))


def check_sessions(host: DatabaseSide) -> Iterator[Finding]:
    """Nobody else is connected: their locks would stop the schema migration."""
    with host.connection() as connection:
        rows = connection.exec_driver_sql(_SESSIONS, {"own": APPLICATION}).all()
    if rows:
        told = [str(Session(*row)) for row in rows]
        yield FINDINGS["database.other_sessions"].finding(host.database.dbname, count=len(rows), who=examples(told))


def check_revision(host: DatabaseSide) -> Iterator[Finding]:
    """The schema is the installed release's; during an upgrade it need not be."""
    if host.version is None or host.held:
        return
    with host.connection() as connection:
        revision = revision_of(connection)
    try:
        expected = release(host.version).alembic_head
    except FractalError:
        return
    if revision != expected:
        at = schema_in_words(revision)
        yield FINDINGS["database.revision_differs"].finding(
            host.database.dbname,
            revision=revision,
            at=f"the one of {at}" if at != "unknown" else f"known to no release from {RELEASES[0].version} on",
            version=host.version,
            expected=expected,
        )


def check_work_in_flight(host: DatabaseSide) -> Iterator[Finding]:
    """Jobs and activities that run, and those that only seem to: the process that ran them is gone."""
    with host.connection() as connection:
        jobs = connection.exec_driver_sql(_JOBS).all()
        activities = connection.exec_driver_sql(_ACTIVITIES).all()
    started = host.started_at
    for what, rows in (("job", jobs), ("activity", activities)):
        stale = [row for row in rows if started is not None and row[2].timestamp() < started]
        running = [row for row in rows if row not in stale]
        if running:
            mode = host.params["jobs_in_flight"]
            told = examples([_told(row) for row in running])
            yield FINDINGS[f"work.{what}_in_flight"].finding(what, count=len(running), who=told, mode=mode)
        if stale:
            yield FINDINGS[f"work.{what}_stale"].finding(
                what, count=len(stale), who=examples([_told(row) for row in stale])
            )


def check_workflows(host: DatabaseSide) -> Iterator[Finding]:
    """Workflows that the new release does not run on a dataset without images (fractal-server 2.17.1, CHANGELOG)."""
    if not host.drops_settings:
        return
    with host.connection() as connection:
        names = list(connection.exec_driver_sql(_WORKFLOWS).scalars())
    if names:
        yield FINDINGS["work.workflow_starts_non_parallel"].finding("workflows", count=len(names), who=examples(names))


def check_clock(host: DatabaseSide) -> Iterator[Finding]:
    """This host and the database server agree about the time."""
    with host.connection() as connection:
        theirs: datetime.datetime = connection.exec_driver_sql("SELECT clock_timestamp()").scalar_one()
    difference = abs(theirs.timestamp() - time.time())
    if difference > _CLOCK_TOLERANCE:
        yield FINDINGS["host.clock_differs"].finding(host.database.host, seconds=round(difference))


def _told(row: Any) -> str:
    return f"{row[0]} of {row[1]} since {row[2]:%Y-%m-%d %H:%M}"
