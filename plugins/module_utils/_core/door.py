# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""The one door between root and fractal-server's own environment.

What needs SQLAlchemy, psycopg or pydantic is a function of this collection that runs in a child process: as the service
account, under the Python of fractal-server's environment. The child gets this collection's code and the call as sealed
files in memory, so nothing is on disk, in an argument, or in reach of others. Each answer is one JSON object on a pipe
of its own.

The environment is the service account's, which may put anything there. That runs as this account, and can answer
anything: the answer is data of another trust zone.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import io
import json
import os
import subprocess
import sys
import traceback
import zipfile
import zipimport
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.accounts import Account
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.child import Child, calls
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.masking import (
    mask_urls,
    printable,
    short_number,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.programs import Pipe

if TYPE_CHECKING:
    from typing_extensions import ParamSpec

    P = ParamSpec("P")

Place = tuple[Account, str, str, tuple[int, ...]]

_PACKAGE = "ansible_collections.fractal_ops.platform.plugins.module_utils"
# The child ends at once: to take the libraries down in an orderly way takes longer than many a call.
_START = f"""import os, sys
sys.path.insert(0, "/proc/self/fd/{{{{code}}}}")
from {_PACKAGE}._core.door import answer_all
answer_all({{modules}})
os._exit(0)
"""
_LONGEST_TEXT = 20_000  # characters of an error


@dataclass(frozen=True)
class Door:
    """Where a function of this collection is to run.

    Attributes:
        account: As whom.
        python: Under which interpreter.
        timeout: Seconds; the child is killed then, with all that it started.
        fds: Open files that it gets, under the same numbers.
    """

    account: Account
    python: str
    timeout: float = 600
    fds: tuple[int, ...] = ()

    def call(self, function: Callable[P, dict[str, Any]], *args: P.args, **kwargs: P.kwargs) -> dict[str, Any]:
        """Return what ``function`` returns there, an object of JSON.

        Args:
            function: A function at the top of a file of ``module_utils``.
            args: Plain data or flat dataclasses.
            kwargs: The same.

        Raises:
            FractalError: The function raised it, or the environment does not work.
        """
        with self.begin(function, *args, **kwargs) as call:
            return call.answer()

    def begin(self, function: Callable[P, dict[str, Any]], *args: P.args, **kwargs: P.kwargs) -> Call:
        """Begin a call, see `call`, to do something else meanwhile. The context ends the child.

        Raises:
            FractalError: The child cannot be started.
        """
        given = inspect.signature(function).bind(*args, **kwargs).arguments
        call = json.dumps(
            {
                "function": f"{function.__module__}:{function.__qualname__}",
                "arguments": {name: _fields(value) for name, value in given.items()},
                "records": {name: _class_name(value) for name, value in given.items() if is_dataclass(value)},
            },
            default=dict,
        )
        place = self._place
        try:
            child = self._child(place)
        except (OSError, subprocess.SubprocessError) as error:
            raise self._broken(getattr(error, "strerror", None) or type(error).__name__) from error
        return Call(self, place, child, child.ask(call.encode()))

    def stand_by(self, *functions: Callable[..., Any]) -> None:
        """Start a child in advance, with the imports of these functions done; until `dismiss` it takes all calls.

        For a program that is in a hurry later, or makes several calls: the imports take longer than many a call. What
        is in the environment must not change until `dismiss`, and the thread that calls this must not end before.
        """
        waiting = _STANDING_BY.setdefault(self._place, [])
        with contextlib.suppress(OSError, subprocess.SubprocessError):  # the call itself will say it
            if not waiting:
                waiting.append(self._start(sorted({function.__module__ for function in functions})))

    @contextlib.contextmanager
    def standing_by(self, *functions: Callable[..., Any]) -> Iterator[None]:
        """Let a child stand by meanwhile; see `stand_by`."""
        self.stand_by(*functions)
        try:
            yield
        finally:
            dismiss()

    @property
    def _place(self) -> Place:
        """What two children must share to replace each other. The known path may lead elsewhere later."""
        folder, name = os.path.split(self.python)
        return self.account, os.path.realpath(folder), name, self.fds

    def _start(self, modules: Sequence[str]) -> Child:
        return Child.start(self.account, self.python, collection_code(), _START.format(modules=modules), self.fds)

    def _child(self, place: Place) -> Child:
        """Return a child that stands by, or a new one."""
        waiting = _STANDING_BY.get(place, [])
        while waiting:
            child = waiting.pop(0)
            if child.waits:
                return child
            child.end()
        return self._start([])

    def told(self, content: bytes, ended: str, why: str) -> dict[str, Any]:
        """Return the result in what a child answered.

        Args:
            content: What it wrote.
            ended: How it ended, in words.
            why: Why it had to be ended, if so.

        Raises:
            FractalError: It answered with an error, or with nothing that can be used.
        """
        if why:
            raise self._broken(why)
        try:
            said = json.loads(content, parse_int=short_number, parse_constant=short_number)
        except (ValueError, RecursionError):
            said = None
        if isinstance(said, dict) and len(said) == 1:
            if isinstance(said.get("result"), dict):
                return dict(said["result"])
            if isinstance(said.get("error"), str):
                raise FractalError(_shown(said["error"]))
            if isinstance(said.get("broken"), str):
                raise self._broken(said["broken"])
        raise self._broken(ended if not content else f"{ended}; its answer is not one of this collection")

    def _broken(self, reason: str) -> FractalError:
        return FractalError(
            f"The Python environment of {self.python} does not do what this collection asks of it as the account "
            f"{self.account.name}: {_shown(mask_urls(reason)).rstrip('.')}. Repair the environment, or name the "
            "interpreter that runs fractal-server in fractal_server_python."
        )


@dataclass
class Call:
    """A running call in a child. When its context is left, the child is ended, or stands by for the next one."""

    door: Door
    place: Place
    child: Child
    result: Pipe
    answered: bool = False

    def __enter__(self) -> Call:
        """Begin."""
        return self

    def __exit__(self, *_error: object) -> None:
        """Let go of the child."""
        self.result.close()
        waiting = _STANDING_BY.get(self.place)
        if self.answered and waiting is not None:
            waiting.append(self.child)
        else:
            self.child.end()

    def answer(self) -> dict[str, Any]:
        """Wait for what it returns.

        Raises:
            FractalError: The function raised it, or the environment does not work.
        """
        told = self.door.told(*self.child.answer(self.result, self.door.timeout))
        self.answered = True
        return told


_STANDING_BY: dict[Place, list[Child]] = {}


def dismiss() -> None:
    """End all children that stand by; the next calls have their own."""
    while _STANDING_BY:
        for child in _STANDING_BY.popitem()[1]:
            child.end()


def answer_all(modules: Sequence[str] = ()) -> None:
    """Import, in the child; then make each call that comes, and write its answer, until one breaks or none comes."""
    for module in modules:
        importlib.import_module(module)
    for call, result in calls():
        told = _answer(call)
        sys.stdout.flush()
        with os.fdopen(result, "w", encoding="utf-8") as stream:
            stream.write(json.dumps(told) + "\n")
        if "broken" in told:
            return


def _answer(text: str) -> dict[str, Any]:
    try:
        call = json.loads(text)
        arguments = call["arguments"]
        for name, record in call["records"].items():
            arguments[name] = _named(record)(**arguments[name])
        result = _named(call["function"])(**arguments)
        json.dumps(result)
        return {"result": result}
    except FractalError as error:
        return {"error": str(error)}
    except BaseException as error:
        frames = traceback.extract_tb(error.__traceback__)
        frame = next((one for one in reversed(frames) if one.filename.startswith(sys.path[0])), frames[-1])
        file = "/".join(Path(frame.filename).parts[-2:])
        return {"broken": f"{type(error).__name__} in {file}:{frame.lineno} ({frame.name})"}


def _named(name: str) -> Any:
    module, _colon, member = name.partition(":")
    return getattr(importlib.import_module(module), member)


def _class_name(value: Any) -> str:
    return f"{type(value).__module__}:{type(value).__qualname__}"


def _fields(value: Any) -> Any:
    if not is_dataclass(value):
        return value
    return {one.name: getattr(value, one.name) for one in fields(value)}


def _shown(text: str) -> str:
    """Return a text of another trust zone as it may be shown in a terminal."""
    return printable(text[:_LONGEST_TEXT])


@cache
def collection_code() -> bytes:
    """Return this collection's code as a zip file: the one that Ansible sent, or one of the tree that this is from."""
    loader = globals().get("__loader__")
    if isinstance(loader, zipimport.zipimporter):
        return Path(loader.archive).read_bytes()
    root = Path(__file__).resolve().parents[1]
    package = _PACKAGE.split(".")
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for depth in range(1, len(package) + 1):
            archive.writestr("/".join([*package[:depth], "__init__.py"]), "")
        for room in sorted({path.parent for path in root.rglob("*.py")} - {root}):
            archive.writestr("/".join([*package, *room.relative_to(root).parts, "__init__.py"]), "")
        for path in sorted(root.rglob("*.py")):
            archive.write(path, "/".join([*package, *path.relative_to(root).parts]))
    return target.getvalue()
