"""fractal_server_precheck without a unit: releases, database, work in flight, disk, and that it changes nothing.

What needs systemd, SLURM and sudo is in test_server_precheck_host.py.
"""

from __future__ import annotations

import datetime
import hashlib
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.checks import run_checks
from ansible_collections.fractal_ops.platform.plugins.module_utils._precheck import database as _database_checks
from ansible_collections.fractal_ops.platform.plugins.module_utils._precheck import disk as _disk_checks
from ansible_collections.fractal_ops.platform.plugins.module_utils._precheck import server as _server_checks
from ansible_collections.fractal_ops.platform.plugins.module_utils._precheck.database_side import DatabaseSide
from ansible_collections.fractal_ops.platform.plugins.module_utils._precheck.disk import Need, Room
from ansible_collections.fractal_ops.platform.plugins.module_utils._precheck.in_database import IN_THE_DATABASE
from ansible_collections.fractal_ops.platform.plugins.module_utils._precheck.server_host import ServerHost
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.prechecks import PRECHECKS
from postgres_cluster import PASSWORD, Cluster, Database
from postgres_seed import add_activity, add_job
from releases_environments import JWT_SECRET, FractalFolder, environment

from _precheck.test_users import content

Run = Callable[..., dict[str, Any]]
Folder = Callable[..., FractalFolder]
NOW = datetime.datetime.now(tz=datetime.timezone.utc)
OPTIONS: dict[str, Any] = {
    "target_version": "2.17.2",
    "python": None,
    "install_strategy": "staged",
    "wheelhouse": None,
    "remote_src": True,
    "pip_extra_args": [],
    "pythons": [],
    "backup_root": "/var/backups/fractal",
    "backup_method": "auto",
    "backup_proof": "restore",
    "oauth_client": None,
    "jobs_in_flight": "fail",
    "workers": [],
}


def ids(result: dict[str, Any], severity: str | None = None) -> set[tuple[str, str]]:
    assert "findings" in result, result
    return {(f["id"], f["subject"]) for f in result["findings"] if severity in (None, f["severity"])}


@pytest.fixture
def checked(fractal_folder: Folder, release_python: Callable[[str], str]) -> Callable[..., set[tuple[str, str]]]:
    """Function that makes the database checks for a database and returns the findings' (id, subject)."""

    def check(database: Database, **options: Any) -> set[tuple[str, str]]:
        folder = fractal_folder(database)
        params = {**OPTIONS, "env_file": str(folder.env_file), "python": release_python("2.16.6"), **options}
        host = ServerHost(params)
        side = DatabaseSide(host.installation, params, host.version, drops_settings=host.drops_settings)
        found = [*run_checks(side, IN_THE_DATABASE), *run_checks(host, _server_checks.WITH_THE_DATABASE)]
        return {(finding.id, finding.subject) for finding in found}

    return check


def test_good_instance(seeded_database: Database, fractal_folder: Folder, run_module: Run) -> None:
    folder = fractal_folder(seeded_database, FRACTAL_SLURM_WORKER_PYTHON=str(environment("2.16.6") / "bin/python"))
    result = run_module("fractal_server_precheck", env_file=str(folder.env_file), target_version="2.17.2")
    assert ids(result) == set()
    assert PASSWORD not in str(result) and JWT_SECRET not in str(result)


def test_everything_wrong_is_found_in_one_run(
    seeded_database: Database, fractal_folder: Folder, run_module: Run, tmp_path: Path
) -> None:
    folder = fractal_folder(
        seeded_database,
        FRACTAL_RUNNER_BACKEND="local",
        POSTGRES_PORT="1",
        FRACTAL_TASKS_PYTHON_3_11="relative",
        OAUTH_IDP_CLIENT_ID="x",
        OAUTH_IDP_CLIENT_SECRET="oauth-canary",
        OAUTH_IDP_OIDC_CONFIGURATION_ENDPOINT="http://127.0.0.1:1/.well-known/openid-configuration",
    )
    text = folder.env_file.read_text(encoding="utf-8").replace(f"POSTGRES_PORT={seeded_database.port}\n", "")
    folder.env_file.write_text(text, encoding="utf-8")
    options = {"wheelhouse": str(tmp_path), "target_version": "2.17.0"}
    result = run_module("fractal_server_precheck", env_file=str(folder.env_file), **options)
    assert ids(result, "blocker") == {
        ("release.backend_local", "FRACTAL_RUNNER_BACKEND"),
        ("environment.value_refused", "FRACTAL_TASKS_PYTHON_3_11"),
        ("release.not_offered", "2.17.0"),
        ("oauth.provider_unreachable", "OAUTH_IDP_OIDC_CONFIGURATION_ENDPOINT"),
        ("database.unreachable", str(folder.env_file)),
    }
    assert PASSWORD not in str(result) and "oauth-canary" not in str(result)


def test_release_that_no_path_leads_to(seeded_database: Database, fractal_folder: Folder, run_module: Run) -> None:
    folder = fractal_folder(seeded_database)
    seeded_database_gone = folder.env_file.read_text(encoding="utf-8").replace("POSTGRES_DB=", "POSTGRES_DB=no_")
    folder.env_file.write_text(seeded_database_gone, encoding="utf-8")
    result = run_module("fractal_server_precheck", env_file=str(folder.env_file), target_version="2.99.0")
    assert ("release.unknown", "2.99.0") in ids(result, "blocker")


@pytest.mark.parametrize("name", ["FRACTAL_RUNNER_BACKEND", "nothing"])
def test_backend_that_does_not_exist(
    name: str, seeded_database: Database, fractal_folder: Folder, release_python: Callable[[str], str]
) -> None:
    folder = fractal_folder(seeded_database)
    value = "pbs" if name == "FRACTAL_RUNNER_BACKEND" else ""
    text = folder.env_file.read_text(encoding="utf-8").replace("FRACTAL_RUNNER_BACKEND=slurm", f"{name}={value}")
    folder.env_file.write_text(text, encoding="utf-8")
    params = {**OPTIONS, "env_file": str(folder.env_file), "python": release_python("2.16.6")}
    checks = PRECHECKS["2.17.0"][:2]
    found = {finding.id for finding in run_checks(ServerHost(params), checks)}
    expected = "release.backend_unknown" if value else "release.backend_local"
    assert expected in found


def test_rights_of_the_role(
    cluster: Cluster, new_database: Callable[..., Database], checked: Callable[..., set[tuple[str, str]]]
) -> None:
    database = new_database()
    assert checked(database) == set()
    plain = new_database(owner="fractal_plain")
    dump_instead = ("database.no_frozen_copy", plain.dbname)
    assert checked(plain) == {("database.no_createdb", "fractal_plain"), dump_instead}
    assert checked(plain, backup_proof="list") == {dump_instead}
    assert checked(plain, backup_proof="list", backup_method="dump") == set()
    assert checked(plain, backup_proof="list", backup_method="copy") == {("database.copy_refused", plain.dbname)}
    reader = cluster.grant_reader(database)
    assert checked(reader, backup_proof="list") >= {("database.not_owner", "fractal_reader")}
    cluster.superuser(database.dbname).rows("REVOKE SELECT ON jobv2 FROM fractal_reader")
    assert ("database.not_readable", "fractal_reader") in checked(reader)


def test_what_stands_against_a_frozen_copy(
    cluster: Cluster, seeded_database: Database, fractal_folder: Folder, run_module: Run
) -> None:
    """Each reason by itself, tried with an empty database where only that tells."""
    env_file = str(fractal_folder(seeded_database).env_file)
    admin, name = cluster.superuser(), seeded_database.dbname

    def reasons() -> str:
        result = run_module("fractal_server_precheck", env_file=env_file, target_version="2.17.2")
        return " ".join(f["message"] for f in result["findings"] if f["id"] == "database.no_frozen_copy")

    assert reasons() == ""
    with cluster.superuser(name).connect() as other:
        assert f"others are connected to it, who would have to leave: pid {other.info.backend_pid}" in reasons()
    admin.rows(f"ALTER ROLE fractal_plain IN DATABASE \"{name}\" SET work_mem TO '7MB'")
    assert "only an administrator of PostgreSQL can repeat this on a copy: ALTER ROLE fractal_plain" in reasons()
    admin.rows(f'ALTER ROLE fractal_plain IN DATABASE "{name}" RESET ALL')
    admin.rows(f'ALTER DATABASE "{name}" OWNER TO postgres')
    assert 'the database belongs to "postgres", not to the role fractal' in reasons()
    assert not [one for one in cluster.names() if "_trial_" in one]


def test_the_fix_for_a_foreign_owner_works(
    cluster: Cluster, new_database: Callable[..., Database], checked: Callable[..., set[tuple[str, str]]],
    fractal_folder: Folder,
) -> None:  # fmt: skip
    database = new_database()
    cluster.superuser(database.dbname).rows("ALTER TABLE projectv2 OWNER TO postgres")
    cluster.superuser(database.dbname).rows("GRANT ALL ON projectv2 TO fractal")
    assert ("database.not_owner", "fractal") in checked(database)
    folder = fractal_folder(database)
    folder.write_new_generation()
    assert folder.fractalctl("2.17.0", "set-db").returncode != 0
    cluster.superuser(database.dbname).rows("ALTER TABLE projectv2 OWNER TO fractal")
    assert checked(database) == set()
    folder.set_db("2.17.0")


def test_the_fix_for_a_closed_schema_works(
    cluster: Cluster, new_database: Callable[..., Database], checked: Callable[..., set[tuple[str, str]]],
    fractal_folder: Folder,
) -> None:  # fmt: skip
    database = new_database()
    administrator = cluster.superuser(database.dbname)
    for statement in (
        "ALTER SCHEMA public OWNER TO postgres",
        "REVOKE CREATE ON SCHEMA public FROM PUBLIC, pg_database_owner",
    ):
        administrator.rows(statement)
    assert checked(database) == {("database.no_create", "fractal")}
    folder = fractal_folder(database)
    folder.write_new_generation()
    assert folder.fractalctl("2.17.0", "set-db").returncode != 0
    administrator.rows('GRANT CREATE ON SCHEMA public TO "fractal"')
    folder.write()
    assert checked(database) == set()
    folder.write_new_generation()
    folder.set_db("2.17.0")


def test_other_sessions(
    cluster: Cluster, seeded_database: Database, checked: Callable[..., set[tuple[str, str]]]
) -> None:
    with seeded_database.connect():
        assert checked(seeded_database) == set(), "sessions of fractal-server itself are no finding"
    with cluster.superuser(seeded_database.dbname).connect():  # of whom an ordinary role sees hardly anything
        # and as long as they are there, PostgreSQL copies nothing
        assert checked(seeded_database) == {
            (finding, seeded_database.dbname) for finding in ("database.other_sessions", "database.no_frozen_copy")
        }


def test_schema_of_another_release(
    seeded_database: Database, checked: Callable[..., set[tuple[str, str]]], fractal_folder: Folder
) -> None:
    fractal_folder(seeded_database).upgrade("2.17.0", data=False)
    assert ("database.revision_differs", seeded_database.dbname) in checked(seeded_database)


def test_work_in_flight(seeded_database: Database, checked: Callable[..., set[tuple[str, str]]]) -> None:
    add_job(seeded_database, 1, status="submitted", start_timestamp=NOW)
    add_activity(seeded_database, 1, status="ongoing")
    assert checked(seeded_database) == {("work.job_in_flight", "job"), ("work.activity_in_flight", "activity")}


def test_clocks_that_differ(
    seeded_database: Database, checked: Callable[..., set[tuple[str, str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time
    monkeypatch.setattr(_database_checks.time, "time", lambda: now() + 300)  # the test host's clock is not ours to set
    assert checked(seeded_database) == {("host.clock_differs", seeded_database.host)}


@pytest.mark.parametrize(("kind", "target", "expected"), [
    ("non_parallel", "2.17.2", True), ("converter_non_parallel", "2.17.2", False), ("non_parallel", "2.17.0", False)
])  # fmt: skip
def test_workflows_that_fail_on_empty_datasets(
    kind: str, target: str, expected: bool, seeded_database: Database, checked: Callable[..., set[tuple[str, str]]]
) -> None:
    workflow = seeded_database.insert("workflowv2", name="w", project_id=1, timestamp_created=NOW)
    task = seeded_database.insert("taskv2", name="t", type=kind, taskgroupv2_id=1, input_types={}, output_types={})
    for order, task_type in enumerate((kind, "non_parallel")):
        seeded_database.insert("workflowtaskv2", workflow_id=workflow, task_id=task, order=order, task_type=task_type)
    found = ("work.workflow_starts_non_parallel", "workflows") in checked(seeded_database, target_version=target)
    assert found == expected


def test_disk_is_measured(
    seeded_database: Database, fractal_folder: Folder, release_python: Callable[[str], str], tmp_path: Path
) -> None:
    python = release_python("2.16.6")
    params = {
        **OPTIONS,
        "env_file": str(fractal_folder(seeded_database).env_file),
        "backup_root": str(tmp_path / "new"),
    }
    query = "SELECT pg_database_size(current_database())"
    before = seeded_database.value(query)
    needs = {need.purpose: need for need in _disk_checks.needs(ServerHost({**params, "python": python}))}
    dump = needs["the dump of the database"]
    assert dump == Need(str(tmp_path / "new"), dump.size, "the dump of the database")
    assert before <= dump.size <= seeded_database.value(query), "autovacuum makes a database grow at any moment"
    proof = needs["the copy that proves the backup"]
    assert proof.folder.endswith("/data") and proof.size > dump.size
    environments = needs["2 Python environment(s)"]
    du = subprocess.run(["du", "-s", "--block-size=1", str(environment("2.16.6"))], capture_output=True, check=True)
    assert environments.size == pytest.approx(2 * int(du.stdout.split()[0]), rel=0.02)


def test_needs_on_one_file_system_are_added_up(monkeypatch: pytest.MonkeyPatch) -> None:
    rooms = {"/a": Room(1, "/", 100), "/b": Room(1, "/", 100), "/c": Room(2, "/c", 10)}
    monkeypatch.setattr(_disk_checks, "room_of", rooms.__getitem__)  # file systems of given sizes are hard to come by
    assert list(_disk_checks.shortages([Need("/a", 50, "x"), Need("/b", 50, "y"), Need("/c", 10, "z")])) == []
    [finding] = _disk_checks.shortages([Need("/a", 50, "x"), Need("/b", 60, "y"), Need("/c", 10, "z")])
    assert (finding.id, finding.subject) == ("host.disk_full", "/")
    assert "has 100 B free; the upgrade needs 110 B: 50 B for x in /a, 60 B for y in /b" in finding.message


def files(folder: Path) -> Iterator[tuple[str, float, str]]:
    """Yield path, time and digest of every file below a folder."""
    for root, _unused, names in os.walk(folder):
        for name in names:
            path = Path(root, name)
            if path.is_file() and not path.is_symlink():
                yield str(path), path.stat().st_mtime, hashlib.sha256(path.read_bytes()).hexdigest()


def test_nothing_changes(
    cluster: Cluster, seeded_database: Database, fractal_folder: Folder, run_module: Run, release_python: Any
) -> None:
    reader = cluster.grant_reader(seeded_database)
    folder = fractal_folder(reader)

    def everything() -> tuple[Any, ...]:
        packages = subprocess.run([release_python("2.16.6"), "-m", "pip", "freeze"], capture_output=True, check=True)
        environments = sorted(os.listdir(environment("2.16.6").parent))
        at = sorted(files(folder.path)), sorted(files(environment("2.16.6")))
        return content(seeded_database), at, packages.stdout, environments, cluster.names()

    before = everything()
    for module, options in (
        ("fractal_server_precheck", {"target_version": "2.17.2"}),
        ("fractal_user_precheck", {}),
    ):
        result = run_module(module, env_file=str(folder.env_file), _env={"PYTHONDONTWRITEBYTECODE": "1"}, **options)
        assert "findings" in result, result
        assert {i for i, _unused in ids(result)} & {"check.failed"} == set()
    assert everything() == before
