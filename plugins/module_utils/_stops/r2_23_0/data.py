# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""The data migration of 2.23.0: tasks and task groups without a version get the version 0.

One transaction, which does the same however often it runs (fractal-server 2.23.0, data_migrations/2_23_0.py). Where it
has not run and a version is missing, PostgreSQL refuses the schema of 2.23.1: nothing is ever lost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ansible_collections.fractal_ops.platform.plugins.module_utils._releases.data_migration import Rows
    from sqlalchemy import Connection

_PROOF = {
    "tasks_left": "SELECT count(*) FROM taskv2 WHERE version IS NULL",
    "task_groups_left": "SELECT count(*) FROM taskgroupv2 WHERE version IS NULL",
}


class Versions:
    """Whatever has no version gets one."""

    release = "2.23.0"
    answers = "yes\n" * 5  # fractal-server 2.23.0, __main__.py, update_db_data()
    mend_lost = ""

    def queries(self, tables: Mapping[str, Sequence[str]]) -> dict[str, str]:
        """See `DataMigration`. The columns have been there, and could be empty, long before."""
        known = all("version" in tables.get(table, ()) for table in ("taskv2", "taskgroupv2"))
        return dict(_PROOF) if known else {}

    def state(self, rows: Rows) -> str:
        """See `DataMigration`."""
        return "pending" if rows["tasks_left"] or rows["task_groups_left"] else "done"

    def left(self, rows: Rows) -> str:
        """See `DataMigration`."""
        return f"{rows['tasks_left']} tasks and {rows['task_groups_left']} task groups without a version"

    def lost(self, rows: Rows) -> list[str]:
        """See `DataMigration`. The schema of 2.23.1 allows none."""
        return []

    def lock(self, connection: Connection) -> None:
        """See `DataMigration`."""
        connection.exec_driver_sql("LOCK TABLE taskv2, taskgroupv2 IN SHARE ROW EXCLUSIVE MODE")

    def has_rows_to_take_back(self, connection: Connection) -> bool:
        """See `DataMigration`. It takes what is left, whoever has done the rest."""
        return False

    def take_back(self, connection: Connection) -> None:
        """See `DataMigration`."""

    def why_refused(self, env_file: str, values: Mapping[str, str]) -> str:
        """See `DataMigration`. No setting makes a difference."""
        return ""
