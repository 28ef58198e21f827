# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""The data migration of 2.17.0: ``fractalctl update-db-data`` under guard.

The program commits in several steps, has no resume, exits 0 when it did nothing, and makes a second resource when it is
run again after a rename (fractal-server 2.17.0, data_migrations/2_17_0.py). So it is never run twice: rows left by a
killed run are taken back first, in one transaction, and only while they are all that was written since.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.database import (
    HEAD_2_16,
    DatabaseSettings,
    Installation,
    connect,
    database_state,
    installation_settings,
    read_env_file,
    wait_until_alone,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.fractalctl import (
    installed_version,
    run_fractalctl,
)

if TYPE_CHECKING:
    from sqlalchemy import Connection

RELEASE = "2.17.0"
ANSWERS = "yes\n" * 5  # fractal-server 2.17.0, __main__.py, update_db_data()
NEW_BACKEND = {"slurm": "slurm_sudo", "slurm_ssh": "slurm_ssh"}
_RESOURCE_NAME = "Resource Name"  # as 2_17_0.py calls it
_OWN_TABLES = ("resource", "profile", "taskgroupv2", "projectv2", "user_oauth")

_RESET = (
    "UPDATE user_oauth SET profile_id = NULL, project_dir = '/PLACEHOLDER', slurm_accounts = '{}' "
    "WHERE profile_id IS NOT NULL",
    "UPDATE projectv2 SET resource_id = NULL WHERE resource_id IS NOT NULL",
    "UPDATE taskgroupv2 SET resource_id = NULL WHERE resource_id IS NOT NULL",
    "DELETE FROM profile",
    "DELETE FROM resource",
    # the next run gets the ids that an undisturbed one has, also after a kill before the first commit
    "ALTER SEQUENCE resource_id_seq RESTART",
    "ALTER SEQUENCE profile_id_seq RESTART",
)


def migrate_data(
    installation: Installation, python: str, backend: str | None = None, check_mode: bool = False
) -> dict[str, Any]:
    """Migrate the data for 2.17.0 exactly once; a finished migration is left alone.

    Args:
        installation: Whose environment files and database.
        python: Interpreter that runs fractal-server.
        backend: The new ``FRACTAL_RUNNER_BACKEND`` expected; by default what the old environment file leads to.
        check_mode: Only say whether it would run.

    Returns:
        ``changed``, ``state_before``, ``healed`` (whether a killed run's rows were taken back), ``proof`` (counts from
        the rows) and ``evidence`` (the program's output, secrets masked).

    Raises:
        FractalError: It is refused, or the rows afterwards do not prove that everything was migrated.
    """
    settings = installation_settings(installation)
    before = _state(settings)
    if before["data_migration"] in ("pending", "partial") and before["other_sessions"] and not check_mode:
        wait_until_alone(settings)
        before = _state(settings)
    result = {"state_before": before["data_migration"], "healed": False, "proof": before["migrated"], "evidence": None}
    if before["data_migration"] == "done" or _is_newer(before):
        return {"changed": False, **result}
    reason = why_refused(before, installed_version(python), python) or _why_wrong_backend(installation, backend)
    if reason:
        raise FractalError(reason)
    if check_mode:
        with connect(settings, read_only=True) as connection:
            return {"changed": True, **result, "healed": has_rows_to_take_back(connection)}
    healed = take_back_partial(settings)
    evidence = run_fractalctl(installation, python, "update-db-data", ANSWERS)
    after = _state(settings)
    if after["data_migration"] != "done":
        raise FractalError(
            f"fractalctl update-db-data ended with {evidence.returncode}, and the rows of the {settings.where} do not "
            f"prove the migration: {shortfall(after)}. Mend what its last words name, then run the upgrade again, or "
            f"run the rollback playbook.\n{evidence.tail()}"
        )
    return {"changed": True, **result, "healed": healed, "proof": after["migrated"], "evidence": evidence.as_dict()}


def _state(settings: DatabaseSettings) -> dict[str, Any]:
    with connect(settings, read_only=True) as connection:
        return database_state(connection, counts=False)


def why_refused(database: Mapping[str, Any], installed: str, python: str) -> str:
    """Return why the migration cannot run on this database with this release, or an empty text."""
    if database["revision"] == HEAD_2_16:
        return "The schema is still that of 2.16; 'fractalctl set-db' of 2.17.0 comes before the data migration."
    if database["data_migration"] == "not_needed":
        return f"The database is at revision {database['revision']}, which belongs to no release known here."
    if installed != RELEASE:
        return (
            f"The data migration belongs to {RELEASE}, but fractal-server {installed} is installed in the environment "
            f"of {python} and would do nothing. Install {RELEASE} there and run again."
        )
    return ""


def shortfall(database: Mapping[str, Any]) -> str:
    """Return in words what the data migration has not done."""
    rows = database["migrated"]
    if not rows or not rows["resources"]:
        return "there is no resource, nothing was written"
    users = ", ".join(rows["users_left"]) or "none"
    return (
        f"{rows['projects_left']} projects and {rows['task_groups_left']} task groups without resource; "
        f"active and verified users without profile or project directory: {users}"
    )


def take_back_partial(settings: DatabaseSettings) -> bool:
    """Take back, in one transaction, the rows of a run that was killed; return whether there were any.

    Raises:
        FractalError: The rows show that something else has written since, so that taking back could lose work.
    """
    with connect(settings) as connection, connection.begin():
        connection.exec_driver_sql(f"LOCK TABLE {', '.join(_OWN_TABLES)} IN SHARE ROW EXCLUSIVE MODE")
        any_rows = has_rows_to_take_back(connection)
        for statement in _RESET:
            connection.exec_driver_sql(statement)
    return any_rows


def has_rows_to_take_back(connection: Connection) -> bool:
    """Return whether a run was killed half-way.

    Raises:
        FractalError: It was, and something else has written since.
    """
    if not connection.exec_driver_sql("SELECT count(*) FROM resource").scalar():
        return False
    foreign = written_since(connection)
    if foreign:
        raise FractalError(
            "An earlier data migration stopped half-way, and the database has been written to since: "
            f"{'; '.join(foreign)}. Taking the migration back could lose that, so it is left alone. Go back with the "
            "rollback playbook, which says what it would lose, then upgrade again."
        )
    return True


def written_since(connection: Connection) -> list[str]:
    """Return what was written since the migration's resource was made, apart from the migration itself.

    Every row names the transaction that wrote it (``xmin``). The migration leaves one resource; all task groups in one
    transaction, all projects in the next; then a profile in one and its users in the next, profile by profile. Rows
    that do not fit were written by somebody else: a server that was started, or an administrator.
    """
    resources = connection.exec_driver_sql("SELECT id, name, age(xmin) AS age FROM resource").mappings().all()
    if len(resources) != 1 or resources[0]["name"] != _RESOURCE_NAME:
        return ["the resources are " + ", ".join(repr(row["name"]) for row in resources)]
    age = resources[0]["age"]
    found = []
    for table in _other_tables(connection):
        query = f'SELECT count(*) FROM "{table}" WHERE age(xmin) < %(age)s'
        newer = connection.exec_driver_sql(query, {"age": age}).scalar()
        if newer:
            found.append(f"{newer} rows in {table}")
    for query, what in _FOREIGN_WRITES:
        if connection.exec_driver_sql(query, {"age": age}).scalar():
            found.append(what)
    return found


def _attached_together(table: str) -> str:
    """Return a query for whether the rows of ``table`` are anything but: all untouched, or all attached at once."""
    return f"""
        SELECT count(resource_id) <> count(*) FILTER (WHERE age(xmin) < %(age)s)
               OR count(resource_id) NOT IN (0, count(*))
               OR count(DISTINCT xmin::text) FILTER (WHERE age(xmin) < %(age)s) > 1
        FROM {table}"""


_FOREIGN_WRITES = (
    (_attached_together("taskgroupv2"), "task groups made or changed"),
    (_attached_together("projectv2"), "projects made or changed"),
    (
        """SELECT count(*) FILTER (WHERE age(xmin) >= %(age)s) > 0 OR count(DISTINCT xmin::text) <> count(*)
                  OR count(*) FILTER (WHERE name <> 'Profile ' || username) > 0
           FROM profile""",
        "profiles made or changed",
    ),
    (
        """SELECT count(*) FILTER (WHERE (profile_id IS NULL) = (age(u.xmin) < %(age)s)) > 0
                  OR count(DISTINCT u.xmin::text) FILTER (WHERE profile_id IS NOT NULL) <> count(DISTINCT profile_id)
                  OR count(*) FILTER (WHERE age(p.xmin) <= age(u.xmin)) > 0
                  OR count(*) FILTER (WHERE EXISTS (SELECT FROM profile later WHERE later.id > p.id
                                                    AND age(later.xmin) >= age(u.xmin))) > 0
                  OR count(p.id) FILTER (WHERE p.username NOT IN (coalesce(slurm_user, ''), coalesce(ssh_username, ''))
                                         OR s.id IS NULL OR NOT is_active OR NOT is_verified) > 0
           FROM user_oauth u
           LEFT JOIN profile p ON p.id = u.profile_id
           LEFT JOIN user_settings s ON s.id = u.user_settings_id""",
        "users made or changed",
    ),
)


def _other_tables(connection: Connection) -> list[str]:
    query = """
        SELECT relname FROM pg_class
        WHERE relkind = 'r' AND relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = 'resource'::regclass)
        ORDER BY relname"""
    return [name for name in connection.exec_driver_sql(query).scalars() if name not in _OWN_TABLES]


def _is_newer(database: Mapping[str, Any]) -> bool:
    return bool(database["data_migration"] == "not_needed" and database["release"] != "unknown")


def _why_wrong_backend(installation: Installation, backend: str | None) -> str:
    """Return why the migration would make a resource of the wrong kind, or an empty text.

    The new file alone decides (2_17_0.py, prepare_resource_data()); a variable left out there means ``local``.
    """
    old_file = installation.env_file + ".old"
    if not os.path.exists(old_file):
        return f"The data migration reads {old_file}, which does not exist. Run the environment-file stage first."
    old = {**read_env_file(old_file, {})}.get("FRACTAL_RUNNER_BACKEND", "local")
    expected = backend or NEW_BACKEND.get(old)
    if expected is None:
        return (
            f"{old_file} says FRACTAL_RUNNER_BACKEND={old}. The data migration of {RELEASE} supports "
            "instances on a SLURM cluster only."
        )
    new = installation.variables().get("FRACTAL_RUNNER_BACKEND", "local")
    if new != expected:
        return (
            f"FRACTAL_RUNNER_BACKEND is {new} in {installation.env_file} (or the unit), but {expected} is expected: "
            f"the old value was {old}. The migration would make a resource of the wrong kind. Correct it and run again."
        )
    return ""
