# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""Asking a release of fractal-server whether it accepts an environment file."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.files import read_file, write_file
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.owners import account_named, owner_of_program
from ansible_collections.fractal_ops.platform.plugins.module_utils._venv.build import run_tool

_LARGEST = 1 << 20  # bytes

# All settings classes are made when fractal_server.config is imported (fractal-server 2.17.0, config/__init__.py). The
# default text of a ValidationError shows values, so only places and reasons are taken from it.
_LOAD_SETTINGS = """
import importlib.metadata as m, json
problems = []
try:
    import fractal_server.config as config
    for name in dir(config):
        if name.startswith("get_") and name.endswith("settings"):
            getattr(config, name)()
except Exception as error:
    if hasattr(error, "errors"):
        for one in error.errors(include_url=False, include_context=False, include_input=False):
            place = ".".join(str(part) for part in one["loc"]) or error.title
            message = one["msg"] if one["loc"] else "these values contradict each other"
            problems.append([place, message])
    else:
        problems.append(["settings", type(error).__name__])
print(json.dumps({"version": m.version("fractal-server"), "problems": problems}))
"""


def check_settings(python: str, env_file: str, environ: Mapping[str, str], user: str = "") -> str:
    """Return the version of the release that accepts ``env_file``.

    Args:
        python: Interpreter of the release's environment.
        env_file: The file to try; it is copied, as its name is fixed and the working directory decides.
        environ: Variables that the unit sets itself; they win over the file, as when the server runs.
        user: The unit's account: variables such as PYTHONPATH make the interpreter run what they name.

    Raises:
        FractalError: The release refuses the file; the text lists each setting and why, without values.
    """
    found = read_file(env_file, _LARGEST)
    if found is None:
        raise FractalError(f"Cannot read {env_file}: there is no such file.")
    owner = account_named(user) if user else owner_of_program(python)
    folder = tempfile.mkdtemp(prefix="fractal-settings-")
    try:
        write_file(os.path.join(folder, ".fractal_server.env"), found.content, os.geteuid(), os.getegid(), 0o600)
        if owner:
            os.chown(os.path.join(folder, ".fractal_server.env"), owner.uid, owner.gid)
            os.chown(folder, owner.uid, owner.gid)
        command = [python, "-B", "-c", _LOAD_SETTINGS]
        output = run_tool(command, {**_base_environment(), **environ}, "load the settings", owner, cwd=folder)
    except OSError as error:
        raise FractalError(f"Cannot check the settings in {folder}: {error.strerror}.") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    try:
        answer = json.loads(output.splitlines()[-1])
        version, lines = str(answer["version"]), [f"  {place}: {reason}" for place, reason in answer["problems"]]
    except (ValueError, TypeError, KeyError, IndexError, RecursionError) as error:
        raise FractalError(
            f"Cannot see whether {python} would take {env_file}: its answer makes no sense. Repair its environment."
        ) from error
    if lines:
        refused = "\n".join(lines)
        raise FractalError(f"fractal-server {version} would refuse the new environment file:\n{refused}")
    return version


def _base_environment() -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8"}
