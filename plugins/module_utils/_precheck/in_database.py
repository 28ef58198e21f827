# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""All checks that are made in the database, in one child process as the service account."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Callable

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.checks import run_checks
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.findings import Finding
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.database import Installation
from ansible_collections.fractal_ops.platform.plugins.module_utils._precheck.database import (
    check_clock,
    check_programs_for_dump,
    check_revision,
    check_rights,
    check_sessions,
    check_work_in_flight,
    check_workflows,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._precheck.database_side import (
    DatabaseSide,
    read_facts,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._precheck.way_back import check_way_back

IN_THE_DATABASE: tuple[tuple[str, Callable[[DatabaseSide], Iterable[Finding]]], ...] = (
    ("PostgreSQL programs", check_programs_for_dump),
    ("database rights", check_rights),
    ("way back", check_way_back),
    ("database sessions", check_sessions),
    ("schema", check_revision),
    ("work in flight", check_work_in_flight),
    ("workflows", check_workflows),
    ("clock", check_clock),
)


def check_database(
    installation: Installation,
    params: Mapping[str, Any],
    version: str | None,
    held: bool,
    started_at: float | None,
    drops_settings: bool,
) -> dict[str, Any]:
    """Return what `told` reads; the arguments are those of `DatabaseSide`.

    Raises:
        FractalError: The database cannot be reached, or is not Fractal's.
    """
    side = DatabaseSide(installation, params, version, held, started_at, drops_settings)
    facts = read_facts(side)
    return {**facts, "findings": [finding.as_dict() for finding in run_checks(side, IN_THE_DATABASE)]}
