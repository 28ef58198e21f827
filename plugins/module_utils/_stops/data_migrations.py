# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""The data migrations of all stops. A release with a data migration and none is refused by plan, precheck and hop."""

from __future__ import annotations

from collections.abc import Iterable

from ansible_collections.fractal_ops.platform.plugins.module_utils._releases.data_migration import DataMigration
from ansible_collections.fractal_ops.platform.plugins.module_utils._releases.release import Release
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.r2_17_0.data import ResourceAndProfiles
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.r2_18_0.data import ProjectDirectories
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.r2_23_0.data import Versions

_ALL: tuple[DataMigration, ...] = (ResourceAndProfiles(), ProjectDirectories(), Versions())
DATA_MIGRATIONS = {one.release: one for one in _ALL}


def why_not_implemented(way: Iterable[Release]) -> str:
    """Return why the releases of ``way`` cannot be gone through, or an empty text."""
    unknown = [known.version for known in way if known.is_stop and known.version not in DATA_MIGRATIONS]
    if not unknown:
        return ""
    return (
        f"fractal-server {unknown[0]} has a data migration that this collection does not implement yet, and skipping "
        f"it loses data. Set fractal_target_version to a release before {unknown[0]}."
    )
