# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""The interpreters that new environments can be made with: each release runs on some Pythons only.

The one of the environment in use comes first, as then least changes. Next are those that the operator names; they may
be anybody's, so each is asked, and later run, as the account that can change it. What is found on the host counts only
if nobody but root can change it.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.owners import owner_of_program
from ansible_collections.fractal_ops.platform.plugins.module_utils._releases.path import python_supported
from ansible_collections.fractal_ops.platform.plugins.module_utils._releases.release import Release
from ansible_collections.fractal_ops.platform.plugins.module_utils._venv.interpreter import facts, keeper

_PLACES = ("/usr/bin", "/usr/local/bin", "/opt/*/bin")
_NAME = "python3.[1-9][0-9]"
_MINORS = range(11, 20)  # what may be named to the operator


@dataclass(frozen=True)
class Interpreter:
    """A Python to make environments with; ``version`` such as 3.13.1."""

    path: str
    version: str


def found_on_host(places: Iterable[str] = _PLACES) -> list[Interpreter]:
    """Return the interpreters of the host that nobody but root can change, in the order of ``places``."""
    paths = [path for place in places for path in sorted(glob.glob(f"{place}/{_NAME}"))]
    return [one for path in paths if _only_roots(path) for one in _asked(path)]


def named(paths: Iterable[str]) -> list[Interpreter]:
    """Return the interpreters that the operator names.

    Raises:
        FractalError: One does not run.
    """
    return [Interpreter(path, facts(path, keeper(path), "fractal_pythons").python_version) for path in paths]


def choose(release: Release, candidates: Sequence[Interpreter]) -> Interpreter | None:
    """Return the first of ``candidates`` that runs the release, or None."""
    return next((one for one in candidates if python_supported(one.version, release)), None)


def candidates(own: Interpreter, paths: Iterable[str]) -> list[Interpreter]:
    """Return all interpreters for new environments, the best first; ``own`` is that of the environment in use.

    Raises:
        FractalError: One that the operator names does not run.
    """
    return [own, *named(paths), *found_on_host()]


def base_python(release: Release, own: Interpreter, paths: Iterable[str]) -> str:
    """Return the interpreter to make the environment of a release with.

    Raises:
        FractalError: There is none.
    """
    if python_supported(own.version, release):
        return own.path
    found = choose(release, candidates(own, paths))
    if found is None:
        lowest, too_new = release.python
        raise FractalError(
            f"fractal-server {release.version} needs Python >= {lowest} and < {too_new}, and there is none: the "
            f"environment has {own.version}. Install one, or name it in fractal_pythons."
        )
    return found.path


def for_the_whole_way(way: Sequence[Release]) -> str:
    """Return which Pythons run every release of ``way``, in words, such as ``3.13``."""
    minors = [f"3.{minor}" for minor in _MINORS if all(python_supported(f"3.{minor}.0", one) for one in way)]
    return " or ".join(minors) or "no single one"


def _asked(path: str) -> list[Interpreter]:
    try:
        version = facts(path, keeper(path)).python_version
    except FractalError:
        return []  # a wrapper that leads to nothing
    return [Interpreter(path, version)] if re.match(r"3\.\d+\.", version) else []


def _only_roots(path: str) -> bool:
    try:
        return owner_of_program(path) is None
    except FractalError:
        return False
