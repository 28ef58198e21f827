# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""What the checks of the database start from: they run in one child, as the service account.

The child also brings what checks of the host have to know from the database. Its word is a stranger's.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.findings import SEVERITIES, Finding
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.database import (
    DatabaseSettings,
    Installation,
    connect,
    installation_settings,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.frozen import try_copy
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.server import size_and_postmaster
from ansible_collections.fractal_ops.platform.plugins.module_utils._precheck.user_rows import read_schema

if TYPE_CHECKING:
    from sqlalchemy import Connection

_SLURM_USERS = """
SELECT DISTINCT s.slurm_user FROM user_oauth AS u JOIN user_settings AS s ON s.id = u.user_settings_id
WHERE u.is_active AND u.is_verified AND s.slurm_user <> '' ORDER BY s.slurm_user
"""
_WORKER_PYTHONS = "SELECT DISTINCT coalesce(jobs_slurm_python_worker, '') AS python FROM resource ORDER BY python"
_NONSENSE = "What the environment of fractal-server answers makes no sense. Repair the environment."


@dataclass(frozen=True)
class DatabaseSide:
    """An installation, seen from its database.

    Attributes:
        installation: Where its settings come from.
        params: The module's options.
        version: The installed release, None if there is none.
        held: Whether an upgrade holds the service.
        started_at: When the service was started, in seconds since the epoch, None where that is not known.
        drops_settings: Whether the target deletes the users' old settings.
    """

    installation: Installation
    params: Mapping[str, Any]
    version: str | None = None
    held: bool = False
    started_at: float | None = None
    drops_settings: bool = False

    @cached_property
    def database(self) -> DatabaseSettings:
        """How to connect to the database."""
        return installation_settings(self.installation)

    @contextlib.contextmanager
    def connection(self) -> Iterator[Connection]:
        """Connect to the database, to read only."""
        with connect(self.database, read_only=True) as connection:
            yield connection


@dataclass(frozen=True)
class DatabaseFacts:
    """What the child found, and what the checks of the host need.

    Attributes:
        findings: What is wrong in the database.
        size_bytes: Size of the database.
        postmaster: Process id of PostgreSQL on this host, 0 if it runs elsewhere.
        slurm_users: The accounts of the users' jobs.
        worker_pythons: The interpreters that resources name, where there are any.
        why_no_copy: What forbids a frozen copy of the database, in words; nothing where none is wanted.
    """

    findings: list[Finding]
    size_bytes: int
    postmaster: int
    slurm_users: list[str]
    worker_pythons: list[str]
    why_no_copy: list[str]


def read_facts(side: DatabaseSide) -> dict[str, Any]:
    """Return all but the findings, as plain data."""
    with side.connection() as connection:
        size, postmaster = size_and_postmaster(connection)
        has_settings = read_schema(connection).has_settings
        has_resources = connection.exec_driver_sql("SELECT to_regclass('resource') IS NOT NULL").scalar()
        return {
            "size_bytes": size,
            "postmaster": postmaster,
            "slurm_users": list(connection.exec_driver_sql(_SLURM_USERS).scalars()) if has_settings else [],
            "worker_pythons": list(connection.exec_driver_sql(_WORKER_PYTHONS).scalars()) if has_resources else [],
            "why_no_copy": [] if side.params["backup_method"] == "dump" else try_copy(side.database),
        }


def told(answer: Mapping[str, Any]) -> DatabaseFacts:
    """Return what the child answered.

    Raises:
        FractalError: It is not what this collection would answer.
    """
    try:
        return DatabaseFacts(
            findings_told(answer),
            _checked(answer["size_bytes"], int),
            _checked(answer["postmaster"], int),
            [_checked(name, str) for name in answer["slurm_users"]],
            [_checked(path, str) for path in answer["worker_pythons"]],
            [_checked(reason, str) for reason in answer["why_no_copy"]],
        )
    except (KeyError, TypeError) as error:
        raise FractalError(_NONSENSE) from error


def findings_told(answer: Mapping[str, Any]) -> list[Finding]:
    """Return the ``findings`` of a child's answer.

    Raises:
        FractalError: They are not what this collection would answer.
    """
    try:
        found = [Finding.of(one) for one in answer["findings"]]
        for finding in found:
            for value in (finding.id, finding.subject, finding.message, finding.fix, finding.reference):
                _checked(value, str)
            if finding.severity not in SEVERITIES or finding.acceptable not in (True, False):
                raise ValueError(finding.id)
    except (KeyError, TypeError, ValueError) as error:
        raise FractalError(_NONSENSE) from error
    return found


def _checked(value: Any, kind: type) -> Any:
    if not isinstance(value, kind):
        raise TypeError(kind.__name__)
    return value
