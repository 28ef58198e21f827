"""The frozen copy on real databases: made, archived, given back; refused in words where it is not what it was."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable

import psycopg
import pytest
from ansible_collections.fractal_ops.platform.plugins.module_utils._backup.make import make_backup
from ansible_collections.fractal_ops.platform.plugins.module_utils._backup.restore_database import restore_database
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.database import Installation
from conftest import RunningModule, wait_until
from postgres_cluster import OWNER, PLAIN, Cluster, Database
from postgres_seed import add_job, seed
from releases_environments import FractalFolder, python_of

from _backup.test_restore_database import alter, dump_of

RunModule = Callable[..., dict[str, Any]]
StartModule = Callable[..., RunningModule]
PROPERTIES = """
SELECT pg_get_userbyid(datdba), datconnlimit, shobj_description(oid, 'pg_database'),
       ARRAY(SELECT a::text FROM aclexplode(coalesce(datacl, acldefault('d', datdba))) AS a ORDER BY 1),
       ARRAY(SELECT (setrole, setconfig)::text FROM pg_db_role_setting WHERE setdatabase = d.oid ORDER BY 1)
FROM pg_database AS d WHERE datname = current_database()
"""
OID = "SELECT oid FROM pg_database WHERE datname = current_database()"


@dataclass(frozen=True)
class Instance:
    """An instance, and what the modules do to it."""

    folder: FractalFolder
    root: Path
    run_module: RunModule
    start_module: StartModule
    cluster: Cluster

    @property
    def database(self) -> Database:
        return self.folder.database

    def options(self, **options: Any) -> dict[str, Any]:
        given = {"env_file": str(self.folder.env_file), "backup_root": str(self.root), "run": "run-1"}
        return {**given, "method": "copy", **options}

    def back_up(self, **options: Any) -> dict[str, Any]:
        return self.run_module("fractal_backup", **self.options(**options))

    def archive(self, **options: Any) -> dict[str, Any]:
        return self.back_up(state="archived", **options)

    def restore_options(self, run: str = "run-1") -> dict[str, Any]:
        return {"env_file": str(self.folder.env_file), "backup": str(self.root / run)}

    def restore(self, run: str = "run-1", **options: Any) -> dict[str, Any]:
        return self.run_module("fractal_database_restore", **self.restore_options(run), **options)

    def manifest(self, run: str = "run-1") -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.root / run / "manifest.json").read_text())
        return found

    def copies(self) -> list[str]:
        return sorted(name for name in self.cluster.names() if "_frozen_" in name)

    def copy(self) -> Database:
        (name,) = self.copies()
        return Database(**{**self.database.__dict__, "dbname": name})

    def change_copy(self, statement: str) -> None:
        with self.copy().connect() as connection:
            connection.execute("SET default_transaction_read_only = off")
            connection.execute(statement.encode())


@pytest.fixture
def make(
    new_database: Callable[..., Database],
    fractal_folder: Callable[..., FractalFolder],
    tmp_path: Path,
    run_module: RunModule,
    start_module: StartModule,
    cluster: Cluster,
) -> Callable[..., Instance]:
    def made(owner: str = OWNER) -> Instance:
        database = new_database(owner=owner)
        seed(database)
        return Instance(fractal_folder(database), tmp_path / "backups", run_module, start_module, cluster)

    return made


@pytest.fixture
def instance(make: Callable[..., Instance]) -> Instance:
    return make()


@pytest.fixture(autouse=True)
def no_databases_left(cluster: Cluster) -> Iterator[None]:
    yield
    left = cluster.names()
    for name in left:
        if any(f"_{kind}_" in name for kind in ("failed", "frozen", "restore")):
            cluster.drop(name)
    assert not [name for name in left if any(f"_{kind}_" in name for kind in ("proof", "swap", "trial"))]


def test_from_the_copy_to_the_archive(instance: Instance) -> None:
    before = dump_of(instance.database)
    made = instance.back_up()
    backup = made["backup"]
    assert made["changed"] and made["why_not_copied"] == "" and backup["proof"]["kind"] == "copy", made
    assert [backup["frozen_copy"]] == instance.copies() and backup["dump_bytes"] == 0
    assert dump_of(instance.copy()) == before
    assert not (instance.root / "run-1/database.dump").exists() and instance.manifest()["dump"] is None
    counted = instance.manifest()["contents"]
    assert counted["tables"]["user_oauth"]["rows"] == 7 and counted["tables"]["user_oauth"]["digest"] == ""
    again = instance.back_up()
    assert not again["changed"] and again["backup"] == backup
    assert instance.back_up(state="tidy")["removed"] == [], "a finished backup keeps its copy"

    alter(instance.database)  # the archive holds the old database, whatever the new release does meanwhile
    assert instance.archive(_check=True)["changed"] and instance.manifest()["dump"] is None
    archived = instance.archive()
    assert archived["changed"] and archived["dump_seconds"] > 0 and archived["proof_seconds"] > 0, archived
    (summary,) = archived["archived"]
    assert (
        summary["proof"]["kind"] == "restore"
        and summary["dump_bytes"] > 0
        and summary["frozen_copy"] == backup["frozen_copy"]
    )
    after = instance.manifest()["contents"]
    assert after["tables"]["user_oauth"]["digest"] and after["revision"] == counted["revision"] == "981d588fe248"
    assert sorted(os.listdir(instance.root / "run-1")) == ["database.dump", "files", "manifest.json", "packages.txt"]
    assert not instance.archive()["changed"] and not instance.back_up()["changed"]
    assert instance.restore(method="fresh_database")["changed"] and dump_of(instance.database) == before


@pytest.mark.parametrize("archived", [False, True], ids=["copy", "archived"])
def test_exactly_the_old_database(archived: bool, instance: Instance) -> None:
    before = dump_of(instance.database)
    instance.back_up()
    if archived:
        instance.archive()
    copied = instance.copy().value(OID)
    instance.folder.upgrade("2.17.2")
    upgraded = dump_of(instance.database)
    predicted = instance.restore(_check=True)
    assert (predicted["changed"], predicted["method"]) == (True, "exchange"), predicted
    assert dump_of(instance.database) == upgraded
    result = instance.restore()
    assert (result["method"], result["lost"], result["left_out"]) == ("exchange", [], [])
    assert dump_of(instance.database) == before and instance.database.value(OID) == copied
    aside = Database(**{**instance.database.__dict__, "dbname": result["kept_aside"]})
    assert aside.dbname == f"{instance.database.dbname}_failed_run-1" and dump_of(aside) == upgraded
    again = instance.restore()
    assert (again["changed"], again["kept_aside"]) == (False, aside.dbname)
    add_job(instance.database, 1)  # the old release works again: the way back is gone already
    assert not instance.restore()["changed"]
    assert instance.copies() == [] and (archived or instance.archive()["gone"] == [str(instance.root / "run-1")])


def test_what_belongs_to_the_name_stays(instance: Instance) -> None:
    name = f'"{instance.database.dbname}"'
    for statement in (
        f"ALTER DATABASE {name} SET statement_timeout TO '5min'",
        f"ALTER DATABASE {name} SET application_name TO 'it''s 100%'",
        f"ALTER ROLE {OWNER} IN DATABASE {name} SET work_mem TO '12MB'",
        f"ALTER DATABASE {name} CONNECTION LIMIT 33",
        f"REVOKE CONNECT ON DATABASE {name} FROM PUBLIC",
        f"GRANT CONNECT ON DATABASE {name} TO fractal_reader WITH GRANT OPTION",
        f"COMMENT ON DATABASE {name} IS 'It''s ours'",
    ):
        instance.database.rows(statement)
    before = instance.database.rows(PROPERTIES)
    instance.back_up()
    reader = instance.copy().as_role("fractal_reader")
    with pytest.raises(Exception, match="permission denied for database"):
        reader.rows("SELECT 1")
    with pytest.raises(Exception, match="read-only transaction"):
        instance.copy().rows("DELETE FROM jobv2")
    alter(instance.database)
    assert instance.restore()["method"] == "exchange"
    assert instance.database.rows(PROPERTIES) == before


def test_a_database_without_any_settings_gets_none(instance: Instance) -> None:
    before = instance.database.rows(PROPERTIES)
    instance.back_up()
    alter(instance.database)
    assert instance.restore()["method"] == "exchange"
    assert instance.database.rows(PROPERTIES) == before


def test_settings_that_the_role_cannot_repeat(instance: Instance) -> None:
    """Of another role, only an administrator can: a dump goes back within the database, which keeps them."""
    admin = instance.cluster.superuser()
    admin.rows(f"ALTER ROLE {PLAIN} IN DATABASE \"{instance.database.dbname}\" SET work_mem TO '7MB'")
    before, properties = dump_of(instance.database), instance.database.rows(PROPERTIES)
    made = instance.back_up(method="auto")
    assert (
        made["backup"]["frozen_copy"] == ""
        and "SET work_mem TO '7MB'" in made["why_not_copied"]
        and not instance.copies()
    )
    alter(instance.database)
    assert instance.restore()["method"] == "in_place"
    assert dump_of(instance.database) == before and instance.database.rows(PROPERTIES) == properties
    forced = instance.back_up(run="run-2")
    assert forced["backup"]["frozen_copy"] == instance.copy().dbname, "who wants a copy gets one"
    alter(instance.database)
    result = instance.restore("run-2")
    assert result["method"] == "exchange" and "SET work_mem TO '7MB'" in result["left_out"][0]
    assert dump_of(instance.database) == before


def test_a_role_without_the_right(make: Callable[..., Instance]) -> None:
    plain = make(PLAIN)
    refused = plain.back_up()
    assert refused["failed"] and f"ALTER ROLE {PLAIN} CREATEDB;" in refused["msg"], refused
    assert plain.back_up(_check=True)["failed"], "and before anything stops"
    made = plain.back_up(method="auto", proof="list")
    assert made["changed"] and made["backup"]["dump_bytes"] > 0 and "CREATEDB" in made["why_not_copied"]


def test_a_database_of_another_role(instance: Instance) -> None:
    instance.cluster.superuser().rows(f'ALTER DATABASE "{instance.database.dbname}" OWNER TO postgres')
    refused = instance.back_up()
    assert refused["failed"] and 'the database belongs to "postgres"' in refused["msg"], refused
    made = instance.back_up(method="auto")
    assert made["backup"]["dump_bytes"] > 0 and "belongs to" in made["why_not_copied"]


def test_work_of_users_is_not_lost_without_consent(instance: Instance) -> None:
    """Without an archive, the copy itself says what was there."""
    instance.back_up()
    alter(instance.database)
    assert instance.restore(_check=True)["lost"] == []
    add_job(instance.database, 1)
    instance.database.rows("UPDATE projectv2 SET name = 'renamed' WHERE id = 2")
    refused = instance.restore()
    assert refused["failed"] and "jobv2: 6 rows then, 7 now, 1 of them new" in refused["msg"]
    assert "projectv2: 4 rows then, 4 now" in refused["msg"] and instance.copies()
    result = instance.restore(accept_data_loss=True)
    assert result["method"] == "exchange" and [row["table"] for row in result["lost"]] == ["jobv2", "projectv2"]


@pytest.mark.parametrize(
    "damage", ["DELETE FROM jobv2 WHERE id = 1", "CREATE TABLE more ()", "UPDATE jobv2 SET log = 'x'", "gone"]
)
def test_a_copy_that_is_not_what_it_was(damage: str, instance: Instance) -> None:
    before = dump_of(instance.database)
    for run in ("run-1", "run-2"):
        instance.back_up(run=run)
        if run == "run-1":
            instance.archive()
            instance.cluster.drop(f"{instance.database.dbname}_frozen_run-1")
    alter(instance.database)
    altered = dump_of(instance.database)
    if damage == "gone":
        instance.cluster.drop(instance.copy().dbname)
    else:
        instance.change_copy(damage)
    refused = instance.restore("run-2")
    assert refused["failed"] and "holds no dump" in refused["msg"], refused
    assert ("is gone" if damage == "gone" else "not what it was any more") in refused["msg"]
    assert dump_of(instance.database) == altered
    archived = instance.archive()
    assert archived.get("failed", False) == (damage != "gone") and archived.get("archived", []) == []
    result = instance.restore("run-1")
    assert result["method"] == "fresh_database" and "is gone" in result["why_not_exchanged"]
    assert dump_of(instance.database) == before


def test_an_archived_copy_that_was_changed_is_not_taken(instance: Instance) -> None:
    before = dump_of(instance.database)
    instance.back_up()
    instance.archive()
    instance.change_copy("UPDATE jobv2 SET log = 'forged' WHERE id = 1")
    alter(instance.database)
    assert "jobv2 has other content" in instance.restore(method="exchange")["msg"]
    result = instance.restore()
    assert result["method"] == "fresh_database" and "jobv2 has other content" in result["why_not_exchanged"]
    assert dump_of(instance.database) == before and len(instance.copies()) == 1


def test_what_was_seen_before_the_stop_counts_after_it(instance: Instance) -> None:
    """Tables that nobody has written to since are not read again; those that somebody has are."""
    instance.back_up()
    alter(instance.database)
    add_job(instance.database, 1)
    asked = instance.restore(_check=True, accept_data_loss=True, read_all=True)
    assert [row["table"] for row in asked["lost"]] == ["jobv2"] and asked["method"] == "exchange", asked
    forged = {**asked["seen"], "lost": [{**asked["lost"][0], "rows_now": 99}]}
    told = instance.restore(_check=True, accept_data_loss=True, seen=forged)
    assert told["lost"][0]["rows_now"] == 99, "it was read again, though nobody had written to it"
    add_job(instance.database, 1)
    instance.database.rows("UPDATE projectv2 SET name = 'renamed' WHERE id = 2")
    refused = instance.restore(seen=asked["seen"])
    assert refused["failed"] and "jobv2: 6 rows then, 8 now" in refused["msg"] and "projectv2" in refused["msg"]
    result = instance.restore(seen=asked["seen"], accept_data_loss=True)
    assert [row["table"] for row in result["lost"]] == ["jobv2", "projectv2"] and result["method"] == "exchange"


@pytest.mark.parametrize("archived", [False, True], ids=["copy", "archived"])
def test_large_values_are_read_before_the_stop_and_not_after_it(archived: bool, instance: Instance) -> None:
    """Damage on the disk is found by reading all; that nobody has written to the copy, without reading a column."""
    database = instance.database
    database.rows("UPDATE jobv2 SET log = (SELECT string_agg(md5(n::text), '') FROM generate_series(1, 9000) AS n)")
    before = dump_of(database)
    instance.back_up()
    if archived:
        instance.archive()
    alter(database)
    place = "SELECT pg_relation_filepath(reltoastrelid) FROM pg_class WHERE oid = 'jobv2'::regclass"
    file = instance.cluster.data / instance.copy().value(place)
    instance.cluster.stop_server("fast")  # whoever has read it has it in memory
    size = file.stat().st_size
    file.write_bytes(bytes(size))
    instance.cluster.start_server()
    assert size > 500_000
    asked = instance.restore(_check=True, read_all=True)
    if archived:
        assert asked["method"] == "fresh_database" and "cannot be read" in asked["why_not_exchanged"], asked
        result = instance.restore(seen=asked["seen"])
        assert (result["method"], dump_of(database)) == ("fresh_database", before)
    else:
        assert "holds no dump" in asked["msg"] and "cannot be read" in asked["msg"]
        assert instance.restore()["method"] == "exchange"


def test_an_impostor_is_not_taken_for_the_copy(instance: Instance) -> None:
    """Same name, same mark, same rows: but not the database that PostgreSQL made then."""
    instance.back_up()
    name = instance.copy().dbname
    comment = instance.cluster.superuser(name).rows(PROPERTIES)[0][2]
    instance.cluster.drop(name)
    instance.database.rows(f'CREATE DATABASE "{name}" TEMPLATE "{instance.database.dbname}"')
    instance.database.rows(f"COMMENT ON DATABASE \"{name}\" IS '{comment}'")
    alter(instance.database)
    assert "is gone" in instance.restore()["msg"]


def test_others_who_stay_connected_make_it_a_dump(
    instance: Instance, in_the_child: Callable[[str, str, str], None]
) -> None:
    in_the_child("_database/frozen.py", "_PATIENCE = 20.0", "_PATIENCE = 0.2")
    installation, python = Installation(str(instance.folder.env_file)), python_of("2.16.6")
    with instance.cluster.superuser(instance.database.dbname).connect() as other:
        made = make_backup(installation, python, str(instance.root), "run-1", method="auto")
        assert f"pid {other.info.backend_pid} (role postgres" in made["why_not_copied"]
    assert made["backup"]["dump_bytes"] > 0 and instance.copies() == []


@pytest.mark.parametrize("archived", [False, True], ids=["copy", "archived"])
def test_others_who_stay_connected_keep_the_exchange_away(
    archived: bool, instance: Instance, in_the_child: Callable[[str, str, str], None]
) -> None:
    """A dump goes back in spite of them; a copy alone cannot: they are named, and it waits for the next attempt."""
    in_the_child("_database/exchange.py", "_PATIENCE = 60.0", "_PATIENCE = 0.2")
    before = dump_of(instance.database)
    instance.back_up()
    if archived:
        instance.archive()
    alter(instance.database)
    altered, copies = dump_of(instance.database), instance.copies()

    def restored(check_mode: bool = False) -> dict[str, Any]:
        installation = Installation(str(instance.folder.env_file))
        return restore_database(installation, python_of("2.16.6"), str(instance.root / "run-1"), check_mode=check_mode)

    with instance.cluster.superuser(instance.database.dbname).connect() as other:
        pid = other.info.backend_pid
        if archived:
            assert restored()["method"] == "in_place" and dump_of(instance.database) == before
        else:
            told = rf"pid {pid} \(role postgres.*Nothing was changed.*backend.*\({pid}\)"
            for check_mode in (True, False):  # asked before anything is stopped, and again then
                with pytest.raises(FractalError, match=told):
                    restored(check_mode)
            assert dump_of(instance.database) == altered
        assert other.execute("SELECT current_database()").fetchone() == (instance.database.dbname,)
    assert instance.copies() == copies
    if not archived:
        assert restored()["method"] == "exchange" and dump_of(instance.database) == before


def test_a_session_that_comes_and_goes_only_delays_the_exchange(instance: Instance) -> None:
    """A monitor's, say: PostgreSQL refuses the exchange as long as it is there, and is asked again."""
    before = dump_of(instance.database)
    instance.back_up()
    instance.archive()
    alter(instance.database)
    monitored = instance.cluster.superuser(instance.database.dbname)
    log = instance.cluster.folder / "log"
    told = len(log.read_text())
    with monitored.connect():
        running = instance.start_module("fractal_database_restore", **instance.restore_options())
        wait_until(lambda: "is being accessed by other users" in log.read_text()[told:])
    while running.process.poll() is None:
        with contextlib.suppress(psycopg.OperationalError):  # under this name there may just be nothing
            monitored.value("SELECT count(*) FROM user_oauth")
    assert running.result()["method"] == "exchange" and dump_of(instance.database) == before


def test_killed_when_the_copy_was_made(instance: Instance) -> None:
    running = instance.start_module("fractal_backup", **instance.options())
    wait_until(instance.copies)
    running.process.send_signal(signal.SIGKILL)
    running.process.wait()
    before = instance.copies()
    made = instance.back_up()
    assert made["changed"] and instance.copies() == [made["backup"]["frozen_copy"]] and len(before) == 1
    assert os.listdir(instance.root) == ["run-1"]


@pytest.mark.parametrize("marked", [False, True])
def test_what_killed_calls_left_goes(marked: bool, instance: Instance) -> None:
    """PostgreSQL finishes a copy whose client was killed; nobody has marked it then."""
    name, dbname = f"{instance.database.dbname}_frozen_run-1", instance.database.dbname
    for again in (False, True):
        (instance.root / ".run-1.partial").mkdir(parents=True, mode=0o700)
        instance.database.rows(f'CREATE DATABASE "{name}" TEMPLATE "{dbname}" ALLOW_CONNECTIONS false')
        if marked:
            mark = f"fractal_ops.platform frozen run-1 beside {dbname}: {name}"
            instance.database.rows(f"COMMENT ON DATABASE \"{name}\" IS '{mark}'")
        if again:
            assert instance.back_up()["backup"]["frozen_copy"] == name
        else:
            assert name in instance.back_up(state="tidy")["removed"] and instance.copies() == []


def test_of_an_archive_killed_half_way_the_half_goes(instance: Instance) -> None:
    """Nobody makes that dump any more where a rollback follows."""
    instance.back_up()
    half, names = instance.root / "run-1/database.dump.partial", sorted(os.listdir(instance.root / "run-1"))
    half.write_text("half")
    for check in (True, False):
        assert instance.back_up(state="tidy", _check=check)["removed"] == [str(half)]
    assert sorted(os.listdir(instance.root / "run-1")) == names and len(instance.copies()) == 1


@pytest.mark.parametrize("marked", [False, True])
@pytest.mark.parametrize("following", ["clearing", "rollback"])
def test_of_a_rehearsal_killed_in_its_copy_nothing_is_left(following: str, marked: bool, instance: Instance) -> None:
    """The copy is only known by the database that it is of: dropped after that, it would be nobody's for ever."""
    if following == "rollback":
        instance.back_up()
        alter(instance.database)
    dbname = instance.database.dbname
    scratch = f"{dbname}_rehearsal_rehearsal"
    copy = f"{scratch}_frozen_rehearsal"
    instance.database.rows(f'CREATE DATABASE "{scratch}" TEMPLATE template0')
    mark = f"fractal_ops.platform rehearsal rehearsal beside {dbname}: {scratch}"
    instance.database.rows(f"COMMENT ON DATABASE \"{scratch}\" IS '{mark}'")
    instance.database.rows(f'CREATE DATABASE "{copy}" TEMPLATE "{scratch}" ALLOW_CONNECTIONS false')
    if marked:
        mark = f"fractal_ops.platform frozen rehearsal beside {scratch}: {copy}"
        instance.database.rows(f"COMMENT ON DATABASE \"{copy}\" IS '{mark}'")
    removed = instance.back_up(state="tidy") if following == "clearing" else instance.restore(accept_data_loss=True)
    assert removed["removed"] == [copy, scratch]
    assert [name for name in instance.cluster.names() if name.startswith(scratch)] == []


def test_what_only_looks_like_a_copy_stays(instance: Instance) -> None:
    name = f"{instance.database.dbname}_frozen_run-1"
    instance.database.rows(f'CREATE DATABASE "{name}"')
    assert instance.back_up()["backup"]["frozen_copy"] == f"{name}_2" and len(instance.copies()) == 2


def test_a_killed_archive_is_made_again(instance: Instance) -> None:
    database = instance.database
    database.rows(
        """CREATE FUNCTION public.wait_for_go() RETURNS bool LANGUAGE plpgsql AS $$
           BEGIN
               WHILE current_database() LIKE '%_proof_%' AND NOT EXISTS (SELECT FROM pg_database WHERE datname = 'go')
               LOOP PERFORM pg_sleep(0.05); END LOOP;
               RETURN true;
           END $$"""
    )
    database.rows("CREATE TABLE zz_last (id int PRIMARY KEY CHECK (public.wait_for_go()))")
    database.rows("INSERT INTO zz_last VALUES (1)")
    before = dump_of(database)
    instance.back_up()
    running = instance.start_module("fractal_backup", **instance.options(state="archived"))
    waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname LIKE '%_proof_%'"
    wait_until(lambda: instance.cluster.superuser().rows(waiting))
    assert os.getpriority(os.PRIO_PROCESS, running.child("pg_restore")) == 19, "nobody waits for it"
    running.process.send_signal(signal.SIGKILL)
    running.process.wait()
    assert instance.manifest()["dump"] is None
    alter(database)
    instance.cluster.create(dbname="go")
    try:
        assert instance.archive()["archived"]
    finally:
        instance.cluster.drop("go")
    assert sorted(os.listdir(instance.root / "run-1")) == ["database.dump", "files", "manifest.json", "packages.txt"]
    assert instance.restore()["method"] == "exchange" and dump_of(database) == before


def test_a_killed_exchange_is_made_again(instance: Instance) -> None:
    before, properties = dump_of(instance.database), instance.database.rows(PROPERTIES)
    instance.back_up()
    alter(instance.database)
    with instance.cluster.superuser(instance.copy().dbname).connect():  # whoever looks into the copy holds it up
        running = instance.start_module("fractal_database_restore", **instance.restore_options())
        renaming = "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'ALTER DATABASE%RENAME%' AND state = 'active'"
        wait_until(lambda: instance.cluster.superuser().rows(renaming))
        running.process.send_signal(signal.SIGKILL)
        running.process.wait()
    result = instance.restore()
    assert dump_of(instance.database) == before and instance.database.rows(PROPERTIES) == properties
    assert result["kept_aside"] and instance.copies() == []


def test_postgresql_stops_in_the_middle_of_the_exchange(instance: Instance) -> None:
    """As a crash stops it, one of the two names changed already: both databases are there as they were."""
    before, properties = dump_of(instance.database), instance.database.rows(PROPERTIES)
    instance.back_up()
    alter(instance.database)
    altered, names = dump_of(instance.database), instance.cluster.names()
    with instance.cluster.superuser(instance.copy().dbname).connect() as other:
        running = instance.start_module("fractal_database_restore", **instance.restore_options())
        renaming = (
            "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'ALTER DATABASE%_frozen_%RENAME%' AND state = 'active'"
        )
        wait_until(lambda: instance.cluster.superuser().rows(renaming))
        instance.cluster.superuser().rows("CHECKPOINT")  # fsync is off in tests; a crash loses nothing once written out
        instance.cluster.stop_server()
        other.close()
        try:
            failed = running.result()
        finally:
            instance.cluster.start_server()
    assert failed["failed"] and instance.cluster.names() == names
    assert dump_of(instance.database) == altered and dump_of(instance.copy()) == before
    result = instance.restore()
    assert result["method"] == "exchange" and instance.copies() == []
    assert dump_of(instance.database) == before and instance.database.rows(PROPERTIES) == properties


def test_the_next_backup_lets_go_of_older_copies(instance: Instance) -> None:
    for run in ("run-1", "run-2", "run-3"):
        instance.back_up(run=run)
        if run == "run-1":
            instance.archive()
    names = [f"{instance.database.dbname}_frozen_run-{number}" for number in (1, 2, 3)]
    archived = instance.options(state="archived", superseded_by="run-3")
    predicted = instance.run_module("fractal_backup", **archived, _check=True)
    assert predicted["changed"] and predicted["removed"] == names[:1], "run-2 has nothing but its copy yet"
    assert instance.copies() == names
    done = instance.run_module("fractal_backup", **archived)
    assert done["changed"] and len(done["archived"]) == 2 and done["removed"] == names[:2]
    assert instance.copies() == names[2:]
    assert not instance.run_module("fractal_backup", **archived)["changed"]
