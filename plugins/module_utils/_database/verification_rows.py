# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""The rows that a verification leaves: the record of its job, what it collected and removed, and what was accounted.

No address of the API removes them. They are nobody's work, so going back asks no consent for them. They are told from
all others by their own text, and by having lost what they belonged to, as the verification removed it.
"""

from __future__ import annotations

from collections.abc import Collection

from ansible_collections.fractal_ops.platform.plugins.module_utils._database.quoting import literal

PROJECT = "fractal verify probe"
"""Name of the project of a verification, before the number that makes it unique."""
PACKAGE = "fractal_verify_probe"
"""Name of its task package. Fractal writes it with hyphens (fractal-server 2.17.0, tasks/v2/utils_package_names.py)."""

_JOB = "{0}.project_id IS NULL AND {0}.project_dump ->> 'name' ~ " + literal(f"^{PROJECT} [0-9]+$")
# fractal-server accounts for a job while it runs, for the user whose e-mail address is in its record
# (fractal-server 2.17.0, runner/v2/runner.py and runner/executors/slurm_common/base_slurm_runner.py)
_ACCOUNTED = (
    "EXISTS (SELECT FROM jobv2 AS job JOIN user_oauth AS owner ON owner.email = job.user_email "
    "WHERE owner.id = t.user_id AND t.timestamp BETWEEN job.start_timestamp AND job.end_timestamp "
    f"AND {_JOB.format('job')})"
)
_ROWS: dict[str, tuple[frozenset[str], str]] = {
    "jobv2": (frozenset({"project_id", "project_dump"}), _JOB.format("t")),
    "taskgroupactivityv2": (
        frozenset({"taskgroupv2_id", "pkg_name"}),
        f"t.taskgroupv2_id IS NULL AND t.pkg_name = {literal(PACKAGE.replace('_', '-'))}",
    ),
    "accountingrecord": (frozenset({"user_id", "timestamp"}), _ACCOUNTED),
    "accountingrecordslurm": (frozenset({"user_id", "timestamp"}), _ACCOUNTED),
}
"""By table: the columns that it takes to know such a row, and the condition, where ``t`` is the table."""


def somebodys(table: str, columns: Collection[str], max_id: int | None) -> str:
    """Return the condition of all rows but those that a verification has left since an id; empty if there is none.

    Args:
        table: Bare name.
        columns: Those that it has now.
        max_id: The highest id at the time to compare with. Older rows of verifications are like any other.
    """
    needed, condition = _ROWS.get(table, (frozenset(), ""))
    if not condition or max_id is None or not needed <= set(columns):
        return ""
    return f"NOT (t.id > {max_id} AND {condition})"
