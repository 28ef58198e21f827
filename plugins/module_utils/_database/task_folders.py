# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""Task packages: rows of the database, and folders on the disk of where tasks run, which no rollback brings back.

fractal-server refuses to collect a package, or to activate it, where its folder lies already, and to deactivate it
where that is gone (fractal-server 2.17.0, app/routes/api/v2/task_collection.py, tasks/v2/local/).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sqlalchemy import Connection

_THERE = "SELECT to_regclass('taskgroupv2') IS NOT NULL"
_GROUPS = """
SELECT id, pkg_name || coalesce(' ' || version, ''), path, coalesce(venv_path, ''), active
FROM taskgroupv2 WHERE path IS NOT NULL ORDER BY id
"""


@dataclass(frozen=True)
class TaskGroup:
    """A task package: what it is called, its folder, the environment in that, and whether it is active."""

    id: int
    name: str
    path: str
    venv_path: str
    active: bool

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> TaskGroup:
        """Return what `as_dict` gave."""
        name, path, venv_path = (str(data[name]) for name in ("name", "path", "venv_path"))
        return cls(int(data["id"]), name, path, venv_path, bool(data["active"]))

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return asdict(self)


def task_groups(connection: Connection) -> list[dict[str, Any]]:
    """Return the task packages that have a folder, as plain data."""
    if not connection.exec_driver_sql(_THERE).scalar():
        return []
    return [TaskGroup(*row).as_dict() for row in connection.exec_driver_sql(_GROUPS)]


def read_groups(told: Iterable[Mapping[str, Any]]) -> list[TaskGroup]:
    """Return what `task_groups` gave, also where a child or a manifest says so."""
    return [TaskGroup.from_dict(group) for group in told]


def after_going_back(then: Iterable[TaskGroup], now: Iterable[TaskGroup]) -> list[str]:
    """Return, in words, which folders do not fit the rows that come back, and what to do about each.

    Args:
        then: The packages of the backup.
        now: Those of the database that it replaces.
    """
    before, present = {group.path: group for group in then}, {group.path: group for group in now}
    told = []
    for path, group in present.items():
        if path not in before:
            told.append(
                f"The task package {group.name} was collected after the backup. Its folder {path} stays, and while it "
                "is there nobody can collect this version again: remove the folder where tasks run."
            )
        elif group.active and not before[path].active:
            told.append(
                f"The task package {group.name} was activated after the backup. Its environment {group.venv_path} "
                "stays, and while it is there nobody can activate it again: remove that folder where tasks run."
            )
    for path, old in before.items():
        if old.active and not (path in present and present[path].active):
            told.append(
                f"The task package {old.name} was deactivated or deleted after the backup, so its environment "
                f"{old.venv_path} is gone, but its row is active again, and jobs with it fail. Run in the database: "
                f"UPDATE taskgroupv2 SET active = false WHERE id = {old.id}; then activate it in fractal-web."
            )
    return told
