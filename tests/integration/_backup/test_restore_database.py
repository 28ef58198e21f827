"""fractal_database_restore on real upgrades: exactly the old database, or the one there was, never anything between."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any, Callable

import pytest
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.contents import (
    changes_since,
    read_contents,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.database import connect, database_settings
from conftest import RunningModule, wait_until
from postgres_cluster import OWNER, PASSWORD, PLAIN, Cluster, Database, postgres_bin
from postgres_seed import add_job, seed
from releases_environments import FractalFolder

RunModule = Callable[..., dict[str, Any]]
StartModule = Callable[..., RunningModule]


@pytest.fixture(params=[OWNER, PLAIN], ids=["fresh database", "in place"])
def folder(
    request: pytest.FixtureRequest, new_database: Callable[..., Database], fractal_folder: Callable[..., FractalFolder]
) -> FractalFolder:
    """A 2.16.6 instance whose role may, or may not, create databases."""
    database = new_database(owner=request.param)
    seed(database)
    return fractal_folder(database)


@pytest.fixture
def only_fresh(seeded_database: Database, fractal_folder: Callable[..., FractalFolder]) -> FractalFolder:
    """A 2.16.6 instance whose role may create databases."""
    return fractal_folder(seeded_database)


@pytest.fixture(autouse=True)
def no_databases_left(cluster: Cluster) -> Any:
    """Whatever a test did, it leaves no scratch database; those kept aside are dropped."""
    yield
    left = cluster.names()
    for name in left:
        if "_failed_" in name or "_restore_" in name:
            cluster.drop(name)
    assert not [name for name in left if "_proof_" in name or "_swap_" in name]


def back_up(run_module: RunModule, folder: FractalFolder, root: Path) -> str:
    proof = "restore" if folder.database.user == OWNER else "list"
    options = {"env_file": str(folder.env_file), "backup_root": str(root), "run": "run-1", "proof": proof}
    result = run_module("fractal_backup", **options)
    assert result.get("changed"), result
    return str(result["backup"]["path"])


def restore(run_module: RunModule, folder: FractalFolder, backup: str, **options: Any) -> dict[str, Any]:
    return run_module("fractal_database_restore", env_file=str(folder.env_file), backup=backup, **options)


def dump_of(database: Database) -> list[str]:
    """Return everything in a database as pg_dump writes it, without what it writes differently each time."""
    values = {"PGHOST": database.host, "PGPORT": str(database.port), "PGUSER": database.user}
    done = subprocess.run(
        [str(postgres_bin() / "pg_dump"), database.dbname],
        env={**values, "PGPASSWORD": database.password},
        capture_output=True,
        text=True,
        check=True,
    )
    return [line for line in done.stdout.splitlines() if not line.startswith(("\\restrict", "\\unrestrict"))]


def alter(database: Database) -> None:
    """Do to a database, quickly, the kinds of things that an upgrade does."""
    for statement in (
        "CREATE TABLE resource (id serial PRIMARY KEY, name text NOT NULL UNIQUE)",
        "INSERT INTO resource (name) VALUES ('Resource Name')",
        "ALTER TABLE projectv2 ADD resource_id int REFERENCES resource (id) ON DELETE RESTRICT",
        "UPDATE projectv2 SET resource_id = 1",
        "ALTER TABLE user_oauth DROP COLUMN username",
        "DROP INDEX ix_user_oauth_email",
        "UPDATE alembic_version SET version_num = '83bc2ad3ffcc'",
    ):
        database.rows(statement)


@pytest.mark.parametrize(
    ("folder", "reached"),
    [(OWNER, "schema"), (OWNER, "2.17.0"), (OWNER, "2.17.2"), (PLAIN, "2.17.2")],
    indirect=["folder"],
)
def test_exactly_the_old_database(
    reached: str, folder: FractalFolder, tmp_path: Path, run_module: RunModule, cluster: Cluster
) -> None:
    before = dump_of(folder.database)
    backup = back_up(run_module, folder, tmp_path / "backups")
    folder.upgrade("2.17.0" if reached == "schema" else reached, data=reached != "schema")
    upgraded = dump_of(folder.database)
    predicted = restore(run_module, folder, backup, _check=True)
    assert predicted["changed"] and dump_of(folder.database) == upgraded
    result = restore(run_module, folder, backup)
    assert result["changed"] and result["lost"] == [] and dump_of(folder.database) == before
    if folder.database.user == OWNER:
        assert result["method"] == "fresh_database"
        aside = Database(**{**folder.database.__dict__, "dbname": result["kept_aside"]})
        assert result["kept_aside"] == f"{folder.database.dbname}_failed_run-1" and dump_of(aside) == upgraded
    else:
        assert (result["method"], result["kept_aside"]) == ("in_place", "")
        assert not [name for name in cluster.names() if "_failed_" in name]
    again = restore(run_module, folder, backup)
    assert not again["changed"] and again["method"] == "" and dump_of(folder.database) == before
    assert again["kept_aside"] == result["kept_aside"]
    alter(folder.database)  # and the way is free for the next attempt
    assert restore(run_module, folder, backup)["changed"] and dump_of(folder.database) == before


def test_an_untouched_database_is_left_alone(folder: FractalFolder, tmp_path: Path, run_module: RunModule) -> None:
    backup = back_up(run_module, folder, tmp_path / "backups")
    oid = folder.database.value("SELECT oid FROM pg_database WHERE datname = current_database()")
    assert not restore(run_module, folder, backup)["changed"]
    assert folder.database.value("SELECT oid FROM pg_database WHERE datname = current_database()") == oid


def test_work_of_users_is_not_lost_without_consent(
    folder: FractalFolder, tmp_path: Path, run_module: RunModule
) -> None:
    backup = back_up(run_module, folder, tmp_path / "backups")
    folder.upgrade("2.17.2")
    assert restore(run_module, folder, backup, _check=True)["lost"] == []  # the upgrade itself is no work
    add_job(folder.database, 1)
    folder.database.rows("UPDATE projectv2 SET name = 'renamed' WHERE id = 2")
    folder.database.rows("DELETE FROM taskgroupv2 WHERE id = 2")
    upgraded = dump_of(folder.database)
    for check in (True, False):
        refused = restore(run_module, folder, backup, _check=check)
        assert refused["failed"] and "fractal_accept_data_loss=true" in refused["msg"]
        for line in (
            "jobv2: 6 rows then, 7 now, 1 of them new",
            "projectv2: 4 rows then, 4 now",
            "taskgroupv2: 2 rows then, 1",
        ):
            assert line in refused["msg"]
    assert dump_of(folder.database) == upgraded
    result = restore(run_module, folder, backup, accept_data_loss=True)
    assert result["changed"] and {row["table"]: row["created"] for row in result["lost"]} == {
        "jobv2": 1, "projectv2": 0, "taskgroupv2": 0,
    }  # fmt: skip


def test_every_kind_of_work_is_seen(only_fresh: FractalFolder) -> None:
    settings = database_settings(only_fresh.database.module_args())
    with connect(settings, read_only=True) as connection:
        before = read_contents(connection)
    only_fresh.upgrade()
    only_fresh.database.rows("UPDATE resource SET name = 'cluster'")  # new in 2.17, so nothing that was there before
    for statement, table in (
        ("UPDATE user_oauth SET hashed_password = 'new' WHERE id = 1", "user_oauth"),
        ("INSERT INTO usergroup (name, timestamp_created, viewer_paths) VALUES ('g', now(), '[]')", "usergroup"),
        ("UPDATE jobv2 SET status = 'failed' WHERE id = 1", "jobv2"),
        ("DELETE FROM linkuserprojectv2 WHERE project_id = 1", "linkuserprojectv2"),
        ("UPDATE taskgroupv2 SET active = false WHERE id = 1", "taskgroupv2"),
        (
            "INSERT INTO user_oauth (email, hashed_password, is_active, is_superuser, is_verified) "
            "VALUES ('n@example.org', 'x', true, false, true)",
            "user_oauth",
        ),
    ):
        with connect(settings) as connection:
            assert changes_since(connection, before) == []
            connection.exec_driver_sql(statement)
            assert [change.table for change in changes_since(connection, before)] == [table]


def test_tables_that_are_others_now_are_told_as_they_are(
    only_fresh: FractalFolder, tmp_path: Path, run_module: RunModule
) -> None:
    """As where a backup is named that the instance has gone back from: rows are counted, whatever became of columns."""
    database = only_fresh.database
    database.rows("CREATE TABLE lab (id int, what text)")
    database.rows("INSERT INTO lab VALUES (1, 'a'), (2, 'b')")
    database.rows("CREATE TABLE shelf (id int)")
    database.rows("INSERT INTO shelf VALUES (1)")
    groups = database.rows("SELECT count(*) FROM usergroup")[0][0]
    backup = back_up(run_module, only_fresh, tmp_path / "backups")
    database.rows("ALTER TABLE usergroup DROP COLUMN timestamp_created")
    database.rows("INSERT INTO usergroup (name, viewer_paths) VALUES ('g', '[]')")
    database.rows("ALTER TABLE lab DROP COLUMN id")
    database.rows("DROP TABLE shelf")
    told = restore(run_module, only_fresh, backup)["msg"]
    assert (
        f"  usergroup: {groups} rows then, {groups + 1} now, 1 of them new; without the columns timestamp_created\n"
        in told
    )
    assert "  lab: 2 rows then, 2 now, 0 of them new; without the columns id\n" in told
    assert "  shelf: 1 rows then, 0 now, 0 of them new\n" in told
    lost = restore(run_module, only_fresh, backup, accept_data_loss=True)["lost"]
    assert {row["table"]: row["gone"] for row in lost} == {
        "lab": ["id"],
        "shelf": [],
        "usergroup": ["timestamp_created"],
    }


def test_a_damaged_backup_is_not_restored(folder: FractalFolder, tmp_path: Path, run_module: RunModule) -> None:
    backup = back_up(run_module, folder, tmp_path / "backups")
    alter(folder.database)
    before = dump_of(folder.database)
    with open(os.path.join(backup, "database.dump"), "r+b") as stream:
        stream.truncate(5000)
    assert "damaged" in restore(run_module, folder, backup)["msg"]
    assert "not a finished backup" in restore(run_module, folder, str(tmp_path))["msg"]
    assert dump_of(folder.database) == before


def test_what_is_restored_must_equal_the_manifest(folder: FractalFolder, tmp_path: Path, run_module: RunModule) -> None:
    """A backup whose dump is whole but not that of its manifest brings nothing: the comparison precedes the swap."""
    backup = back_up(run_module, folder, tmp_path / "backups")
    alter(folder.database)
    before = dump_of(folder.database)
    manifest = Path(backup, "manifest.json")
    content = json.loads(manifest.read_text())
    content["contents"]["tables"]["projectv2"]["digest"] = "1"
    manifest.write_text(json.dumps(content))
    failed = restore(run_module, folder, backup)
    assert failed["failed"] and "projectv2" in failed["msg"] and "differs from the" in failed["msg"]
    assert dump_of(folder.database) == before


def test_a_kill_in_the_middle(
    folder: FractalFolder, tmp_path: Path, run_module: RunModule, start_module: StartModule, cluster: Cluster
) -> None:
    """Module or program is killed while it restores: the database is what it was, and the next run arrives."""
    make_it_wait(folder.database)
    before = dump_of(folder.database)
    backup = back_up(run_module, folder, tmp_path / "backups")
    alter(folder.database)
    upgraded = dump_of(folder.database)
    program = "pg_restore" if folder.database.user == OWNER else "psql"
    for victim in ("program", "module"):
        cluster.create(dbname="wait")
        try:
            running = start_module("fractal_database_restore", env_file=str(folder.env_file), backup=backup)
            pid = wait_until(lambda: sleeping(running, cluster, program))  # noqa: B023
            if victim == "program":
                os.kill(pid, signal.SIGKILL)
                assert f"{program} ended with -9" in running.result()["msg"]
            else:
                running.process.kill()
                running.process.wait()
        finally:
            cluster.drop("wait")
        cluster.superuser().rows("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'")
        assert dump_of(folder.database) == upgraded
    result = restore(run_module, folder, backup)
    assert result["changed"] and dump_of(folder.database) == before
    assert not [name for name in cluster.names() if "_restore_" in name]


def make_it_wait(database: Database) -> None:
    """Let whoever puts this database's rows back sleep as long as there is a database ``wait``."""
    for statement in (
        "CREATE TABLE slow (id int PRIMARY KEY)",
        "INSERT INTO slow VALUES (1)",
        """CREATE FUNCTION public.wait_for_the_test() RETURNS bool LANGUAGE sql AS
           $$ SELECT NOT EXISTS (SELECT FROM pg_database WHERE datname = 'wait') OR pg_sleep(600) IS NOT NULL $$""",
        "ALTER TABLE slow ADD CHECK (public.wait_for_the_test())",
    ):
        database.rows(statement)


def sleeping(running: RunningModule, cluster: Cluster, program: str) -> int:
    asleep = cluster.superuser().rows("SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'")
    return running.child(program) if asleep else 0


def test_postgresql_stops_in_the_middle(
    folder: FractalFolder, tmp_path: Path, run_module: RunModule, start_module: StartModule, cluster: Cluster
) -> None:
    """As a crash stops it: in the middle of its transaction within the database, or of pg_restore into a fresh one."""
    make_it_wait(folder.database)
    before = dump_of(folder.database)
    backup = back_up(run_module, folder, tmp_path / "backups")
    alter(folder.database)
    altered, names = dump_of(folder.database), cluster.names()
    cluster.create(dbname="wait")
    try:
        running = start_module("fractal_database_restore", env_file=str(folder.env_file), backup=backup)
        program = "pg_restore" if folder.database.user == OWNER else "psql"
        wait_until(lambda: sleeping(running, cluster, program))
        half_made = {name for name in cluster.names() - names if "_restore_" in name}
        cluster.superuser().rows("CHECKPOINT")  # fsync is off in tests; a crash loses nothing once written out
        cluster.stop_server()
        try:
            failed = running.result()
        finally:
            cluster.start_server()
    finally:
        cluster.drop("wait")
    assert failed["failed"] and len(half_made) == (folder.database.user == OWNER)
    assert dump_of(folder.database) == altered and cluster.names() == names | half_made
    result = restore(run_module, folder, backup)
    assert result["changed"] and result["removed"] == sorted(half_made) and dump_of(folder.database) == before
    assert cluster.names() == names | {result["kept_aside"]} - {""}


def test_others_of_the_same_role_are_put_out(folder: FractalFolder, tmp_path: Path, run_module: RunModule) -> None:
    before = dump_of(folder.database)
    backup = back_up(run_module, folder, tmp_path / "backups")
    alter(folder.database)
    other = folder.database.connect(autocommit=False)
    other.execute("SELECT * FROM user_oauth")
    assert restore(run_module, folder, backup)["changed"]
    other.close()
    assert dump_of(folder.database) == before


def test_a_wrong_password_after_the_switch(folder: FractalFolder, tmp_path: Path, run_module: RunModule) -> None:
    """The environment file in use is broken; that of the backup leads to the database."""
    before = dump_of(folder.database)
    backup = back_up(run_module, folder, tmp_path / "backups")
    alter(folder.database)
    for text in (folder.env_file.read_text().replace(PASSWORD, "wrong"), "POSTGRES_DB=elsewhere\n", ""):
        folder.env_file.write_text(text)
        assert restore(run_module, folder, backup, _check=True).get("failed") is None
    assert restore(run_module, folder, backup)["changed"] and dump_of(folder.database) == before


def test_a_database_that_is_gone(
    only_fresh: FractalFolder, tmp_path: Path, run_module: RunModule, cluster: Cluster
) -> None:
    before = dump_of(only_fresh.database)
    backup = back_up(run_module, only_fresh, tmp_path / "backups")
    cluster.drop(only_fresh.database.dbname)
    result = restore(run_module, only_fresh, backup)
    assert result["changed"] and result["kept_aside"] == "" and dump_of(only_fresh.database) == before


def test_settings_and_privileges_of_the_database_stay(
    only_fresh: FractalFolder, tmp_path: Path, run_module: RunModule, cluster: Cluster
) -> None:
    database = only_fresh.database
    for statement in (
        'ALTER DATABASE %I SET search_path TO "$user", public',
        "ALTER DATABASE %I SET statement_timeout TO '5min'",
        "ALTER DATABASE %I SET application_name TO 'it''s 100%%'",
        "REVOKE CONNECT ON DATABASE %I FROM PUBLIC",
        "GRANT CONNECT ON DATABASE %I TO fractal_reader WITH GRANT OPTION",
    ):
        database.rows(statement.replace("%I", f'"{database.dbname}"').replace("%%", "%"))
    properties = """
        SELECT ARRAY(SELECT acl::text FROM unnest(datacl) AS acl ORDER BY 1), pg_get_userbyid(datdba),
               encoding, datcollate, datctype,
               (SELECT setconfig::text FROM pg_db_role_setting WHERE setdatabase = d.oid)
        FROM pg_database d WHERE datname = current_database()"""
    before = database.rows(properties)
    backup = back_up(run_module, only_fresh, tmp_path / "backups")
    alter(only_fresh.database)
    assert restore(run_module, only_fresh, backup)["method"] == "fresh_database"
    assert database.rows(properties) == before


def test_the_method_can_be_chosen(
    only_fresh: FractalFolder, tmp_path: Path, run_module: RunModule, cluster: Cluster
) -> None:
    before = dump_of(only_fresh.database)
    backup = back_up(run_module, only_fresh, tmp_path / "backups")
    alter(only_fresh.database)
    result = restore(run_module, only_fresh, backup, method="in_place")
    assert (result["method"], result["kept_aside"]) == ("in_place", "") and dump_of(only_fresh.database) == before


def test_a_failed_copy_is_never_replaced(
    only_fresh: FractalFolder, tmp_path: Path, run_module: RunModule, cluster: Cluster
) -> None:
    backup = back_up(run_module, only_fresh, tmp_path / "backups")
    names = []
    for _attempt in range(2):
        alter(only_fresh.database)
        names.append(restore(run_module, only_fresh, backup)["kept_aside"])
    assert len(set(names)) == 2 and set(names) <= cluster.names()
