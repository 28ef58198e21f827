# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""The hold: a drop-in that keeps a unit from being started half-way through an upgrade.

It is the only thing that an upgrade leaves on the host while it is in progress: it survives a reboot, it says in
``systemctl status`` why the unit does not start, and it names the backup that belongs to the upgrade. An assertion
rather than a mask, because a runtime mask has no effect on units under /etc (systemd.unit(5), unit load path).

What it asserts is a file beside it. For the start that file is made, which systemd sees without being reloaded; the
drop-in stays as the record of an upgrade in progress until the service answers with the right release. Whoever finds it
knows that the upgrade has not ended well.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, replace
from typing import Any

HELD, STARTING = "held", "starting"
HOLD_FOLDER = "/etc/systemd/system"
HOLD_NAME = "90-fractal-upgrade-in-progress.conf"
_MAY_START = "upgrade-in-progress--run-upgrade-or-rollback-playbook"
MAY_START_TOLD = "fractal_ops.platform has upgraded this unit and started it; the service has not answered yet.\n"


@dataclass(frozen=True)
class Hold:
    """Who keeps a unit stopped: ``run`` id, ``since`` (UTC, ISO 8601), ``controller``, ``backup`` folder.

    ``backup`` is empty for a run that changes no database: to go back then means to what `find_backup` finds.
    ``ran_before`` says whether the service ran when the upgrade stopped it: a rollback leaves it as it was found.
    ``phase`` is ``held``, or ``starting`` from the start until the service answers.
    """

    run: str
    since: str
    controller: str
    backup: str = ""
    ran_before: bool = True
    phase: str = HELD

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for Ansible."""
        return asdict(self)


def hold_path(unit: str) -> str:
    """Return the path of the drop-in that holds ``unit``."""
    return os.path.join(HOLD_FOLDER, unit + ".d", HOLD_NAME)


def may_start_path(unit: str) -> str:
    """Return the path of the file whose absence holds ``unit``. systemd names it when it refuses a start."""
    return os.path.join(HOLD_FOLDER, unit + ".d", _MAY_START)


def read_hold(unit: str) -> Hold | None:
    """Return the hold on ``unit``, or None."""
    try:
        with open(hold_path(unit), encoding="utf-8") as stream:
            hold = parse_hold(stream.read())
    except OSError:
        return None
    return replace(hold, phase=STARTING) if os.path.exists(may_start_path(unit)) else hold


def is_half_forgotten(unit: str) -> bool:
    """Return whether whoever forgot a hold was killed over it: the drop-in is gone, and what it asserts is not."""
    return os.path.exists(may_start_path(unit)) and not os.path.exists(hold_path(unit))


def parse_hold(text: str) -> Hold:
    """Return the hold written in a drop-in's comments, as if the unit were held."""
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
        ran_before=values.get("ran before") != "no",
    )


def render_hold(unit: str, hold: Hold) -> str:
    """Return the drop-in's text: a record in comments, and the assertion that holds the unit."""
    record = {
        "run": hold.run,
        "since": hold.since,
        "controller": hold.controller,
        "backup": hold.backup,
        "ran before": "yes" if hold.ran_before else "no",
    }
    lines = [
        "fractal_ops.platform is upgrading this unit; it must not start half-way.",
        "Run the upgrade playbook again to go on, or the rollback playbook to go back.",
        *(f"{key}: {value}" for key, value in record.items()),
    ]
    return "".join(f"# {line}\n" for line in lines) + f"[Unit]\nAssertPathExists={may_start_path(unit)}\n"
