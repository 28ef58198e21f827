# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""What fractal-server accepts as resource, profile and user from 2.18.0 on: a user has a list of project folders."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.acceptance import Row, given
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.r2_17_0.accepts import ACCEPTS as BEFORE
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.r2_17_0.placeholders import PROJECT_DIR
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.r2_18_0.models import (
    PROFILES,
    RESOURCES,
    UserUpdate,
)


def changed_user(option: Row, present: Row) -> dict[str, Any]:
    """See `Accepts`. The folder that is declared comes first, as new datasets go there; the user keeps the others."""
    changed = given(option, ("is_active", "is_verified", "slurm_accounts"))
    folder = option.get("project_dir")
    if folder is not None:
        others = [one for one in present["project_dirs"] if one not in (folder, PROJECT_DIR)]
        changed["project_dirs"] = [folder, *others]
    return changed


def project_folders(user: Row) -> list[str]:
    """See `Accepts`."""
    return [one for one in user["project_dirs"] if one != PROJECT_DIR]


ACCEPTS = replace(
    BEFORE,
    release="2.18.0",
    resources=RESOURCES,
    profiles=PROFILES,
    user=UserUpdate,
    user_fields="email is_active is_verified is_superuser profile_id project_dirs slurm_accounts".split(),
    changed_user=changed_user,
    project_folders=project_folders,
)
