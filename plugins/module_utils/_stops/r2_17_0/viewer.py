# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""The folders that the viewer may show to each user, before 2.17.0 and from it on.

Source: the two releases' ``app/routes/auth/current_user.py``, ``allowed-viewer-paths``. 2.16 takes the folders from the
user's settings (``slurm_user`` for ``users-folders``, whatever the backend) and answers every active user; 2.17 takes
them from the user and the profile's ``username``, and answers verified users only.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.database import (
    Installation,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._env_file.reading import read_env_file
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.acceptance import Paths
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.r2_17_0.placeholders import PROJECT_DIR

if TYPE_CHECKING:
    import sqlalchemy as sa
else:
    try:
        import sqlalchemy as sa
    except ImportError:
        sa = None

SCHEMES = ("none", "viewer-paths", "users-folders")

_USERS_BEFORE = (
    "SELECT u.id, u.email, s.project_dir, s.slurm_user AS folder FROM user_oauth u "
    "JOIN user_settings s ON s.id = u.user_settings_id WHERE u.is_active AND u.is_verified"
)
_USERS_SINCE = (
    "SELECT u.id, u.email, u.project_dir, p.username AS folder FROM user_oauth u "
    "LEFT JOIN profile p ON p.id = u.profile_id WHERE u.is_active AND u.is_verified"
)
_GROUP_PATHS = "SELECT l.user_id, g.viewer_paths FROM linkusergroup l JOIN usergroup g ON g.id = l.group_id"


_NEEDED_BEFORE = (("user_settings", "project_dir"), ("usergroup", "viewer_paths"))
_NEEDED_SINCE = (("user_oauth", "project_dir"), ("profile", "username"), ("usergroup", "viewer_paths"))


@dataclass(frozen=True)
class Scheme:
    """How fractal-server builds the list: ``name`` is one of ``SCHEMES``, ``base_folder`` is for ``users-folders``."""

    name: str
    base_folder: str | None

    @classmethod
    def of(cls, variables: Mapping[str, str]) -> Scheme:
        """Return the scheme that an environment file of 2.17, or else of 2.16, sets."""
        return cls(
            variables.get("FRACTAL_DATA_AUTH_SCHEME") or variables.get("FRACTAL_VIEWER_AUTHORIZATION_SCHEME") or "none",
            variables.get("FRACTAL_DATA_BASE_FOLDER") or variables.get("FRACTAL_VIEWER_BASE_FOLDER"),
        )


@dataclass(frozen=True)
class SchemeViewer:
    """See `Viewer`. From the folders of users and groups, as a scheme of the environment file says."""

    rules: Scheme
    users: str
    needed: tuple[tuple[str, str], ...]
    drops_on_purpose = False

    @property
    def scheme(self) -> str:
        """See `Viewer`."""
        return self.rules.name

    def paths(self, connection: sa.Connection) -> Paths | None:
        """See `Viewer`. At the schema of 2.17.0 the settings of 2.16 are still there; 2.17.1 drops them."""
        if not all(_has_column(connection, table, column) for table, column in self.needed):
            return None
        groups: dict[int, set[str]] = {}
        for user_id, paths in connection.execute(sa.text(_GROUP_PATHS)):
            groups.setdefault(user_id, set()).update(paths)
        return {
            email: allowed_paths(self.rules, project_dir, folder, groups.get(user_id, ()))
            for user_id, email, project_dir, folder in connection.execute(sa.text(self.users))
        }

    def why_refused(self) -> str:
        """See `Viewer`."""
        if self.scheme in SCHEMES:
            return ""
        return f"FRACTAL_DATA_AUTH_SCHEME is {self.scheme!r}, which is none of {', '.join(SCHEMES)}"

    def why_lost(self, before: Mapping[str, Iterable[str]]) -> str:
        """See `Viewer`."""
        if self.scheme == "none" and any(before.values()):
            return (
                "The scheme is 'none' now: FRACTAL_VIEWER_AUTHORIZATION_SCHEME has to be called "
                "FRACTAL_DATA_AUTH_SCHEME in .fractal_server.env"
            )
        if self.scheme == "users-folders":
            return "2.16 named the user's folder after slurm_user, 2.17 after the profile's username"
        return ""


def from_user_settings(installation: Installation, later: bool) -> SchemeViewer:
    """Return the viewer up to 2.17.0; ``later``: with what the copy of its environment file says."""
    scheme = (_scheme_of_copy(installation) if later else None) or Scheme.of(installation.variables())
    return SchemeViewer(scheme, _USERS_BEFORE, _NEEDED_BEFORE)


def from_profiles(installation: Installation, later: bool) -> SchemeViewer:
    """Return the viewer from 2.17.0 on."""
    return SchemeViewer(Scheme.of(installation.variables()), _USERS_SINCE, _NEEDED_SINCE)


def allowed_paths(scheme: Scheme, project_dir: str | None, folder: str | None, groups: Iterable[str]) -> list[str]:
    """Return the folders that one user may see; ``folder`` is the name of the user's own one below the base folder."""
    if scheme.name == "none":
        return []
    paths = {project_dir} if project_dir and project_dir != PROJECT_DIR else set()
    if scheme.name == "users-folders" and folder and scheme.base_folder:
        paths.add(os.path.join(scheme.base_folder, folder))
    if scheme.name == "viewer-paths":
        paths.update(groups)
    return sorted(paths)


def _scheme_of_copy(installation: Installation) -> Scheme | None:
    """Return the scheme of the environment file as it was in 2.16, if its copy is still there."""
    try:
        values = read_env_file(installation.env_file + ".old", installation.process_environment)
    except FractalError:
        return None
    return Scheme.of({name: value for name, value in values.items() if name.startswith("FRACTAL_VIEWER_")})


def _has_column(connection: sa.Connection, table: str, column: str) -> bool:
    found = sa.inspect(connection)
    return found.has_table(table) and any(one["name"] == column for one in found.get_columns(table))
