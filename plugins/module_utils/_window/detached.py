# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""Starting the program of the window apart from everything, and watching it.

It is a transient unit of systemd: no session, no connection and no controller is above it. Code and instruction lie in
a folder of root's under /run, and root's own Python runs them in isolated mode, so nobody else has a say in it.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.door import collection_code
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.files import private_folder, write_file
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.programs import run
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.systemd import read_unit
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.hold import read_hold
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.journal import journal_tail
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.lock import date
from ansible_collections.fractal_ops.platform.plugins.module_utils._window.journal import (
    BEGAN,
    ENDED,
    begin_journal,
    last_attempt,
    read_events,
    summary,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._window.look import is_running, window_unit
from ansible_collections.fractal_ops.platform.plugins.module_utils._window.program import INSTRUCTION, Order

RUN_FOLDER = "/run/fractal-window"
_PACKAGE = "ansible_collections.fractal_ops.platform.plugins.module_utils"
_START = f"""import sys
sys.path.insert(0, %r)
from {_PACKAGE}._window.program import main
main(%r)
"""
_POLL, _LOOK_AT_UNIT = 0.1, 1.0  # seconds
# Seconds in which what follows is told with it: each answer costs the host a module's start, in the window.
_TOGETHER = 1.0


def new_id() -> str:
    """Return a name for one program."""
    return secrets.token_hex(8)


def start_window(order: Order, seen: Mapping[str, Any]) -> dict[str, Any]:
    """Start the program, unless one works on this window. Return ``changed``, and what `watch` needs: ``id``, ``seen``.

    Args:
        order: The instruction.
        seen: What this run has seen of the instance, for another run that attaches.

    Raises:
        FractalError: It cannot be started. Nothing was changed.
    """
    if is_running(order.unit):
        return attach(order.unit)
    folder = os.path.join(RUN_FOLDER, order.unit)
    shutil.rmtree(folder, ignore_errors=True)
    private_folder(folder)
    hold = read_hold(order.unit)
    begin_journal(order.unit, hold.run if hold else "", seen)
    code, script = os.path.join(folder, "code.zip"), os.path.join(folder, "window.py")
    for path, content in (
        (code, collection_code()),
        (script, (_START % (code, folder)).encode()),
        (os.path.join(folder, INSTRUCTION), json.dumps(asdict(order)).encode()),
    ):
        write_file(path, content, os.geteuid(), os.getegid(), 0o600)
    number = len(read_events(order.unit))
    command = ["systemd-run", "--quiet", "--collect", f"--unit={window_unit(order.unit)}"]
    command += [f"--description=The upgrade of {order.unit} by fractal_ops.platform", "--"]
    run([*command, sys.executable, "-I", "-B", script]).must("start the window as a unit of its own")
    return {"changed": True, "id": order.id, "seen": number}


def attach(unit: str) -> dict[str, Any]:
    """Return what `watch` needs for the program that began last.

    Raises:
        FractalError: None has begun.
    """
    events = read_events(unit)
    number = last_attempt(events)
    if number == len(events):
        raise FractalError(f"No window on {unit} has begun. Run the upgrade again.")
    return {"changed": False, "id": events[number]["id"], "seen": number}


def watch(unit: str, program: str, seen: int, wait: float, lock: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return what is new in the journal, soon after there is something, and after at most ``wait`` seconds.

    Args:
        unit: Whose window.
        program: The ``id`` of the program.
        seen: How many events are known already.
        wait: Seconds.
        lock: That of the run that watches; dated, as the run is there.

    Returns:
        ``events`` that are new, ``seen``, ``running``. When it does not run any more: ``window`` (see `summary`), or if
        it was killed, so that nothing says how it ended, ``died``.
    """
    deadline, looked, running = time.monotonic() + wait, -_LOOK_AT_UNIT, True
    if lock:
        date(unit, lock)
    while True:
        if time.monotonic() - looked >= _LOOK_AT_UNIT:
            looked, running = time.monotonic(), is_running(unit)
        events = read_events(unit)
        ended = any(event["event"] == ENDED and event.get("id") == program for event in events)
        if len(events) > seen:
            deadline = min(deadline, time.monotonic() + _TOGETHER)
        if ended or not running or time.monotonic() > deadline:
            break
        time.sleep(_POLL)
    told = {"events": [_shown(event) for event in events[seen:]], "seen": len(events)}
    if running and not ended:
        return {**told, "running": True}
    if not ended:
        last_words = journal_tail(read_unit(window_unit(unit)), 3) if not _has_begun(events, program) else ""
        return {**told, "running": False, "died": True, "window": summary(events), "last_words": last_words}
    _wait_until_gone(unit)
    return {**told, "running": False, "window": summary(events)}


def _has_begun(events: list[dict[str, Any]], program: str) -> bool:
    return any(event["event"] == BEGAN and event.get("id") == program for event in events)


def _shown(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return an event without the result of its stage, which is told once, at the end."""
    return {name: value for name, value in event.items() if name != "result"}


def _wait_until_gone(unit: str) -> None:
    """Wait for the program's last steps after its last word, so that another one can be started."""
    end = time.monotonic() + 10
    while is_running(unit) and time.monotonic() < end:
        time.sleep(_POLL)
