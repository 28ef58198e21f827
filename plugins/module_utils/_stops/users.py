# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""All checks of users, those of the stops among them, and how users are settled before the stop that needs it."""

from __future__ import annotations

from typing import Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._database.database import Installation
from ansible_collections.fractal_ops.platform.plugins.module_utils._precheck import user_report
from ansible_collections.fractal_ops.platform.plugins.module_utils._precheck.users import MakeMore
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.r2_17_0.settle_users import (
    FLAGS,
    SETTINGS,
    settle_users,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.r2_17_0.user_losses import (
    LossesOfTheUnmigrated,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.r2_17_0.user_settings import (
    SettingsOfTheUnmigrated,
)

__all__ = ["FLAGS", "SETTINGS", "USER_CHECKS", "precheck_users", "settle_users"]

USER_CHECKS: tuple[MakeMore, ...] = (SettingsOfTheUnmigrated, LossesOfTheUnmigrated)


def precheck_users(installation: Installation, backend: str | None, oauth_client: str | None) -> dict[str, Any]:
    """Return the result of ``fractal_user_precheck``.

    Raises:
        FractalError: The database cannot be read, or the backend is not known.
    """
    return user_report.precheck_users(installation, backend, oauth_client, USER_CHECKS)
