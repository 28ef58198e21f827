"""What else lies in the database: it survives backup and rollback, or precheck says before that it would not."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Callable

import pytest
from ansible_collections.fractal_ops.platform.plugins.module_utils._backup.make import (
    make_backup,
    note_after,
    open_backup,
    tidy_up,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from hypothesis import HealthCheck, Phase, event, example, given, settings
from hypothesis import strategies as st
from postgres_cluster import OWNER, PLAIN, Cluster, Database
from postgres_seed import seed
from releases_environments import FractalFolder, python_of

from _backup.furniture import BI, GROUP, KINDS, Instance, change, dump_of, furnish, make_roles, run_as_administrator

NewInstance = Callable[..., Instance]
CLEAN = {"database.left_out", "database.left_behind", "database.no_createdb"}  # nothing is refused for these


@pytest.fixture
def new_instance(
    cluster: Cluster,
    new_database: Callable[..., Database],
    fractal_folder: Callable[..., FractalFolder],
    tmp_path: Path,
) -> Iterator[NewInstance]:
    """Factory of seeded 2.16.6 instances whose role may, or may not, create databases."""
    make_roles(cluster)
    before = cluster.names()

    def make(owner: str = OWNER, pieces: list[tuple[str, str, str]] | None = None) -> Instance:
        database = new_database(owner=owner)
        seed(database)
        furnish(database, pieces or [])
        return Instance(fractal_folder(database), tmp_path / f"backups-{database.dbname}")

    yield make
    for name in cluster.names() - before:
        if any(part in name for part in ("_proof_", "_restore_", "_swap_", "_failed_", "_trial_")):
            cluster.drop(name)


def refusals(instance: Instance, proof: str = "restore") -> dict[str, str]:
    return {name: message for name, message in instance.checked(proof).items() if name not in CLEAN}


def lines_that_differ(before: list[str], after: list[str]) -> list[str]:
    return sorted(set(before) ^ set(after))


def test_a_reporting_schema_comes_back_within_the_database(new_instance: NewInstance) -> None:
    """Views, materialized views and foreign keys outside Fractal's schema depend on its tables."""
    instance = new_instance(PLAIN, [(kind, PLAIN, PLAIN) for kind in ("view", "materialized view", "foreign key")])
    before = dump_of(instance.database)
    backup = instance.back_up("list")
    change(instance.database)
    assert instance.restore(backup)["method"] == "in_place"
    assert lines_that_differ(before, dump_of(instance.database)) == []


@pytest.mark.parametrize("kind", ["view", "foreign key", "publication"])
def test_what_others_built_on_fractals_tables_is_not_dropped(kind: str, new_instance: NewInstance) -> None:
    instance = new_instance(PLAIN, [(kind, "postgres" if kind == "publication" else BI, BI)])
    assert "database.no_way_back" in instance.checked("list")
    backup = instance.back_up("list")
    change(instance.database)
    before = dump_of(instance.database)
    with pytest.raises(FractalError, match=r"s0.*would be lost.*Nothing was changed"):
        instance.restore(backup)
    assert dump_of(instance.database) == before
    run_as_administrator(instance.database, f"GRANT {BI} TO {PLAIN}", f"GRANT postgres TO {PLAIN}")
    try:
        assert instance.restore(backup)["method"] == "in_place"  # as the message says
    finally:
        run_as_administrator(instance.database, f"REVOKE {BI} FROM {PLAIN}", f"REVOKE postgres FROM {PLAIN}")


@pytest.mark.parametrize("owner", [OWNER, PLAIN])
def test_rows_in_another_schema_are_not_lost_without_consent(owner: str, new_instance: NewInstance) -> None:
    instance = new_instance(owner, [("foreign key", owner, owner)])
    backup = instance.back_up("restore" if owner == OWNER else "list")
    change(instance.database)
    instance.database.rows("INSERT INTO s0.notes (note) VALUES ('late')")
    instance.database.rows("CREATE TABLE s0.fresh AS SELECT 1 AS id")
    with pytest.raises(FractalError, match=r"(?s)s0.notes: 1 rows then, 2 now.*s0.fresh: 0 rows then, 1 now"):
        instance.restore(backup)
    assert instance.database.value("SELECT count(*) FROM s0.notes") == 2
    assert {row["table"] for row in instance.restore(backup, accept_data_loss=True)["lost"]} == {"s0.notes", "s0.fresh"}


def test_only_databases_with_our_mark_are_ours(new_instance: NewInstance, cluster: Cluster) -> None:
    instance = new_instance()
    name = instance.database.dbname
    theirs = [f"{name}_proof_of_concept", f"{name}_restore_test2024", f"{name}_swap_backup", f"{name}_proof_run-1"]
    theirs += [f"{name}_failed_run-1", f"{name}_proof_20251120T210000Z"]
    for database in theirs:
        cluster.create(dbname=database)
    # a name that is not the marked one: somebody has renamed ours, to keep it
    cluster.superuser().rows(
        f'COMMENT ON DATABASE "{theirs[1]}" IS '
        f"'fractal_ops.platform restore run-1 beside {name}: {name}_restore_run-1'"
    )
    try:
        assert theirs[5] in instance.checked()["database.unmarked_copies"]
        assert theirs[0] not in instance.checked()["database.unmarked_copies"]
        backup = instance.back_up()
        change(instance.database)
        result = instance.restore(backup)
        assert result["removed"] == [] and result["kept_aside"] == f"{name}_failed_run-1_2"
        assert tidy_up(instance.installation, python_of("2.16.6"), str(instance.root)) == []
        assert set(theirs) <= cluster.names()
        again = instance.restore(backup)
        assert not again["changed"] and again["kept_aside"] == f"{name}_failed_run-1_2"
    finally:
        for database in theirs:
            cluster.drop(database)


@pytest.mark.parametrize("method", ["dump", "auto"])
def test_new_large_objects_are_not_lost_without_consent(method: str, new_instance: NewInstance) -> None:
    instance = new_instance(OWNER, [("large object", OWNER, OWNER)])
    backup = instance.back_up(method=method)
    change(instance.database)
    assert instance.restore(backup, check_mode=True)["lost"] == []
    instance.database.rows("SELECT lo_from_bytea(0, 'late')")
    with pytest.raises(FractalError, match="large objects: 1 rows then, 2 now, 1 of them new"):
        instance.restore(backup)
    assert instance.restore(backup, accept_data_loss=True)["kept_aside"]


def test_two_instances_in_one_cluster_leave_each_other_alone(
    new_instance: NewInstance,
    cluster: Cluster,
    template: str,
    fractal_folder: Callable[..., FractalFolder],
    tmp_path: Path,
) -> None:
    """One's name begins with the other's, the way that our own names go on; and both have runs of the same name."""
    one = new_instance()
    database = cluster.create(template, dbname=f"{one.database.dbname}_failed")
    seed(database)
    other = Instance(fractal_folder(database), tmp_path / "of the other")
    try:
        backups = one.back_up(method="copy"), other.back_up(method="copy")
        before = dump_of(one.database), dump_of(other.database)
        change(one.database)
        change(other.database)
        changed = dump_of(other.database)
        assert one.restore(backups[0])["method"] == "exchange"
        assert tidy_up(one.installation, python_of("2.16.6"), str(one.root)) == []
        assert dump_of(other.database) == changed
        assert other.restore(backups[1])["method"] == "exchange"
        assert (dump_of(one.database), dump_of(other.database)) == before
    finally:
        for name in cluster.names():
            if name.startswith(database.dbname):
                cluster.drop(name)


@pytest.mark.parametrize("owner", [OWNER, PLAIN])
def test_work_on_what_only_the_new_release_has(owner: str, new_instance: NewInstance) -> None:
    instance = new_instance(owner)
    backup = instance.back_up("restore" if owner == OWNER else "list")
    instance.folder.upgrade("2.17.2")
    noted = note_after(instance.installation, python_of("2.16.6"), backup)
    assert noted["changed"] and {"resource", "profile", "user_oauth", "projectv2"} <= set(noted["noted"])
    assert not note_after(instance.installation, python_of("2.16.6"), backup)["changed"]
    assert instance.restore(backup, check_mode=True)["lost"] == []
    for statement, table in (
        ("UPDATE resource SET name = 'cluster A'", "resource"),
        ("UPDATE profile SET username = 'somebody'", "profile"),
        ("UPDATE user_oauth SET project_dir = '/home/ann', slurm_accounts = '{a}' WHERE id = 1", "user_oauth"),
        ("UPDATE projectv2 SET resource_id = NULL WHERE false", None),
    ):
        with instance.database.connect(autocommit=True) as connection:
            connection.execute(statement.encode())
        if table:
            with pytest.raises(FractalError, match=f"{table}: "):
                instance.restore(backup)
    result = instance.restore(backup, accept_data_loss=True)
    assert {row["table"] for row in result["lost"]} == {"resource", "profile", "user_oauth"}
    assert open_backup(backup).path == backup  # the note harms no backup


IN_IT, LATER = "2026-01-05 10:00:30+00", "2026-01-05 12:00:00+00"
ITS_JOB = {
    "project_id": None,
    "project_dump": {"name": "fractal verify probe 1763912345"},
    "start_timestamp": "2026-01-05 10:00:00+00",
    "end_timestamp": "2026-01-05 10:01:00+00",
}
ITS_ACTIVITY = {"taskgroupv2_id": None, "pkg_name": "fractal-verify-probe"}
ITS_RECORD = {"user_id": 1, "timestamp": IN_IT, "num_tasks": 1, "num_new_images": 0}
OF_A_VERIFICATION = (
    ("jobv2", ITS_JOB),
    ("taskgroupactivityv2", ITS_ACTIVITY),
    ("taskgroupactivityv2", ITS_ACTIVITY),
    ("accountingrecord", ITS_RECORD),
    ("accountingrecordslurm", {**ITS_RECORD, "slurm_job_ids": [1]}),
)


def add_row(database: Database, table: str, columns: dict[str, object]) -> None:
    """Add a row with a new id which is like the first one, if there is one, but for some columns."""
    own = {"id": database.value(f"SELECT coalesce(max(id), 0) + 1 FROM {table}")}
    own |= {"user_email": database.value("SELECT email FROM user_oauth WHERE id = 1")} if table == "jobv2" else {}
    told = json.dumps({**own, **columns}).replace("'", "''")
    first = f"coalesce((SELECT to_jsonb(t) FROM {table} AS t ORDER BY id LIMIT 1), '{{}}')"
    database.rows(f"INSERT INTO {table} SELECT (jsonb_populate_record(NULL::{table}, {first} || '{told}')).*")


def verified(database: Database) -> None:
    for table, columns in OF_A_VERIFICATION:
        add_row(database, table, columns)


def test_what_a_verification_leaves_is_nobodys_work(new_instance: NewInstance) -> None:
    instance = new_instance()
    verified(instance.database)  # by an earlier upgrade: rows like any other
    backup = instance.back_up()
    instance.folder.upgrade("2.17.2")
    note_after(instance.installation, python_of("2.16.6"), backup)
    verified(instance.database)
    assert instance.restore(backup, check_mode=True)["lost"] == []
    for table, columns in (
        ("jobv2", {**ITS_JOB, "project_dump": {"name": "fractal verify probe of mine"}}),
        ("jobv2", {**ITS_JOB, "project_id": instance.database.value("SELECT min(id) FROM projectv2")}),
        ("taskgroupactivityv2", {**ITS_ACTIVITY, "pkg_name": "fractal-verify-probes"}),
        ("accountingrecord", {**ITS_RECORD, "timestamp": LATER}),
        ("accountingrecordslurm", {**ITS_RECORD, "user_id": 2}),
    ):
        add_row(instance.database, table, columns)
        [lost] = instance.restore(backup, accept_data_loss=True, check_mode=True)["lost"]
        assert (lost["table"], lost["created"]) == (table, 1)
        assert lost["rows_now"] == lost["rows_before"] + 1, "those of the verification are not counted"
        instance.database.rows(f"DELETE FROM {table} WHERE id = (SELECT max(id) FROM {table})")
    instance.database.rows("DELETE FROM jobv2 WHERE id = (SELECT min(id) FROM jobv2 WHERE project_id IS NULL)")
    lost = instance.restore(backup, accept_data_loss=True, check_mode=True)["lost"]
    assert [row["table"] for row in lost] == ["jobv2"]


@pytest.mark.parametrize("method", ["dump", "auto"])
def test_folders_of_task_packages_that_will_not_fit_are_told(method: str, new_instance: NewInstance) -> None:
    instance = new_instance()
    instance.database.rows("UPDATE taskgroupv2 SET path = '/tasks/' || id, venv_path = '/tasks/' || id || '/venv'")
    first, *_others = (row[0] for row in instance.database.rows("SELECT id FROM taskgroupv2 WHERE active ORDER BY id"))
    backup = instance.back_up(method=method)
    change(instance.database)
    assert instance.restore(backup, check_mode=True)["task_folders"] == []
    instance.database.rows(f"UPDATE taskgroupv2 SET active = false WHERE id = {first}")
    with pytest.raises(FractalError, match=rf"(?s)taskgroupv2: .*/tasks/{first}/venv is gone.*WHERE id = {first};"):
        instance.restore(backup)
    instance.database.rows(f"UPDATE taskgroupv2 SET active = true, path = '/tasks/new' WHERE id = {first}")
    result = instance.restore(backup, accept_data_loss=True)
    assert ["folder /tasks/new stays" in result["task_folders"][0], len(result["task_folders"])] == [True, 2]


FIELD = {
    "pgbouncer's auth function": [("function", "postgres", "postgres")],
    "default privileges of another": [("default privileges", "postgres", "postgres")],
    "event trigger": [("event trigger", "postgres", "postgres")],
    "extension in a schema of its own": [("trusted extension", "postgres", "postgres")],
    "foreign server": [("foreign server", "postgres", "postgres")],
    "large object of another": [("large object", BI, "postgres")],
    "pg_stat_statements in public": [("untrusted extension", "postgres", "postgres")],
    "publication of another": [("publication", "postgres", "postgres")],
    "tables of another in another schema": [("table", BI, BI), ("partitions", BI, BI), ("sequence", BI, BI)],
}


SHORT = ("event trigger", "publication of another", "tables of another in another schema")


@pytest.mark.parametrize("what", [pytest.param(one, marks=[pytest.mark.long] * (one not in SHORT)) for one in FIELD])
def test_what_administrators_keep_in_the_database(what: str, new_instance: NewInstance) -> None:
    """Found while nothing is at stake, proved as far as it goes, and there afterwards."""
    instance = new_instance(OWNER, FIELD[what])
    before = dump_of(instance.database)
    assert refusals(instance) == {}
    backup = instance.back_up()
    change(instance.database)
    result = instance.restore(backup)
    assert result["changed"]
    if result["left_out"]:  # said before, and kept aside
        assert "database.left_behind" in instance.checked() or what == "publication of another"
        assert result["kept_aside"]
    else:
        assert lines_that_differ(before, dump_of(instance.database)) == []


def test_a_large_object_that_the_role_may_not_read_is_named_before(new_instance: NewInstance) -> None:
    """A dump takes every large object along, whoever owns it: one that is closed would end the backup in the window."""
    instance = new_instance(OWNER, [(kind, BI, "postgres") for kind in ("large object", "closed large object")])
    message = refusals(instance)["database.not_readable"]
    assert "large object 60001" in message and "50000" not in message
    with pytest.raises(FractalError, match="large object 60001"):
        instance.back_up()
    run_as_administrator(instance.database, f"GRANT SELECT ON LARGE OBJECT 60001 TO {OWNER}")  # as the finding says
    before = dump_of(instance.database)
    assert refusals(instance) == {}
    backup = instance.back_up()
    change(instance.database)
    assert instance.restore(backup)["changed"]
    assert lines_that_differ(before, dump_of(instance.database)) == []


@pytest.mark.parametrize("whose", ["DATABASE %D", "ROLE fractal IN DATABASE %D"], ids=["database", "role in it"])
def test_search_path_of_the_database_and_of_the_role_in_it(whose: str, new_instance: NewInstance) -> None:
    instance = new_instance()
    run_as_administrator(
        instance.database,
        "CREATE SCHEMA app AUTHORIZATION fractal",
        "DO $$ DECLARE t text; BEGIN FOR t IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' "
        "LOOP EXECUTE format('ALTER TABLE public.%I SET SCHEMA app', t); END LOOP; END $$",
        f"ALTER {whose} SET search_path TO app",
    )
    before = dump_of(instance.database)
    assert refusals(instance) == {}
    backup = instance.back_up()
    change(instance.database)
    assert instance.restore(backup)["method"] == "fresh_database"
    assert lines_that_differ(before, dump_of(instance.database)) == []
    assert instance.database.value("SELECT current_schema()") == "app"  # the setting went along


@pytest.fixture
def only_one_database(cluster: Cluster) -> Iterator[Callable[[str], None]]:
    """Let the role fractal connect to one database only, as a strict pg_hba.conf or pgbouncer does."""
    rules = cluster.data / "pg_hba.conf"
    before = rules.read_text()

    def allow(dbname: str) -> None:
        first = f"host {dbname} fractal 127.0.0.1/32 scram-sha-256\nhost all fractal 127.0.0.1/32 reject\n"
        rules.write_text(first + before)
        cluster.superuser().rows("SELECT pg_reload_conf()")

    yield allow
    rules.write_text(before)
    cluster.superuser().rows("SELECT pg_reload_conf()")


def test_a_database_can_be_made_but_not_reached(
    new_instance: NewInstance, cluster: Cluster, only_one_database: Callable[[str], None]
) -> None:
    instance = new_instance()
    before = dump_of(instance.database)
    only_one_database(instance.database.dbname)
    assert "pg_hba.conf" in instance.checked()["database.scratch_unreachable"]
    with pytest.raises(FractalError, match=r"pg_hba.conf"):
        instance.back_up()
    assert refusals(instance, "list") == {}
    backup = instance.back_up("list")
    change(instance.database)
    assert instance.restore(backup)["method"] == "in_place"
    assert lines_that_differ(before, dump_of(instance.database)) == []
    assert not [name for name in cluster.names() if name.startswith(instance.database.dbname + "_")]


def test_somebody_stays_connected(
    new_instance: NewInstance, cluster: Cluster, in_the_child: Callable[[str, str, str], None]
) -> None:
    in_the_child("_database/exchange.py", "_PATIENCE = 60.0", "_PATIENCE = 0.2")
    instance = new_instance()
    before = dump_of(instance.database)
    backup = instance.back_up()
    change(instance.database)
    with cluster.superuser(instance.database.dbname).connect() as other:
        pid = other.info.backend_pid
        instance.database.rows("UPDATE usergroup SET name = 'renamed'")
        instance.database.rows(
            "INSERT INTO usergroup (name, timestamp_created, viewer_paths) VALUES ('n', now(), '[]')"
        )
        for check_mode in (True, False):  # asked before the stop, and told afterwards if they come in between
            with pytest.raises(FractalError, match=rf"pid {pid} \(role postgres.*pg_terminate_backend.*\({pid}\)"):
                # what is lost would have to be kept aside
                instance.restore(backup, accept_data_loss=True, check_mode=check_mode)
        instance.database.rows("DELETE FROM usergroup WHERE name = 'n'")
        instance.database.rows("UPDATE usergroup SET name = 'All'") if "All" in str(before) else None
    instance.restore(backup, accept_data_loss=True)
    change(instance.database)
    with cluster.superuser(instance.database.dbname).connect():
        assert instance.restore(backup)["method"] == "in_place"  # nothing would be lost, nobody has to leave
    assert lines_that_differ(before, dump_of(instance.database)) == []


PROPERTIES = """
SELECT pg_get_userbyid(datdba), datconnlimit, shobj_description(oid, 'pg_database'), encoding, datcollate, datctype,
       (SELECT string_agg(acl::text, ',' ORDER BY acl::text) FROM unnest(datacl) AS acl),
       (SELECT string_agg(pg_get_userbyid(nullif(setrole, 0)) || setconfig::text, ',' ORDER BY setrole)
        FROM pg_db_role_setting WHERE setdatabase = d.oid),
       (SELECT nspacl::text FROM pg_namespace WHERE nspname = 'public')
FROM pg_database AS d WHERE datname = current_database()
"""


@pytest.mark.parametrize("stranger", [False, True], ids=["own", "of another role"])
def test_all_that_belongs_to_the_name_goes_along(stranger: bool, new_instance: NewInstance, cluster: Cluster) -> None:
    instance = new_instance()
    run_as_administrator(
        instance.database,
        f"ALTER DATABASE %D OWNER TO {GROUP}",
        "ALTER DATABASE %D CONNECTION LIMIT 20",
        "COMMENT ON DATABASE %D IS 'the operator''s 100%'",
        "ALTER ROLE fractal IN DATABASE %D SET work_mem = '64MB'",
        "ALTER ROLE fractal IN DATABASE %D SET search_path TO public, pg_catalog",
        "ALTER DATABASE %D SET application_name = 'it''s'",
        f"GRANT TEMPORARY ON DATABASE %D TO {BI} WITH GRANT OPTION",
        f"GRANT USAGE ON SCHEMA public TO {BI}",
        *([f"ALTER ROLE {BI} IN DATABASE %D SET work_mem = '1MB'"] if stranger else []),
    )
    before = instance.database.rows(PROPERTIES)
    backup = instance.back_up()
    change(instance.database)
    result = instance.restore(backup)
    assert result["method"] == ("in_place" if stranger else "fresh_database")  # a setting of another cannot be carried
    assert instance.database.rows(PROPERTIES) == before
    if result["kept_aside"]:
        comment = cluster.superuser(result["kept_aside"]).rows(PROPERTIES)[0][2]
        assert comment.startswith("fractal_ops.platform failed run-1 ")


@pytest.mark.parametrize(
    "setting", ["statement_timeout = '20ms'", "idle_in_transaction_session_timeout = '20ms'",
                "default_transaction_read_only = on", "lock_timeout = '1ms'"],
)  # fmt: skip
def test_settings_of_the_role_do_not_end_our_work(setting: str, new_instance: NewInstance, cluster: Cluster) -> None:
    instance = new_instance()
    instance.database.rows(
        "INSERT INTO usergroup SELECT 100 + g, 'g' || g, now(), '[]' FROM generate_series(1, 30000) g"
    )
    before = dump_of(instance.database)
    cluster.superuser().rows(f"ALTER ROLE fractal SET {setting}")
    try:
        backup = instance.back_up()
        run_as_administrator(instance.database, "UPDATE alembic_version SET version_num = '83bc2ad3ffcc'")
        assert instance.restore(backup)["changed"]
    finally:
        cluster.superuser().rows("ALTER ROLE fractal RESET ALL")
    assert lines_that_differ(before, dump_of(instance.database)) == []


# -- any furniture ----------------------------------------------------------------------------------------------------

OWNERS = [OWNER, PLAIN, BI, GROUP, "postgres"]
PIECES = st.tuples(st.sampled_from(sorted(KINDS)), st.sampled_from(OWNERS), st.sampled_from(OWNERS))
EXAMPLES = int(os.environ.get("FRACTAL_OPS_FURNITURE", "4"))


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize="FRACTAL_OPS_FURNITURE"
    not in os.environ,  # the same ones in each short run; a long one looks for new ones
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    database=None,
    phases=[Phase.explicit, Phase.generate],  # each example is short; shrinking them would take longer than reading
)
@given(
    owner=st.sampled_from([OWNER, PLAIN]),
    pieces=st.lists(PIECES, min_size=1, max_size=8),
    method=st.sampled_from(["dump", "auto"]),
)
@example(owner=OWNER, pieces=[("table", GROUP, BI), ("chained privileges", BI, BI)], method="dump")
@example(owner=OWNER, pieces=[("indexes", BI, BI), ("chained privileges", OWNER, BI)], method="dump")
@example(owner=PLAIN, pieces=[("default privileges", OWNER, OWNER), ("function", PLAIN, OWNER)], method="dump")
@example(owner=OWNER, pieces=[("function", PLAIN, "postgres"), ("large object", "postgres", PLAIN)], method="dump")
@example(
    owner=OWNER, pieces=[("foreign server", "postgres", "postgres"), ("large object", OWNER, OWNER)], method="dump"
)
@example(owner=OWNER, pieces=[("chained privileges", BI, BI)], method="dump")
@example(owner=PLAIN, pieces=[("chained privileges", BI, BI)], method="dump")
@example(owner=PLAIN, pieces=[("enum", GROUP, PLAIN), ("indexes", PLAIN, BI), ("table", PLAIN, BI)], method="dump")
@example(owner=PLAIN, pieces=[("privileges", GROUP, BI), ("aggregate", PLAIN, BI)], method="dump")
@example(owner=PLAIN, pieces=[("publication", GROUP, BI), ("schema's publication", PLAIN, BI)], method="dump")
@example(owner=OWNER, pieces=[("event trigger", "postgres", "postgres"), ("large object", BI, BI)], method="auto")
@example(owner=PLAIN, pieces=[("large object", PLAIN, PLAIN), ("large object", BI, BI)], method="dump")
def test_what_precheck_lets_pass_comes_back(
    owner: str, pieces: list[tuple[str, str, str]], method: str, new_instance: NewInstance
) -> None:
    """Any pieces of any owners: what precheck does not refuse is backed up, proved, and there after a rollback."""
    instance = new_instance(owner, pieces)
    proof = "restore" if owner == OWNER else "list"
    found = set(instance.checked(proof))
    if found - CLEAN:
        event("precheck: " + ", ".join(sorted(found - CLEAN)))
        return
    before = dump_of(instance.database)
    backup = instance.back_up(proof, method=method)
    change(instance.database)
    result = instance.restore(backup)
    event(result["method"])
    differing = lines_that_differ(before, dump_of(instance.database))
    if result["left_out"]:
        assert "database.left_behind" in found and result["kept_aside"], result
    else:
        assert differing == [], (result, differing)


@pytest.mark.parametrize(
    ("owner", "method"), [pytest.param(OWNER, "dump", marks=pytest.mark.long), (OWNER, "auto"), (PLAIN, "dump")]
)
def test_a_table_that_others_made_later_and_nobody_may_read_is_no_dead_end(
    owner: str, method: str, new_instance: NewInstance
) -> None:
    """It cannot be looked into, so it counts as work: it is named, and consent is asked."""
    instance = new_instance(owner)
    backup = instance.back_up("restore" if owner == OWNER else "list", method=method)
    instance.folder.upgrade("2.17.2")
    run_as_administrator(instance.database, f"CREATE SCHEMA later AUTHORIZATION {BI}", "CREATE TABLE later.t (a int)")
    assert note_after(instance.installation, python_of("2.16.6"), backup)["changed"]
    for read_all in (True, False):
        with pytest.raises(FractalError, match=r"later\.t: 0 rows then; the role may not see"):
            instance.restore(backup, read_all=read_all)
    result = instance.restore(backup, accept_data_loss=True)
    assert result["changed"] and bool(result["kept_aside"]) == (owner == OWNER)
    assert any("later" in line for line in dump_of(instance.database)) == (owner == PLAIN)


@pytest.mark.parametrize("granted", [True, False])
def test_a_database_in_a_tablespace_of_the_administrators_stays_in_it(
    granted: bool, new_instance: NewInstance, cluster: Cluster
) -> None:
    instance = new_instance()
    name, space = instance.database.dbname, f"fast_{granted}".lower()
    folder = cluster.data.parent / space
    folder.mkdir(mode=0o700)
    os.chown(folder, cluster.data.stat().st_uid, cluster.data.stat().st_gid)
    administrator = cluster.superuser()
    administrator.rows(f"CREATE TABLESPACE {space} LOCATION '{folder}'")
    administrator.rows(f'ALTER DATABASE "{name}" SET TABLESPACE {space}')
    if granted:
        administrator.rows(f"GRANT CREATE ON TABLESPACE {space} TO {OWNER}")
    before = dump_of(instance.database)
    assert refusals(instance) == {}
    made = make_backup(
        instance.installation, python_of("2.16.6"), str(instance.root), "run-1", "restore", method="auto"
    )
    assert f"tablespace(s) {space}" in made["why_not_copied"]
    change(instance.database)
    result = instance.restore(made["backup"]["path"])
    assert result["method"] == ("fresh_database" if granted else "in_place")
    assert lines_that_differ(before, dump_of(instance.database)) == []
    where = "SELECT spcname FROM pg_tablespace JOIN pg_database ON dattablespace = pg_tablespace.oid"
    assert instance.database.value(f"{where} WHERE datname = current_database()") == space
