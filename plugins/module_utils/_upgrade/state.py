# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""The state of a database, with all data migrations that are known."""

from __future__ import annotations

from typing import Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._database.database import (
    DatabaseSettings,
    Installation,
    connect,
    installation_settings,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.state import database_state
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.data_migrations import DATA_MIGRATIONS


def read_state(installation: Installation) -> dict[str, Any]:
    """Return the state of an installation's database; see `database_state`.

    Raises:
        FractalError: It cannot be reached.
    """
    return state_of(installation_settings(installation))


def state_of(settings: DatabaseSettings) -> dict[str, Any]:
    """Return the state of a database; see `database_state`.

    Raises:
        FractalError: It cannot be reached.
    """
    with connect(settings, read_only=True) as connection:
        return database_state(connection, DATA_MIGRATIONS)
