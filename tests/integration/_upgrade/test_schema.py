"""The schema of a release, with the real set-db of each."""

from __future__ import annotations

import time
from typing import Any, Callable

import pytest
from conftest import RunningModule, wait_for_lock
from postgres_cluster import PASSWORD, Cluster, Database
from postgres_seed import add_user
from releases_environments import JWT_SECRET, FractalFolder, python_of

RunModule = Callable[..., dict[str, Any]]
NewFolder = Callable[..., FractalFolder]


@pytest.fixture
def folder(seeded_database: Database, fractal_folder: NewFolder) -> FractalFolder:
    """A 2.16.6 instance whose environment file is already that of 2.17."""
    made = fractal_folder(seeded_database)
    made.write_new_generation()
    return made


def migrate(run_module: RunModule, folder: FractalFolder, release: str, **options: Any) -> dict[str, Any]:
    return run_module(
        "schema",
        **{"_release": release, "env_file": str(folder.env_file), "release": release, **options},
    )


def revision(folder: FractalFolder) -> str:
    return str(folder.database.value("SELECT version_num FROM alembic_version"))


def test_migrates_once(folder: FractalFolder, run_module: RunModule) -> None:
    predicted = migrate(run_module, folder, "2.17.0", _check=True)
    assert predicted["changed"] and predicted["evidence"] is None and revision(folder) == "981d588fe248"
    first = migrate(run_module, folder, "2.17.0")
    assert first["changed"] and revision(folder) == first["revision"] == "83bc2ad3ffcc"
    assert first["revision_before"] == "981d588fe248"
    assert any("END: alembic.config" in line for line in first["evidence"]["output"])
    second = migrate(run_module, folder, "2.17.0")
    assert not second["changed"] and second["evidence"] is None


def test_the_old_settings_are_dropped_only_on_proof(folder: FractalFolder, run_module: RunModule) -> None:
    assert "data migration of 2.17.0 reads, which has not run" in migrate(run_module, folder, "2.17.1")["msg"]
    folder.set_db("2.17.0")
    refused = migrate(run_module, folder, "2.17.2")
    assert "is pending: there is no resource, nothing was written" in refused["msg"]
    folder.update_db_data()
    folder.database.rows("UPDATE user_oauth SET profile_id = NULL WHERE email = 'eve@example.org'")
    refused = migrate(run_module, folder, "2.17.2")
    assert refused["failed"] and "is partial" in refused["msg"] and "eve@example.org" in refused["msg"]
    assert folder.database.value("SELECT count(*) FROM user_settings") == 7
    folder.database.rows("UPDATE user_oauth SET profile_id = 4 WHERE email = 'eve@example.org'")
    assert migrate(run_module, folder, "2.17.2")["changed"] and revision(folder) == "e0e717ae2f26"


def test_another_release_than_the_installed_one_is_refused(folder: FractalFolder, run_module: RunModule) -> None:
    refused = migrate(run_module, folder, "2.17.0", _release="2.16.6")
    assert "fractal-server 2.16.6 is installed" in refused["msg"]
    assert migrate(run_module, folder, "2.17.0", _release="2.16.6", python=python_of("2.17.0"))["changed"]


def test_never_back(folder: FractalFolder, run_module: RunModule) -> None:
    folder.set_db("2.17.0")
    assert "A schema never goes back" in migrate(run_module, folder, "2.16.6")["msg"]


def test_a_failure_names_the_revision_and_shows_no_secret(folder: FractalFolder, run_module: RunModule) -> None:
    """pydantic prints the values that it refuses, and for a missing one all of the settings."""
    folder.write({"MY_JWT": JWT_SECRET, "FRACTAL_RUNNER_BACKEND": "slurm_sudo", "FRACTAL_EMAIL_SENDER": "a@b.ch"})
    failed = migrate(run_module, folder, "2.17.0")
    assert failed["failed"] and "at revision 981d588fe248; 83bc2ad3ffcc was expected" in failed["msg"]
    assert "JWT_SECRET_KEY" in failed["msg"]
    assert JWT_SECRET not in str(failed) and PASSWORD not in str(failed)


def test_half_a_migration_does_not_exist(
    cluster: Cluster, folder: FractalFolder, run_module: RunModule, start_module: Callable[..., RunningModule]
) -> None:
    """PostgreSQL stops in the middle of set-db: the error says where things stand, and the next run arrives."""
    with cluster.superuser(folder.database.dbname).connect(autocommit=False) as blocker:
        blocker.execute("LOCK TABLE user_oauth IN ACCESS SHARE MODE")  # set-db waits for it, its new tables made
        running = start_module("schema", _release="2.17.0", env_file=str(folder.env_file), release="2.17.0")
        wait_for_lock(folder.database)
        cluster.stop_server()
        blocker.close()
    cluster.start_server()
    failed = running.result()
    assert (failed["failed"] and "Cannot connect" in failed["msg"]) or "at revision 981d588fe248" in failed["msg"]
    assert revision(folder) == "981d588fe248"
    assert folder.database.value("SELECT to_regclass('resource')") is None
    assert migrate(run_module, folder, "2.17.0")["changed"]


def test_waits_for_whoever_works_on_the_database(folder: FractalFolder, run_module: RunModule) -> None:
    other = folder.database.connect(autocommit=False)
    other.execute("SELECT count(*) FROM user_oauth")
    other.execute("SET idle_in_transaction_session_timeout = 1500")  # it ends while the module waits
    started = time.monotonic()
    result = migrate(run_module, folder, "2.17.0")
    other.close()
    assert result["changed"] and time.monotonic() - started > 1


# A statement of each migration takes longer than the role may work on one.
SLOW = {
    "set-db": """CREATE FUNCTION slow_table() RETURNS event_trigger LANGUAGE plpgsql
                 AS $$ BEGIN PERFORM pg_sleep(0.5); END $$;
                 CREATE EVENT TRIGGER slow ON ddl_command_start WHEN TAG IN ('CREATE TABLE')
                 EXECUTE FUNCTION slow_table()""",
    "update-db-data": """CREATE FUNCTION slow_row() RETURNS trigger LANGUAGE plpgsql
                         AS $$ BEGIN PERFORM pg_sleep(0.5); RETURN NEW; END $$;
                         CREATE TRIGGER slow BEFORE INSERT ON resource FOR EACH ROW EXECUTE FUNCTION slow_row()""",
}


@pytest.mark.parametrize("setting", ["default_transaction_read_only = on", "statement_timeout = '250ms'"])
def test_settings_of_the_role_do_not_end_the_migrations(
    setting: str, cluster: Cluster, folder: FractalFolder, run_module: RunModule
) -> None:
    """fractalctl opens its own connections, so it must be told what holds for all that the collection does."""
    administrator = cluster.superuser(folder.database.dbname)
    administrator.rows(f"ALTER ROLE {folder.database.user} SET {setting}")
    try:
        administrator.rows(SLOW["set-db"])
        schema = migrate(run_module, folder, "2.17.0")
        assert schema.get("changed"), schema
        administrator.rows(SLOW["update-db-data"])
        data = run_module("data", _release="2.17.0", env_file=str(folder.env_file), release="2.17.0")
        assert data.get("changed") and data["proof"]["users_left"] == [], data
    finally:
        administrator.rows(f"ALTER ROLE {folder.database.user} RESET ALL")
    assert revision(folder) == "83bc2ad3ffcc" and folder.database.value("SELECT count(*) FROM resource") == 1


def test_users_without_settings_do_not_block(folder: FractalFolder, run_module: RunModule) -> None:
    add_user(folder.database, "nobody@example.org", active=False, user_settings_id=None)
    folder.upgrade()
    assert migrate(run_module, folder, "2.17.1")["changed"]
