# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""The folders that the viewer may show to each user from 2.18.0 on.

Source: fractal-server 2.18.0 to 2.26.0, ``app/routes/auth/viewer_paths.py``: the user's project directories, and the
folders of the datasets of own and shared projects. There is no scheme any more, and groups have no folders.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from ansible_collections.fractal_ops.platform.plugins.module_utils._database.quoting import literal
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.acceptance import Paths
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.r2_17_0.placeholders import PROJECT_DIR

if TYPE_CHECKING:
    import sqlalchemy as sa
    from ansible_collections.fractal_ops.platform.plugins.module_utils._database.database import Installation

_PATHS = f"""
SELECT u.email, coalesce(array_agg(DISTINCT f.folder) FILTER (WHERE f.folder <> {literal(PROJECT_DIR)}), '{{}}')
FROM user_oauth u LEFT JOIN (
    SELECT id, unnest(project_dirs) AS folder FROM user_oauth
    UNION
    SELECT l.user_id, d.zarr_dir FROM linkuserprojectv2 l JOIN datasetv2 d ON d.project_id = l.project_id
    WHERE l.is_verified
) AS f ON f.id = u.id
WHERE u.is_active AND u.is_verified GROUP BY u.email
"""


class ProjectFolders:
    """See `Viewer`. What users own and share."""

    scheme = "project directories"
    drops_on_purpose = True

    def paths(self, connection: sa.Connection) -> Paths | None:
        """See `Viewer`."""
        return {str(email): list(folders) for email, folders in connection.exec_driver_sql(_PATHS)}

    def why_refused(self) -> str:
        """See `Viewer`. No setting makes a difference."""
        return ""

    def why_lost(self, before: Mapping[str, Iterable[str]]) -> str:
        """See `Viewer`."""
        return (
            "2.18.0 drops the viewer paths of groups and the base folder, as precheck said. Share projects, or add the "
            "folder to the user's project_dirs"
        )


def from_projects(installation: Installation, later: bool) -> ProjectFolders:
    """Return the viewer from 2.18.0 on."""
    return ProjectFolders()
