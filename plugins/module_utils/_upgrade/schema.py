# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""The schema migration: ``fractalctl set-db``, judged by the alembic revision alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.database import (
    HEAD_2_16,
    HEAD_2_17_0,
    DatabaseSettings,
    Installation,
    connect,
    database_state,
    installation_settings,
    revision_of,
    wait_until_alone,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.fractalctl import (
    installed_version,
    run_fractalctl,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._releases.path import (
    Release,
    release,
    release_at_head,
    version_key,
)


def migrate_schema(installation: Installation, python: str, version: str, check_mode: bool = False) -> dict[str, Any]:
    """Bring the schema to the head of the release ``version``; nothing happens when it is there.

    Returns ``changed``, ``revision_before``, ``revision`` and ``evidence`` (the program's output, secrets masked).

    Raises:
        FractalError: The step is refused, or the revision afterwards is not the release's head.
    """
    wanted = release(version)
    settings = installation_settings(installation)
    before = _state(settings)
    if before["revision"] != wanted.alembic_head and before["other_sessions"] and not check_mode:
        wait_until_alone(settings)
        before = _state(settings)
    result = {"revision_before": before["revision"], "revision": wanted.alembic_head, "evidence": None}
    if before["revision"] == wanted.alembic_head:
        return {"changed": False, **result}
    installed = installed_version(python)
    reason = why_refused(before, wanted, installed, python)
    if reason:
        raise FractalError(reason)
    if check_mode:
        return {"changed": True, **result}
    evidence = run_fractalctl(installation, python, "set-db")
    with connect(settings, read_only=True) as connection:
        revision = revision_of(connection)
    if revision != wanted.alembic_head:
        raise FractalError(
            f"fractalctl set-db of {version} ended with {evidence.returncode} and left the {settings.where} at "
            f"revision {revision}; {wanted.alembic_head} was expected. PostgreSQL takes all of it or nothing, so "
            f"running the upgrade again continues from there. Its last words:\n{evidence.tail()}"
        )
    return {"changed": True, **result, "evidence": evidence.as_dict()}


def _state(settings: DatabaseSettings) -> dict[str, Any]:
    with connect(settings, read_only=True) as connection:
        return database_state(connection, counts=False)


def why_refused(database: Mapping[str, Any], wanted: Release, installed: str, python: str) -> str:
    """Return why the schema must not be migrated to ``wanted``, or an empty text.

    The table with the users' old settings goes with the schema of 2.17.1 (49d0856e9569), so the rows have to prove that
    2.17.0's data migration is complete. Its own guard, NOT NULL on projects and task groups, says nothing about users.
    """
    if installed != wanted.version:
        return (
            f"fractal-server {installed} is installed in the environment of {python}, but the schema of "
            f"{wanted.version} is wanted. Each release migrates to its own schema; install that release first."
        )
    at = release_at_head(database["revision"])
    if at is None:
        return (
            f"The database is at revision {database['revision']}, which belongs to no release that this collection "
            "knows. Check POSTGRES_DB, or bring the instance to 2.16.6 first."
        )
    if version_key(at.version) > version_key(wanted.version):
        return (
            f"The database is already at the schema of {at.version}, newer than {wanted.version}. A schema never goes "
            "back; the rollback playbook restores the backup."
        )
    if version_key(wanted.version) > (2, 17, 0):
        if database["revision"] == HEAD_2_16:
            return f"The schema of {wanted.version} drops the old settings: 2.17.0 and its data migration come first."
        if database["revision"] == HEAD_2_17_0 and database["data_migration"] != "done":
            left = ", ".join(database["migrated"]["users_left"]) or "none"
            return (
                f"The schema of {wanted.version} drops the users' old settings, but the data migration of 2.17.0 is "
                f"{database['data_migration']}. Run the upgrade to 2.17.0 again first. Users without a profile: {left}."
            )
    return ""
