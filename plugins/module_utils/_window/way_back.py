# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""What a rollback has to do, from what is there: a pure function, so that one that was killed is run again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def way_back(found: Mapping[str, Any], instance: Mapping[str, Any], database: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a rollback does.

    Args:
        found: What ``fractal_backup_info`` returned.
        instance: What ``fractal_observe`` returned as ``instance``.
        database: What it returned as ``database``.

    Returns:
        ``nothing``: why there is nothing to go back to, or an empty text. ``restore``: whether the backup is brought
        back. ``ask_first``: whether users may have worked since, so that what they would lose is told before the
        service is stopped. ``start``: whether the service ran before the upgrade. ``version``: the release that
        answers then, or None.
    """
    hold, backup = found["hold"], found["backup"]
    nothing = ""
    if not hold and not backup:
        of = f" of {instance['version']} or an earlier release" if instance["version"] else ""
        nothing = f"no upgrade is in progress, and {found['folder']} holds no finished backup{of}"
    differs = backup is not None and (
        instance["version"] != backup["version"] or database.get("revision") != backup["revision"]
    )
    return {
        "nothing": nothing,
        "restore": backup is not None and (hold is not None or differs),
        "ask_first": hold is None or hold["phase"] != "held",
        "start": found["ran_before"] and not nothing,
        "version": backup["version"] if backup else None,
    }
