# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""What the checks of one server work with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.folders import LocalFolders, RemoteFolders
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.http_client import Api
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.discovery import ServerInstance
from ansible_collections.fractal_ops.platform.plugins.module_utils._releases.api import ReleaseApi, api_of


@dataclass
class Session:
    """What the checks work with: the instance, its settings with their values, its API, and the account after log-in.

    ``reviewed`` is what the database tells of resources and profiles, as ``fractal_resource_profile`` returns it.
    ``profile`` tells the user name of the account's jobs, ``folder`` is its project folder; both after log-in.
    """

    instance: ServerInstance
    variables: Mapping[str, str] = field(repr=False)
    api: Api
    validate_certs: bool = True
    reviewed: Mapping[str, Any] = field(default_factory=dict)
    me: dict[str, Any] = field(default_factory=dict)
    profile: dict[str, Any] = field(default_factory=dict)
    folder: str = ""

    @property
    def release(self) -> ReleaseApi:
        """What the installed release is like; it decides what there is to check."""
        return api_of(self.instance.version)

    @property
    def account(self) -> str:
        """E-mail address of the account."""
        return str(self.me.get("email", ""))

    def user_folders(self) -> LocalFolders | RemoteFolders:
        """Return the way to the folders of the account's jobs.

        Raises:
            FractalError: They are on a cluster, and the database did not tell the way to it.
        """
        username = str(self.profile.get("username") or self.instance.user)
        if self.variables.get("FRACTAL_RUNNER_BACKEND") != "slurm_ssh":
            return LocalFolders(username)
        shown = self.reviewed.get("review") or {"profiles": [], "resources": []}
        profile = next((p for p in shown["profiles"] if p["name"] == self.profile.get("profile_name")), None)
        resource = next((r for r in shown["resources"] if profile and r["id"] == profile["resource_id"]), None)
        if not profile or not resource:
            raise FractalError("they are on the cluster, and the database does not tell the way to it")
        return RemoteFolders(
            resource["host"], username, profile["ssh_key_path"], self.instance.user, self.instance.python
        )
