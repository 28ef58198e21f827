"""The data migration, with the real update-db-data of 2.17.0, undisturbed, killed at each commit, and refused."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Callable

import psycopg
import pytest
from conftest import RunningModule, launch, wait_for_lock, wait_until
from postgres_cluster import PASSWORD, Cluster, Database
from postgres_seed import LONG_AGO, add_job, seed
from releases_environments import JWT_SECRET, FractalFolder

RunModule = Callable[..., dict[str, Any]]
StartModule = Callable[..., RunningModule]
NewFolder = Callable[..., FractalFolder]

OPTIONS: dict[str, Any] = {"_release": "2.17.0", "release": "2.17.0"}
EVERYTHING = {
    "resource": "SELECT to_jsonb(t) - 'timestamp_created' FROM resource t ORDER BY id",
    "profile": "SELECT to_jsonb(t) FROM profile t ORDER BY id",
    "user_oauth": "SELECT to_jsonb(t) FROM user_oauth t ORDER BY id",
    "projectv2": "SELECT to_jsonb(t) FROM projectv2 t ORDER BY id",
    "taskgroupv2": "SELECT to_jsonb(t) FROM taskgroupv2 t ORDER BY id",
    "user_settings": "SELECT to_jsonb(t) FROM user_settings t ORDER BY id",
}
PROOF = {
    "resources": 1, "profiles": 4, "projects_attached": 4, "projects_left": 0,
    "task_groups_attached": 2, "task_groups_left": 0, "users_attached": 5, "users_left": [],
}  # fmt: skip


@pytest.fixture(scope="session")
def pending(cluster: Cluster, template: str, tmp_path_factory: pytest.TempPathFactory) -> Database:
    """A seeded database at the schema of 2.17.0, its data not migrated; copied by the tests, never changed."""
    database = cluster.create(template)
    seed(database)
    FractalFolder(tmp_path_factory.mktemp("pending"), database).upgrade(data=False)
    return database


@pytest.fixture(scope="session")
def undisturbed(cluster: Cluster, pending: Database, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """All rows after a migration by Fractal's own tool alone."""
    copy = cluster.create(pending.dbname)
    folder = FractalFolder(tmp_path_factory.mktemp("undisturbed"), copy)
    folder.write_new_generation()
    folder.update_db_data()
    return without_folder(rows(copy))


@pytest.fixture
def folder(cluster: Cluster, pending: Database, fractal_folder: NewFolder) -> Iterator[FractalFolder]:
    """An instance at the schema of 2.17.0, its data not migrated."""
    made = fractal_folder(cluster.create(pending.dbname))
    made.write_new_generation()
    yield made
    cluster.drop(made.database.dbname)


def without_folder(found: dict[str, Any]) -> dict[str, Any]:
    """Leave out what names the temporary working directory."""
    for (resource,) in found["resource"]:
        del resource["jobs_local_dir"], resource["tasks_local_dir"]
    return found


def rows(database: Database) -> dict[str, Any]:
    return {table: database.rows(query) for table, query in EVERYTHING.items()}


def migrate(run_module: RunModule, folder: FractalFolder, **options: Any) -> dict[str, Any]:
    return run_module("data", **{**OPTIONS, "env_file": str(folder.env_file), **options})


def test_migrates_exactly_once(folder: FractalFolder, undisturbed: dict[str, Any], run_module: RunModule) -> None:
    predicted = migrate(run_module, folder, _check=True)
    assert predicted["changed"] and predicted["evidence"] is None
    assert folder.database.value("SELECT count(*) FROM resource") == 0
    first = migrate(run_module, folder)
    assert first["changed"] and not first["healed"] and first["state_before"] == "pending"
    assert first["proof"] == PROOF
    assert any("END - all ok." in line for line in first["evidence"]["output"])
    assert without_folder(rows(folder.database)) == undisturbed
    folder.database.rows("UPDATE resource SET name = 'SLURM cluster'")  # as the upgrade page asks for
    again = migrate(run_module, folder)
    assert not again["changed"] and again["evidence"] is None and again["proof"] == PROOF
    assert folder.database.value("SELECT count(*) FROM resource") == 1
    for result in (predicted, first, again):
        assert PASSWORD not in json.dumps(result, ensure_ascii=False) and JWT_SECRET not in str(result)


def test_what_the_users_had_they_keep(folder: FractalFolder, run_module: RunModule) -> None:
    migrate(run_module, folder)
    assert folder.database.rows(
        """SELECT split_part(email, '@', 1), name, project_dir, slurm_accounts
           FROM user_oauth u LEFT JOIN profile p ON p.id = profile_id ORDER BY u.id"""
    ) == [
        ("ann", "Profile ann", "/data/ann", ["acc-ann"]),
        ("bob", "Profile bob", "/data/bob", ["a", "b"]),
        ("carl", "Profile shared", "/data/carl", ["acc-carl"]),
        ("dora", "Profile shared", "/data/dora", []),
        ("eve", "Profile eve", "/data/eve", ["acc-eve"]),
        ("ivy", None, "/PLACEHOLDER", []),
        ("uma", None, "/PLACEHOLDER", []),
    ]


# -- kills ------------------------------------------------------------------------------------------------------------

# Each name says how far the migration has come when the write named stops it.
BLOCKERS: dict[str, str] = {
    "before the resource": "INSERT ON resource",
    "resource made": "UPDATE ON taskgroupv2",
    "task groups attached": "UPDATE ON projectv2",
    "projects attached": "INSERT ON profile",
    "first profile made": "UPDATE ON user_oauth",
    "first profile's users attached": "INSERT ON profile FOR EACH ROW WHEN (NEW.username = 'bob')",
    "half of a shared profile's users": "UPDATE ON user_oauth FOR EACH ROW WHEN (NEW.email LIKE 'dora%')",
    "all but the last user": "UPDATE ON user_oauth FOR EACH ROW WHEN (NEW.email LIKE 'eve%')",
}


@contextmanager
def blocked(cluster: Cluster, database: Database, write: str) -> Iterator[psycopg.Connection[Any]]:
    """Make one kind of write wait as long as this context lasts."""
    with cluster.superuser(database.dbname).connect() as connection:
        each_row = "" if "FOR EACH" in write else "FOR EACH ROW"
        connection.execute("SELECT pg_advisory_lock(4711)")
        connection.execute(
            f"""CREATE FUNCTION wait_for_the_test() RETURNS trigger LANGUAGE plpgsql
                AS $$ BEGIN PERFORM pg_advisory_xact_lock(4711); RETURN NEW; END $$;
                CREATE TRIGGER waits BEFORE {write} {each_row} EXECUTE FUNCTION wait_for_the_test()""".encode()
        )
        yield connection
    remove_the_wait(cluster, database)


@pytest.mark.parametrize("point", BLOCKERS)
def test_a_kill_at_any_commit_is_healed(
    point: str,
    cluster: Cluster,
    folder: FractalFolder,
    undisturbed: dict[str, Any],
    run_module: RunModule,
    start_module: StartModule,
    read_database: RunModule,
) -> None:
    """update-db-data is killed with SIGKILL; the next run ends with the very rows of an undisturbed one."""
    with blocked(cluster, folder.database, BLOCKERS[point]):
        running = start_module("data", **OPTIONS, env_file=str(folder.env_file))
        session = wait_for_lock(folder.database)
        os.kill(running.child(), signal.SIGKILL)
        cluster.superuser().rows("SELECT pg_terminate_backend(%s)", session)  # the dead client's session ends
    failed = running.result()
    assert failed["failed"] and "ended with -9" in failed["msg"] and "rollback" in failed["msg"]
    state = read_database(env_file=str(folder.env_file))
    assert state["data_migration"] == ("pending" if point == "before the resource" else "partial")
    if point != "before the resource":
        assert migrate(run_module, folder, _check=True)["healed"]
    healed = migrate(run_module, folder)
    assert healed["changed"] and healed["healed"] == (point != "before the resource") and healed["proof"] == PROOF
    assert without_folder(rows(folder.database)) == undisturbed
    assert not migrate(run_module, folder)["changed"]


def test_a_killed_module_leaves_no_race(
    cluster: Cluster, folder: FractalFolder, undisturbed: dict[str, Any], start_module: StartModule
) -> None:
    """update-db-data ends with its module; the next run waits for its session to end, then takes its rows back."""
    options = {**OPTIONS, "env_file": str(folder.env_file)}
    with blocked(cluster, folder.database, BLOCKERS["projects attached"]):
        first = start_module("data", **options)
        wait_for_lock(folder.database)
        first.process.kill()
        first.process.wait()
        second = start_module("data", **options)
        query = "SELECT 1 FROM pg_stat_activity WHERE application_name = 'fractal_ops.platform'"
        wait_until(lambda: folder.database.rows(query))
    result = second.result()
    assert result["changed"] and result["healed"] and result["state_before"] == "partial" and result["proof"] == PROOF
    assert without_folder(rows(folder.database)) == undisturbed


def test_a_crash_of_postgresql_is_healed(
    cluster: Cluster,
    folder: FractalFolder,
    undisturbed: dict[str, Any],
    run_module: RunModule,
    start_module: StartModule,
) -> None:
    with blocked(cluster, folder.database, BLOCKERS["first profile made"]) as blocker:
        running = start_module("data", **OPTIONS, env_file=str(folder.env_file))
        wait_for_lock(folder.database)
        cluster.superuser().rows("CHECKPOINT")  # fsync is off in tests; a crash loses nothing once written out
        cluster.stop_server()
        blocker.close()
    cluster.start_server()
    assert running.result()["failed"]
    assert migrate(run_module, folder)["healed"]
    assert without_folder(rows(folder.database)) == undisturbed


def remove_the_wait(cluster: Cluster, database: Database) -> None:
    with suppress(psycopg.OperationalError):  # a test may have stopped the server
        cluster.superuser(database.dbname).rows("DROP FUNCTION wait_for_the_test CASCADE")


# -- refusals ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def killed(cluster: Cluster, pending: Database, tmp_path_factory: pytest.TempPathFactory, module_path: str) -> Database:
    """A database whose data migration was killed before the last user; copied by the tests, never changed."""
    database = cluster.create(pending.dbname)
    folder = FractalFolder(tmp_path_factory.mktemp("killed"), database)
    folder.write_new_generation()
    with blocked(cluster, database, BLOCKERS["all but the last user"]):
        running = launch("data", module_path, **OPTIONS, env_file=str(folder.env_file))
        session = wait_for_lock(database)
        os.kill(running.child(), signal.SIGKILL)
        cluster.superuser().rows("SELECT pg_terminate_backend(%s)", session)
    running.result()
    return database


@pytest.fixture
def partial(cluster: Cluster, killed: Database, fractal_folder: NewFolder) -> Iterator[FractalFolder]:
    """An instance whose data migration was killed before the last user."""
    made = fractal_folder(cluster.create(killed.dbname))
    made.write_new_generation()
    yield made
    cluster.drop(made.database.dbname)


SERVED = {
    "a project": ("INSERT INTO projectv2 (name, timestamp_created, resource_id) VALUES ('n', now(), 1)", "projects"),
    "a renamed project": ("UPDATE projectv2 SET name = 'new' WHERE id = 1", "projects"),
    "a job": ("UPDATE jobv2 SET status = 'failed' WHERE id = 1", "1 rows in jobv2"),
    "a user": (
        """INSERT INTO user_oauth (email, hashed_password, is_active, is_superuser, is_verified)
           VALUES ('n@example.org', 'x', true, false, true)""",
        "users",
    ),
    "a user's password": ("UPDATE user_oauth SET hashed_password = 'y' WHERE email LIKE 'ann%%'", "users"),
    "a user attached by hand": (
        "UPDATE user_oauth SET profile_id = 4, project_dir = '/x' WHERE email LIKE 'uma%%'",
        "users",
    ),
    "a verified user": ("UPDATE user_oauth SET is_verified = true WHERE email LIKE 'uma%%'", "users"),
    "a renamed resource": ("UPDATE resource SET name = 'Cluster'", "'Cluster'"),
    "another resource setting": ("UPDATE resource SET jobs_poll_interval = 5", "made or changed"),
    "a renamed profile": ("UPDATE profile SET name = 'Ann' WHERE id = 1", "profiles"),
    "a used task group": ("UPDATE taskgroupv2 SET timestamp_last_used = now() WHERE id = 1", "task groups"),
    "a group": ("INSERT INTO usergroup (name, timestamp_created, viewer_paths) VALUES ('g', now(), '[]')", "usergroup"),
}


@pytest.mark.parametrize("served", SERVED)
def test_never_taken_back_once_somebody_wrote(partial: FractalFolder, run_module: RunModule, served: str) -> None:
    statement, named = SERVED[served]
    partial.database.rows(statement)
    before = rows(partial.database)
    for check in (True, False):
        refused = migrate(run_module, partial, _check=check)
        assert refused["failed"] and named in refused["msg"] and "rollback playbook" in refused["msg"], refused
    assert rows(partial.database) == before


def test_maintenance_of_postgresql_is_no_write(partial: FractalFolder, run_module: RunModule) -> None:
    partial.database.rows("VACUUM (FREEZE, ANALYZE)")
    assert migrate(run_module, partial)["healed"]


@pytest.mark.parametrize("release", ["2.17.1", "2.17.2"])
def test_only_its_own_release_can(release: str, folder: FractalFolder, run_module: RunModule) -> None:
    """Later ones say 'not found' and exit with 0."""
    refused = migrate(run_module, folder, _release=release)
    assert refused["failed"] and f"fractal-server {release} is installed" in refused["msg"]


def test_not_before_the_schema_and_nothing_after(
    seeded_database: Database, fractal_folder: NewFolder, run_module: RunModule
) -> None:
    folder = fractal_folder(seeded_database)
    folder.write_new_generation()
    assert "set-db' of 2.17.0 comes before" in migrate(run_module, folder)["msg"]
    folder.upgrade("2.17.1")
    result = migrate(run_module, folder, _release="2.17.1")
    assert not result["changed"] and result["state_before"] == "not_needed"


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("slurm", {}, "FRACTAL_RUNNER_BACKEND is local"),  # left out: a local resource, without a word
        ("slurm", {"FRACTAL_RUNNER_BACKEND": "slurm_ssh"}, "FRACTAL_RUNNER_BACKEND is slurm_ssh"),
        ("slurm_ssh", {"FRACTAL_RUNNER_BACKEND": "slurm_sudo"}, "slurm_ssh is expected"),
        ("local", {"FRACTAL_RUNNER_BACKEND": "local"}, "SLURM cluster only"),
    ],
)
def test_another_backend_is_refused(
    folder: FractalFolder, run_module: RunModule, old: str, new: dict[str, str], named: str
) -> None:
    folder.values["FRACTAL_RUNNER_BACKEND"] = old
    folder.write_new_generation()
    folder.write({"JWT_SECRET_KEY": JWT_SECRET, **new})
    refused = migrate(run_module, folder)
    assert refused["failed"] and named in refused["msg"]
    assert folder.database.value("SELECT count(*) FROM resource") == 0


def test_without_the_old_file_it_says_so(folder: FractalFolder, run_module: RunModule) -> None:
    folder.old_env_file.unlink()
    assert ".fractal_server.env.old, which does not exist" in migrate(run_module, folder)["msg"]


def test_a_failure_before_the_first_commit_can_be_repeated(folder: FractalFolder, run_module: RunModule) -> None:
    folder.database.rows("UPDATE user_settings SET project_dir = NULL WHERE slurm_user = 'eve'")
    failed = migrate(run_module, folder)
    assert "nothing was written" in failed["msg"] and "eve@example.org" in failed["msg"]
    folder.database.rows("UPDATE user_settings SET project_dir = '/data/eve' WHERE slurm_user = 'eve'")
    assert migrate(run_module, folder)["proof"] == PROOF


def test_no_users_to_migrate_is_fine(
    new_database: Callable[..., Database], fractal_folder: NewFolder, run_module: RunModule
) -> None:
    folder = fractal_folder(new_database())
    folder.upgrade(data=False)
    assert migrate(run_module, folder)["proof"]["resources"] == 1
    assert not migrate(run_module, folder)["changed"]


def test_old_rows_do_not_look_new(folder: FractalFolder, run_module: RunModule) -> None:
    """Jobs written before the migration, in however many transactions, are no sign of a served release."""
    assert add_job(folder.database, 1, start_timestamp=LONG_AGO)
    assert migrate(run_module, folder)["changed"]
