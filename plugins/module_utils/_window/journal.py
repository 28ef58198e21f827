# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""The journal of a window: what its program has begun and done, one JSON object a line, synced, in a folder of root's.

It survives program, controller and reboot. A window is whatever happens under one hold: a program that goes on after
another one was killed appends. Nothing is decided from it but what to tell: what is done is seen from the instance.
"""

from __future__ import annotations

import contextlib
import glob
import json
import os
import time
import traceback
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Callable

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.files import private_folder, write_file
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.masking import mask_urls

FOLDER = "/var/lib/fractal-ops"
BEGAN, STAGE, DONE, FAILED, DECIDED, ENDED, TOLD = "began", "stage", "done", "failed", "decided", "ended", "told"
UPGRADED, WAITS, BACK, RESTARTED, LEFT = "upgraded", "waits", "back", "restarted", "left"  # how a window ends
STOPS, HEALTHY = "stops", "healthy"  # the service goes down, is up again
_JOURNAL, _SEEN, _KEPT = "window.jsonl", "seen.json", 5
_EARLIER = "window-*.jsonl"


def journal_folder(unit: str) -> str:
    """Return the folder of the journals of one unit."""
    return os.path.join(FOLDER, unit)


class Journal:
    """The journal of the window on one unit, opened to append."""

    def __init__(self, unit: str) -> None:
        """Open it; a line that a killed program has not ended is ended.

        Raises:
            FractalError: It cannot be written.
        """
        path = os.path.join(private_folder(journal_folder(unit)), _JOURNAL)
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            self._file = os.open(path, flags, 0o600)
            size = os.fstat(self._file).st_size
            if size and os.pread(self._file, 1, size - 1) != b"\n":
                os.write(self._file, b"\n")
        except OSError as error:
            raise FractalError(f"Cannot write {path}: {error.strerror}. Nothing was changed.") from error
        self._begun = False

    def note(self, event: str, **told: Any) -> None:
        """Add a line.

        Raises:
            FractalError: The first one cannot be written. A disk that is full later must not stop a window half-way.
        """
        line = json.dumps({"event": event, "at": round(time.time(), 3), **told}, default=str)
        try:
            os.write(self._file, line.encode() + b"\n")
            os.fsync(self._file)
        except OSError as error:
            if not self._begun:
                raise FractalError(f"Cannot write in {FOLDER}: {error.strerror}. Nothing was changed.") from error
        self._begun = True

    def stage(self, name: str, work: Callable[[], dict[str, Any]], release: str = "") -> dict[str, Any]:
        """Do the work of a stage, and note when it began and how it ended. Return its result."""
        start = time.monotonic()
        self.note(STAGE, stage=name, release=release)
        try:
            result = work()
        except Exception as error:
            self.note(FAILED, stage=name, release=release, seconds=_since(start), msg=in_words(error))
            raise
        self.note(DONE, stage=name, release=release, seconds=_since(start), result=result)
        return result

    def close(self) -> None:
        """Close it."""
        os.close(self._file)


def in_words(error: BaseException) -> str:
    """Return why something failed, as an operator may read it: no traceback, no secret."""
    if isinstance(error, FractalError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return mask_urls(f"{type(error).__name__} in {'/'.join(Path(frame.filename).parts[-2:])}:{frame.lineno}")


def read_events(unit: str) -> list[dict[str, Any]]:
    """Return the lines of the journal; what was torn by a kill is no line."""
    try:
        with open(os.path.join(journal_folder(unit), _JOURNAL), "rb") as stream:
            return parse_events(stream.read())
    except OSError:
        return []


def parse_events(content: bytes) -> list[dict[str, Any]]:
    """Return the objects in the lines of a journal."""
    events = []
    for line in content.split(b"\n"):
        with contextlib.suppress(ValueError):
            event = json.loads(line)
            if isinstance(event, dict) and isinstance(event.get("event"), str) and "at" in event:
                events.append(event)
    return events


def last_attempt(events: Sequence[Mapping[str, Any]]) -> int:
    """Return the number of the event with which the last program began; that of the next event if none has."""
    began = [number for number, event in enumerate(events) if event["event"] == BEGAN]
    return began[-1] if began else len(events)


def summary(events: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what is to be told of a window.

    Returns:
        ``stages`` by key (see `key`): ``seconds`` (of all attempts together), ``state`` (``running``, ``done``,
        ``failed``); ``results`` of the stages by the same key, of a stage that was repeated the one that changed
        something; ``window_seconds`` from the first stop until the service was healthy again, or None; ``outcome``,
        ``msg`` and ``say`` of the last program, empty if it has not ended; ``running_stage``; and whether it was
        ``told``.
    """
    stages: dict[str, dict[str, Any]] = {}
    results: dict[str, dict[str, Any]] = {}
    down = up = None  # when the service went down, and came up
    for event in events:
        name = key(event)
        if event["event"] == STAGE:
            stages[name] = {"seconds": stages.get(name, {}).get("seconds", 0.0), "state": "running"}
            up = None if event["stage"] == "start" else up
        elif event["event"] in (DONE, FAILED) and name in stages:
            spent = round(stages[name]["seconds"] + event["seconds"], 3)
            stages[name] = {"seconds": spent, "state": event["event"]}
            if event["event"] == DONE and (name not in results or event["result"].get("changed")):
                results[name] = event["result"]
            if event["event"] == DONE and event["stage"] == "start" and up is None:
                up = event["at"]
        elif event["event"] == STOPS:
            down = event["at"] if down is None else down
        elif event["event"] == HEALTHY:
            up = event["at"]
    last = events[last_attempt(events) :]
    ended: Mapping[str, Any] = next((event for event in reversed(last) if event["event"] == ENDED), {})
    running = [name for name, stage in stages.items() if stage["state"] == "running"]
    return {
        "stages": stages,
        "results": results,
        "window_seconds": round(up - down, 1) if up is not None and down is not None and up > down else None,
        "outcome": ended.get("outcome", ""),
        "msg": ended.get("msg", ""),
        "say": ended.get("say", ""),
        "running_stage": running[-1] if running and not ended else "",
        "told": any(event["event"] == TOLD for event in last),
    }


def key(event: Mapping[str, Any]) -> str:
    """Return the name of the stage of an event, with its release if it has one, as a hop has."""
    return f"{event.get('stage', '')} {event.get('release', '')}".strip()


def belongs_to(events: Iterable[Mapping[str, Any]], hold_run: str) -> bool:
    """Return whether a journal is of the window that ``hold_run`` names, the run of the hold on the unit."""
    holds = [
        event["result"].get("hold") or {} for event in events if event["event"] == DONE and event["stage"] == "stop"
    ]
    return bool(hold_run) and any(hold.get("run") == hold_run for hold in holds)


def begin_journal(unit: str, hold_run: str, seen: Mapping[str, Any]) -> None:
    """Put the journal of an earlier window aside, and note what this run has ``seen``, for another one that attaches.

    Raises:
        FractalError: It cannot be written.
    """
    folder = private_folder(journal_folder(unit))
    path = os.path.join(folder, _JOURNAL)
    events = read_events(unit)
    if events and not belongs_to(events, hold_run):
        when = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(events[0]["at"]))
        os.rename(path, os.path.join(folder, _EARLIER.replace("*", when)))
        for old in sorted(glob.glob(os.path.join(glob.escape(folder), _EARLIER)))[:-_KEPT]:
            os.unlink(old)
    write_file(os.path.join(folder, _SEEN), json.dumps(seen).encode(), os.geteuid(), os.getegid(), 0o600)


def note_told(unit: str, run_id: str) -> None:
    """Note that the report of a run tells how the last window ended."""
    if read_events(unit):
        journal = Journal(unit)
        journal.note(TOLD, run=run_id)
        journal.close()


def read_seen(unit: str) -> dict[str, Any]:
    """Return what the run that began the window has seen; empty if it is not known."""
    try:
        with open(os.path.join(journal_folder(unit), _SEEN), encoding="utf-8") as stream:
            seen = json.load(stream)
            return seen if isinstance(seen, dict) else {}
    except (OSError, ValueError):
        return {}


def _since(start: float) -> float:
    return round(time.monotonic() - start, 3)
