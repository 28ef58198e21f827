# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""What 2.18.0 takes from users, and what of the settings it refuses later.

2.17 has a scheme for the folders that the viewer shows, and folders of groups; from 2.18.0 on it is the user's own
project directories and the datasets of own and shared projects (2.18.0, app/routes/auth/viewer_paths.py).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.findings import FindingRule, rule_table
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.database import (
    Installation,
    connect,
    installation_settings,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.state import database_state
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.acceptance import Paths
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.preconditions import FINDINGS as ROWS
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.r2_17_0.data import ResourceAndProfiles
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.r2_17_0.env_rules import (
    CONFIG_FILES,
    MIGRATED,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.r2_17_0.viewer import (
    Scheme,
    from_profiles,
    from_user_settings,
)

if TYPE_CHECKING:
    from ansible_collections.fractal_ops.platform.plugins.module_utils._core.findings import Finding
    from ansible_collections.fractal_ops.platform.plugins.module_utils._precheck.server import Check
    from ansible_collections.fractal_ops.platform.plugins.module_utils._precheck.server_host import ServerHost

_SOURCE = "fractal-server 2.18.0, migrations/versions/7910eed4cf97 and app/routes/auth/viewer_paths.py"
CHAPTERS = {"viewer": "Folders in the viewer"}
FINDINGS = rule_table(
    FindingRule(
        "viewer.folders_lost",
        "blocker",
        "Users lose folders in the viewer",
        "2.18.0 drops the viewer paths of groups and the base folder of users; it shows each user the own project "
        "directories and the datasets of own and shared projects. {count} user(s) lose folders: {who}.",
        "Keep this list: it is what the groups' viewer paths give today, and only the backup has them afterwards. Then "
        "accept viewer.folders_lost. After the upgrade share projects, or add the folder to the user's project_dirs "
        "(PATCH /auth/users/<id>/), which lets the user also write datasets there.",
        _SOURCE,
    ),
    FindingRule(
        "viewer.group_paths_dropped",
        "warning",
        "Groups have viewer paths, which nobody is shown",
        "2.18.0 drops the viewer paths of groups. With the scheme {scheme} nobody is shown them today: {who}.",
        "Keep this list if they are wanted; only the backup has them afterwards.",
        _SOURCE,
    ),
    FindingRule(
        "viewer.folders_shown",
        "warning",
        "Users see folders in the viewer that they do not see now",
        "The scheme is 'none', so the viewer shows nobody anything. 2.18.0 has no scheme: it shows every verified user "
        "the own project directories and the datasets of own and shared projects.",
        "If that is not wanted, do not serve fractal-data.",
        _SOURCE,
    ),
)
# the user's own project directory, without groups and base folder
_OWN_FOLDERS = Scheme("users-folders", None)
_GROUPS = "SELECT name, viewer_paths FROM usergroup WHERE jsonb_array_length(to_jsonb(viewer_paths)) > 0 ORDER BY name"


def viewer_findings(installation: Installation) -> dict[str, Any]:
    """Return the ``findings`` about what the viewer shows before and after 2.18.0, as plain data.

    Raises:
        FractalError: The database cannot be reached.
    """
    with connect(installation_settings(installation), read_only=True) as connection:
        state = database_state(connection, {"2.17.0": ResourceAndProfiles()})
        is_old = state["stop"] == "2.17.0" and state["data_migration"] == "pending"
        viewer = (from_user_settings if is_old else from_profiles)(installation, False)
        before = viewer.paths(connection) or {}
        own = replace(viewer, rules=_OWN_FOLDERS).paths(connection) or {}
        groups = {str(name): list(paths) for name, paths in connection.exec_driver_sql(_GROUPS)}
    return {"findings": [one.as_dict() for one in compare_viewers(viewer.scheme, before, own, groups)]}


def compare_viewers(scheme: str, before: Paths, own: Paths, groups: Mapping[str, list[str]]) -> Iterator[Finding]:
    """Yield what changes in the viewer; ``own``: the project directory of each user, which stays."""
    lost = {
        email: [path for path in paths if not any(_is_below(path, folder) for folder in own.get(email, ()))]
        for email, paths in sorted(before.items())
    }
    told = [f"{email} loses {', '.join(paths)}" for email, paths in lost.items() if paths]
    if told:
        yield FINDINGS["viewer.folders_lost"].finding("viewer", count=len(told), who="; ".join(told))
    if groups and scheme != "viewer-paths":
        told = [f"group {name} has {', '.join(paths)}" for name, paths in groups.items()]
        yield FINDINGS["viewer.group_paths_dropped"].finding("viewer", scheme=scheme, who="; ".join(told))
    if scheme == "none":
        yield FINDINGS["viewer.folders_shown"].finding("viewer")


def _is_below(path: str, folder: str) -> bool:
    path, folder = os.path.normpath(path), os.path.normpath(folder)
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def check_viewer(host: ServerHost) -> Iterator[Finding]:
    """Nobody loses a folder in the viewer without a word."""
    if host.hops:
        yield from host.ask_database(viewer_findings)


def check_dotted_settings(host: ServerHost) -> Iterator[Finding]:
    """No path that 2.17.0 takes from the environment file into the resource has /../ in it."""
    if not any(stop.version == "2.17.0" for stop in host.stops):
        return
    paths = {name: os.path.join(host.directory, host.values.get(name, "")) for name in MIGRATED - {*CONFIG_FILES}}
    dotted = sorted(name for name, path in paths.items() if ".." in PurePosixPath(path).parts)
    if dotted:
        told = "; ".join(f"{name}={host.values[name]}" for name in dotted)
        yield ROWS["rows.path_with_dots"].finding("environment file", rows=told)


CHECKS: tuple[tuple[str, Check], ...] = (("viewer", check_viewer), ("dotted paths", check_dotted_settings))
