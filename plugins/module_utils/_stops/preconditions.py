# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""Rows that the schema of a later release refuses, a row for each kind.

Their release's ``set-db`` would end with PostgreSQL's error inside the window. They are looked for before the first
hop, in the schema that the database has now. What a data migration on the way mends is not here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.findings import (
    Finding,
    FindingRule,
    blocker,
    rule_table,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.wording import examples
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.contents import FRACTAL_TABLES
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.database import (
    Installation,
    connect,
    installation_settings,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._releases.path import takes_away, version_key

if TYPE_CHECKING:
    from sqlalchemy import Connection

Columns = Mapping[str, Sequence[str]]

CHAPTERS = {"rows": "Rows that a later release refuses"}
FINDINGS = rule_table(
    blocker(
        "rows.jobs_submitted_twice",
        "Several submitted jobs on one dataset",
        "PostgreSQL refuses the schema of 2.18.0, which allows one submitted job for a dataset: {rows}.",
        "Wait for their end. Those that nothing runs any more: PATCH /admin/v2/job/<id>/ with status failed, or "
        "UPDATE jobv2 SET status = 'failed', end_timestamp = now() WHERE status = 'submitted' AND id = <id>; or set "
        "fractal_jobs_in_flight: abort, which marks all of them in the window.",
        "fractal-server 2.18.0, migrations/versions/f0702066b007",
        settles={"fractal_jobs_in_flight": "abort"},
        asks=True,
    ),
    blocker(
        "rows.project_with_several_users",
        "Projects with several users",
        "PostgreSQL refuses the schema of 2.18.0: every user of a project becomes its owner, and a project has "
        "one: {rows}.",
        "Decide who owns each project and take the others out: DELETE FROM linkuserprojectv2 WHERE project_id = <id> "
        "AND user_id <> <owner>. After the upgrade the owner shares the project with them.",
        "fractal-server 2.18.0, migrations/versions/bc0e8b3327a7",
    ),
    blocker(
        "rows.task_groups_in_one_folder",
        "Task groups in the same folder",
        "PostgreSQL refuses the schema of 2.20.0, which allows one task group for a folder: {rows}.",
        "See to which of them the folder belongs, and correct the path of the others or delete them: UPDATE "
        "taskgroupv2 SET path = '<its own folder>' WHERE id = <id>.",
        "fractal-server 2.20.5, migrations/versions/6d679918c883",
    ),
    blocker(
        "rows.task_group_collected_twice",
        "Task groups that were collected several times",
        "PostgreSQL refuses the schema of 2.20.0, which keeps one collection for a task group: {rows}.",
        "Delete the older ones, which are notes of the past: DELETE FROM taskgroupactivityv2 WHERE action = 'collect' "
        "AND taskgroupv2_id = <id> AND id <> <the newest>.",
        "fractal-server 2.20.5, migrations/versions/6d679918c883",
    ),
    blocker(
        "rows.task_name_twice",
        "Tasks with the same name in one task group",
        "PostgreSQL refuses the schema of 2.23.3, which wants different names in a task group: {rows}.",
        "Rename all but one; workflows refer to tasks by number: UPDATE taskv2 SET name = name || ' (' || id || ')' "
        "WHERE id = <id>.",
        "fractal-server 2.23.3, CHANGELOG",
    ),
    blocker(
        "rows.superuser_and_guest",
        "Superusers who are guests",
        "PostgreSQL refuses the schema of 2.24.3, in which a superuser is no guest: {rows}.",
        "UPDATE user_oauth SET is_guest = false WHERE is_superuser AND is_guest, or take the superuser's rights away.",
        "fractal-server 2.24.3, migrations/versions/3ddaf7271fc3",
    ),
    blocker(
        "rows.history_without_zarr_urls",
        "History without a list of images",
        "PostgreSQL refuses the schema of 2.25.1, which wants a list in each row of historyunit: {rows}.",
        "UPDATE historyunit SET zarr_urls = '{{}}' WHERE zarr_urls IS NULL",
        "fractal-server 2.25.1, migrations/versions/0c5e3f92c3a8",
    ),
    blocker(
        "rows.column_in_use",
        "Somebody else's views need what a later release drops",
        "{subject} goes on the way to {target}, and PostgreSQL refuses that as long as these need it: {rows}.",
        "Keep their definition (pg_get_viewdef), drop them before the upgrade, and make them again without {subject}.",
        "fractal-server, migrations/versions",
    ),
    blocker(
        "rows.path_with_dots",
        "Folders with /../ in their path",
        "From 2.18.0 on, resources and profiles refuse paths with /../, and job submissions end in an error: {rows}.",
        "Write the path without: in the table and column that the message names, or by PATCH "
        "/admin/v2/resource/<id>/ and /admin/v2/profile/<id>/.",
        "fractal-server 2.18.0, types/__init__.py, AbsolutePathStr",
    ),
    FindingRule(
        "rows.leftover_indexes",
        "warning",
        "Indexes that fractal-server does not know any more",
        "2.20.0 to 2.20.4 made indexes that later releases neither expect nor drop: {rows}. They refuse task groups "
        "that these releases allow.",
        "DROP INDEX ix_taskgroupv2_user_unique_constraint, ix_taskgroupv2_usergroup_unique_constraint",
        "fractal-server 2.20.5, CHANGELOG",
    ),
)


@dataclass(frozen=True)
class Precondition:
    """Rows that a release's schema refuses.

    Attributes:
        finding: The id of what is found.
        release: The first whose schema refuses them.
        needs: The columns without which there can be no such row, by table.
        query: What returns a line of text for each.
    """

    finding: str
    release: str
    needs: Columns
    query: str


PRECONDITIONS = (
    Precondition(
        "rows.jobs_submitted_twice",
        "2.18.0",
        {"jobv2": ("dataset_id", "status")},
        """SELECT concat('dataset ', dataset_id, ' has the jobs ', string_agg(id::text, ', ' ORDER BY id)) FROM jobv2
           WHERE status = 'submitted' AND dataset_id IS NOT NULL GROUP BY dataset_id HAVING count(*) > 1
           ORDER BY dataset_id""",
    ),
    Precondition(
        "rows.project_with_several_users",
        "2.18.0",
        {"linkuserprojectv2": ("project_id", "user_id")},
        """SELECT concat('project ', p.id, ' (', p.name, ') has the users ',
                         string_agg(concat(u.id, ' (', u.email, ')'), ', ' ORDER BY u.id))
           FROM linkuserprojectv2 l JOIN projectv2 p ON p.id = l.project_id JOIN user_oauth u ON u.id = l.user_id
           GROUP BY p.id, p.name HAVING count(*) > 1 ORDER BY p.id""",
    ),
    Precondition(
        "rows.task_groups_in_one_folder",
        "2.20.0",
        {"taskgroupv2": ("path",)},
        # before 2.17.0 there is no resource_id: all of them go to the one resource that it makes
        """SELECT concat(path, ' is the folder of the task groups ', string_agg(id::text, ', ' ORDER BY id))
           FROM taskgroupv2 g WHERE path IS NOT NULL GROUP BY path, to_jsonb(g) ->> 'resource_id' HAVING count(*) > 1
           ORDER BY path""",
    ),
    Precondition(
        "rows.task_group_collected_twice",
        "2.20.0",
        {"taskgroupactivityv2": ("taskgroupv2_id", "action")},
        """SELECT concat('task group ', taskgroupv2_id, ' has the collections ', string_agg(id::text, ', ' ORDER BY id))
           FROM taskgroupactivityv2 WHERE action = 'collect' AND taskgroupv2_id IS NOT NULL
           GROUP BY taskgroupv2_id HAVING count(*) > 1 ORDER BY taskgroupv2_id""",
    ),
    Precondition(
        "rows.task_name_twice",
        "2.23.3",
        {"taskv2": ("name", "taskgroupv2_id")},
        """SELECT concat('task group ', taskgroupv2_id, ' has the tasks ',
                         string_agg(id::text, ', ' ORDER BY id), ', all called ', name)
           FROM taskv2 WHERE taskgroupv2_id IS NOT NULL GROUP BY name, taskgroupv2_id HAVING count(*) > 1
           ORDER BY taskgroupv2_id, name""",
    ),
    Precondition(
        "rows.superuser_and_guest",
        "2.24.3",
        {"user_oauth": ("is_superuser", "is_guest")},
        "SELECT concat('user ', id, ' (', email, ')') FROM user_oauth WHERE is_superuser AND is_guest ORDER BY id",
    ),
    Precondition(
        "rows.history_without_zarr_urls",
        "2.25.1",
        {"historyunit": ("zarr_urls",)},
        "SELECT concat('historyunit ', id) FROM historyunit WHERE zarr_urls IS NULL ORDER BY id",
    ),
)
# Where paths are that AbsolutePathStr looks at from 2.18.0 on; before there are profiles, the users' settings have one
_PATHS = {
    "resource": ("tasks_local_dir", "jobs_local_dir", "jobs_slurm_python_worker", "tasks_python_config"),
    "profile": ("ssh_key_path", "jobs_remote_dir", "tasks_remote_dir"),
    "user_settings": ("ssh_private_key_path",),
}
_DOTTED = """SELECT concat('{table} ', id, ', {column}: ', {column}) FROM {table}
             WHERE {column}::text ~ '(^|["/])[.][.]($|["/])'"""
_LEFTOVER = """SELECT c.relname FROM pg_class c WHERE c.relkind = 'i' AND pg_table_is_visible(c.oid) AND c.relname IN
               ('ix_taskgroupv2_user_unique_constraint', 'ix_taskgroupv2_usergroup_unique_constraint') ORDER BY 1"""
# A view hangs on the column by its rule, a policy and a function with a body in SQL by themselves.
_DEPENDENTS = """
SELECT DISTINCT CASE WHEN d.classid = 'pg_rewrite'::regclass
                     THEN (SELECT r.ev_class::regclass::text FROM pg_rewrite r WHERE r.oid = d.objid)
                     ELSE pg_describe_object(d.classid, d.objid, 0) END
FROM pg_depend d
LEFT JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attname = %(column)s
WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = to_regclass(%(table)s) AND d.deptype = 'n'
      AND d.classid IN ('pg_rewrite'::regclass, 'pg_policy'::regclass, 'pg_proc'::regclass)
      AND (%(column)s = '' OR d.refobjsubid = a.attnum)
ORDER BY 1
"""
_COLUMNS = """
SELECT c.relname, json_agg(a.attname) FROM pg_class c
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relkind IN ('r', 'p') AND c.relname = ANY(%s) AND pg_table_is_visible(c.oid) GROUP BY 1
"""


def refused_rows(installation: Installation, start: str, target: str, aborts_jobs: bool) -> dict[str, Any]:
    """Return the ``findings`` of `check_rows_refused` as plain data.

    Raises:
        FractalError: The database cannot be reached.
    """
    with connect(installation_settings(installation), read_only=True) as connection:
        found = list(check_rows_refused(connection, start, target))
    if aborts_jobs:
        found = [one for one in found if one.id != "rows.jobs_submitted_twice"]
    return {"findings": [one.as_dict() for one in found]}


def check_rows_refused(connection: Connection, start: str, target: str) -> Iterator[Finding]:
    """Yield what stands in the way of the schemas after the release ``start``, up to and with ``target``."""
    rows = connection.exec_driver_sql(_COLUMNS, (sorted(FRACTAL_TABLES),))
    columns: dict[str, list[str]] = {row[0]: row[1] for row in rows}
    for one in PRECONDITIONS:
        if _is_between(start, one.release, target) and _has(columns, one.needs):
            yield from _found(connection, one.finding, "rows", one.query)
    for gone in takes_away(start, target):
        subject = f"{gone.table}.{gone.column}" if gone.column else gone.table
        users = connection.exec_driver_sql(_DEPENDENTS, {"table": gone.table, "column": gone.column}).scalars().all()
        if users:
            yield FINDINGS["rows.column_in_use"].finding(subject, target=target, rows=examples(users))
    yield from _dotted_paths(connection, columns, start, target)
    yield from _found(connection, "rows.leftover_indexes", "taskgroupv2", _LEFTOVER)


def _dotted_paths(connection: Connection, columns: Columns, start: str, target: str) -> Iterator[Finding]:
    if not _is_between(start, "2.18.0", target):
        return
    queries = [
        _DOTTED.format(table=table, column=column)
        for table, names in _PATHS.items()
        for column in names
        if column in columns.get(table, ()) and not (table == "user_settings" and "profile" in columns)
    ]
    if queries:
        yield from _found(connection, "rows.path_with_dots", "paths", " UNION ALL ".join(queries))


def _found(connection: Connection, finding: str, subject: str, query: str) -> Iterator[Finding]:
    rows = list(connection.exec_driver_sql(query).scalars())
    if rows:
        yield FINDINGS[finding].finding(subject, rows="; ".join(rows))


def _is_between(start: str, release: str, target: str) -> bool:
    return version_key(start) < version_key(release) <= version_key(target)


def _has(columns: Columns, needs: Columns) -> bool:
    return all({*names} <= {*columns.get(table, ())} for table, names in needs.items())
