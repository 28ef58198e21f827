"""fractal_backup on real databases: complete, proved, never replaced, and nothing half-made after any failure."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
from ansible_collections.fractal_ops.platform.plugins.module_utils._backup.make import make_backup
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.database import Installation
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.programs import find_programs
from conftest import RunningModule, wait_for_lock, wait_until
from postgres_cluster import PASSWORD, PLAIN, Cluster, Database, postgres_bin
from postgres_seed import add_project, seed
from releases_environments import JWT_SECRET, FractalFolder, python_of

RunModule = Callable[..., dict[str, Any]]
StartModule = Callable[..., RunningModule]
NewFolder = Callable[..., FractalFolder]


@pytest.fixture
def folder(seeded_database: Database, fractal_folder: NewFolder) -> FractalFolder:
    return fractal_folder(seeded_database)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "backups"


def back_up(run_module: RunModule, folder: FractalFolder, root: Path, **options: Any) -> dict[str, Any]:
    return run_module("fractal_backup", **backup_options(folder, root), **options)


def backup_options(folder: FractalFolder, root: Path) -> dict[str, Any]:
    return {"env_file": str(folder.env_file), "backup_root": str(root), "run": "run-1"}


def states(root: Path) -> dict[str, tuple[int, int, int]]:
    return {str(path): (s.st_ino, s.st_size, s.st_mtime_ns) for path in root.rglob("*") for s in [path.stat()]}


def nothing_left(cluster: Cluster, root: Path) -> bool:
    return not [name for name in cluster.names() if "_proof_" in name] and not (root.exists() and os.listdir(root))


def test_everything_is_in_it_and_only_root_can_read_it(
    folder: FractalFolder, root: Path, run_module: RunModule, cluster: Cluster, tmp_path: Path
) -> None:
    extra = tmp_path / "nginx.conf"
    extra.write_text("server {}\n")
    extra.chmod(0o640)
    predicted = back_up(run_module, folder, root, _check=True)
    assert predicted["changed"] and not root.exists()
    result = back_up(run_module, folder, root, extra_paths=[str(extra)])
    backup, path = result["backup"], root / "run-1"
    assert result["changed"] and backup["path"] == str(path) and backup["proof"]["kind"] == "restore"
    assert (backup["version"], backup["release"], backup["revision"]) == ("2.16.6", "2.16.0", "981d588fe248")
    assert result["dump_seconds"] > 0 and result["proof_seconds"] > 0 and backup["rows"] > 20
    manifest = json.loads((path / "manifest.json").read_text())
    saved = {entry["path"]: entry for entry in manifest["files"]}
    for original in (folder.env_file, folder.path / "config_slurm.json", extra):
        entry = saved[str(original)]
        content = original.read_bytes()
        assert (path / entry["file"]).read_bytes() == content
        assert (entry["size"], entry["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
        assert entry["mode"] == f"{stat.S_IMODE(original.stat().st_mode):04o}"
    assert manifest["absent"] == [str(folder.old_env_file)]
    assert "fractal-server==2.16.6" in (path / "packages.txt").read_text().splitlines()
    assert manifest["contents"]["tables"]["user_oauth"]["rows"] == 7
    assert backup["dump_bytes"] == (path / "database.dump").stat().st_size
    for current, folders, files in os.walk(root):
        for name in [*folders, *files]:
            assert stat.S_IMODE(os.stat(os.path.join(current, name)).st_mode) & 0o077 == 0, name
    assert [name for name in cluster.names() if "_proof_" in name] == []
    for text in (json.dumps(result, ensure_ascii=False), (path / "manifest.json").read_text()):
        assert PASSWORD not in text and JWT_SECRET not in text


def test_a_finished_backup_is_never_replaced(folder: FractalFolder, root: Path, run_module: RunModule) -> None:
    first = back_up(run_module, folder, root)
    before = states(root)
    folder.upgrade()
    again = back_up(run_module, folder, root)
    assert not again["changed"] and again["backup"] == first["backup"] and again["dump_seconds"] == 0
    assert states(root) == before
    assert back_up(run_module, folder, root, state="tidy")["removed"] == []
    with open(root / "run-1/database.dump", "r+b") as stream:
        stream.seek(1000)
        stream.write(b"broken")
    damaged = back_up(run_module, folder, root)
    assert damaged["failed"] and "damaged: database.dump is not what it was" in damaged["msg"]


def a_pipe_as_a_configuration(folder: FractalFolder, root: Path) -> None:
    folder.values["FRACTAL_LOCAL_CONFIG_FILE"] = "config_local.json"
    folder.write()
    os.mkfifo(folder.path / "config_local.json")


def a_root_of_another_account(folder: FractalFolder, root: Path) -> None:
    root.mkdir(0o700, parents=True)
    os.chown(root, 65534, -1)


def a_root_that_all_can_write(folder: FractalFolder, root: Path) -> None:
    root.mkdir(parents=True)
    root.chmod(0o1777)


def a_root_in_a_folder_that_all_can_write(folder: FractalFolder, root: Path) -> None:
    """The root itself does not exist yet: whoever makes it first has it."""
    root.parent.mkdir()
    root.parent.chmod(0o1777)


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="without root nothing is anybody else's")


@pytest.mark.parametrize(
    ("obstacle", "told"),
    [
        pytest.param(a_pipe_as_a_configuration, "config_local.json", id="pipe"),
        pytest.param(a_root_of_another_account, "the account nobody can change it", id="of-another", marks=needs_root),
        pytest.param(a_root_that_all_can_write, "every account can make files in", id="shared", marks=needs_root),
        pytest.param(
            a_root_in_a_folder_that_all_can_write, "every account can make files in", id="in-shared", marks=needs_root
        ),
    ],
)
def test_what_refuses_with_the_service_down_refuses_in_check_mode_with_it_up(
    folder: FractalFolder,
    tmp_path: Path,
    cluster: Cluster,
    obstacle: Callable[[FractalFolder, Path], None],
    told: str,
) -> None:
    """Before a window stops anything it asks so; with the same words, and it leaves nothing."""
    root = tmp_path / "var" / "backups"
    obstacle(folder, root)
    there = sorted(tmp_path.rglob("*"))
    said = []
    for check_mode in (True, False):
        with pytest.raises(FractalError, match=told) as refused:
            make_backup(
                Installation(str(folder.env_file)), python_of("2.16.6"), str(root), "run-1", check_mode=check_mode
            )
        said.append(str(refused.value))
        assert nothing_left(cluster, root)
        assert not check_mode or sorted(tmp_path.rglob("*")) == there
    assert said[0] == said[1]


def test_a_folder_that_is_no_backup_is_not_taken_for_one(
    folder: FractalFolder, root: Path, run_module: RunModule
) -> None:
    (root / "run-1").mkdir(parents=True)
    assert "not a finished backup" in back_up(run_module, folder, root)["msg"]


def test_what_the_proof_is_for(folder: FractalFolder, root: Path, run_module: RunModule, cluster: Cluster) -> None:
    """A dump that pg_dump makes without a word, and that cannot be restored: a check that looks at another table."""
    folder.database.rows(
        "CREATE FUNCTION users_exist() RETURNS bool LANGUAGE sql AS 'SELECT EXISTS (SELECT FROM public.user_oauth)'"
    )
    folder.database.rows("ALTER TABLE projectv2 ADD CHECK (users_exist())")
    failed = back_up(run_module, folder, root)
    assert failed["failed"] and "Cannot prove the backup by restoring it" in failed["msg"]
    assert nothing_left(cluster, root)
    unproved = back_up(run_module, folder, root, proof="list")
    assert unproved["changed"] and unproved["backup"]["proof"]["kind"] == "list"


def test_without_the_right_to_create_databases(
    new_database: Callable[..., Database],
    fractal_folder: NewFolder,
    root: Path,
    run_module: RunModule,
    cluster: Cluster,
) -> None:
    folder = fractal_folder(new_database(owner=PLAIN))
    refused = back_up(run_module, folder, root)
    assert f'ALTER ROLE "{PLAIN}" CREATEDB;' in refused["msg"] and "fractal_backup_proof to 'list'" in refused["msg"]
    assert nothing_left(cluster, root)
    assert back_up(run_module, folder, root, proof="list")["backup"]["proof"]["kind"] == "list"


def test_an_odd_name_and_what_only_an_administrator_owns(
    cluster: Cluster, template: str, fractal_folder: NewFolder, root: Path, run_module: RunModule
) -> None:
    database = cluster.create(template, dbname='Fractal "%s" ' + "x" * 40)
    try:
        seed(database)
        cluster.superuser(database.dbname).rows("ALTER SCHEMA public OWNER TO postgres")
        cluster.superuser(database.dbname).rows("CREATE EXTENSION pg_stat_statements")
        cluster.superuser(database.dbname).rows("GRANT ALL ON SCHEMA public TO fractal")
        folder = fractal_folder(database)
        folder.env_file.write_text(
            folder.env_file.read_text().replace(f"POSTGRES_DB={database.dbname}", f"POSTGRES_DB='{database.dbname}'")
        )
        result = back_up(run_module, folder, root)
        assert result.get("changed"), result
        assert any("EXTENSION - pg_stat_statements" in entry for entry in result["backup"]["proof"]["left_out"])
        assert not [name for name in cluster.names() if "_proof_" in name]
    finally:
        cluster.drop(database.dbname)


def test_what_is_written_during_the_dump_is_not_in_it(
    folder: FractalFolder, root: Path, cluster: Cluster, start_module: StartModule
) -> None:
    """Dump and digests show one instant, so that a late write is no false alarm."""
    with cluster.superuser(folder.database.dbname).connect(autocommit=False) as blocker:
        blocker.execute("LOCK TABLE jobv2 IN ACCESS EXCLUSIVE MODE")
        running = start_module("fractal_backup", **backup_options(folder, root))
        wait_for_lock(folder.database)
        add_project(folder.database, 1, "late")
    result = running.result()
    assert result["changed"], result
    manifest = json.loads((root / "run-1/manifest.json").read_text())
    assert manifest["contents"]["tables"]["projectv2"]["rows"] == 4
    assert folder.database.value("SELECT count(*) FROM projectv2") == 5


def test_a_server_that_dies_during_the_dump(
    folder: FractalFolder, root: Path, cluster: Cluster, start_module: StartModule, run_module: RunModule
) -> None:
    with cluster.superuser(folder.database.dbname).connect(autocommit=False) as blocker:
        blocker.execute("LOCK TABLE jobv2 IN ACCESS EXCLUSIVE MODE")
        running = start_module("fractal_backup", **backup_options(folder, root))
        wait_for_lock(folder.database)
        cluster.superuser().rows("CHECKPOINT")
        cluster.stop_server()
        blocker.close()
    failed = running.result()
    cluster.start_server()
    assert failed["failed"] and ("A statement failed" in failed["msg"] or "Cannot connect" in failed["msg"]), failed
    assert not os.listdir(root)
    assert back_up(run_module, folder, root)["changed"]
    assert [name for name in cluster.names() if "_proof_" in name] == []


def test_a_killed_module_leaves_nothing_behind_in_the_end(
    folder: FractalFolder, root: Path, cluster: Cluster, start_module: StartModule, run_module: RunModule
) -> None:
    for cleaner in ({"state": "tidy"}, {}):
        with cluster.superuser(folder.database.dbname).connect(autocommit=False) as blocker:
            blocker.execute("LOCK TABLE jobv2 IN ACCESS EXCLUSIVE MODE")
            running = start_module("fractal_backup", **backup_options(folder, root))
            wait_for_lock(folder.database)
            wait_until(lambda: any("_proof_" in name for name in cluster.names()))
            running.process.send_signal(signal.SIGKILL)
            running.process.wait()
        assert os.listdir(root) == [".run-1.partial"]
        if cleaner:
            assert back_up(run_module, folder, root, _check=True, **cleaner)["changed"]
            assert len(back_up(run_module, folder, root, **cleaner)["removed"]) == 2
            assert nothing_left(cluster, root)
        else:
            assert back_up(run_module, folder, root)["changed"]
            assert os.listdir(root) == ["run-1"]
        assert not [name for name in cluster.names() if "_proof_" in name]


def test_a_kill_before_the_scratch_database_has_its_mark(
    folder: FractalFolder, root: Path, cluster: Cluster, start_module: StartModule, run_module: RunModule
) -> None:
    """What is left is closed and empty, so it goes; what an operator called so, and filled or left open, stays."""
    proofs = f"{folder.database.dbname}_proof_"
    cluster.create("template0", dbname=f"{proofs}open")
    cluster.create(dbname=f"{proofs}filled").rows("CREATE TABLE kept AS SELECT 1")
    cluster.superuser().rows(f"ALTER DATABASE {proofs}filled ALLOW_CONNECTIONS false")
    operators = {f"{proofs}open", f"{proofs}filled"}
    try:
        for cleaner in ({"state": "tidy"}, {}):
            with cluster.superuser().connect(autocommit=False) as blocker:
                blocker.execute("LOCK TABLE pg_shdescription IN EXCLUSIVE MODE")
                running = start_module("fractal_backup", **backup_options(folder, root))
                [left] = wait_until(lambda: {n for n in cluster.names() if n.startswith(proofs)} - operators)
                running.process.send_signal(signal.SIGKILL)
                running.process.wait()
                waiting = "FROM pg_stat_activity WHERE query LIKE 'COMMENT ON DATABASE%'"
                cluster.superuser().rows(f"SELECT pg_terminate_backend(pid) {waiting}")
                wait_until(lambda query=f"SELECT {waiting}": not cluster.superuser().rows(query))
            assert left in cluster.names()
            assert back_up(run_module, folder, root, **cleaner)["changed"]
            assert {name for name in cluster.names() if name.startswith(proofs)} == operators
    finally:
        for name in operators:
            cluster.drop(name)


def test_a_proof_that_is_killed(
    folder: FractalFolder, root: Path, cluster: Cluster, start_module: StartModule, run_module: RunModule
) -> None:
    make_restore_slow(folder.database)
    running = start_module("fractal_backup", **backup_options(folder, root))
    os.kill(wait_until(lambda: sleeping_restore(running, cluster)), signal.SIGKILL)
    failed = running.result()
    assert failed["failed"] and "Cannot prove the backup by restoring it: pg_restore ended with -9" in failed["msg"]
    assert nothing_left(cluster, root)


def test_a_module_killed_during_the_proof(
    folder: FractalFolder, root: Path, cluster: Cluster, start_module: StartModule, run_module: RunModule
) -> None:
    """pg_restore lives on in the scratch database; the next run ends it."""
    make_restore_slow(folder.database)
    running = start_module("fractal_backup", **backup_options(folder, root))
    wait_until(lambda: sleeping_restore(running, cluster))
    running.process.send_signal(signal.SIGKILL)
    running.process.wait()
    folder.database.rows("DROP TABLE slow")
    assert back_up(run_module, folder, root)["changed"]
    assert os.listdir(root) == ["run-1"] and not [name for name in cluster.names() if "_proof_" in name]


@pytest.fixture
def eager_autovacuum(cluster: Cluster) -> Iterator[None]:
    """Autovacuum that comes at once."""
    cluster.superuser().rows("ALTER SYSTEM SET autovacuum_naptime = '1s'")
    cluster.superuser().rows("SELECT pg_reload_conf()")
    yield
    cluster.superuser().rows("ALTER SYSTEM RESET ALL")
    cluster.superuser().rows("SELECT pg_reload_conf()")


def test_autovacuum_in_the_scratch_database(
    folder: FractalFolder, root: Path, cluster: Cluster, start_module: StartModule, eager_autovacuum: None
) -> None:
    """A busy scratch database can be dropped all the same."""
    folder.database.rows(
        """CREATE TABLE aa_many WITH (autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1) AS
           SELECT g AS id, repeat('x', 500) AS t FROM generate_series(1, 50000) g"""
    )
    folder.database.rows("VACUUM (ANALYZE) aa_many")  # else all the workers would be busy with this one
    folder.database.rows(
        """CREATE FUNCTION public.wait_for_go() RETURNS bool LANGUAGE plpgsql AS $$
           BEGIN
               WHILE current_database() LIKE '%_proof_%' AND NOT EXISTS (SELECT FROM pg_database WHERE datname = 'go')
               LOOP PERFORM pg_sleep(0.05); END LOOP;
               RETURN true;
           END $$"""
    )
    # A session tells autovacuum of its rows at most once a second, unless it is made to: before it waits, it must.
    folder.database.rows("CREATE TABLE ab_tell (id int CHECK (pg_stat_force_next_flush() IS NOT NULL))")
    folder.database.rows("INSERT INTO ab_tell VALUES (1)")
    folder.database.rows("CREATE TABLE zz_last (id int PRIMARY KEY CHECK (public.wait_for_go()))")
    folder.database.rows("INSERT INTO zz_last VALUES (1)")
    running = start_module("fractal_backup", **backup_options(folder, root))
    at_work = "SELECT 1 FROM pg_stat_activity WHERE backend_type = 'autovacuum worker' AND datname LIKE '%_proof_%'"
    wait_until(lambda: cluster.superuser().rows(at_work))
    cluster.create(dbname="go")
    try:
        result = running.result()
    finally:
        cluster.drop("go")
    assert result["changed"], result
    assert not [name for name in cluster.names() if "_proof_" in name]


def make_restore_slow(database: Database) -> None:
    """Make a restore into a scratch database, and only that, take for ever."""
    database.rows(
        """CREATE TABLE slow (id int PRIMARY KEY,
                              CHECK (current_database() NOT LIKE '%_proof_%' OR pg_sleep(600) IS NOT NULL))"""
    )
    database.rows("INSERT INTO slow VALUES (1)")


def sleeping_restore(running: RunningModule, cluster: Cluster) -> int:
    asleep = cluster.superuser().rows("SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'")
    return running.child("pg_restore") if asleep else 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k,mode=755", "tmpfs", str(folder)], check=False)
    if mounted.returncode != 0:
        pytest.skip("mounting a small file system is not allowed here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk(folder: FractalFolder, small_disk: Path, run_module: RunModule, cluster: Cluster) -> None:
    folder.database.rows(
        """UPDATE jobv2 SET log = (SELECT string_agg(md5(random()::text), '') FROM generate_series(1, 5000))"""
    )
    failed = back_up(run_module, folder, small_disk)
    assert failed["failed"] and "No space left on device" in failed["msg"]
    assert nothing_left(cluster, small_disk)
    (small_disk / "filler").write_bytes(b"x" * 150_000)
    folder.database.rows("UPDATE jobv2 SET log = NULL")
    (folder.path / "config_slurm.json").write_text(json.dumps(folder.slurm_config) + " " * 150_000)
    failed = back_up(run_module, folder, small_disk)
    assert failed["failed"] and "No space left on device" in failed["msg"]
    assert os.listdir(small_disk) == ["filler"]


def test_as_the_service_account_where_there_is_no_password(
    folder: FractalFolder, root: Path, run_module: RunModule, cluster: Cluster, everybodys_python: str
) -> None:
    """Peer authentication: dump and restore run as the service's account, the backup stays root's."""
    cluster.require_peer(folder.database.dbname, {"postgres": "fractal"})
    lines = folder.env_file.read_text().splitlines()
    kept = [line for line in lines if not line.startswith(("POSTGRES_PASSWORD", "POSTGRES_HOST"))]
    folder.env_file.write_text("\n".join([*kept, f"POSTGRES_HOST={cluster.socket_folder}", ""]))
    for path in (folder.env_file, *list(folder.env_file.parents)[: -len(Path(tempfile.gettempdir()).parents) - 1]):
        path.chmod(path.stat().st_mode | 0o055)  # the service reads its file itself
    result = back_up(run_module, folder, root, run_as="postgres", python=everybodys_python)
    assert result["changed"], result
    assert {path.owner() for path in root.rglob("*")} == {"root"}


def test_no_password_on_any_command_line(
    folder: FractalFolder, root: Path, cluster: Cluster, start_module: StartModule
) -> None:
    with cluster.superuser(folder.database.dbname).connect(autocommit=False) as blocker:
        blocker.execute("LOCK TABLE jobv2 IN ACCESS EXCLUSIVE MODE")
        running = start_module("fractal_backup", **backup_options(folder, root))
        wait_for_lock(folder.database)
        dump = running.child("pg_dump")
        assert PASSWORD.encode() not in Path(f"/proc/{dump}/cmdline").read_bytes()
        assert PASSWORD.encode() in Path(f"/proc/{dump}/environ").read_bytes()  # where only the same account can look
    assert running.result()["changed"]


def test_programs_older_than_the_server_are_refused(tmp_path: Path) -> None:
    found = find_programs(150004)
    assert found.folder == str(postgres_bin()) and found.major == 15
    with pytest.raises(FractalError, match="postgresql-client-99"):
        find_programs(990001)
    with pytest.raises(FractalError, match="none was found"):
        find_programs(150004, [str(tmp_path)])
