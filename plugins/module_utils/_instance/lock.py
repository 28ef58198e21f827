# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""One run at a time: a lock on an instance that needs no hands when its run was killed.

The lock is a file under /run that names the run. A module that changes something holds it with flock(2) while it works,
and dates it. Between modules it is a lease: it lapses some minutes after the last one, by a clock that nobody sets: the
file's time is that since the host was started, and /run does not outlive a start. The same controller need not
wait for that, as it sees that the run's process is gone. A run whose lock was taken over is refused at its next step.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError

FOLDER = "/run"
LEASE = 300.0  # seconds
_PATIENCE = 900.0  # seconds that a module waits for what a killed run left working
_GLANCE = 2.0  # seconds; read_lock() takes the flock briefly, too: not to be reported as another run
LOCK_ARGUMENT: dict[str, dict[str, Any]] = {
    "lock": {
        "type": "dict",
        "options": {
            "unit": {"type": "str", "default": ""},
            "run": {"type": "str", "required": True},
            "controller": {"type": "str", "required": True},
            "abandoned": {"type": "str", "default": ""},
        },
    }
}


@dataclass(frozen=True)
class Lock:
    """Who works on an instance: the ``run``, its ``controller``, ``since`` when (UTC, ISO 8601), seconds ``idle``."""

    run: str
    controller: str
    since: str
    idle: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for Ansible."""
        return {"run": self.run, "controller": self.controller, "since": self.since, "idle": self.idle}


def lock_path(unit: str) -> str:
    """Return the path of the lock on the instance of ``unit``."""
    return os.path.join(FOLDER, f"{unit}.upgrade-lock")


def read_lock(unit: str) -> Lock | None:
    """Return the lock on the instance of ``unit``, or None."""
    try:
        with open(lock_path(unit), encoding="utf-8") as stream:
            lock = _parse(stream.read(), os.fstat(stream.fileno()).st_mtime)
            if lock is not None:
                try:
                    fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:  # a module of that run is at work
                    return Lock(lock.run, lock.controller, lock.since)
            return lock
    except OSError:
        return None


def why_locked(unit: str, lock: Mapping[str, Any]) -> str:
    """Return the text for the one who has to wait."""
    return (
        f"Another run works on {unit}: {lock['controller']} holds its lock since {lock['since']} and did something "
        f"{lock['idle']:.0f} s ago. Nothing was changed here."
    )


HOW_TO_UNLOCK = (
    f"Wait until that run has ended. If it was killed, its lock lapses {LEASE / 60:.0f} minutes after its last step, "
    "and at once on the controller that it ran on; then run again. There is nothing to remove by hand."
)


def refused(unit: str, lock: Mapping[str, Any]) -> FractalError:
    """Return the error for a run that does not get the lock, with who ``held`` it."""
    return FractalError(f"{why_locked(unit, lock)} {HOW_TO_UNLOCK}", held=dict(lock))


def is_in_the_way(lock: Mapping[str, Any] | None, run: Mapping[str, str], lease: float = LEASE) -> bool:
    """Return whether a lock keeps ``run`` (``run``, ``abandoned``) from working now."""
    return lock is not None and lock["run"] not in (run["run"], run["abandoned"]) and lock["idle"] < lease


def take(unit: str, run: Mapping[str, str], patience: float = _PATIENCE, lease: float = LEASE) -> tuple[bool, Lock]:
    """Take the lock on the instance of ``unit``, from a run that is dead or lapsed if need be.

    Args:
        unit: The instance.
        run: Who wants it.
        patience: Seconds to wait for what a killed run left at work.
        lease: Seconds after which a lock lapses that its run has not dated.

    Returns:
        Whether it was not this run's already, and the lock.

    Raises:
        FractalError: Another run has it, or what a killed run left is still at work after ``patience`` seconds.
    """
    with _exclusive(unit, run, patience, os.O_CREAT) as descriptor:
        found = _read(descriptor)
        if found is not None and is_in_the_way(found.as_dict(), run, lease):
            raise refused(unit, found.as_dict())
        if found is not None and found.run == run["run"]:
            _set_date(descriptor)
            return False, found
        lock = Lock(run["run"], run["controller"], time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
        content = json.dumps({"run": lock.run, "controller": lock.controller, "since": lock.since}).encode()
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, content, 0)
        _set_date(descriptor)
        return True, lock


def wait_until_lapsed(unit: str, run: Mapping[str, str], lease: float) -> None:
    """Wait until a lock of another run lapses after ``lease`` seconds, but no longer than that run is seen at work."""
    found, idle = read_lock(unit), -1.0
    while found is not None and is_in_the_way(found.as_dict(), run, lease) and found.idle > idle:
        idle = found.idle
        time.sleep(1)
        found = read_lock(unit)


@contextlib.contextmanager
def locked(unit: str, run: Mapping[str, str], patience: float = _PATIENCE, dated: bool = True) -> Iterator[None]:
    """Work under the lock that this run has taken, and date it before and after, unless another one does for the run.

    Raises:
        FractalError: The run has it no more, or what it left working is still at it after ``patience`` seconds.
    """
    with _exclusive(unit, run, patience) as descriptor:
        found = _read(descriptor)
        if found is None or found.run != run["run"]:
            by = f"by {found.controller} on {found.since}" if found else "by a run that has ended since"
            raise FractalError(f"The lock on {unit} was taken over {by}. Nothing was changed. {HOW_TO_UNLOCK}")
        if dated:
            _set_date(descriptor)
        try:
            yield
        finally:
            if dated:
                _set_date(descriptor)


def date(unit: str, run: Mapping[str, str]) -> None:
    """Date the lock of this run while what it has started works under it: the run is still there."""
    with contextlib.suppress(OSError), open(lock_path(unit), "rb") as stream:
        found = _read(stream.fileno())
        if found is not None and found.run == run["run"]:
            _set_date(stream.fileno())


def give_back(unit: str, run: Mapping[str, str], patience: float = _PATIENCE) -> bool:
    """Remove the lock if it is this run's or that of an abandoned one; return whether it was.

    Raises:
        FractalError: What a killed run left is still at work after ``patience`` seconds.
    """
    lock = read_lock(unit)
    if lock is None or lock.run not in (run["run"], run["abandoned"]):
        return False
    with _exclusive(unit, run, patience):
        os.unlink(lock_path(unit))
    return True


@contextlib.contextmanager
def _exclusive(unit: str, run: Mapping[str, str], patience: float, flags: int = 0) -> Iterator[int]:
    """Yield the open lock file, once no module of this run or of an abandoned one works under it."""
    path, started = lock_path(unit), time.monotonic()
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | flags, 0o644)
        except FileNotFoundError:
            raise FractalError(
                f"The lock on {unit} is gone: another run took it over and has ended, or the host was started anew. "
                "Nothing was changed. Run again."
            ) from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_still(path, descriptor):
                yield descriptor
                return
        except BlockingIOError:
            found = _read(descriptor)
            waited = time.monotonic() - started
            if found is not None and found.run not in (run["run"], run["abandoned"]) and waited > _GLANCE:
                raise refused(unit, {**found.as_dict(), "idle": 0.0}) from None
            if waited > patience:
                raise FractalError(
                    f"What a killed run left on this host still works on {unit}: see 'fuser -v {path}'. Nothing was "
                    "changed. Run again when it has ended."
                ) from None
        finally:
            os.close(descriptor)
        time.sleep(0.1)


def _is_still(path: str, descriptor: int) -> bool:
    """Return whether the file was not removed by who had the lock before."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _read(descriptor: int) -> Lock | None:
    text = os.pread(descriptor, 1 << 16, 0).decode("utf-8", "replace")
    return _parse(text, os.fstat(descriptor).st_mtime)


def _set_date(descriptor: int) -> None:
    now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    os.utime(descriptor, ns=(now, now))


def _parse(text: str, dated: float) -> Lock | None:
    idle = time.clock_gettime(time.CLOCK_BOOTTIME) - dated
    try:
        values = json.loads(text)
        # killed before it was dated, a file has the time of the day: nobody works under it any more
        return Lock(values["run"], values["controller"], values["since"], idle if idle >= 0 else LEASE)
    except (ValueError, KeyError, TypeError):
        return None  # half-written by a module that was killed
