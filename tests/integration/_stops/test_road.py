"""From 2.17.2 to 2.26.0 with the real releases: the data migrations of 2.18.0 and 2.23.0, and what schemas refuse."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any, Callable

import pytest
from _backup.test_restore_database import dump_of
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.database import (
    Installation,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._releases.path import hops, targets, version_key
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.preconditions import refused_rows
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.r2_18_0.prechecks import viewer_findings
from conftest import RunningModule, wait_for_lock
from postgres_cluster import Cluster, Database
from postgres_seed import seed
from releases_environments import YES, FractalFolder
from warm_fractalctl import WarmMigration

pytestmark = pytest.mark.xdist_group("road")  # one chain of templates for all

RunModule = Callable[..., dict[str, Any]]
StartModule = Callable[..., RunningModule]
ReadDatabase = Callable[..., dict[str, Any]]
Copy = Callable[[Database], FractalFolder]

DIRECTORIES = "SELECT email, project_dir, project_dirs FROM user_oauth ORDER BY id"
LISTS = "SELECT email, project_dirs FROM user_oauth ORDER BY id"
HEAD = "SELECT version_num FROM alembic_version"
AT_THE_HEAD = ("UPDATE ON alembic_version", "schema")  # one commit for all that a set-db does
VERSIONS = (
    "UPDATE taskgroupv2 SET version = '0' WHERE version IS NULL; UPDATE taskv2 SET version = '0' WHERE version IS NULL"
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Database], FractalFolder]:
    """Function that gives a folder of 2.17 on a database."""

    def make(database: Database) -> FractalFolder:
        folder = FractalFolder(tmp_path_factory.mktemp("road"), database)
        folder.write_new_generation()
        return folder

    return make


@pytest.fixture(scope="module")
def at_2_17_0(cluster: Cluster, template: str, folders: Copy) -> Database:
    """A seeded database at the schema of 2.17.0, its data not migrated; copied, never changed."""
    database = cluster.create(template)
    seed(database)
    folders(database).set_db("2.17.0")
    return database


@pytest.fixture(scope="module")
def at_2_17_2(cluster: Cluster, at_2_17_0: Database, folders: Copy) -> Database:
    """The same at 2.17.2, its data migrated."""
    database = cluster.create(at_2_17_0.dbname)
    folder = folders(database)
    folder.update_db_data()
    folder.set_db("2.17.2")
    return database


@pytest.fixture(scope="module")
def at_2_18_0(cluster: Cluster, at_2_17_2: Database, folders: Copy) -> Database:
    """The same at the schema of 2.18.0, its data not migrated."""
    database = cluster.create(at_2_17_2.dbname)
    folders(database).set_db("2.18.0")
    return database


@pytest.fixture(scope="module")
def at_2_23_0(cluster: Cluster, at_2_18_0: Database, folders: Copy) -> Database:
    """The same at the schema of 2.23.0, the data of 2.18.0 migrated and those of 2.23.0 not."""
    database = cluster.create(at_2_18_0.dbname)
    database.rows("UPDATE user_oauth SET project_dirs = ARRAY[project_dir]")
    folders(database).set_db("2.23.0")
    return database


@pytest.fixture
def copy(cluster: Cluster, folders: Copy) -> Iterator[Copy]:
    """Function that gives a folder on a copy of a database."""
    with ExitStack() as stack:

        def make(database: Database) -> FractalFolder:
            made = cluster.create(database.dbname)
            stack.callback(cluster.drop, made.dbname)
            return folders(made)

        yield make


def migrate(run_module: RunModule, folder: FractalFolder, release: str, **options: Any) -> dict[str, Any]:
    return run_module("data", _release=release, env_file=str(folder.env_file), release=release, **options)


def kill_at(
    cluster: Cluster, start_module: StartModule, folder: FractalFolder, release: str, write: str, stage: str = "data"
) -> None:
    """Kill set-db (stage schema) or update-db-data with SIGKILL where it commits one kind of write."""
    with cluster.superuser(folder.database.dbname).connect() as connection:
        connection.execute("SELECT pg_advisory_lock(4711)")
        connection.execute(
            f"""CREATE FUNCTION wait_for_the_test() RETURNS trigger LANGUAGE plpgsql
                AS $$ BEGIN PERFORM pg_advisory_xact_lock(4711); RETURN NEW; END $$;
                CREATE CONSTRAINT TRIGGER waits AFTER {write} DEFERRABLE INITIALLY DEFERRED
                FOR EACH ROW EXECUTE FUNCTION wait_for_the_test()""".encode()
        )
        running = start_module(stage, _release=release, env_file=str(folder.env_file), release=release)
        session = wait_for_lock(folder.database)
        os.kill(running.child(), signal.SIGKILL)
        cluster.superuser().rows("SELECT pg_terminate_backend(%s)", session)  # the dead client's session ends
        failed = running.result()
    assert failed["failed"] and "ended with -9" in failed["msg"]
    cluster.superuser(folder.database.dbname).rows("DROP FUNCTION wait_for_the_test CASCADE")


# -- 2.18.0 -----------------------------------------------------------------------------------------------------------


def test_project_directories_are_migrated_once(at_2_18_0: Database, copy: Copy, run_module: RunModule) -> None:
    folder = copy(at_2_18_0)
    before = folder.database.rows(DIRECTORIES)
    assert migrate(run_module, folder, "2.18.0", _check=True)["changed"]
    first = migrate(run_module, folder, "2.18.0")
    assert first["changed"] and not first["healed"] and first["state_before"] == "pending"
    assert first["proof"] == {"users": 7, "users_attached": 7, "users_left": []}
    assert any("END - fix db" in line for line in first["evidence"]["output"])
    assert folder.database.rows(LISTS) == [(email, [os.path.normpath(path)]) for email, path, _unused in before]
    after = folder.database.rows(DIRECTORIES)
    # the program itself fails now, though all is done: its exit code says nothing
    raw = folder.fractalctl("2.18.0", "update-db-data", answers=YES)
    assert raw.returncode == 1 and "Non empty" in raw.stderr
    again = migrate(run_module, folder, "2.18.0")
    assert not again["changed"] and again["evidence"] is None and folder.database.rows(DIRECTORIES) == after


def test_killed_at_its_commit_it_has_done_nothing_and_is_run_again(
    cluster: Cluster,
    at_2_18_0: Database,
    copy: Copy,
    run_module: RunModule,
    start_module: StartModule,
    read_database: ReadDatabase,
) -> None:
    folder = copy(at_2_18_0)
    before = folder.database.rows(DIRECTORIES)
    kill_at(cluster, start_module, folder, "2.18.0", "UPDATE ON user_oauth")
    assert folder.database.rows(DIRECTORIES) == before
    assert read_database("2.18.0", env_file=str(folder.env_file))["data_migration"] == "pending"
    done = migrate(run_module, folder, "2.18.0")
    assert done["changed"] and not done["healed"] and done["proof"]["users_attached"] == 7


@pytest.mark.parametrize(
    ("statement", "said", "expected"),
    [
        (
            "UPDATE user_oauth SET project_dirs = ARRAY['/new/bob'] WHERE email LIKE 'bob%'",
            "Non empty `project_dirs`",
            ("bob@example.org", ["/new/bob"]),
        ),
        (
            "UPDATE user_oauth SET project_dir = NULL WHERE email LIKE 'bob%'",
            "TypeError",
            ("bob@example.org", ["/PLACEHOLDER"]),
        ),
    ],
    ids=["a server of 2.18.0 was started before", "no directory at all"],
)
def test_what_makes_the_program_migrate_nobody_is_mended(
    statement: str, said: str, expected: Any, at_2_18_0: Database, copy: Copy, run_module: RunModule
) -> None:
    folder = copy(at_2_18_0)
    folder.database.rows(statement)
    before = folder.database.rows(DIRECTORIES)
    raw = folder.fractalctl("2.18.0", "update-db-data", answers=YES)
    assert raw.returncode == 1 and said in raw.stderr, raw.stderr
    assert folder.database.rows(DIRECTORIES) == before
    assert migrate(run_module, folder, "2.18.0", _check=True)["healed"]
    done = migrate(run_module, folder, "2.18.0")
    assert done["changed"] and done["healed"] and done["proof"]["users_left"] == []
    assert expected in folder.database.rows(LISTS) and ("ann@example.org", ["/data/ann"]) in folder.database.rows(LISTS)


def test_several_directories_are_left_to_the_operator(at_2_18_0: Database, copy: Copy, run_module: RunModule) -> None:
    folder = copy(at_2_18_0)
    folder.database.rows("UPDATE user_oauth SET project_dirs = ARRAY['/a', '/b'] WHERE email LIKE 'bob%'")
    refused = migrate(run_module, folder, "2.18.0")
    assert refused["failed"] and "bob@example.org" in refused["msg"] and "project_dirs[1:1]" in refused["msg"]
    assert ("bob@example.org", ["/a", "/b"]) in folder.database.rows(LISTS)


def test_a_skipped_script_is_refused_before_and_found_afterwards(
    at_2_18_0: Database, copy: Copy, run_module: RunModule, read_database: ReadDatabase
) -> None:
    folder = copy(at_2_18_0)
    options = {"_release": "2.23.0", "env_file": str(folder.env_file), "release": "2.23.0"}
    refused = run_module("schema", **options)
    assert refused["failed"] and "that is pending: users without project directories: ann@example.org" in refused["msg"]
    folder.set_db("2.23.0")  # as somebody does by hand: Fractal says nothing
    found = read_database("2.23.0", env_file=str(folder.env_file))
    assert found["lost"] == [] and [one["release"] for one in found["skipped"]] == ["2.18.0"]
    assert "ann@example.org" in found["skipped"][0]["users"] and len(found["skipped"][0]["users"]) == 7
    refused = run_module("schema", **{**options, "_release": "2.26.0", "release": "2.26.0"})
    assert refused["failed"] and "The data migration of 2.18.0 was skipped: the users ann@example.org" in refused["msg"]


# -- 2.23.0, and on to the end ----------------------------------------------------------------------------------------


def test_versions_are_migrated_and_the_end_of_the_road_is_reached(
    cluster: Cluster,
    at_2_23_0: Database,
    copy: Copy,
    run_module: RunModule,
    start_module: StartModule,
    read_database: ReadDatabase,
) -> None:
    folder = copy(at_2_23_0)
    to_the_end = {"_release": "2.26.0", "env_file": str(folder.env_file), "release": "2.26.0"}
    refused = run_module("schema", **to_the_end)
    assert refused["failed"] and "is pending: 0 tasks and 2 task groups without a version" in refused["msg"]
    kill_at(cluster, start_module, folder, "2.23.0", "UPDATE ON taskgroupv2")
    assert read_database("2.23.0", env_file=str(folder.env_file))["data_migration"] == "pending"
    first = migrate(run_module, folder, "2.23.0")
    assert first["changed"] and first["proof"] == {"tasks_left": 0, "task_groups_left": 0}
    assert any("END of execution of fix_db" in line for line in first["evidence"]["output"])
    assert not migrate(run_module, folder, "2.23.0")["changed"]
    assert folder.database.rows("SELECT DISTINCT version FROM taskgroupv2") == [("0",)]
    kill_at(cluster, start_module, folder, "2.26.0", *AT_THE_HEAD)
    assert folder.database.value(HEAD) == "92ec661b7f76"
    done = run_module("schema", **to_the_end)
    assert done["changed"] and done["revision"] == "0c5e3f92c3a8"
    found = read_database("2.26.0", env_file=str(folder.env_file))
    assert (found["data_migration"], found["skipped"], found["lost"]) == ("not_needed", [], [])
    assert (found["release"], found["newest_release"]) == ("2.25.1", "2.26.0")
    whole = {"_release": "2.26.0", "env_file": str(folder.env_file)}
    review = run_module("fractal_resource_profile", **whole)
    assert {one["id"]: one["status"] for one in review["checks"]}["user_profiles"] == "passed", review["checks"]
    assert review["viewer"]["paths"]["ann@example.org"] == ["/data/ann"]
    assert not run_module("fractal_user_precheck", **whole).get("failed")


def test_killed_at_the_commits_of_2_23_0_it_goes_on_and_back(
    cluster: Cluster,
    at_2_18_0: Database,
    copy: Copy,
    tmp_path: Path,
    run_module: RunModule,
    start_module: StartModule,
    read_database: ReadDatabase,
) -> None:
    folder = copy(at_2_18_0)
    folder.database.rows("UPDATE user_oauth SET project_dirs = ARRAY[project_dir]")
    before = dump_of(folder.database)
    of_2_18_0 = {"_release": "2.18.0", "env_file": str(folder.env_file)}
    backup = {"backup_root": str(tmp_path), "run": "run-1", "method": "copy"}
    assert run_module("fractal_backup", **of_2_18_0, **backup)["backup"]["frozen_copy"]

    kill_at(cluster, start_module, folder, "2.23.0", *AT_THE_HEAD)
    assert dump_of(folder.database) == before
    done = run_module("schema", _release="2.23.0", env_file=str(folder.env_file), release="2.23.0")
    assert done["changed"] and folder.database.value(HEAD) == "92ec661b7f76"
    kill_at(cluster, start_module, folder, "2.23.0", "UPDATE ON taskgroupv2")
    assert read_database("2.23.0", env_file=str(folder.env_file))["data_migration"] == "pending"

    restored = run_module("fractal_database_restore", **of_2_18_0, backup=str(tmp_path / "run-1"))
    assert restored["changed"] and dump_of(folder.database) == before, restored
    for name in [one for one in cluster.names() if one.startswith(f"{folder.database.dbname}_")]:
        cluster.drop(name)


# -- what the schemas refuse ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def warm(cluster: Cluster, at_2_17_2: Database, folders: Copy) -> Iterator[Callable[[str], WarmMigration]]:
    """Function that gives the real, warm fractalctl of a release on a database of its own."""
    with ExitStack() as stack:

        @cache
        def make(release: str) -> WarmMigration:
            folder = folders(cluster.create(at_2_17_2.dbname))
            stack.callback(cluster.drop, folder.database.dbname)
            return stack.enter_context(WarmMigration(cluster, folder, "slurm_sudo", release))

        yield make


DATASET = """INSERT INTO datasetv2 (id, name, project_id, timestamp_created, zarr_dir, images, history)
             VALUES (1, 'd', 1, now(), '/z', '[]', '[]')"""
TASK = """INSERT INTO taskv2 (name, type, source, input_types, output_types, taskgroupv2_id)
          VALUES ('t', 'parallel', %s, '{}', '{}', 1)"""
RUN = """INSERT INTO historyrun
             (id, dataset_id, job_id, workflowtask_dump, task_group_dump, timestamp_started, status,
              num_available_images)
         VALUES (1, 1, 1, '{}', '{}', now(), 'done', 0)"""

# name: (what makes it, the finding, what mends it as the fix says, the first station whose schema refuses it)
CASES: dict[str, tuple[list[str], str, str, str]] = {
    "two submitted jobs on a dataset": (
        [DATASET, "UPDATE jobv2 SET status = 'submitted', dataset_id = 1 WHERE id IN (1, 3)"],
        "rows.jobs_submitted_twice",
        "UPDATE jobv2 SET status = 'failed', end_timestamp = now() WHERE status = 'submitted' AND id = 3",
        "2.18.0",
    ),
    "two users of a project": (
        ["INSERT INTO linkuserprojectv2 (project_id, user_id) VALUES (1, 2)"],
        "rows.project_with_several_users",
        "DELETE FROM linkuserprojectv2 WHERE project_id = 1 AND user_id <> 1",
        "2.18.0",
    ),
    "a view on a column that goes": (
        ["CREATE VIEW site AS SELECT name, viewer_paths FROM usergroup"],
        "rows.column_in_use",
        "DROP VIEW site",
        "2.18.0",
    ),
    "a view on a column that a later release drops": (
        ["CREATE VIEW site AS SELECT id, project_dir FROM user_oauth"],
        "rows.column_in_use",
        "DROP VIEW site",
        "2.26.0",
    ),
    "two task groups in a folder": (
        ["UPDATE taskgroupv2 SET path = '/tasks/1'"],
        "rows.task_groups_in_one_folder",
        "UPDATE taskgroupv2 SET path = '/tasks/2' WHERE id = 2",
        "2.26.0",
    ),
    "a task group collected twice": (
        [
            "UPDATE taskgroupactivityv2 SET taskgroupv2_id = 1",
            """INSERT INTO taskgroupactivityv2
                   (user_id, taskgroupv2_id, timestamp_started, pkg_name, version, status, action)
               SELECT user_id, 1, timestamp_started, pkg_name, version, status, action FROM taskgroupactivityv2""",
        ],
        "rows.task_group_collected_twice",
        "DELETE FROM taskgroupactivityv2 WHERE action = 'collect' AND taskgroupv2_id = 1 AND id <> 2",
        "2.26.0",
    ),
    "two tasks of a name": (
        [TASK % "'a'", TASK % "'b'"],
        "rows.task_name_twice",
        "UPDATE taskv2 SET name = name || ' (' || id || ')' WHERE id = 1",
        "2.26.0",
    ),
    "history without images": (
        [
            DATASET,
            RUN,
            "INSERT INTO historyunit (history_run_id, status, logfile, zarr_urls) VALUES (1, 'done', '/l', NULL)",
        ],
        "rows.history_without_zarr_urls",
        "UPDATE historyunit SET zarr_urls = '{}' WHERE zarr_urls IS NULL",
        "2.26.0",
    ),
}


def found(folder: FractalFolder, start: str = "2.17.2", **options: bool) -> dict[str, str]:
    installation = Installation(str(folder.env_file))
    told = refused_rows(installation, start, "2.26.0", options.get("aborts_jobs", False))["findings"]
    return {one["id"]: one["message"] for one in told}


def must_refuse(migration: WarmMigration) -> None:
    """See that the real set-db refuses the database and leaves its schema as it is."""
    head = migration.database.value(HEAD)
    assert migration.migrate_schema().returncode != 0, "there is no such condition"
    assert migration.database.value(HEAD) == head


def must_refuse_until(migration: WarmMigration, mended_by: str) -> None:
    """See that the real set-db refuses the database, and passes when the fix was done."""
    must_refuse(migration)
    migration.database.rows(mended_by)
    done = migration.migrate_schema()
    assert done.returncode == 0, done.output


@pytest.mark.parametrize("name", CASES)
def test_what_a_schema_refuses_is_found_before_the_first_hop(
    name: str, at_2_17_2: Database, copy: Copy, warm: Callable[[str], WarmMigration]
) -> None:
    made_by, finding, mended_by, release = CASES[name]
    folder = copy(at_2_17_2)
    assert found(folder) == {}
    for statement in made_by:
        folder.database.rows(statement)
    assert [*found(folder)] == [finding]
    assert set(found(folder, aborts_jobs=True)) == {finding} - {"rows.jobs_submitted_twice"}
    migration = warm(release)
    migration.copy(folder.database)
    if release != "2.18.0":
        migration.database.rows(VERSIONS)
    must_refuse_until(migration, mended_by)
    folder.database.rows(mended_by)
    assert found(folder) == {}


@pytest.mark.parametrize("name", [name for name in CASES if "later release" not in name])
def test_the_same_rows_are_found_at_the_beginning_of_the_road(
    name: str, seeded_database: Database, fractal_folder: Callable[..., FractalFolder]
) -> None:
    """The schema of 2.16 has them all, and the fixes work there too; only who has which folder is told elsewhere."""
    made_by, finding, mended_by, _unused = CASES[name]
    folder = fractal_folder(seeded_database)
    for statement in made_by:
        seeded_database.rows(statement)
    assert [*found(folder, "2.16.6")] == [finding]
    seeded_database.rows(mended_by)
    assert found(folder, "2.16.6") == {}


def test_a_superuser_who_is_a_guest_is_found_and_really_refused(
    at_2_23_0: Database, copy: Copy, warm: Callable[[str], WarmMigration]
) -> None:
    """Guests came with 2.19.0, so nobody who comes from 2.17 has one."""
    folder = copy(at_2_23_0)
    folder.database.rows(VERSIONS)
    assert found(folder, "2.23.0") == {}
    folder.database.rows("UPDATE user_oauth SET is_guest = true WHERE is_superuser")
    assert [*found(folder, "2.23.0")] == ["rows.superuser_and_guest"] and found(folder, "2.24.3") == {}
    mended_by = "UPDATE user_oauth SET is_guest = false WHERE is_superuser AND is_guest"
    warm("2.26.0").copy(folder.database)
    must_refuse_until(warm("2.26.0"), mended_by)
    folder.database.rows(mended_by)
    assert found(folder, "2.23.0") == {}


def test_rows_without_a_version_are_refused_and_the_way_goes_through_what_mends_them(
    at_2_17_2: Database, warm: Callable[[str], WarmMigration]
) -> None:
    """No finding: 2.23.0, whose data migration does the same as VERSIONS, lies on each way past it."""
    warm("2.26.0").copy(at_2_17_2)
    assert warm("2.26.0").database.value("SELECT count(*) FROM taskgroupv2 WHERE version IS NULL") == 2
    must_refuse_until(warm("2.26.0"), VERSIONS)
    past = [one.version for one in targets() if version_key(one.version) > version_key("2.23.0")]
    ways = [[hop.version for hop in hops("2.17.2", version)] for version in past]
    assert len(ways) > 10 and all("2.23.0" in way[:-1] for way in ways)


def test_a_project_without_a_resource_is_found_and_really_refused(
    at_2_17_0: Database,
    copy: Copy,
    warm: Callable[[str], WarmMigration],
    run_module: RunModule,
    read_database: ReadDatabase,
) -> None:
    """2.17.1 wants a resource everywhere, and the data migration of 2.17.0 gives one."""
    folder, later = copy(at_2_17_0), warm("2.17.2")
    assert folder.database.value("SELECT count(*) FROM projectv2 WHERE resource_id IS NULL") == 4
    assert read_database("2.17.0", env_file=str(folder.env_file))["data_migration"] == "pending"
    later.copy(folder.database)
    must_refuse(later)
    assert migrate(run_module, folder, "2.17.0")["changed"]
    later.copy(folder.database)
    done = later.migrate_schema()
    assert done.returncode == 0, done.output


def test_dotted_paths_and_leftover_indexes_are_found(at_2_17_2: Database, copy: Copy) -> None:
    folder = copy(at_2_17_2)
    folder.database.rows(
        "UPDATE resource SET tasks_local_dir = '/a/../b', tasks_python_config = jsonb_set(tasks_python_config, "
        "'{versions,3.11}', '\"/usr/bin/../python3\"')"
    )
    folder.database.rows("CREATE INDEX ix_taskgroupv2_user_unique_constraint ON taskgroupv2 (user_id)")
    told = found(folder)
    assert {*told} == {"rows.path_with_dots", "rows.leftover_indexes"}
    assert "resource 1, tasks_local_dir: /a/../b" in told["rows.path_with_dots"]
    assert "tasks_python_config" in told["rows.path_with_dots"]


def test_the_same_is_asked_of_a_database_of_2_16(
    seeded_database: Database, fractal_folder: Callable[..., FractalFolder]
) -> None:
    folder = fractal_folder(seeded_database)
    assert found(folder, "2.16.6") == {}
    seeded_database.rows("UPDATE taskgroupv2 SET path = '/tasks/1'")
    seeded_database.rows("UPDATE user_settings SET ssh_private_key_path = '/home/../key' WHERE id = 1")
    seeded_database.rows("CREATE VIEW site AS SELECT id, username FROM user_oauth")
    seeded_database.rows("CREATE VIEW other AS SELECT id, project_dir FROM user_settings")
    told = found(folder, "2.16.6")
    assert {*told} == {"rows.task_groups_in_one_folder", "rows.path_with_dots", "rows.column_in_use"}
    assert len(refused_rows(Installation(str(folder.env_file)), "2.16.6", "2.26.0", False)["findings"]) == 4


@pytest.mark.parametrize("start", ["2.16.6", "2.17.2"])
def test_whoever_loses_folders_in_the_viewer_is_named(
    start: str, at_2_17_2: Database, template: str, cluster: Cluster, folders: Copy
) -> None:
    database = cluster.create(at_2_17_2.dbname if start == "2.17.2" else template)
    if start == "2.16.6":
        seed(database)
    database.rows(
        "INSERT INTO usergroup (id, name, timestamp_created, viewer_paths) VALUES (7, 'lab', now(), '[\"/lab\"]')"
    )
    database.rows("INSERT INTO linkusergroup (group_id, user_id) SELECT 7, id FROM user_oauth WHERE email LIKE 'ann%'")
    folder = folders(database)
    variable = "FRACTAL_DATA_AUTH_SCHEME" if start == "2.17.2" else "FRACTAL_VIEWER_AUTHORIZATION_SCHEME"
    folder.write({**folder.values, variable: "viewer-paths"})
    told = {one["id"]: one for one in viewer_findings(Installation(str(folder.env_file)))["findings"]}
    assert [*told] == ["viewer.folders_lost"] and told["viewer.folders_lost"]["acceptable"]
    assert "1 user(s) lose folders: ann@example.org loses /lab." in told["viewer.folders_lost"]["message"]
    folder.write({**folder.values, variable: "none"})
    told = {one["id"]: one for one in viewer_findings(Installation(str(folder.env_file)))["findings"]}
    assert {*told} == {"viewer.group_paths_dropped", "viewer.folders_shown"}
    cluster.drop(database.dbname)
