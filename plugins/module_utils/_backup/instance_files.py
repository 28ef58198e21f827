# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""The files that configure an instance: which they are, who named them, and their copies in a backup.

What the unit names, root has named. What the environment file names, the service account may have named: there, only
that account's rights count, wherever the file lies.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._backup.store import (
    FILES,
    LARGEST_FILE,
    explained,
    write_synced,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.accounts import Account
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.files import FileState, read_file
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.owners import account_named
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.systemd import Unit
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.database import (
    SERVER_ENV_FILE,
    Installation,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.hold import HOLD_NAME

_CONFIG_VARIABLES = ("FRACTAL_SLURM_CONFIG_FILE", "FRACTAL_PIXI_CONFIG_FILE", "FRACTAL_LOCAL_CONFIG_FILE")
_UNIT_FOLDERS = ("/etc/systemd/system", "/run/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system")


@dataclass(frozen=True)
class InstanceFile:
    """A file that configures an instance, there or not, and the account whose rights count (None: see `owner_of`)."""

    path: str
    owner: Account | None = None


def instance_files(installation: Installation, unit: Unit | None, extra: Iterable[str] = ()) -> list[InstanceFile]:
    """Return everything that configures the instance, existing or not, without doubles."""
    env_files = [installation.env_file, installation.env_file + ".old"]
    by_root = [*env_files, *(_files_of_unit(unit) if unit else []), *extra]
    variables = installation.variables()
    named = [variables[name] for name in _CONFIG_VARIABLES if variables.get(name)]
    owner = account_named(unit.user) if unit else None
    found = {path: InstanceFile(path) for path in map(os.path.abspath, by_root)}
    for name in named:
        path = os.path.abspath(os.path.join(installation.working_directory, name))
        found.setdefault(path, InstanceFile(path, owner))
    return list(found.values())


def named_by_root(unit: Unit, path: str) -> bool:
    """Return whether the unit itself leads to ``path``, as it is now or as it was with drop-ins that are gone."""
    env_file = os.path.join(unit.working_directory, SERVER_ENV_FILE)
    places = {os.path.join(folder, name) for folder in _UNIT_FOLDERS for name in (unit.name, unit.name + ".d")}
    return path in {env_file, env_file + ".old", *_files_of_unit(unit), *places} or os.path.dirname(path) in places


def _files_of_unit(unit: Unit) -> list[str]:
    own = [path for path in unit.drop_in_paths if os.path.basename(path) != HOLD_NAME]
    return [path for path in (*unit.environment_files, unit.fragment_path, *own) if path]


def read_files(files: Iterable[InstanceFile]) -> list[tuple[InstanceFile, FileState]]:
    """Read those that are there.

    Raises:
        FractalError: One cannot be backed up.
    """
    found = []
    for one in files:
        if os.path.lexists(one.path):
            state = read_file(one.path, LARGEST_FILE, one.owner)
            if state is None:
                raise FractalError(f"{one.path} is a link that leads nowhere. Remove it.")
            found.append((one, state))
    return found


def save_files(folder: str, found: Iterable[tuple[InstanceFile, FileState]]) -> list[dict[str, Any]]:
    """Write files under ``files/`` by their own paths; return their entries for the manifest."""
    entries = []
    for one, state in found:
        with explained("copy", one.path):
            relative = os.path.join(FILES, one.path.lstrip("/"))
            target = os.path.join(folder, relative)
            os.makedirs(os.path.dirname(target), exist_ok=True)
            write_synced(target, state.content)
        entries.append(
            {
                "path": one.path,
                "file": relative,
                "size": len(state.content),
                "sha256": hashlib.sha256(state.content).hexdigest(),
                "uid": state.uid,
                "gid": state.gid,
                "mode": f"{state.mode:04o}",
                "link": os.readlink(one.path) if os.path.islink(one.path) else None,
            }
        )
    return entries
