# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""The two ways to install the next release: staged beside the one in use (build.py), or in place with pip (here).

In place the environment is copied aside before. A pip that was killed leaves any mixture of the two releases, or half a
package: going on begins with the copy again, going back takes the copy itself.
"""

from __future__ import annotations

import contextlib
import glob
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.owners import act_as, owner_of
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.side_by_side import (
    exchange,
    make_beside,
    release_path,
    remove_beside,
    rename_beside,
    switch,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._releases.path import is_later, version_key
from ansible_collections.fractal_ops.platform.plugins.module_utils._venv.build import (
    canonical_name,
    holds,
    is_complete,
    left_wheels,
    package_lines,
    run_tool,
    staged_releases,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._venv.pip import out_of_sight, requirements

_WHEELS = ".wheels"


def prepared_releases(environment: str, installed: str | None, strategy: str) -> list[str]:
    """Return the versions that lie prepared for the installation strategy; what was prepared for another is no use."""
    return prepared_in_place(environment, installed) if strategy == "in_place" else staged_releases(environment)


def prepared_in_place(environment: str, installed: str | None) -> list[str]:
    """Return the versions whose wheels were fetched for an upgrade in place, if what is installed was copied aside.

    ``installed`` is None if pip was killed between two releases.
    """
    copy = release_path(environment, installed) if installed else _newest_copy(environment, None)
    if not copy or not os.path.isdir(copy):
        return []
    found = glob.glob(glob.escape(environment) + "-*" + _WHEELS)
    return sorted(folder[len(environment) + 1 : -len(_WHEELS)] for folder in found)


def switch_to(python: str, installed: str | None, version: str, strategy: str, environ: Mapping[str, str]) -> bool:
    """Make the known path lead to the release ``version``, unless it does. Return whether that changed anything.

    Args:
        python: Interpreter at the known path.
        installed: The release there, None if pip was killed.
        version: The release that is to be there.
        strategy: ``staged`` or ``in_place``.
        environ: Environment of pip.

    Raises:
        FractalError: The release was not prepared, or pip cannot install it.
    """
    environment = os.path.dirname(os.path.dirname(python))
    if strategy == "in_place":
        if installed == version and not _copy_of_half(environment, installed):
            return False
        install_in_place(environment, python, installed, version, environ)
        return True
    return installed != version and switch(environment, installed or "unknown", version)


def prepare_in_place(
    instance: Mapping[str, Any], version: str, pip_arguments: Sequence[str], environ: Mapping[str, str]
) -> dict[str, Any]:
    """Fetch the wheels of ``version`` and copy the environment aside, so that the window needs no network.

    Raises:
        FractalError: pip cannot fetch the release, or there is no room for the copy.
    """
    environment, python = str(instance["environment"]), str(instance["python"])
    copy, wheels = release_path(environment, str(instance["version"])), release_path(environment, version) + _WHEELS
    wanted = requirements(version, pip_arguments)
    arguments, environ = out_of_sight(pip_arguments, environ)
    fetch = [python, "-B", "-m", "pip", "download", "--disable-pip-version-check", "--no-input", *arguments]
    try:
        if os.path.isdir(copy) and _package_lines_or_none(_at(python, environment, copy)) != package_lines(python):
            remove_beside(copy)  # left by a rollback that was killed
        if not os.path.isdir(copy):
            remove_beside(copy + ".partial")
            act_as(make_beside(copy + ".partial", environment), _copy_tree, environment, copy + ".partial")
            rename_beside(copy + ".partial", copy)
        if not os.path.isdir(wheels):
            remove_beside(wheels + ".partial")
            owner = make_beside(wheels + ".partial", environment)
            fetch += ["--dest", wheels + ".partial", *wanted]
            run_tool(fetch, environ, f"fetch {version}", owner)
            rename_beside(wheels + ".partial", wheels)
    except OSError as error:
        raise FractalError(f"Cannot copy {environment} to {copy}: {error}") from error
    finally:
        remove_beside(copy + ".partial", wheels + ".partial")
    return {"path": wheels, "version": version, "carried_over": []}


def install_in_place(
    environment: str, python: str, installed: str | None, version: str, environ: Mapping[str, str]
) -> None:
    """Upgrade the environment itself with pip from the prepared wheels, as the official procedure does.

    A pip that was killed may have left half a package, which the next one takes for installed, or cannot remove. So it
    begins with what was copied aside; and after a failure this is there again, as going back asks its libraries.

    Raises:
        FractalError: pip fails; the copy that was made before is untouched.
    """
    _mend(environment, installed, version)
    wheels = release_path(environment, version) + _WHEELS
    install = [python, "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
    try:
        run_tool(
            [*install, "--no-index", "--find-links", wheels, f"fractal-server=={version}"],
            environ,
            f"install {version}",
            owner_of(environment),
        )
    except FractalError:
        with contextlib.suppress(FractalError):  # no room, for example: why pip failed is what counts
            _mend(environment, installed, version)
        raise


def python_to_ask(python: str) -> str:
    """Return an interpreter that has all its libraries: that of the copy, where a killed pip left half of them."""
    environment = os.path.dirname(os.path.dirname(python))
    if not left_wheels(environment):
        return python  # nothing was prepared for an upgrade in place
    with contextlib.suppress(FractalError, OSError):  # whoever asks says what is wrong with the environment
        names = [one[: -len(".dist-info")] for one in _distributions(environment)]
        found = [one.split("-")[1] for one in names if one.startswith("fractal_server-")]
        copy = _copy_of_half(environment, found[0] if len(found) == 1 else None)
        return _at(python, environment, copy) if copy else python
    return python


def _mend(environment: str, installed: str | None, version: str) -> None:
    copy = _copy_of_half(environment, installed, version)
    if copy:
        _begin_with(copy, environment)


def _copy_of_half(environment: str, installed: str | None, before: str = "") -> str | None:
    """Return the copy of an environment in which pip was killed, or None if this is whole, or none is of help."""
    copy = _newest_copy(environment, installed, before)
    return copy if copy and _is_half(environment, copy) else None


def _is_half(environment: str, copy: str) -> bool:
    """Return whether pip left half a package, or took one away, compared with a copy.

    Where somebody has changed files himself, no copy is whole, and nothing can be said.
    """
    names, kept = ({canonical_name(one.split("-")[0]) for one in _distributions(of)} for of in (environment, copy))
    return not (kept <= names and _stands_whole(environment)) and _stands_whole(copy)


def _stands_whole(environment: str) -> bool:
    return bool(act_as(owner_of(environment), is_complete, environment, timeout=60))


def _distributions(environment: str) -> list[str]:
    return list(act_as(owner_of(environment), _dist_infos, environment, timeout=60))


def _dist_infos(environment: str) -> list[str]:
    found = glob.glob(os.path.join(glob.escape(environment), "lib*/python*/site-packages/*.dist-info"))
    return sorted({os.path.basename(one) for one in found})  # lib64 leads to lib


def _newest_copy(environment: str, installed: str | None, before: str = "") -> str | None:
    """Return the environment that was copied aside last; one of a later release was built there for a switch.

    Args:
        environment: The one in use.
        installed: The release in it, None if pip was killed between two.
        before: The release that comes after it, if that is known.
    """

    def may_be(version: str) -> bool:
        if installed:
            return not is_later(version, installed)
        return not before or is_later(before, version)

    beside = [one[len(environment) + 1 :] for one in glob.glob(glob.escape(environment) + "-*")]
    versions = [one for one in beside if re.fullmatch(r"\d+(\.\d+)*", one) and may_be(one)]
    copies = [one for one in versions if holds(release_path(environment, one), one)]
    return release_path(environment, max(copies, key=version_key)) if copies else None


def _begin_with(copy: str, environment: str) -> None:
    """Let a copy of the copy, which a rollback still needs, take the environment's place."""
    again = environment + "-again.partial"
    try:
        act_as(make_beside(again, environment), _copy_tree, copy, again)
        exchange(again, environment)
    except OSError as error:
        raise FractalError(f"Cannot copy {copy} to {again}: {error}") from error
    finally:
        remove_beside(again)


def restore_in_place(
    instance: Mapping[str, Any], version: str, packages: Sequence[str], check_mode: bool = False
) -> bool:
    """Undo :func:`install_in_place`: the copy made before takes the environment's place. Return whether it did.

    Args:
        instance: Whose environment.
        version: The release to go back to.
        packages: What was installed then (see `package_lines`); pip may have been killed before fractal-server's turn.
    """
    environment, python = str(instance["environment"]), str(instance["python"])
    copy = release_path(environment, version)
    if os.path.islink(environment) or os.path.islink(copy) or not os.path.isdir(copy):
        return False
    if _package_lines_or_none(python) == list(packages) and not _is_half(environment, copy):
        return False
    if not check_mode:
        exchange(copy, environment)
        remove_beside(copy)  # pip's half-finished result; prepare_in_place() would otherwise reuse it
    return True


def _package_lines_or_none(python: str) -> list[str] | None:
    try:
        return package_lines(python)
    except FractalError:
        return None


def _at(path: str, environment: str, copy: str) -> str:
    return os.path.join(copy, os.path.relpath(path, environment))


def _copy_tree(source: str, target: str) -> None:
    try:
        shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True)
    except shutil.Error as error:
        raise FractalError(f"Cannot copy {source} to {target}: {error}") from error
