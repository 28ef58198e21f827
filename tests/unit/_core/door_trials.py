"""What the tests of the door let run behind it."""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.programs import run


@dataclass(frozen=True)
class Place:
    name: str
    options: dict[str, str]


def who() -> dict[str, Any]:
    with open("/proc/self/status", encoding="utf-8") as stream:
        lines = dict(line.rstrip("\n").split(":\t", 1) for line in stream if ":\t" in line)
    return {
        "pid": os.getpid(),
        "uids": lines["Uid"].split(),
        "groups": sorted(os.getgroups()),
        "environ": dict(os.environ),
        "argv": open("/proc/self/cmdline", encoding="utf-8").read(),
        "cwd": os.getcwd(),
        "leads_session": os.getsid(0) == os.getpid(),
        "flags": [sys.flags.isolated, sys.flags.dont_write_bytecode],
        "files": sorted(int(name) for name in os.listdir("/proc/self/fd")),
    }


def echo(place: Place, *, words: list[str], known: bool = True) -> dict[str, Any]:
    return {"name": place.name, "options": place.options, "words": words, "known": known}


def prints() -> dict[str, Any]:
    print('{"result": {"forged": 1}}', flush=True)
    subprocess.run(["sh", "-c", "echo noise; echo noise >&2; cat"], check=True)
    return {"done": True}


def refuses(reason: str) -> dict[str, Any]:
    raise FractalError(reason)


def breaks(secret: str) -> dict[str, Any]:
    raise ValueError(f"cannot parse {secret}")


def ends(code: int) -> dict[str, Any]:
    print("the last words of it", file=sys.stderr, flush=True)
    os._exit(code)


def gives(what: Any) -> Any:
    return what


def floods() -> dict[str, Any]:
    while True:
        os.write(1, b"x" * 65536)


def is_huge(size: int) -> dict[str, Any]:
    return {"text": "x" * size}


def has_a_long_number() -> dict[str, Any]:
    return {"number": 10**4000}


def hangs(seconds: float) -> dict[str, Any]:
    time.sleep(seconds)
    return {}


def leaves_work_for_its_end(note: str) -> dict[str, Any]:
    """Leave something that an interpreter does when it is taken down in an orderly way."""
    atexit.register(Path(note).touch)
    return {"done": True}


def starts_somebody() -> dict[str, Any]:
    """Return what a program that is started without care has open: 1 and 2 are ours, and what it looks with."""
    look = (
        "readlink /proc/self/fd/0; for n in /proc/$$/fd/*; do case $n in */[012]) ;; *) readlink $n || : ;; esac; done"
    )
    done = subprocess.run(["sh", "-c", look], close_fds=False, check=True, stdout=subprocess.PIPE, text=True)
    lines = done.stdout.splitlines()
    return {"stdin": lines[0], "files": lines[1:]}


def leaves_somebody_behind(note: str) -> dict[str, Any]:
    """Leave a process that has all our files open, and note its number."""
    pid = os.fork()
    if pid == 0:
        time.sleep(600)
        os._exit(0)
    return {"pid": pid}


def reads_file(descriptor: int) -> dict[str, Any]:
    with os.fdopen(descriptor) as stream:
        return {"content": stream.read()}


def waits(note: int) -> dict[str, Any]:
    """Say that we are here, then wait for ever with a program of our own."""
    os.write(note, f"{os.getpid()}\n".encode())
    run(["sleep", "600"], timeout=600)
    return {}
