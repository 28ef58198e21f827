# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""What fractal-server accepts as resource, profile and user from 2.17.0 on, which is the first that has them."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.acceptance import Accepts, Row, given
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.r2_17_0.models import (
    PROFILES,
    RESOURCES,
    UserUpdate,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.r2_17_0.placeholders import (
    PROFILE_NAME,
    PROJECT_DIR,
    RESOURCE_NAME,
)

# What the data migration stores when FRACTAL_SLURM_POLL_INTERVAL is unset; 2.16 itself used 5
# (fractal-server 2.17.0, data_migrations/2_17_0.py; 2.16.6, config.py)
MIGRATION_POLL_INTERVAL = 15

USER_OPTIONS = ("is_active", "is_verified", "project_dir", "slurm_accounts")


def changed_user(option: Row, present: Row) -> dict[str, Any]:
    """See `Accepts`. Every option is a column."""
    return given(option, USER_OPTIONS)


def project_folders(user: Row) -> list[str]:
    """See `Accepts`."""
    return [user["project_dir"]] if user["project_dir"] not in (None, "", PROJECT_DIR) else []


def handed_on(resource: Row, told: Mapping[str, Any]) -> dict[str, Any]:
    """See `Accepts`. Nothing that an administrator has set since is touched.

    Args:
        resource: The columns of the resource that the data migration has made.
        told: ``tasks_python`` (interpreters by version), ``default_version`` (of these), ``poll_interval`` (seconds),
            ``stand_ins`` (interpreters by version that only the data migration was to have).
    """
    python = deepcopy(resource["tasks_python_config"])
    versions = python.setdefault("versions", {})
    missing = {v: path for v, path in (told.get("tasks_python") or {}).items() if v not in versions}
    versions.update(missing)
    if told.get("default_version") in missing:
        python["default_version"] = told["default_version"]
    for version, path in (told.get("stand_ins") or {}).items():
        if versions.get(version) == path and python.get("default_version") != version:
            del versions[version]
    changed = {"tasks_python_config": python}
    if told.get("poll_interval") is not None and resource["jobs_poll_interval"] == MIGRATION_POLL_INTERVAL:
        changed["jobs_poll_interval"] = int(told["poll_interval"])
    return changed


ACCEPTS = Accepts(
    release="2.17.0",
    resources=RESOURCES,
    profiles=PROFILES,
    user=UserUpdate,
    resource_fields=(
        "type name host jobs_local_dir jobs_runner_config jobs_slurm_python_worker jobs_poll_interval tasks_local_dir "
        "tasks_python_config tasks_pixi_config"
    ).split(),
    profile_fields="name resource_id resource_type username ssh_key_path jobs_remote_dir tasks_remote_dir".split(),
    user_fields="email is_active is_verified is_superuser profile_id project_dir slurm_accounts".split(),
    changed_user=changed_user,
    project_folders=project_folders,
    projects=(
        "SELECT l.user_id, p.resource_id, count(*) "
        "FROM linkuserprojectv2 l JOIN projectv2 p ON p.id = l.project_id "
        "WHERE p.resource_id IS NOT NULL GROUP BY 1, 2"
    ),
    task_groups="SELECT user_id, resource_id, count(*) FROM taskgroupv2 WHERE resource_id IS NOT NULL GROUP BY 1, 2",
    resource_placeholder=RESOURCE_NAME,
    profile_placeholder=PROFILE_NAME,
    handed_on=handed_on,
)
