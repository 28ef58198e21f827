# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""From an installation to the findings about its users, in one connection."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.database import (
    Installation,
    connect,
    installation_settings,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._precheck.user_rows import (
    has_resource,
    read_schema,
    read_ssh_hosts,
    read_users,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._precheck.users import (
    MakeMore,
    UserReport,
    check_users,
    user_context,
)

if TYPE_CHECKING:
    from sqlalchemy import Connection


def check(
    connection: Connection,
    values: Mapping[str, str],
    backend: str | None,
    oauth_client: str | None,
    also: Iterable[MakeMore] = (),
) -> UserReport:
    """Return all findings about the users of one database."""
    schema = read_schema(connection)
    context = user_context(
        values,
        backend=backend,
        oauth_client=oauth_client,
        has_settings=schema.has_settings,
        migrated=schema.has_profile and has_resource(connection),
        ssh_hosts=read_ssh_hosts(connection) if schema.has_settings else {},
    )
    with read_users(connection, schema) as rows:
        return check_users(rows, context, also)


def precheck_users(
    installation: Installation, backend: str | None, oauth_client: str | None, also: Iterable[MakeMore] = ()
) -> dict[str, Any]:
    """Return the result of ``fractal_user_precheck``, with the further checks ``also``.

    Raises:
        FractalError: The database cannot be read, or the backend is not known.
    """
    values = installation.variables()
    if not (values or backend):
        raise FractalError("With dbname alone the runner backend is not known; name it in the option backend.")
    with connect(installation_settings(installation), read_only=True) as connection:
        report = check(connection, values, backend, oauth_client, also)
    return {
        "findings": [finding.as_dict() for finding in report.findings],
        "access": report.access(),
        "backend": report.backend,
    }
