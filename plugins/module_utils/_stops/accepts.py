# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""What each release accepts as resource, profile and user, and what its viewer shows: picked by the database's schema.

A row is for its release and all later ones up to the next row. Every stop has one in each table, also if it is that of
the stop before.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Callable, TypeVar

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.database import Installation
from ansible_collections.fractal_ops.platform.plugins.module_utils._releases.path import (
    release_at_head,
    stops_between,
    version_key,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.acceptance import Accepts, Paths, Viewer
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.r2_17_0 import accepts as r2_17_0
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.r2_17_0 import viewer as r2_17_0_viewer
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.r2_18_0 import accepts as r2_18_0
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.r2_18_0 import viewer as r2_18_0_viewer

if TYPE_CHECKING:
    from sqlalchemy import Connection

MakeViewer = Callable[[Installation, bool], Viewer]
"""From an installation, and whether a later release is installed, so that the environment file is not its own."""

_Row = TypeVar("_Row")

ACCEPTS: dict[str, Accepts] = {
    "2.17.0": r2_17_0.ACCEPTS,
    "2.18.0": r2_18_0.ACCEPTS,
    "2.23.0": replace(r2_18_0.ACCEPTS, release="2.23.0"),
}

VIEWERS: dict[str, MakeViewer] = {
    "2.16.0": r2_17_0_viewer.from_user_settings,
    "2.17.0": r2_17_0_viewer.from_profiles,
    "2.18.0": r2_18_0_viewer.from_projects,
    "2.23.0": r2_18_0_viewer.from_projects,
}


def accepts_of(revision: str | None) -> Accepts:
    """Return what the release accepts whose schema ends at an alembic revision.

    Raises:
        FractalError: No release is known by that schema, it has no resources yet, or what it accepts is not known.
    """
    found = _row(ACCEPTS, revision)
    if found is None:
        first = next(iter(ACCEPTS))
        raise FractalError(
            f"The database is at alembic revision {revision}, whose schema knows no resources and profiles. They "
            f"appear with the upgrade to {first}: run the upgrade first."
        )
    return found


def knows_resources(revision: str | None) -> bool:
    """Return whether the schema at a revision has resources, profiles and so on.

    Raises:
        FractalError: As `accepts_of`, but for a schema that is older than resources.
    """
    return _row(ACCEPTS, revision) is not None


def viewer_of(revision: str | None, installation: Installation) -> Viewer:
    """Return what the viewer of an instance shows, by the rules of the release of its schema.

    Raises:
        FractalError: No release is known by that schema, or nobody has told its rules.
    """
    make = _row(VIEWERS, revision)
    if make is None:
        raise FractalError(f"Nothing is known of the viewer at alembic revision {revision}.")
    return make(installation, False)


def paths_before(connection: Connection, revision: str | None, installation: Installation) -> Paths | None:
    """Return what the viewer showed by the rules of the release before, or None if the database does not tell any more.

    At a schema that has no release with other rules before it, these are the present rules.
    """
    makers = list(VIEWERS.values())
    number = makers.index(_row(VIEWERS, revision) or makers[0])
    make = makers[max(number - 1, 0)]
    return make(installation, number > 0).paths(connection)


def _row(table: dict[str, _Row], revision: str | None) -> _Row | None:
    """Return the last row that is not newer than the schema, or None if all are."""
    at = release_at_head(revision)
    if at is None:
        raise FractalError(f"The database is at alembic revision {revision}, which this collection does not know.")
    reached = [release for release in table if version_key(release) <= version_key(at.version)]
    if not reached:
        return None
    unknown = stops_between(reached[-1], at.version)
    if unknown:
        raise FractalError(
            f"The database has the schema of fractal-server {at.version}. What {unknown[0].version} accepts as "
            "resource and user, and what its viewer shows, is not known to this collection yet. Use a newer one."
        )
    return table[reached[-1]]
