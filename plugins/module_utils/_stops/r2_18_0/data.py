# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""The data migration of 2.18.0: each user's one project directory becomes the first of a list.

The program commits once, at its end. It ends with an error, and nobody is migrated, where a user has a list already
(so also after it has succeeded) or has no directory (fractal-server 2.18.0, data_migrations/2_18_0.py). No later
release looks for what it was to do: with an empty list, making a dataset and submitting a job end in HTTP 500.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.quoting import literal
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.r2_17_0.placeholders import PROJECT_DIR

if TYPE_CHECKING:
    from ansible_collections.fractal_ops.platform.plugins.module_utils._releases.data_migration import Rows
    from sqlalchemy import Connection

_EMAILS = "SELECT coalesce(json_agg(email ORDER BY id), '[]') FROM user_oauth WHERE {}"
_WITHOUT = _EMAILS.format("project_dirs = '{}'")
_PROOF = {
    "users": "SELECT count(*) FROM user_oauth",
    "users_attached": "SELECT count(*) FROM user_oauth WHERE project_dirs <> '{}'",
    "users_left": _WITHOUT,
}
# The server of 2.18.0 was started before its data migration, and made or changed users as it does: with a list.
_SEVERAL = _EMAILS.format("cardinality(project_dirs) > 1")
_ODD = "SELECT count(*) FROM user_oauth WHERE project_dirs <> '{}' OR project_dir IS NULL"
_RESET = (
    "UPDATE user_oauth SET project_dir = project_dirs[1], project_dirs = '{}' WHERE project_dirs <> '{}'",
    # what fractal-server writes for a user of whom it knows no directory
    f"UPDATE user_oauth SET project_dir = {literal(PROJECT_DIR)} WHERE project_dir IS NULL",
)


class ProjectDirectories:
    """The project directory of each user becomes a list of one."""

    release = "2.18.0"
    answers = "yes\n" * 5  # fractal-server 2.18.0, __main__.py, update_db_data()
    mend_lost = (
        "fractalctl update-db-data of 2.18.0 never ran, and no later release does what it does. Run the rollback "
        "playbook or restore the backup from before, then upgrade through 2.18.0. Or, where the directories are known, "
        "give one to each of these users in the database, for example "
        "UPDATE user_oauth SET project_dirs = ARRAY['/data/ann'] WHERE email = 'ann@example.org', and run again."
    )

    def queries(self, tables: Mapping[str, Sequence[str]]) -> dict[str, str]:
        """See `DataMigration`. From 2.18.1 on the old directories are gone; whose list is empty can still be told."""
        users = {*tables.get("user_oauth", ())}
        if "project_dirs" not in users:
            return {}
        return dict(_PROOF) if "project_dir" in users else {"users_left": _WITHOUT}

    def state(self, rows: Rows) -> str:
        """See `DataMigration`."""
        if not rows["users_left"]:
            return "done"
        return "partial" if rows["users_attached"] else "pending"

    def left(self, rows: Rows) -> str:
        """See `DataMigration`."""
        return f"users without project directories: {', '.join(rows['users_left'])}"

    def lost(self, rows: Rows) -> list[str]:
        """See `DataMigration`."""
        return list(rows.get("users_left", ()))

    def lock(self, connection: Connection) -> None:
        """See `DataMigration`."""
        connection.exec_driver_sql("LOCK TABLE user_oauth IN SHARE ROW EXCLUSIVE MODE")

    def has_rows_to_take_back(self, connection: Connection) -> bool:
        """See `DataMigration`. A killed run leaves none; a server that was started too early does."""
        several = connection.exec_driver_sql(_SEVERAL).scalar_one()
        if several:
            raise FractalError(
                "Users got several project directories before the data migration of 2.18.0, which takes nobody then: "
                f"{', '.join(several)}. Note their directories (SELECT email, project_dirs FROM user_oauth WHERE "
                "cardinality(project_dirs) > 1), leave each one (UPDATE user_oauth SET project_dirs = "
                "project_dirs[1:1] WHERE cardinality(project_dirs) > 1), run again, and add the others when it has "
                "ended."
            )
        return bool(connection.exec_driver_sql(_ODD).scalar_one())

    def take_back(self, connection: Connection) -> None:
        """See `DataMigration`."""
        for statement in _RESET:
            connection.exec_driver_sql(statement)

    def why_refused(self, env_file: str, values: Mapping[str, str]) -> str:
        """See `DataMigration`. No setting makes a difference."""
        return ""
