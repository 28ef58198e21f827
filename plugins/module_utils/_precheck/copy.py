# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""Whether the downtime will hold a frozen copy of the database or a dump, and what the dump costs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ansible_collections.fractal_ops.platform.plugins.module_utils._backup.copy import no_room
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.findings import (
    Finding,
    FindingRule,
    blocker,
    rule_table,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.wording import human_size

if TYPE_CHECKING:
    from ansible_collections.fractal_ops.platform.plugins.module_utils._precheck.server_host import ServerHost

CHAPTERS = {"database": "Database"}
FINDINGS = rule_table(
    FindingRule(
        "database.no_frozen_copy",
        "warning",
        "The downtime will hold a dump",
        "Today no frozen copy of the database {subject} ({size}) can be made: {reasons}. The backup inside the "
        "downtime will be a dump and its proof, which take about {dump}; a copy takes about {copy}.",
        "Remove these reasons, or plan the longer downtime. With fractal_backup_method=dump this is not checked.",
    ),
    blocker(
        "database.copy_refused",
        "A frozen copy cannot be made",
        "fractal_backup_method is copy, but no frozen copy of the database {subject} can be made: {reasons}.",
        "Remove these reasons, or set fractal_backup_method to auto, which makes a dump instead.",
        settles={"fractal_backup_method": "auto"},
        asks=True,
    ),
)

# Seconds for a gigabyte of database, measured with 0.7 GB on two cores: a dump with its proof, a copy of the files.
_DUMP, _COPY = 250.0, 12.0


def check_copy(host: ServerHost) -> Iterator[Finding]:
    """The backup inside the downtime will be a frozen copy; why not, and what that costs."""
    method, facts = host.params["backup_method"], host.facts
    if method == "dump":
        return
    reasons = [*facts.why_no_copy, *no_room(facts.size_bytes, facts.postmaster)]
    if not reasons:
        return
    name = host.values.get("POSTGRES_DB", "")
    if method == "copy":
        yield FINDINGS["database.copy_refused"].finding(name, reasons="; ".join(reasons))
    else:
        yield FINDINGS["database.no_frozen_copy"].finding(
            name,
            size=human_size(facts.size_bytes),
            reasons="; ".join(reasons),
            dump=_about(facts.size_bytes, _DUMP),
            copy=_about(facts.size_bytes, _COPY),
        )


def _about(size: int, per_gigabyte: float) -> str:
    seconds = max(1, round(size / 1e9 * per_gigabyte))
    return f"{seconds} s" if seconds < 120 else f"{round(seconds / 60)} min"
