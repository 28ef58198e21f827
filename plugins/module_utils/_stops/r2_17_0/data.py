# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""The data migration of 2.17.0: what it makes, how the rows prove it, and how a killed run is taken back.

The program commits in several steps, has no resume, exits 0 when it did nothing, and makes a second resource when it is
run again after a rename (fractal-server 2.17.0, data_migrations/2_17_0.py): resource, task groups, projects, then
profile by profile. So rows left by a killed run are taken back, and only while they are all that was written since.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.quoting import literal
from ansible_collections.fractal_ops.platform.plugins.module_utils._env_file.reading import read_env_file
from ansible_collections.fractal_ops.platform.plugins.module_utils._releases.backends import BACKENDS
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.r2_17_0.placeholders import (
    PROJECT_DIR,
    RESOURCE_NAME,
)

if TYPE_CHECKING:
    from ansible_collections.fractal_ops.platform.plugins.module_utils._releases.data_migration import Rows
    from sqlalchemy import Connection

_OWN_TABLES = ("resource", "profile", "taskgroupv2", "projectv2", "user_oauth")

# user_settings_id: a user made by 2.17 itself has no old settings and nothing to migrate
_UNATTACHED_USER = (
    "is_active AND is_verified AND user_settings_id IS NOT NULL "
    f"AND (profile_id IS NULL OR project_dir = {literal(PROJECT_DIR)})"
)
_PROOF = {
    "resources": "SELECT count(*) FROM resource",
    "profiles": "SELECT count(*) FROM profile",
    "projects_attached": "SELECT count(*) FROM projectv2 WHERE resource_id IS NOT NULL",
    "projects_left": "SELECT count(*) FROM projectv2 WHERE resource_id IS NULL",
    "task_groups_attached": "SELECT count(*) FROM taskgroupv2 WHERE resource_id IS NOT NULL",
    "task_groups_left": "SELECT count(*) FROM taskgroupv2 WHERE resource_id IS NULL",
    "users_attached": "SELECT count(*) FROM user_oauth WHERE profile_id IS NOT NULL",
    "users_left": f"SELECT coalesce(json_agg(email ORDER BY id), '[]') FROM user_oauth WHERE {_UNATTACHED_USER}",
}
# Once the old settings are gone: users whose column project_dir still is what the schema migration filled in.
_USERS_LEFT_FOR_GOOD = (
    "SELECT coalesce(json_agg(email ORDER BY id), '[]') FROM user_oauth "
    f"WHERE is_active AND is_verified AND profile_id IS NULL AND project_dir = {literal(PROJECT_DIR)}"
)

_RESET = (
    f"UPDATE user_oauth SET profile_id = NULL, project_dir = {literal(PROJECT_DIR)}, slurm_accounts = '{{}}' "
    "WHERE profile_id IS NOT NULL",
    "UPDATE projectv2 SET resource_id = NULL WHERE resource_id IS NOT NULL",
    "UPDATE taskgroupv2 SET resource_id = NULL WHERE resource_id IS NOT NULL",
    "DELETE FROM profile",
    "DELETE FROM resource",
    # the next run gets the ids that an undisturbed one has, also after a kill before the first commit
    "ALTER SEQUENCE resource_id_seq RESTART",
    "ALTER SEQUENCE profile_id_seq RESTART",
)


class ResourceAndProfiles:
    """Settings of the environment file become a resource, those of the users profiles."""

    release = "2.17.0"
    answers = "yes\n" * 5  # fractal-server 2.17.0, __main__.py, update_db_data()
    mend_lost = ""  # who was verified only after the upgrade looks the same

    def queries(self, tables: Mapping[str, Sequence[str]]) -> dict[str, str]:
        """See `DataMigration`. From 2.17.1 on only who was left out can still be told."""
        users = {*tables.get("user_oauth", ())}
        if "resource_id" in tables.get("projectv2", ()) and "user_settings_id" in users:
            return dict(_PROOF)
        return {"users_left": _USERS_LEFT_FOR_GOOD} if {"profile_id", "project_dir"} <= users else {}

    def state(self, rows: Rows) -> str:
        """See `DataMigration`."""
        if not any(rows[name] for name in ("resources", "profiles", "users_attached")):
            return "pending"
        left = rows["projects_left"] or rows["task_groups_left"] or rows["users_left"]
        return "partial" if left or not rows["resources"] else "done"

    def left(self, rows: Rows) -> str:
        """See `DataMigration`."""
        if not rows["resources"]:
            return "there is no resource, nothing was written"
        users = ", ".join(rows["users_left"]) or "none"
        return (
            f"{rows['projects_left']} projects and {rows['task_groups_left']} task groups without resource; "
            f"active and verified users without profile or project directory: {users}"
        )

    def lost(self, rows: Rows) -> list[str]:
        """See `DataMigration`."""
        return list(rows.get("users_left", ()))

    def lock(self, connection: Connection) -> None:
        """See `DataMigration`."""
        connection.exec_driver_sql(f"LOCK TABLE {', '.join(_OWN_TABLES)} IN SHARE ROW EXCLUSIVE MODE")

    def has_rows_to_take_back(self, connection: Connection) -> bool:
        """See `DataMigration`."""
        if not connection.exec_driver_sql("SELECT count(*) FROM resource").scalar():
            return False
        foreign = written_since(connection)
        if foreign:
            raise FractalError(
                "An earlier data migration stopped half-way, and the database has been written to since: "
                f"{'; '.join(foreign)}. Taking the migration back could lose that, so it is left alone. Go back with "
                "the rollback playbook, which says what it would lose, then upgrade again."
            )
        return True

    def take_back(self, connection: Connection) -> None:
        """See `DataMigration`."""
        for statement in _RESET:
            connection.exec_driver_sql(statement)

    def why_refused(self, env_file: str, values: Mapping[str, str]) -> str:
        """See `DataMigration`. The new file alone decides (2_17_0.py, prepare_resource_data())."""
        old_file = env_file + ".old"
        if not os.path.exists(old_file):
            return f"The data migration reads {old_file}, which does not exist. Run the environment-file stage first."
        old = read_env_file(old_file, {}).get("FRACTAL_RUNNER_BACKEND", "local")
        expected = BACKENDS.get(old) if old in ("slurm", "slurm_ssh") else None
        if expected is None:
            return (
                f"{old_file} says FRACTAL_RUNNER_BACKEND={old}. The data migration of {self.release} supports "
                "instances on a SLURM cluster only."
            )
        new = values.get("FRACTAL_RUNNER_BACKEND", "local")
        if new != expected:
            return (
                f"FRACTAL_RUNNER_BACKEND is {new} in {env_file} (or the unit), but {expected} is expected: the old "
                f"value was {old}. The migration would make a resource of the wrong kind. Correct it and run again."
            )
        return ""


def written_since(connection: Connection) -> list[str]:
    """Return what was written since the migration's resource was made, apart from the migration itself.

    Every row names the transaction that wrote it (``xmin``). The migration leaves one resource; all task groups in one
    transaction, all projects in the next; then a profile in one and its users in the next, profile by profile. Rows
    that do not fit were written by somebody else: a server that was started, or an administrator.
    """
    resources = connection.exec_driver_sql("SELECT id, name, age(xmin) AS age FROM resource").mappings().all()
    if len(resources) != 1 or resources[0]["name"] != RESOURCE_NAME:
        return ["the resources are " + ", ".join(repr(row["name"]) for row in resources)]
    age = resources[0]["age"]
    found = []
    for table in _other_tables(connection):
        query = f'SELECT count(*) FROM "{table}" WHERE age(xmin) < %(age)s'
        newer = connection.exec_driver_sql(query, {"age": age}).scalar()
        if newer:
            found.append(f"{newer} rows in {table}")
    for query, what in _FOREIGN_WRITES:
        if connection.exec_driver_sql(query, {"age": age}).scalar():
            found.append(what)
    return found


def _attached_together(table: str) -> str:
    """Return a query for whether the rows of ``table`` are anything but: all untouched, or all attached at once."""
    return f"""
        SELECT count(resource_id) <> count(*) FILTER (WHERE age(xmin) < %(age)s)
               OR count(resource_id) NOT IN (0, count(*))
               OR count(DISTINCT xmin::text) FILTER (WHERE age(xmin) < %(age)s) > 1
        FROM {table}"""


_FOREIGN_WRITES = (
    (_attached_together("taskgroupv2"), "task groups made or changed"),
    (_attached_together("projectv2"), "projects made or changed"),
    (
        """SELECT count(*) FILTER (WHERE age(xmin) >= %(age)s) > 0 OR count(DISTINCT xmin::text) <> count(*)
                  OR count(*) FILTER (WHERE name <> 'Profile ' || username) > 0
           FROM profile""",
        "profiles made or changed",
    ),
    (
        """SELECT count(*) FILTER (WHERE (profile_id IS NULL) = (age(u.xmin) < %(age)s)) > 0
                  OR count(DISTINCT u.xmin::text) FILTER (WHERE profile_id IS NOT NULL) <> count(DISTINCT profile_id)
                  OR count(*) FILTER (WHERE age(p.xmin) <= age(u.xmin)) > 0
                  OR count(*) FILTER (WHERE EXISTS (SELECT FROM profile later WHERE later.id > p.id
                                                    AND age(later.xmin) >= age(u.xmin))) > 0
                  OR count(p.id) FILTER (WHERE p.username NOT IN (coalesce(slurm_user, ''), coalesce(ssh_username, ''))
                                         OR s.id IS NULL OR NOT is_active OR NOT is_verified) > 0
           FROM user_oauth u
           LEFT JOIN profile p ON p.id = u.profile_id
           LEFT JOIN user_settings s ON s.id = u.user_settings_id""",
        "users made or changed",
    ),
)


def _other_tables(connection: Connection) -> list[str]:
    query = """
        SELECT relname FROM pg_class
        WHERE relkind = 'r' AND relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = 'resource'::regclass)
        ORDER BY relname"""
    return [name for name in connection.exec_driver_sql(query).scalars() if name not in _OWN_TABLES]
