"""What is told of a database, on real databases of real releases."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable

import pytest
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.database import (
    connect,
    database_settings,
    find_installation,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.state import database_state
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.service_side import service_side
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.data_migrations import DATA_MIGRATIONS
from ansible_collections.fractal_ops.platform.plugins.module_utils._upgrade.state import read_state
from postgres_cluster import PASSWORD, Cluster, Database
from postgres_seed import add_activity, add_job, add_project, add_task_group, add_user
from releases_environments import FractalFolder
from sqlalchemy import event

ReadDatabase = Callable[..., dict[str, Any]]
NewDatabase = Callable[..., Database]
NewFolder = Callable[..., FractalFolder]


@pytest.mark.parametrize(
    ("release", "revision", "first", "newest", "data_migration"),
    [
        ("2.16.6", "981d588fe248", "2.16.0", "2.16.6", "pending"),
        ("2.17.0", "83bc2ad3ffcc", "2.17.0", "2.17.0", "done"),
        ("2.17.1", "7673fe18c05d", "2.17.1", "2.17.1", "not_needed"),
        ("2.17.2", "e0e717ae2f26", "2.17.2", "2.17.2", "not_needed"),
    ],
)
def test_state_of_each_release_read_by_that_release(
    seeded_database: Database, fractal_folder: NewFolder, read_database: ReadDatabase,
    release: str, revision: str, first: str, newest: str, data_migration: str,
) -> None:  # fmt: skip
    folder = fractal_folder(seeded_database)
    if release != "2.16.6":
        folder.upgrade(release)
    state = read_database(_release=release, env_file=str(folder.env_file))
    assert state["reachable"] and state["revision"] == revision
    assert (state["release"], state["newest_release"], state["data_migration"]) == (first, newest, data_migration)
    assert state["jobs_in_flight"] == state["activities_in_flight"] == 0
    assert state["can_create_database"] is True and state["other_sessions"] == []
    assert state["server_version_num"] >= 150000 and state["size_bytes"] > 1_000_000


def test_who_was_left_behind_when_the_old_settings_went(
    seeded_database: Database, fractal_folder: NewFolder, read_database: ReadDatabase
) -> None:
    folder = fractal_folder(seeded_database)
    folder.upgrade("2.17.1")
    options = {"_release": "2.17.1", "env_file": str(folder.env_file)}
    assert read_database(**options)["migrated"] == {"users_left": []}
    seeded_database.rows(
        "UPDATE user_oauth SET profile_id = NULL, project_dir = '/PLACEHOLDER' WHERE id = "
        "(SELECT min(id) FROM user_oauth WHERE is_active AND is_verified)"
    )
    left = seeded_database.value("SELECT email FROM user_oauth WHERE profile_id IS NULL AND is_active AND is_verified")
    assert read_database(**options)["migrated"] == {"users_left": [left]}


def test_what_is_in_flight(new_database: NewDatabase, read_database: ReadDatabase) -> None:
    database = new_database()
    user = add_user(database, "ann@example.org")
    project = add_project(database, user, "p")
    add_job(database, project)
    job = add_job(database, project, status="submitted")
    for status in ("OK", "failed", "pending", "ongoing"):
        add_activity(database, user, status)
    state = read_database(**database.module_args())
    assert state["jobs_in_flight"] == 1
    assert [(j["id"], j["project_id"], j["user"]) for j in state["submitted_jobs"]] == [
        (job, project, "ann@example.org")
    ]
    assert state["activities_in_flight"] == 2
    assert {a["action"] for a in state["ongoing_activities"]} == {"collect"}


def test_other_sessions_are_named(new_database: NewDatabase, read_database: ReadDatabase) -> None:
    database = new_database()
    with database.connect() as other:
        state = read_database(**database.module_args())
        assert [(s["pid"], s["user"]) for s in state["other_sessions"]] == [(other.info.backend_pid, "fractal")]


def test_sessions_of_others_are_seen_by_an_ordinary_role(
    new_database: NewDatabase, read_database: ReadDatabase
) -> None:
    database = new_database()
    with database.as_role("postgres").connect() as other:
        state = read_database(**database.module_args())
        assert [(s["pid"], s["client"]) for s in state["other_sessions"]] == [(other.info.backend_pid, "unknown")]


def test_states_between_schema_and_data_migration(
    seeded_database: Database, fractal_folder: NewFolder, read_database: ReadDatabase
) -> None:
    folder = fractal_folder(seeded_database)
    folder.upgrade(data=False)

    def state() -> str:
        answer = read_database(env_file=str(folder.env_file))
        return str(answer["data_migration"])

    assert state() == "pending"
    folder.update_db_data()
    assert state() == "done"
    for statement, undo in (
        ("UPDATE user_oauth SET profile_id = NULL WHERE email LIKE 'ann@%%'", None),
        ("UPDATE user_oauth SET project_dir = '/PLACEHOLDER' WHERE email LIKE 'eve@%%'", None),
        ("UPDATE projectv2 SET resource_id = NULL WHERE id = 1", "UPDATE projectv2 SET resource_id = 1"),
        ("UPDATE taskgroupv2 SET resource_id = NULL WHERE id = 1", "UPDATE taskgroupv2 SET resource_id = 1"),
    ):
        saved = seeded_database.rows("SELECT id, profile_id, project_dir FROM user_oauth")
        seeded_database.rows(statement)
        assert state() == "partial", statement
        for row in saved:
            seeded_database.rows(
                "UPDATE user_oauth SET profile_id = %s, project_dir = %s WHERE id = %s", *row[1:], row[0]
            )
        if undo:
            seeded_database.rows(undo)
        assert state() == "done", undo


def test_users_that_do_not_migrate_do_not_count(
    new_database: NewDatabase, fractal_folder: NewFolder, read_database: ReadDatabase
) -> None:
    database = new_database()
    folder = fractal_folder(database)
    add_user(database, "ann@example.org")
    add_user(database, "ivy@example.org", active=False)
    add_user(database, "uma@example.org", verified=False)
    add_task_group(database, 1, "t")
    folder.upgrade()
    database.insert(  # made by an admin of the new release: no old settings, no profile yet
        "user_oauth", email="new@example.org", hashed_password="x", is_active=True, is_verified=True, is_superuser=False
    )
    state = read_database(env_file=str(folder.env_file))
    assert state["data_migration"] == "done"
    assert state["migrated"]["users_attached"] == 1 and state["migrated"]["users_left"] == []


def test_reading_is_enough(cluster: Cluster, seeded_database: Database, read_database: ReadDatabase) -> None:
    reader = cluster.grant_reader(seeded_database)
    state = read_database(**reader.module_args())
    assert state["reachable"] and state["can_create_database"] is False


def test_two_statements_whatever_the_size(seeded_database: Database, fractal_folder: NewFolder) -> None:
    settings = database_settings(seeded_database.module_args())

    def count_statements() -> int:
        statements: list[str] = []
        with connect(settings, read_only=True) as connection:
            event.listen(connection, "before_cursor_execute", lambda _c, _cursor, text, *_rest: statements.append(text))
            database_state(connection, DATA_MIGRATIONS)
        return len(statements)

    assert count_statements() == 2
    fractal_folder(seeded_database).upgrade()
    assert count_statements() == 2


def test_an_empty_database_is_unknown(cluster: Cluster, read_database: ReadDatabase) -> None:
    database = cluster.create()
    try:
        state = read_database(**database.module_args())
        assert (state["revision"], state["release"], state["data_migration"]) == (None, "unknown", "not_needed")
    finally:
        cluster.drop(database.dbname)


def test_unreachable_is_an_error_without_the_password(new_database: NewDatabase, read_database: ReadDatabase) -> None:
    options = {**new_database().module_args(), "password": "wrong-canary-99"}
    with pytest.raises(FractalError, match="password authentication failed") as refused:
        read_database(**options)
    with pytest.raises(FractalError, match="Check that PostgreSQL runs") as nowhere:
        read_database(**{**options, "port": 1})
    assert "canary" not in str(refused.value) + str(nowhere.value)


def test_settings_as_fractal_reads_them(new_database: NewDatabase, fractal_folder: NewFolder, tmp_path: Path) -> None:
    database = new_database()
    folder = fractal_folder(database)
    settings = database_settings({"env_file": str(folder.env_file)})
    assert (settings.host, settings.port, settings.dbname) == (database.host, database.port, database.dbname)
    assert settings.password == PASSWORD and PASSWORD not in repr(settings)
    assert settings.libpq_environment()["PGPASSWORD"] == PASSWORD
    assert PASSWORD not in str(settings.url())
    folder.env_file.write_text(
        "POSTGRES_DB=x\nBASE=/run\nPOSTGRES_HOST=${BASE}/pg\nPGSSLMODE=require\n", encoding="utf-8"
    )
    settings = database_settings({"env_file": str(folder.env_file)})
    assert (settings.host, settings.port, settings.user, settings.password) == ("/run/pg", 5432, None, None)
    assert settings.libpq_environment()["PGSSLMODE"] == "require"
    for text, complaint in (("", "POSTGRES_DB is not set"), ("POSTGRES_DB=x\nPOSTGRES_PORT=abc\n", "must be a number")):
        folder.env_file.write_text(text, encoding="utf-8")
        with pytest.raises(FractalError, match=complaint):
            database_settings({"env_file": str(folder.env_file)})
    with pytest.raises(FractalError, match="No such file"):
        database_settings({"env_file": str(tmp_path / "nothing")})


def test_peer_authentication_needs_the_service_account(
    cluster: Cluster, new_database: NewDatabase, everybodys_python: str
) -> None:
    """PostgreSQL checks who is at the socket, so the service's account connects: behind the door this process is it."""
    database = new_database()
    cluster.require_peer(database.dbname, {"postgres": "postgres"})
    options = {"host": str(cluster.socket_folder), "port": cluster.port, "dbname": database.dbname, "user": "postgres"}
    with pytest.raises(FractalError, match=r"(?i)peer authentication failed"), connect(database_settings(options)):
        pass
    installation = find_installation({**options, "run_as": "postgres"})
    assert service_side(installation, everybodys_python).call(read_state, installation)["reachable"]


def test_a_lost_connection_is_one_clear_error(cluster: Cluster, new_database: NewDatabase) -> None:
    settings = database_settings(new_database().module_args())
    with pytest.raises(FractalError, match="A statement failed"), connect(settings) as connection:
        pid = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar()
        cluster.superuser().rows("SELECT pg_terminate_backend(%s)", pid)
        connection.exec_driver_sql("SELECT 1")


def test_reading_connections_cannot_write(new_database: NewDatabase) -> None:
    settings = database_settings(new_database().module_args())
    with pytest.raises(FractalError, match="read-only transaction"), connect(settings, read_only=True) as connection:
        connection.exec_driver_sql("DELETE FROM user_oauth")
