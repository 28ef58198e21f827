# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""A data migration: ``fractalctl update-db-data`` under guard, judged by the rows alone.

The program exits 0 when it did nothing, and no release promises that it can be run twice. So it runs once: what a
killed run has left is taken back first, in one transaction, and only while that is all that was written since.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.accounts import Account
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.database import (
    DatabaseSettings,
    Installation,
    connect,
    installation_settings,
    who_holds_locks,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.state import wait_until_alone
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.fractalctl import run_fractalctl
from ansible_collections.fractal_ops.platform.plugins.module_utils._releases.data_migration import DataMigration
from ansible_collections.fractal_ops.platform.plugins.module_utils._releases.path import (
    release,
    release_at_head,
    version_key,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._releases.release import Release
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.data_migrations import (
    DATA_MIGRATIONS,
    why_not_implemented,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._upgrade.state import state_of
from ansible_collections.fractal_ops.platform.plugins.module_utils._venv.interpreter import installed_version


def migrate_data(
    installation: Installation,
    python: str,
    version: str,
    check_mode: bool = False,
) -> dict[str, Any]:
    """Migrate the data for the release ``version`` exactly once; a finished migration is left alone.

    Args:
        installation: Whose environment files and database.
        python: Interpreter that runs fractal-server.
        version: A release with a data migration.
        check_mode: Only say whether it would run.

    Returns:
        ``changed``, ``state_before``, ``healed`` (whether a killed run's rows were taken back), ``proof`` (answers from
        the rows) and ``evidence`` (the program's output, secrets masked).

    Raises:
        FractalError: It is refused, or the rows afterwards do not prove that everything was migrated.
    """
    settings = installation_settings(installation)
    before = state_of(settings)
    reason = why_not_implemented([release(version)])
    if reason:
        raise FractalError(reason)
    stop = DATA_MIGRATIONS[version]
    is_open = before["data_migration"] in ("pending", "partial")
    if is_open and before["other_sessions"] and not check_mode:
        wait_until_alone(settings)
        before = state_of(settings)
    result = {"state_before": before["data_migration"], "healed": False, "proof": before["migrated"], "evidence": None}
    if _is_over(before, version):
        return {"changed": False, **result}
    reason = why_refused(before, version, installed_version(python, Account.named(installation.run_as)), python)
    reason = reason or stop.why_refused(installation.env_file, installation.variables())
    if reason:
        raise FractalError(reason)
    if check_mode:
        with connect(settings, read_only=True) as connection:
            return {"changed": True, **result, "healed": stop.has_rows_to_take_back(connection)}
    healed = take_back_partial(settings, stop)
    evidence = run_fractalctl(installation, python, "update-db-data", stop.answers)
    after = state_of(settings)
    if after["data_migration"] != "done":
        raise FractalError(
            f"fractalctl update-db-data ended with {evidence.returncode}, and the rows of the {settings.where} do not "
            f"prove the migration: {after['left']}. Mend what its last words name, then run the upgrade again, or "
            f"run the rollback playbook.{who_holds_locks(settings)}\n{evidence.tail()}"
        )
    return {"changed": True, **result, "healed": healed, "proof": after["migrated"], "evidence": evidence.as_dict()}


def _is_over(database: Mapping[str, Any], version: str) -> bool:
    """Return whether the data migration is done, or the schema already that of a later release."""
    at = release_of(database["revision"])
    if at.alembic_head != release(version).alembic_head:
        return version_key(at.version) > version_key(version)
    return bool(database["data_migration"] == "done")


def release_of(revision: str | None) -> Release:
    """Return the release at whose schema a database stands.

    Raises:
        FractalError: It belongs to none.
    """
    at = release_at_head(revision)
    if at is None:
        raise FractalError(f"The database is at revision {revision}, which belongs to no release known here.")
    return at


def why_refused(database: Mapping[str, Any], version: str, installed: str, python: str) -> str:
    """Return why the data migration of ``version`` cannot run on this database, or an empty text."""
    at = release_of(database["revision"])
    if at.alembic_head != release(version).alembic_head:
        return (
            f"The schema is still that of {at.version}; 'fractalctl set-db' of {version} comes before the data "
            "migration."
        )
    if installed != version:
        return (
            f"The data migration belongs to {version}, but fractal-server {installed} is installed in the environment "
            f"of {python} and would do nothing. Install {version} there and run again."
        )
    return ""


def take_back_partial(settings: DatabaseSettings, stop: DataMigration) -> bool:
    """Take back, in one transaction, the rows of a run that was killed; return whether there were any.

    Raises:
        FractalError: The rows show that something else has written since, so that taking back could lose work.
    """
    with connect(settings) as connection, connection.begin():
        stop.lock(connection)
        any_rows = stop.has_rows_to_take_back(connection)
        stop.take_back(connection)
    return any_rows
