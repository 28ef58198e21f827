"""The rehearsal on a real PostgreSQL with the real releases: what it finds and measures, and that nothing is left."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.database import Installation
from ansible_collections.fractal_ops.platform.plugins.module_utils._upgrade.rehearsal_files import Stage
from conftest import RunningModule, descendants, wait_until
from postgres_cluster import PASSWORD, PLAIN, Cluster, Database
from releases_environments import JWT_SECRET, FractalFolder, environment

RunModule = Callable[..., dict[str, Any]]
StartModule = Callable[..., RunningModule]
Folder = Callable[..., FractalFolder]
WAY = ["2.17.0", "2.18.0", "2.18.1"]


@pytest.fixture
def python(tmp_path: Path) -> str:
    """The interpreter of 2.16.6, with the environments of the next releases beside its own."""
    (tmp_path / "venv").symlink_to(environment("2.16.6"))
    for release in WAY:
        (tmp_path / f"venv-{release}").symlink_to(environment(release))
    return str(tmp_path / "venv/bin/python")


@pytest.fixture
def rehearsed(
    tmp_path: Path, python: str, seeded_database: Database, fractal_folder: Folder
) -> tuple[FractalFolder, dict[str, Any]]:
    """A folder of 2.16 on a seeded database, and the options to rehearse its upgrade."""
    folder = fractal_folder(seeded_database)
    options = {"env_file": str(folder.env_file), "python": python, "backup_root": str(tmp_path), "releases": WAY[:1]}
    return folder, options


def left(cluster: Cluster, folder: FractalFolder) -> list[str]:
    """What rehearsals of this instance leave: databases, folders, processes. Other tests run beside this one."""
    found = [name for name in cluster.names() if name.startswith(folder.database.dbname) and "_rehearsal" in name]
    stage = Stage.of(Installation(str(folder.env_file))).path
    found += [stage] if Path(stage).exists() else []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if os.readlink(path / "cwd").startswith(stage):  # a folder that is gone is told as deleted
                found.append((path / "cmdline").read_text().replace("\0", " "))
    return found


def everything(folder: FractalFolder) -> dict[str, Any]:
    """Return every byte of a folder, and every row of its database."""
    tables = folder.database.rows(
        "SELECT oid::regclass::text FROM pg_class WHERE relkind IN ('r', 'S') AND relnamespace = 'public'::regnamespace"
    )
    rows = {name: sorted(map(str, folder.database.rows(f"SELECT t.*, t.xmin FROM {name} AS t"))) for (name,) in tables}
    files = {str(path): path.read_bytes() for path in folder.path.rglob("*") if path.is_file()}
    return {"rows": rows, "files": files}


@pytest.mark.parametrize(
    "way", [pytest.param(WAY[:1], id="2.17.0", marks=pytest.mark.long), pytest.param(WAY, id="2.18.1")]
)
def test_the_whole_way_is_rehearsed_and_nothing_is_touched_or_left(
    way: list[str], cluster: Cluster, rehearsed: tuple[FractalFolder, dict[str, Any]], run_module: RunModule
) -> None:
    folder, options = rehearsed
    before = everything(folder)
    done = run_module("fractal_rehearsal", **{**options, "releases": way, "jobs": 2})
    assert done.get("passed") and done["findings"] == [], json.dumps(done, indent=1)
    assert everything(folder) == before and left(cluster, folder) == []
    assert done["target"] == way[-1] and done["revision"] == "981d588fe248" and not done["changed"]
    hops = [f"hop {one}" for one in way]
    assert [*done["predicted"]] == ["stop", "backup", "environment_file", *hops, "note", "start"]
    assert {"dump", "proof", "copy", "compare"} <= {*done["seconds"]} and done["copy_bytes_per_second"] > 0
    assert {one for one in done["seconds"] if "2.1" in one} == {
        f"{part} {one}" for one in way for part in ("schema", "data") if part != "data" or one != "2.18.1"
    } | {f"switch {one}" for one in way[1:]}, "the window waits for the first one's switch while the database is copied"
    assert done["predicted_seconds"] == round(sum(done["predicted"].values()), 1)
    assert done["projects"] and done["dump_bytes"] > 0
    assert PASSWORD not in str(done) and JWT_SECRET not in str(done)


def test_what_a_schema_refuses_is_a_blocker_with_its_own_words(
    cluster: Cluster, rehearsed: tuple[FractalFolder, dict[str, Any]], run_module: RunModule
) -> None:
    folder, options = rehearsed
    folder.database.rows("CREATE VIEW site AS SELECT id, username FROM user_oauth")
    before = everything(folder)
    done = run_module("fractal_rehearsal", **options)
    assert not done["passed"] and done["predicted"] == {} and done["predicted_seconds"] is None
    (found,) = done["findings"]
    assert found["id"] == "rehearsal.migration_refused" and found["subject"] == "2.17.0" and not found["acceptable"]
    assert "site" in found["message"] and "are as they were" in found["fix"]
    assert everything(folder) == before and left(cluster, folder) == []


def test_a_refused_data_migration_is_told_with_the_words_of_the_database(
    cluster: Cluster, rehearsed: tuple[FractalFolder, dict[str, Any]], run_module: RunModule
) -> None:
    folder, options = rehearsed
    folder.database.rows(
        """CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql
           AS $$ BEGIN RAISE 'no project is changed here'; END $$;
           CREATE TRIGGER refuse BEFORE UPDATE ON projectv2 FOR EACH ROW EXECUTE FUNCTION refuse()"""
    )
    before = everything(folder)
    (found,) = run_module("fractal_rehearsal", **options)["findings"]
    assert found["id"] == "rehearsal.migration_refused" and "no project is changed here" in found["message"]
    assert everything(folder) == before and left(cluster, folder) == []


def test_what_the_environment_file_lacks_is_a_blocker(
    cluster: Cluster, rehearsed: tuple[FractalFolder, dict[str, Any]], run_module: RunModule
) -> None:
    folder, options = rehearsed
    folder.write({name: value for name, value in folder.values.items() if name != "FRACTAL_TASKS_DIR"})
    (found,) = run_module("fractal_rehearsal", **options)["findings"]
    assert found["id"] == "rehearsal.environment_refused" and "FRACTAL_TASKS_DIR" in found["message"]
    assert left(cluster, folder) == []


def test_a_release_that_does_not_come_up_is_a_blocker_with_its_last_words(
    cluster: Cluster,
    tmp_path: Path,
    rehearsed: tuple[FractalFolder, dict[str, Any]],
    run_module: RunModule,
) -> None:
    folder, options = rehearsed
    broken = environment("2.17.0")
    (tmp_path / "venv-2.17.0").unlink()
    site = tmp_path / "site"
    site.mkdir()
    # its uvicorn is shadowed, nothing else
    (site / "uvicorn.py").write_text("raise SystemExit('the disk of the logs is full')\n")
    bin_folder = tmp_path / "venv-2.17.0" / "bin"
    bin_folder.mkdir(parents=True)
    for program in ("fractalctl", "pip"):
        (bin_folder / program).symlink_to(broken / "bin" / program)
    (bin_folder / "python").write_text(
        f'#!/bin/sh\ncase "$*" in *uvicorn.Server*) PYTHONPATH={site};; esac\nexport PYTHONPATH\n'
        f'exec {broken}/bin/python "$@"\n'
    )
    (bin_folder / "python").chmod(0o755)
    done = run_module("fractal_rehearsal", **options)
    (found,) = done["findings"]
    assert found["id"] == "rehearsal.start_refused" and "the disk of the logs is full" in found["message"], found
    assert "schema 2.17.0" in done["seconds"] and done["predicted"] == {} and left(cluster, folder) == []


def test_the_operators_account_is_tried_with_its_password(
    cluster: Cluster, rehearsed: tuple[FractalFolder, dict[str, Any]], run_module: RunModule
) -> None:
    folder, options = rehearsed
    done = run_module("fractal_rehearsal", **options, email="ann@example.org", password="wrong-canary")
    (found,) = done["findings"]
    assert found["id"] == "rehearsal.log_in_refused" and found["subject"] == "ann@example.org"
    assert "wrong-canary" not in str(found) and left(cluster, folder) == []


def test_in_place_the_dump_and_the_restore_are_all(
    cluster: Cluster, rehearsed: tuple[FractalFolder, dict[str, Any]], run_module: RunModule
) -> None:
    folder, options = rehearsed
    done = run_module("fractal_rehearsal", **options, strategy="in_place")
    assert done["passed"] and [one["id"] for one in done["findings"]] == ["rehearsal.in_part"]
    assert {*done["seconds"]} == {"dump", "proof", "copy", "compare"} and done["predicted_seconds"] is None
    assert left(cluster, folder) == []


def test_without_the_right_to_make_databases_nothing_can_be_rehearsed(
    cluster: Cluster, new_database: Callable[..., Database], fractal_folder: Folder, python: str, run_module: RunModule
) -> None:
    folder = fractal_folder(new_database(owner=PLAIN))
    done = run_module("fractal_rehearsal", env_file=str(folder.env_file), python=python, releases=["2.17.0"])
    assert done["passed"] and [one["id"] for one in done["findings"]] == ["rehearsal.not_possible"]
    assert "ALTER ROLE fractal_plain CREATEDB" in done["findings"][0]["message"] and left(cluster, folder) == []


def test_where_another_database_cannot_be_reached_nothing_can_be_rehearsed(
    cluster: Cluster, rehearsed: tuple[FractalFolder, dict[str, Any]], run_module: RunModule
) -> None:
    folder, options = rehearsed
    rules = cluster.data / "pg_hba.conf"
    before = rules.read_text()
    rules.write_text(f"host {folder.database.dbname}_rehearsal_rehearsal all all reject\n{before}")
    cluster.superuser().rows("SELECT pg_reload_conf()")
    try:
        done = run_module("fractal_rehearsal", **options)
    finally:
        rules.write_text(before)
        cluster.superuser().rows("SELECT pg_reload_conf()")
    assert done["passed"] and [one["id"] for one in done["findings"]] == ["rehearsal.not_possible"]
    assert "pg_hba" in done["findings"][0]["message"] and left(cluster, folder) == []


def test_a_release_that_was_not_prepared_ends_it_and_check_mode_does_nothing(
    cluster: Cluster, tmp_path: Path, rehearsed: tuple[FractalFolder, dict[str, Any]], run_module: RunModule
) -> None:
    folder, options = rehearsed
    assert run_module("fractal_rehearsal", **options, _check=True)["skipped"]
    (tmp_path / "venv-2.17.0").unlink()
    failed = run_module("fractal_rehearsal", **options)
    assert failed["failed"] and "2.17.0 is not prepared beside" in failed["msg"] and left(cluster, folder) == []


@pytest.mark.parametrize(
    "program",
    [
        *(pytest.param(one, marks=pytest.mark.long) for one in ("pg_dump", "set-db", "update-db-data")),
        *("pg_restore", "uvicorn.Server"),
    ],
)
def test_what_a_killed_rehearsal_left_is_gone_with_the_next(
    program: str,
    cluster: Cluster,
    rehearsed: tuple[FractalFolder, dict[str, Any]],
    start_module: StartModule,
    run_module: RunModule,
) -> None:
    folder, options = rehearsed
    before = everything(folder)
    running = start_module("fractal_rehearsal", **options)

    def there() -> bool:
        assert running.process.poll() is None, running.result()
        return any(program in command for command in commands_below(running.process.pid))

    wait_until(there)
    running.process.send_signal(signal.SIGKILL)
    running.process.wait()
    wait_until(lambda: not [one for one in left(cluster, folder) if "uvicorn" in one])  # it ends with its module
    assert program == "pg_dump" or any("_rehearsal_" in name for name in left(cluster, folder))
    assert everything(folder) == before
    done = run_module("fractal_rehearsal", **options, strategy="in_place")
    assert done["passed"] and left(cluster, folder) == []


def test_only_what_is_marked_as_ours_is_dropped(
    cluster: Cluster, rehearsed: tuple[FractalFolder, dict[str, Any]], run_module: RunModule
) -> None:
    folder, options = rehearsed
    name = folder.database.dbname
    scratch, foreign = f"{name}_rehearsal_rehearsal", f"{name}_rehearsal_of_mine"
    copy = f"{scratch}_frozen_rehearsal"  # half-made: PostgreSQL was killed with it, or we were
    for one in (scratch, foreign, f"{copy} ALLOW_CONNECTIONS false"):
        folder.database.rows(f"CREATE DATABASE {one}")
    folder.database.rows(
        f"COMMENT ON DATABASE {scratch} IS 'fractal_ops.platform rehearsal rehearsal beside {name}: {scratch}'"
    )
    try:
        assert run_module("fractal_rehearsal", **options, strategy="in_place")["passed"]
        assert left(cluster, folder) == [foreign]
    finally:
        cluster.drop(foreign)


def commands_below(pid: int) -> Iterator[str]:
    """Give the command lines of what a process has started."""
    for child in descendants(pid):
        with contextlib.suppress(OSError):
            yield Path(f"/proc/{child}/cmdline").read_text().replace("\0", " ")


def test_users_who_write_meanwhile_are_not_disturbed(
    cluster: Cluster, rehearsed: tuple[FractalFolder, dict[str, Any]], run_module: RunModule
) -> None:
    folder, options = rehearsed
    ended = threading.Event()
    written = 0

    def write() -> None:
        nonlocal written
        with folder.database.connect() as connection:
            connection.execute("SET lock_timeout = '20s'")
            while not ended.wait(0.05):
                name = f"written {written}"
                connection.execute("UPDATE projectv2 SET name = %s WHERE id = 1", (name,))
                written += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        done = run_module("fractal_rehearsal", **options)
    finally:
        ended.set()
        writer.join()
    assert done["passed"] and done["findings"] == [], done
    assert written > 10 and folder.database.value("SELECT name FROM projectv2 WHERE id = 1") == f"written {written - 1}"
    assert left(cluster, folder) == []
