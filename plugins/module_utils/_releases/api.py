# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""What of a release's API and settings a verification has to know, as data. A release that differs is a new row.

Sources: each tag's ``app/routes/api/__init__.py`` (settings pages), ``app/routes/auth/current_user.py`` (pages of the
account), ``app/schemas/v2/dataset.py``, ``app/routes/api/v2/workflowtask.py``, and ``config``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._releases.path import version_key


@dataclass(frozen=True)
class ReleaseApi:
    """The API of a release, and of those after it until the next row.

    Attributes:
        release: The first release that it is true of.
        settings_pages: Pages that show an administrator the settings.
        folder_page: Page of the account that tells its project folder.
        folder_field: Where on that page; a text, or a list of texts of which the first one is taken.
        dataset: What a new dataset is told of its folder; ``{folder}`` is the project folder, ``{name}`` its own name
            below that.
        viewer_scheme: Variable with the scheme of the viewer's folders; empty if there are no schemes.
        profile_page: Page of the account that tells its profile; empty if the release knows no profiles.
        usernames: Without profiles: where on ``folder_page`` the name is that jobs run as, by runner backend.
        encrypts_mail_password: Whether the password of the mail server is encrypted in the environment file.
        takes_lists_of_tasks: Whether a workflow gets its tasks as a list in the body, not one by one in the address.
        has_many_oauth_clients: Whether each OAuth client has variables of its own, so that there may be several.
    """

    release: str
    settings_pages: tuple[str, ...]
    folder_page: str
    folder_field: str
    dataset: Mapping[str, str]
    viewer_scheme: str = ""
    profile_page: str = ""
    usernames: Mapping[str, str] = field(default_factory=dict)
    takes_lists_of_tasks: bool = False
    encrypts_mail_password: bool = False
    has_many_oauth_clients: bool = False


_BEFORE_LISTS = (
    ReleaseApi(
        "2.16.0",
        settings_pages=("/api/settings/",),
        folder_page="/auth/current-user/settings/",
        folder_field="project_dir",
        dataset={"zarr_dir": "{folder}/{name}"},
        viewer_scheme="FRACTAL_VIEWER_AUTHORIZATION_SCHEME",
        usernames={"slurm": "slurm_user", "slurm_ssh": "ssh_username"},
        encrypts_mail_password=True,
        has_many_oauth_clients=True,
    ),
    ReleaseApi(
        "2.17.0",
        settings_pages=tuple(f"/api/settings/{page}/" for page in ("app", "database", "email", "data", "oauth")),
        folder_page="/auth/current-user/",
        folder_field="project_dir",
        dataset={"zarr_dir": "{folder}/{name}"},
        viewer_scheme="FRACTAL_DATA_AUTH_SCHEME",
        profile_page="/auth/current-user/profile-info/",
    ),
    ReleaseApi(
        "2.18.0",
        settings_pages=tuple(f"/api/settings/{page}/" for page in ("app", "database", "email", "oauth")),
        folder_page="/auth/current-user/",
        folder_field="project_dirs",
        dataset={"project_dir": "{folder}", "zarr_subfolder": "{name}"},
        profile_page="/auth/current-user/profile-info/",
    ),
)


APIS = (*_BEFORE_LISTS, replace(_BEFORE_LISTS[-1], release="2.21.0", takes_lists_of_tasks=True))


def api_of(version: str | None) -> ReleaseApi:
    """Return the API of a release; of a version that cannot be read, the newest that is known."""
    try:
        wanted = version_key(version or "")
    except FractalError:
        return APIS[-1]
    reached = [api for api in APIS if version_key(api.release) <= wanted]
    return reached[-1] if reached else APIS[0]
