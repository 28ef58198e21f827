# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""Stopping a unit for the window, and starting it again."""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import replace

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.files import write_file
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.systemd import read_unit, systemctl
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.hold import (
    Hold,
    hold_path,
    read_hold,
    render_hold,
)

_STOP_TIMEOUT = 600.0  # seconds; systemd's own TimeoutStopSec ends it sooner


def stop_and_hold(service: str, hold: Hold) -> tuple[bool, Hold]:
    """Stop the unit and keep it from starting. Return whether that changed anything, and the hold in force.

    A hold that is there already belongs to an upgrade that was interrupted: it stays, with its run and its backup. Only
    if that run had no backup to make, it gets the one of this run.

    Raises:
        FractalError: The unit does not stop.
    """
    unit = read_unit(service)
    present = read_hold(unit.name)
    if present is not None:
        hold = present if present.backup else replace(present, backup=hold.backup)
    if present != hold:
        path = hold_path(unit.name)
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        write_file(path, render_hold(hold).encode(), uid=0, gid=0, mode=0o644)
    if present is None or unit.needs_reload:
        systemctl("daemon-reload")
    if unit.active_state not in ("inactive", "failed"):
        systemctl("stop", unit.name, timeout=_STOP_TIMEOUT)
        unit = read_unit(service)
        if unit.active_state not in ("inactive", "failed"):
            raise FractalError(
                f"{unit.name} does not stop: it is {unit.active_state}. See: systemctl status {unit.name}"
            )
        return True, hold
    return present != hold, hold


def release_and_start(service: str) -> bool:
    """Lift the hold and start the unit. Return whether that changed anything.

    Raises:
        FractalError: systemd refuses to start the unit.
    """
    unit = read_unit(service)
    path = hold_path(unit.name)
    held = os.path.lexists(path)
    if held:
        os.unlink(path)
        _remove_if_empty(os.path.dirname(path))
    if held or unit.needs_reload:
        systemctl("daemon-reload")
    if unit.active_state == "active":
        return held
    if unit.active_state != "inactive":
        systemctl("reset-failed", unit.name)  # also of its starts, which systemd counts while it fails again and again
    systemctl("start", unit.name)
    return True


def restart(service: str) -> None:
    """Restart the unit.

    Raises:
        FractalError: systemd refuses.
    """
    if read_unit(service).needs_reload:
        systemctl("daemon-reload")
    systemctl("reset-failed", service)  # see release_and_start()
    systemctl("restart", service)


def new_hold(unit: str, controller: str, backup_root: str | None, backup: str | None = None) -> Hold:
    """Return a hold that begins now, with the backup that exists already, or the one to make in a folder, or none."""
    now = time.gmtime()
    run = time.strftime("%Y%m%dT%H%M%SZ", now)
    to_make = os.path.join(backup_root, unit, run) if backup_root else ""
    return Hold(run, time.strftime("%Y-%m-%dT%H:%M:%SZ", now), controller, backup or to_make)


def _remove_if_empty(folder: str) -> None:
    with contextlib.suppress(OSError):
        os.rmdir(folder)
