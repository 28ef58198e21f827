# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""All databases of ours beside an instance's own: which there are, and dropping some of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._database.database import (
    DatabaseSettings,
    DBAPIError,
    Installation,
    connect,
    installation_settings,
    reason_of,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.scratch import (
    FAILED,
    FROZEN,
    LEFT_OVER,
    drop_all,
    half_made,
    left_over,
    runs_of,
    unmarked_databases,
)

if TYPE_CHECKING:
    from sqlalchemy import Connection

UNFINISHED = "unfinished"
"""The kind of a copy whose backup was never finished."""

_SIZES = "SELECT datname, pg_database_size(oid) FROM pg_database WHERE datname = ANY(%s)"


def list_ours(installation: Installation, unfinished: list[str]) -> dict[str, Any]:
    """Return our ``databases`` (``kind``, ``name``, ``run``, ``bytes``), and ``unmarked``, which early versions left.

    ``unfinished`` are the runs whose backup is known not to be finished.
    """
    settings = installation_settings(installation)
    with connect(settings, autocommit=True) as connection:
        found = _ours(connection, settings, unfinished)
        sizes = {row[0]: row[1] for row in connection.exec_driver_sql(_SIZES, (list(found),))}
        databases = [{**one, "bytes": sizes.get(name, 0)} for name, one in sorted(found.items())]
        return {"databases": databases, "unmarked": unmarked_databases(connection, settings.dbname)}


def drop_ours(installation: Installation, names: list[str], unfinished: list[str]) -> dict[str, Any]:
    """Drop those of ``names`` that are ours; return in ``stays``, by name, why one could not be dropped."""
    settings = installation_settings(installation)
    stays = {}
    with connect(settings, autocommit=True) as connection:
        for name in (name for name in _ours(connection, settings, unfinished) if name in names):
            try:
                drop_all(connection, [name])
            except DBAPIError as error:
                stays[name] = reason_of(error, settings)
    return {"stays": stays}


def _ours(connection: Connection, settings: DatabaseSettings, unfinished: list[str]) -> dict[str, dict[str, Any]]:
    """Return our databases by name, in an order in which they can be dropped; only what is kept has a ``run``."""
    found = {
        name: {"kind": kind, "name": name, "run": run}
        for kind in (FROZEN, FAILED)
        for name, run in runs_of(connection, settings.dbname, kind).items()
    }
    for kind in LEFT_OVER:
        for name in left_over(connection, settings.dbname, (kind,)):
            found[name] = {"kind": kind, "name": name, "run": ""}
    for run in unfinished:
        for name in half_made(connection, settings.dbname, run):
            found[name] = {"kind": UNFINISHED, "name": name, "run": run}
    return found
