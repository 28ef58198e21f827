# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""What a Python interpreter says of itself. It may belong to an account that is not trusted, so its word is checked."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import sys
from dataclasses import dataclass
from typing import Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.accounts import Account
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.owners import owner_of_program
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.programs import run

_FACTS = """
import importlib.metadata as m, json, sys
try:
    version = m.version("fractal-server")
except m.PackageNotFoundError:
    version = None
base = getattr(sys, "_base_executable", None) or sys.executable
print(json.dumps({"prefix": sys.prefix, "base_python": base, "version": version,
                  "python_version": "%d.%d.%d" % sys.version_info[:3], "is_venv": sys.prefix != sys.base_prefix}))
"""
_VERSION = re.compile(r"\d[0-9A-Za-z.+!-]{0,60}")
_PATH = re.compile(r"/[^\0\n]{0,4000}")


@dataclass(frozen=True)
class PythonFacts:
    """An interpreter: its environment, the one that this was made with, and the fractal-server in it, None if none."""

    prefix: str
    base_python: str
    version: str | None
    python_version: str
    is_venv: bool


def facts(python: str, account: Account | None = None, named_by: str = "fractal_server_python") -> PythonFacts:
    """Ask an interpreter.

    Args:
        python: Its path.
        account: Who runs it; by default who runs this process, which is wrong for root (see `keeper`).
        named_by: The variable with which the operator can name another interpreter.

    Raises:
        FractalError: It does not run, or what it says makes no sense.
    """
    done = run([python, "-I", "-B", "-c", _FACTS], account=account)
    try:
        if done.code == 0:
            return _checked(json.loads(done.out))
        reason = done.last_words(1)
    except (ValueError, TypeError, KeyError, RecursionError):
        reason = "its answer makes no sense"
    raise FractalError(
        f"The Python interpreter of fractal-server, {python}, does not run ({reason}). "
        f"Repair its environment, or set {named_by}."
    )


def installed_version(python: str, account: Account | None = None) -> str:
    """Return the version of fractal-server in the environment of ``python``.

    Raises:
        FractalError: It has none, or the interpreter does not run.
    """
    version = _own_version() if _is_this(python) else facts(python, account).version
    if version is None:
        raise no_server(python)
    return version


def no_server(python: str) -> FractalError:
    """Return the error for an environment that should have fractal-server and has none."""
    return FractalError(f"fractal-server is not installed in the environment of {python}.")


def _is_this(python: str) -> bool:
    """Return whether this process runs in the environment of ``python``, as a child does that migrates."""
    this, other = (os.path.realpath(os.path.dirname(one)) for one in (sys.executable, python))
    return this == other


def _own_version() -> str | None:
    try:
        return importlib.metadata.version("fractal-server")
    except importlib.metadata.PackageNotFoundError:
        return None


def _checked(said: dict[str, Any]) -> PythonFacts:
    found = PythonFacts(**said)
    texts = [(found.prefix, _PATH), (found.base_python, _PATH), (found.python_version, _VERSION)]
    texts += [(found.version, _VERSION)] if found.version is not None else []
    if not all(isinstance(text, str) and pattern.fullmatch(text) for text, pattern in texts):
        raise ValueError("no path or version")
    if not isinstance(found.is_venv, bool):
        raise ValueError("no truth value")
    return found


def keeper(program: str) -> Account:
    """Return the account to run a program as that may be anybody's: the one, but root, that can change it.

    What only root can change runs as ``nobody``, as its path may have been named by somebody else. A process that is
    not root runs it as itself.
    """
    if os.geteuid() != 0:
        return Account.named(None)
    return owner_of_program(program) or Account.named("nobody")
