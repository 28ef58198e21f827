# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""Stopping a unit for the window, and starting it again."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.files import remove_file, write_file
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.systemd import (
    Unit,
    read_unit,
    systemctl,
    unit_name,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.health import (
    Health,
    unhealthy,
    wait_until_healthy,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.hold import (
    HELD,
    MAY_START_TOLD,
    STARTING,
    Hold,
    hold_path,
    is_half_forgotten,
    may_start_path,
    read_hold,
    render_hold,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.triggers import (
    hold_triggers,
    start_triggers,
)

_DOWN = ("inactive", "failed")
_START_TIMEOUT = 120.0  # seconds
_STOP_TIMEOUT = 600.0  # seconds; systemd's own TimeoutStopSec ends it sooner


def stop_and_hold(service: str, hold: Hold, when_held: Callable[[], None] = lambda: None) -> tuple[bool, Hold]:
    """Stop the unit and keep it from starting. Return whether that changed anything, and the hold in force.

    A record that is there already belongs to an upgrade that was interrupted, or whose start failed: it stays, with its
    run and its backup. Only if that run had no backup to make, it gets the one of this run. ``when_held`` is called
    once it is written, before anything stops.

    Raises:
        FractalError: The unit does not stop.
    """
    unit = read_unit(service)
    present = read_hold(unit.name)
    hold = _in_force(unit, present, hold)
    remove_file(may_start_path(unit.name))
    if _write_hold(unit.name, hold) or unit.needs_reload:
        systemctl("daemon-reload")
    when_held()
    rested = hold_triggers(unit)
    if unit.active_state not in _DOWN:
        systemctl("stop", unit.name, timeout=_STOP_TIMEOUT)
        unit = read_unit(service)
        if unit.active_state not in _DOWN:
            raise FractalError(
                f"{unit.name} does not stop: it is {unit.active_state}. See: systemctl status {unit.name}"
            )
        return True, hold
    return present != hold or rested, hold


def would_hold(service: str, new: Hold) -> tuple[bool, Hold]:
    """Return what `stop_and_hold` would, without doing it."""
    unit = read_unit(service)
    present = read_hold(unit.name)
    hold = _in_force(unit, present, new)
    return present != hold or unit.active_state not in _DOWN, hold


def lift_and_start(service: str, healthy: Callable[[float], Health], timeout: float) -> tuple[bool, Health]:
    """Start the unit, wait until it is healthy, and only then forget the hold. Return whether that changed anything.

    Until then the record stays: a service that does not come up is not upgraded, and its backup is not forgotten.

    Args:
        service: Name of the unit.
        healthy: Waits for as many seconds as it is given.
        timeout: Seconds for all of it: what the unit runs before its service, too, keeps the users waiting.

    Raises:
        FractalError: systemd refuses to start the unit, or it does not become healthy.
    """
    unit = unit_name(service)
    hold = read_hold(unit)
    if hold is not None and hold.phase != STARTING:
        if _write_hold(unit, hold):  # that of another version asserts something else
            systemctl("daemon-reload")
        write_file(may_start_path(unit), MAY_START_TOLD.encode(), uid=0, gid=0, mode=0o644)
    began = time.monotonic()
    started = start(service, timeout)
    health = healthy(timeout - (time.monotonic() - began))
    return _forget_hold(unit) or started, health


def bring_up(
    service: str,
    running: bool = True,
    *,
    url: str | None,
    timeout: float,
    version: str | None = None,
    when_healthy: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Forget the hold: start the unit and wait until it answers, or leave it stopped, as it was before.

    Args:
        service: Name of the unit of fractal-server.
        running: Whether to start it.
        url: Where it answers, if its unit does not tell.
        timeout: Seconds to wait for its answer, from the start on.
        version: The only release that is right; None for any.
        when_healthy: Called once it answers, before the hold is forgotten.

    Returns:
        ``changed``; of a started one ``health``, too.

    Raises:
        FractalError: systemd refuses, or it does not become healthy: then the hold is not forgotten.
    """
    if not running:
        return {"changed": lift(service)}

    def wait(seconds: float) -> Health:
        health = wait_until_healthy(service, url=url, version=version, timeout=seconds)
        when_healthy()
        return health

    changed, health = lift_and_start(service, wait, timeout)
    return {"changed": changed, "health": health.as_dict()}


def sweep(service: str) -> None:
    """Remove what a program has left beside a hold that it was killed over, before that had its name."""
    unit = unit_name(service)
    if read_hold(unit) is None:
        _forget_hold(unit)


def lift(service: str) -> bool:
    """Forget the hold of a unit that is to stay as it is. Return whether there was one.

    What starts the unit at a request or a time goes on doing so.

    Raises:
        FractalError: systemd refuses.
    """
    unit = unit_name(service)
    held = _forget_hold(unit)
    return start_triggers(unit) or held


def would_start(service: str) -> bool:
    """Return whether `lift_and_start` would change anything."""
    unit = read_unit(service)
    return unit.active_state != "active" or read_hold(unit.name) is not None or is_half_forgotten(unit.name)


def start(service: str, timeout: float = _START_TIMEOUT) -> bool:
    """Start the unit if it does not run. Return whether it was started.

    Raises:
        FractalError: systemd refuses, or has not started it after ``timeout`` seconds; the text holds the unit's last
            journal lines.
    """
    unit = read_unit(service)
    if unit.needs_reload:
        systemctl("daemon-reload")
    woken = start_triggers(unit.name)
    if unit.active_state == "active":
        return woken
    if unit.active_state != "inactive":
        systemctl("reset-failed", unit.name)  # also resets the start counter (StartLimitBurst) of a crash loop
    try:
        systemctl("start", unit.name, timeout=timeout)
    except FractalError as error:
        raise unhealthy(unit, f"it does not start: {str(error).rstrip('.')}") from error
    return True


def restart(service: str, timeout: float) -> None:
    """Restart the unit.

    Raises:
        FractalError: systemd refuses, or has not started it after ``timeout`` seconds.
    """
    if read_unit(service).needs_reload:
        systemctl("daemon-reload")
    systemctl("reset-failed", service)  # see start()
    systemctl("restart", service, timeout=timeout)


def new_hold(unit: str, controller: str, backup_root: str | None, backup: str | None = None) -> Hold:
    """Return a hold that begins now, with the backup that exists already, or the one to make in a folder, or none."""
    now = time.gmtime()
    run = time.strftime("%Y%m%dT%H%M%SZ", now)
    to_make = os.path.join(backup_root, unit, run) if backup_root else ""
    return Hold(run, time.strftime("%Y-%m-%dT%H:%M:%SZ", now), controller, backup or to_make)


def _in_force(unit: Unit, present: Hold | None, new: Hold) -> Hold:
    if present is not None:
        return replace(present, phase=HELD, backup=present.backup or new.backup)
    return replace(new, phase=HELD, ran_before=unit.active_state not in _DOWN)


def _write_hold(unit: str, hold: Hold) -> bool:
    """Write the drop-in. Return whether it was another one before, so that systemd must be told."""
    path, text = hold_path(unit), render_hold(unit, hold).encode()
    with contextlib.suppress(OSError), open(path, "rb") as stream:
        if stream.read() == text:
            return False
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    write_file(path, text, uid=0, gid=0, mode=0o644)
    return True


def _forget_hold(unit: str) -> bool:
    """Remove the drop-in, and what lies beside it. The unit may start as long as systemd knows the assertion."""
    forgotten = is_half_forgotten(unit)
    removed = remove_file(hold_path(unit)) or forgotten
    if removed:
        systemctl("daemon-reload")
    remove_file(may_start_path(unit))
    _remove_if_empty(os.path.dirname(hold_path(unit)))
    return removed


def _remove_if_empty(folder: str) -> None:
    with contextlib.suppress(OSError):
        os.rmdir(folder)
