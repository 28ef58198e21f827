# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""What pip is told, and its options out of sight: what every account reads in the list of processes holds no password.

pip takes every long option from the environment too, as ``PIP_`` and its name in capitals (pip, user guide,
"Environment Variables"); only the account itself and root can read that.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.masking import mask_urls
from ansible_collections.fractal_ops.platform.plugins.module_utils._releases.path import pip_requirements

# Options of a module that makes environments (see doc_fragments/pip.py)
PIP_OPTIONS: dict[str, Any] = {
    "wheelhouse": {"type": "path"},
    "pip_extra_args": {"type": "list", "elements": "str", "default": []},
    "pythons": {"type": "list", "elements": "path", "default": []},
}
_LONG = {"-i": "--index-url", "--pypi-url": "--index-url", "-f": "--find-links"}
_SEVERAL = frozenset({"--extra-index-url", "--find-links", "--trusted-host"})


def arguments_of(params: Mapping[str, Any]) -> list[str]:
    """Return the arguments that `PIP_OPTIONS` stand for."""
    wheelhouse = ["--no-index", "--find-links", params["wheelhouse"]] if params["wheelhouse"] else []
    return [*params["pip_extra_args"], *wheelhouse]


def requirements(version: str, arguments: Sequence[str]) -> list[str]:
    """Return what pip is to install for the release ``version``: itself, and bounds that it lacks.

    Args:
        version: The release.
        arguments: The operator's own. A requirement among them wins over the bound of its package. Who has all wheels
            in a folder has chosen them: there a bound only chooses between several of a package.
    """
    told = {_package(argument) for argument in arguments if not argument.startswith("-")}
    bounds = [one for one in pip_requirements(version) if _package(one) not in told]
    if "--no-index" in arguments:
        there = [name for folder in _wheelhouses(arguments) for name in _names(folder)]
        bounds = [one for one in bounds if any(_meets(name, one) for name in there)]
    return [f"fractal-server=={version}", *bounds]


def _wheelhouses(arguments: Sequence[str]) -> list[str]:
    return [value for option, value in zip(arguments, arguments[1:]) if option == "--find-links"]


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []  # pip says it


def _meets(file: str, bound: str) -> bool:
    """Return whether a wheel, or an archive, is of a bound's package and below it, such as ``bcrypt<5``."""
    package, _unused, limit = bound.partition("<")
    found = re.match(r"(?P<name>[\w.]+?)-(?P<version>\d+(\.\d+)*)", file, re.ASCII)
    return bool(found and _package(found["name"]) == _package(package) and _numbers(found["version"]) < _numbers(limit))


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]


def _package(requirement: str) -> str:
    name = re.match(r"[\w.-]*", requirement, re.ASCII)
    return re.sub(r"[-_.]+", "-", name.group()).lower() if name else ""


def out_of_sight(arguments: Sequence[str], environ: Mapping[str, str]) -> tuple[list[str], dict[str, str]]:
    """Return the arguments that everybody may see, and the environment with those that hold an address.

    Raises:
        FractalError: An argument holds a password and is no option with a value; pip has no other place for it.
    """
    seen: list[str] = []
    hidden = dict(environ)
    todo = list(arguments)
    while todo:
        argument = todo.pop(0)
        name, separator, value = argument.partition("=")
        if argument[:2] in _LONG and len(argument) > 2 and not argument.startswith("--"):
            name, separator, value = argument[:2], "=", argument[2:].lstrip("=")
        if not separator and argument.startswith("-") and todo and "://" in todo[0]:
            value = todo.pop(0)
        if "://" not in value:
            seen.append(argument)
            continue
        name = _LONG.get(name, name)
        variable = "PIP_" + name.lstrip("-").upper().replace("-", "_")
        several = name in _SEVERAL and variable in hidden
        hidden[variable] = f"{hidden[variable]} {value}" if several else value
    if any(mask_urls(one) != one for one in seen):
        raise FractalError(
            "fractal_pip_extra_args holds a password in an argument that every account of the host could read. Give it "
            "as the value of an option, such as --index-url, or in a pip.conf that PIP_CONFIG_FILE names."
        )
    return seen, hidden
