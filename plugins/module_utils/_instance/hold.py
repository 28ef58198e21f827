# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""The hold: a drop-in that keeps a unit from being started half-way through an upgrade.

It is the only thing that an upgrade leaves on the host while it is in progress: it survives a reboot, it says in
``systemctl status`` why the unit does not start, and it names the backup that belongs to the upgrade. An assertion
rather than a mask, because a runtime mask has no effect on units under /etc (systemd.unit(5), unit load path).
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass

HOLD_FOLDER = "/etc/systemd/system"
HOLD_NAME = "90-fractal-upgrade-in-progress.conf"
_NEVER = "/fractal-upgrade-in-progress--run-upgrade-or-rollback-playbook"


@dataclass(frozen=True)
class Hold:
    """Who keeps a unit stopped: ``run`` id, ``since`` (UTC, ISO 8601), ``controller``, ``backup`` folder.

    ``backup`` is empty for a run that changes no database: to go back then means back to the newest backup.
    """

    run: str
    since: str
    controller: str
    backup: str = ""

    def as_dict(self) -> dict[str, str]:
        """Return plain data for Ansible."""
        return asdict(self)


def hold_path(unit: str) -> str:
    """Return the path of the drop-in that holds ``unit``."""
    return os.path.join(HOLD_FOLDER, unit + ".d", HOLD_NAME)


def read_hold(unit: str) -> Hold | None:
    """Return the hold on ``unit``, or None."""
    try:
        with open(hold_path(unit), encoding="utf-8") as stream:
            return parse_hold(stream.read())
    except OSError:
        return None


def parse_hold(text: str) -> Hold:
    """Return the hold written in a drop-in's comments."""
    values = {}
    for line in text.splitlines():
        key, separator, value = line.lstrip("# ").partition(": ")
        if line.startswith("#") and separator:
            values[key] = value.strip()
    return Hold(
        run=values.get("run", "unknown"),
        since=values.get("since", "unknown"),
        controller=values.get("controller", "unknown"),
        backup=values.get("backup", ""),
    )


def render_hold(hold: Hold) -> str:
    """Return the drop-in's text."""
    return (
        "# fractal_ops.platform is upgrading this unit; it must not start half-way.\n"
        "# Run the upgrade playbook again to go on, or the rollback playbook to go back.\n"
        f"# run: {hold.run}\n# since: {hold.since}\n# controller: {hold.controller}\n# backup: {hold.backup}\n"
        f"[Unit]\nAssertPathExists={_NEVER}\n"
    )
