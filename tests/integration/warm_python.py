"""A Python with its imports done once: what a test starts under it runs in a fork, with the same variables and files.

Importing SQLAlchemy takes most of the time of a call through the door, and each module makes one or two. Only where the
code is root's own (no change of the account) and no test is to kill it: `Popen` is ``subprocess.Popen`` for all else.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from typing import Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._core import child

_FOLDER = "FRACTAL_WARM_PYTHONS"  # where the sockets of this session are
_PATIENCE = 300.0  # seconds for the imports, on a machine that is busy

# In a fork for each call: the call's own fork, and who ends it if the client ends before it.
_SERVER = """
import atexit, contextlib, fcntl, importlib, json, os, select, signal, socket, sys, traceback, types
path, search, *modules = sys.argv[1:]
sys.path[:0] = search.split(":")
for module in modules:
    with contextlib.suppress(ModuleNotFoundError):  # what needs Ansible is for one side only
        importlib.import_module(module)
    if ".plugins.modules." in module:
        sys.modules.pop(module)  # runpy wants to run it itself

def work(call, numbers):
    high = [fcntl.fcntl(number, fcntl.F_DUPFD, 500) for number in numbers]
    os.closerange(3, 500)
    for number, target in zip(high, call["files"]):
        os.dup2(number, target)
        os.close(number)
    os.setsid()
    os.chdir(call["folder"])
    os.environ.clear()
    os.environ.update(call["variables"])
    sys.stdin, sys.stdout, sys.stderr = (open(n, mode, closefd=False) for n, mode in enumerate(("r", "w", "w")))
    sys.argv = ["-c", *call["arguments"]]
    main = sys.modules["__main__"] = types.ModuleType("__main__")
    code = 0
    try:
        exec(compile(call["script"], "<string>", "exec"), main.__dict__)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        code = 1
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)

def serve(line):
    told, numbers, _flags, _address = socket.recv_fds(line, 1 << 20, 64)
    worker = os.fork()
    if worker == 0:
        work(json.loads(told), numbers)
    for number in numbers:
        os.close(number)
    ended = os.pidfd_open(worker)
    ready, _none, _none = select.select([ended, line], [], [])
    if ended not in ready:
        os.killpg(worker, signal.SIGKILL)
    line.send(str(os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1])).encode())

listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
listener.bind(path + ".new")
listener.listen(64)
os.rename(path + ".new", path)
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
while select.select([listener, 0], [], [])[0] == [listener]:
    line = listener.accept()[0]
    if os.fork() == 0:
        listener.close()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        try:
            serve(line)
        finally:
            os._exit(0)
    line.close()
"""
# What is started in place of the Python: it hands over its open files, and ends as the call does.
_CLIENT = """
import json, os, socket, sys
path, script, *arguments = sys.argv[1:]
found = [int(name) for name in os.listdir("/proc/self/fd")]
files = []
for number in found:
    try:
        os.fstat(number)
        files.append(number)
    except OSError:
        pass  # the listing's own
call = {"script": script, "arguments": arguments, "files": files, "folder": os.getcwd()}
with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as line:
    line.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    line.connect(path)
    socket.send_fds(line, [json.dumps({**call, "variables": dict(os.environ)}).encode()], files)
    code = int(line.recv(100) or b"1")
if code < 0:
    os.kill(os.getpid(), -code)
os._exit(code)
"""


class WarmPythons:
    """The warm Pythons of a session (use in ``with``)."""

    def __init__(self) -> None:
        self._servers: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> WarmPythons:
        self._folder = tempfile.TemporaryDirectory(prefix="fo-warm-")
        os.environ[_FOLDER] = self._folder.name
        return self

    def __exit__(self, *_error: object) -> None:
        del os.environ[_FOLDER]
        for server in self._servers:
            assert server.stdin
            server.stdin.close()
            server.wait()
        self._folder.cleanup()

    def warm(self, python: str, options: Sequence[str], search: str, modules: Iterable[str]) -> None:
        """Import ``modules`` under a Python with ``options``, from the folders in ``search``, too."""
        path = _socket(python)
        command = [python, *options, "-c", _SERVER, path, search, *modules]
        self._servers.append(subprocess.Popen(command, stdin=subprocess.PIPE))
        end = time.monotonic() + _PATIENCE
        while not os.path.exists(path):
            assert self._servers[-1].poll() is None and time.monotonic() < end, f"{python} did not start"
            time.sleep(0.01)


def _socket(python: str) -> str:
    folder = os.environ.get(_FOLDER)
    return f"{folder}/{hashlib.sha256(python.encode()).hexdigest()[:16]}" if folder else ""


def popen(command: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
    """Start a Python with ``-c`` as a fork of the one that is warm; any other program as it is."""
    path = _socket(command[0])
    if "user" in options or "-c" not in command or not path or not os.path.exists(path):
        return subprocess.Popen(command, **options)
    script = command.index("-c")
    client = [sys.executable, "-I", "-S", "-B", "-c", _CLIENT, path, *command[script + 1 :]]
    return subprocess.Popen(client, **options)


class _Subprocess:
    """The module ``subprocess``, with `popen`."""

    Popen = staticmethod(popen)

    def __getattr__(self, name: str) -> Any:
        return getattr(subprocess, name)


def warm_the_door() -> None:
    """Let calls through the door run in a warm Python, where there is one, from this process on."""
    child.subprocess = _Subprocess()  # type: ignore[assignment]
