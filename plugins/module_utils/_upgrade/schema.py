# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""The schema migration: ``fractalctl set-db``, judged by the alembic revision alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.accounts import Account
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.database import (
    Installation,
    connect,
    installation_settings,
    who_holds_locks,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.state import revision_of, wait_until_alone
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.fractalctl import run_fractalctl
from ansible_collections.fractal_ops.platform.plugins.module_utils._releases.path import (
    release,
    release_at_head,
    schema_in_words,
    stops_between,
    version_key,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._releases.release import Release
from ansible_collections.fractal_ops.platform.plugins.module_utils._upgrade.state import state_of
from ansible_collections.fractal_ops.platform.plugins.module_utils._venv.interpreter import installed_version


def migrate_schema(installation: Installation, python: str, version: str, check_mode: bool = False) -> dict[str, Any]:
    """Bring the schema to the head of the release ``version``; nothing happens when it is there.

    Returns ``changed``, ``revision_before``, ``revision`` and ``evidence`` (the program's output, secrets masked).

    Raises:
        FractalError: The step is refused, or the revision afterwards is not the release's head.
    """
    wanted = release(version)
    settings = installation_settings(installation)
    before = state_of(settings)
    if before["revision"] != wanted.alembic_head and before["other_sessions"] and not check_mode:
        wait_until_alone(settings)
        before = state_of(settings)
    result = {"revision_before": before["revision"], "revision": wanted.alembic_head, "evidence": None}
    if before["revision"] == wanted.alembic_head:
        return {"changed": False, **result}
    installed = installed_version(python, Account.named(installation.run_as))
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
            f"running the upgrade again continues from there.{who_holds_locks(settings)} Its last words:\n"
            f"{evidence.tail()}"
        )
    return {"changed": True, **result, "evidence": evidence.as_dict()}


def why_refused(database: Mapping[str, Any], wanted: Release, installed: str, python: str) -> str:
    """Return why the schema must not be migrated to ``wanted``, or an empty text.

    A later schema may drop what a data migration reads, and Fractal's own guards (NOT NULL on some columns) say little.
    So the rows have to prove each data migration on the way before the schema goes past it.
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
            "knows. Check POSTGRES_DB, or bring the instance to one of them first."
        )
    if version_key(at.version) > version_key(wanted.version):
        return (
            f"The database is already at the schema of {schema_in_words(at.alembic_head)}, newer than "
            f"{wanted.version}. A schema never goes back; the rollback playbook restores the backup."
        )
    return _why_data_comes_first(database, at, wanted)


def _why_data_comes_first(database: Mapping[str, Any], at: Release, wanted: Release) -> str:
    """Return which data migration the rows do not prove, or an empty text."""
    for one in database["skipped"]:
        return (
            f"The data migration of {one['release']} was skipped: the users {', '.join(one['users'])} lack what it "
            f"gives them. {one['fix']}"
        )
    skipped = [stop for stop in stops_between(at.version, wanted.version) if stop is not wanted]
    if skipped:
        return (
            f"The schema of {wanted.version} may drop what the data migration of {skipped[0].version} reads, which has "
            f"not run: {skipped[0].version} comes first."
        )
    stop = database["stop"]
    if database["data_migration"] in ("pending", "partial") and stop != wanted.version:
        return (
            f"The schema of {wanted.version} may drop what the data migration of {stop} reads, and that is "
            f"{database['data_migration']}: {database['left']}. Run the upgrade to {stop} again first."
        )
    return ""
