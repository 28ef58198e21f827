# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""Seeing a window from outside: whether its program runs, and what its journal says.

A watcher asks again and again, and each time the host compiles all that this imports, in its window: so it is little.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.systemd import (
    is_at_work,
    read_unit,
    transient_unit,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.journal import journal_tail
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.lock import date
from ansible_collections.fractal_ops.platform.plugins.module_utils._window.journal import (
    BEGAN,
    ENDED,
    last_attempt,
    read_events,
    summary,
)

_POLL, _LOOK_AT_UNIT = 0.1, 1.0  # seconds


def window_unit(unit: str) -> str:
    """Return the name of the transient unit in which the window of ``unit`` runs."""
    return transient_unit("window", unit)


def is_running(unit: str) -> bool:
    """Return whether a program works on the window of ``unit``."""
    return is_at_work(window_unit(unit))


def is_worked_on(unit: str) -> bool:
    """Return whether a program works on the window of ``unit``; what a killed one has left is waited for first.

    systemd ends that within seconds, and the unit is not free before. To attach to it would only tell of the death.
    """
    if is_running(unit) and not read_unit(window_unit(unit)).main_pid:
        _wait_until_gone(unit)
    return is_running(unit)


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


def watch(
    unit: str, program: str, seen: int, wait: float, together: float, lock: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Return what is new in the journal, ``together`` seconds after there is something, at the latest after ``wait``.

    Args:
        unit: Whose window.
        program: The ``id`` of the program.
        seen: How many events are known already.
        wait: Seconds.
        together: Seconds; what is new in them is told with the first.
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
            deadline = min(deadline, time.monotonic() + together)
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
