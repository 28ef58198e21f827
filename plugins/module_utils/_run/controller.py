# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""Which run of Ansible this is, and whether another one on this controller still lives.

A run is named by its controller, its process and when that began: the same in all of Ansible's workers.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_STARTED, _PARENT = 19, 1  # fields of /proc/PID/stat, counted from the one after the program's name


def this_run(lock: Mapping[str, Any] | None = None) -> dict[str, str]:
    """Return ``run`` and ``controller``, and as ``abandoned`` the run that left ``lock`` if it is known to be dead."""
    pid = _main_process(os.getpid())
    run = f"{_place()}:{pid}:{_started(pid)}"
    abandoned = lock["run"] if lock and is_dead(lock["run"]) else ""
    return {"run": run, "controller": f"{_user()}@{socket.gethostname()}", "abandoned": abandoned}


def began() -> float:
    """Return when this run of Ansible began, in seconds since the epoch; now, where /proc does not tell."""
    with contextlib.suppress(OSError, ValueError, StopIteration):
        ticks = float(_started(_main_process(os.getpid())) or "")
        booted = next(line for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime "))
        return float(booted.split()[1]) + ticks / os.sysconf("SC_CLK_TCK")
    return time.time()


def run_id() -> str:
    """Return a name of this run that is the same in all its processes and sorts by time: ``20261126T140512Z-4711``."""
    when = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(began()))
    return f"{when}-{_main_process(os.getpid())}"


def is_dead(run: str) -> bool:
    """Return whether ``run`` was one of this controller and its process is gone; False if that can't be known."""
    place, _unused, process = run.partition(":")
    pid, _unused, started = process.partition(":")
    return place == _place() and started not in ("", "None") and str(_started(pid)) != started


def _main_process(pid: int) -> int:
    """Return the process that forked the workers: the topmost ancestor with the same command line."""
    parent = _stat(pid, _PARENT)
    while parent not in (None, "0") and _command(parent) == _command(pid):
        pid, parent = int(str(parent)), _stat(parent, _PARENT)
    return pid


def _place() -> str:
    """Return a name for where process ids mean the same: this host since its boot, this container."""
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        parts += [Path("/proc/sys/kernel/random/boot_id").read_text().strip(), os.readlink("/proc/self/ns/pid")]
    return "/".join(parts).replace(":", "")


def _started(pid: int | str) -> str | None:
    return _stat(pid, _STARTED)


def _stat(pid: int | str | None, field: int) -> str | None:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[field]
    except (OSError, IndexError):
        return None


def _command(pid: int | str | None) -> bytes | None:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return None


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.geteuid())
