# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""The folders that the viewer may show to each user, before the upgrade and after it.

Source: the two releases' ``app/routes/auth/current_user.py``, ``allowed-viewer-paths``. 2.16 takes the folders from the
user's settings (``slurm_user`` for ``users-folders``, whatever the backend) and answers every active user; 2.17 takes
them from the user and the profile's ``username``, and answers verified users only.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.verification import Check, CheckRule
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.r2_17_0.models import PLACEHOLDER_PROJECT_DIR

if TYPE_CHECKING:
    import sqlalchemy as sa
else:
    try:
        import sqlalchemy as sa
    except ImportError:
        sa = None

SCHEMES = ("none", "viewer-paths", "users-folders")
Paths = dict[str, list[str]]  # by e-mail

_USERS_2_16 = (
    "SELECT u.id, u.email, s.project_dir, s.slurm_user AS folder FROM user_oauth u "
    "JOIN user_settings s ON s.id = u.user_settings_id WHERE u.is_active AND u.is_verified"
)
_USERS_2_17 = (
    "SELECT u.id, u.email, u.project_dir, p.username AS folder FROM user_oauth u "
    "LEFT JOIN profile p ON p.id = u.profile_id WHERE u.is_active AND u.is_verified"
)
_GROUP_PATHS = "SELECT l.user_id, g.viewer_paths FROM linkusergroup l JOIN usergroup g ON g.id = l.group_id"


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


def allowed_paths(scheme: Scheme, project_dir: str | None, folder: str | None, groups: Iterable[str]) -> list[str]:
    """Return the folders that one user may see; ``folder`` is the name of the user's own one below the base folder."""
    if scheme.name == "none":
        return []
    paths = {project_dir} if project_dir and project_dir != PLACEHOLDER_PROJECT_DIR else set()
    if scheme.name == "users-folders" and folder and scheme.base_folder:
        paths.add(os.path.join(scheme.base_folder, folder))
    if scheme.name == "viewer-paths":
        paths.update(groups)
    return sorted(paths)


def read_paths(connection: sa.Connection, scheme: Scheme, generation: str) -> Paths:
    """Return the folders of every active and verified user, by the rules of ``generation`` (``2.16`` or ``2.17``).

    At the revision of 2.17.0 both can be told, because the settings of 2.16 are still there.
    """
    groups: dict[int, set[str]] = {}
    for user_id, paths in connection.execute(sa.text(_GROUP_PATHS)):
        groups.setdefault(user_id, set()).update(paths)
    rows = connection.execute(sa.text(_USERS_2_16 if generation == "2.16" else _USERS_2_17))
    return {
        email: allowed_paths(scheme, project_dir, folder, groups.get(user_id, ()))
        for user_id, email, project_dir, folder in rows
    }


def has_old_settings(connection: sa.Connection) -> bool:
    """Return whether the settings of 2.16 are still in the database; 2.17.1 drops them."""
    return bool(sa.inspect(connection).has_table("user_settings"))


def compare(before: Mapping[str, Iterable[str]], after: Mapping[str, Iterable[str]]) -> list[str]:
    """Return, user by user, the folders seen before the upgrade and not any more; spelling does not count."""
    lost = []
    for email, paths in sorted(before.items()):
        now = {os.path.normpath(path) for path in after.get(email, ())}
        gone = [path for path in paths if not now & _with_parents(os.path.normpath(path))]
        if gone:
            lost.append(f"{email} no longer sees {', '.join(sorted(gone))}")
    return lost


def viewer_access(
    rule: CheckRule, scheme: Scheme, before: Mapping[str, Iterable[str]] | None, after: Mapping[str, Iterable[str]]
) -> Check:
    """Return the check that nobody lost a folder in the viewer."""
    if before is None:
        return rule.skipped(
            "viewer",
            "nothing is known about the folders before the upgrade: the settings of 2.16 are gone from the database",
            "Compare with the restored backup if in doubt.",
        )
    if scheme.name not in SCHEMES:
        return rule.failed("FRACTAL_DATA_AUTH_SCHEME", f"{scheme.name!r} is none of {', '.join(SCHEMES)}")
    lost = compare(before, after)
    if lost:
        return rule.failed(f"scheme {scheme.name}", "; ".join(lost) + _explanation(scheme, before))
    return rule.passed(f"scheme {scheme.name}", f"{len(before)} users compared, nobody lost a folder")


def _explanation(scheme: Scheme, before: Mapping[str, Iterable[str]]) -> str:
    if scheme.name == "none" and any(before.values()):
        return (
            ". The scheme is 'none' now: FRACTAL_VIEWER_AUTHORIZATION_SCHEME has to be called "
            "FRACTAL_DATA_AUTH_SCHEME in .fractal_server.env"
        )
    if scheme.name == "users-folders":
        return ". 2.16 named the user's folder after slurm_user, 2.17 after the profile's username"
    return ""


def _with_parents(path: str) -> set[str]:
    found = {path}
    while path not in ("/", ""):
        path = os.path.dirname(path)
        found.add(path)
    return found
