"""Work in flight on a real database: refused, waited for, ended as fractal-server itself does, or settled."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Callable

import pytest
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.database import Installation
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance import work_in_flight as _work_in_flight
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.work_in_flight import drain
from ansible_collections.fractal_ops.platform.plugins.modules import fractal_work_drain
from conftest import wait_until
from postgres_cluster import Database
from postgres_seed import LONG_AGO, add_activity, add_job, add_project, add_user
from releases_environments import FractalFolder, python_of

Run = Callable[..., dict[str, Any]]


@pytest.fixture
def database(new_database: Callable[..., Database]) -> Database:
    return new_database()


@pytest.fixture
def project(database: Database) -> int:
    return add_project(database, add_user(database, "ann@example.org"), "p")


@pytest.fixture
def folder(database: Database, fractal_folder: Callable[..., FractalFolder]) -> FractalFolder:
    return fractal_folder(database)


@pytest.fixture
def installation(folder: FractalFolder) -> Installation:
    return Installation(str(folder.env_file))


def execute(database: Database, statement: str) -> None:
    with database.connect() as connection:
        connection.execute(statement)


def status(database: Database, job: int) -> str:
    return str(database.value(f"SELECT status FROM jobv2 WHERE id = {job}"))


def test_fail_names_what_is_in_flight_and_says_what_to_do(
    database: Database, project: int, folder: FractalFolder, run_module: Run
) -> None:
    options = {"env_file": str(folder.env_file)}
    assert run_module("fractal_work_drain", **options)["left"] == []
    job = add_job(database, project, "submitted")
    add_activity(database, 1, "ongoing")
    result = run_module("fractal_work_drain", **options)
    assert result["failed"] and "fractal_jobs_in_flight" in result["msg"]
    assert f"In flight: job {job} of ann@example.org, task collection 1 of ann@example.org." in result["msg"]
    assert run_module("fractal_work_drain", **options, _check=True)["msg"] == result["msg"]
    checked = run_module("fractal_work_drain", **options, mode="wait", _check=True)
    assert len(checked["left"]) == 2 and not checked["changed"]
    assert status(database, job) == "submitted"


def test_wait_ends_with_the_work_or_with_the_time(
    database: Database, project: int, installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = LONG_AGO.timestamp()
    job = add_job(database, project, "submitted")
    with pytest.raises(FractalError, match=f"Still in flight: job {job} of"):
        drain(installation, started, "wait", 0)
    looks = []
    real = _work_in_flight.work_in_flight

    def end_at_the_third_look(given: Installation) -> Any:
        looks.append(given)
        if len(looks) == 3:
            execute(database, f"UPDATE jobv2 SET status = 'done' WHERE id = {job}")
        return real(given)

    monkeypatch.setattr(_work_in_flight, "work_in_flight", end_at_the_third_look)
    monkeypatch.setattr(_work_in_flight, "_DELAY", 0.01)
    assert drain(installation, started, "wait", 600)["left"] == []
    assert len(looks) == 3


def test_nobody_waits_for_what_nothing_works_on_any_more(
    database: Database, project: int, installation: Installation
) -> None:
    started = LONG_AGO.timestamp() + 86400
    job = add_job(database, project, "submitted")
    with pytest.raises(FractalError, match=f"fractal-server was started since: job {job} of"):
        drain(installation, started, "wait", 600)
    assert drain(installation, started, "abort", 600) == {
        **{"changed": False, "stopped": [], "left": [f"job {job} of ann@example.org"]}
    }


def test_abort_asks_the_runner_and_waits_for_it(
    database: Database, project: int, folder: FractalFolder, run_module: Run, tmp_path: Path
) -> None:
    job_folder = tmp_path / "job"
    job_folder.mkdir()
    job = add_job(database, project, "submitted", working_dir=str(job_folder))

    def runner() -> None:  # as 2.16.6 does it, but for SLURM (base_slurm_runner.py)
        wait_until((job_folder / "shutdown").exists)
        execute(database, f"UPDATE jobv2 SET status = 'failed', log = 'by the runner' WHERE id = {job}")

    thread = threading.Thread(target=runner)
    thread.start()
    options = {"env_file": str(folder.env_file), "mode": "abort", "timeout": 120}
    assert run_module("fractal_work_drain", **options, _check=True)["left"] == [f"job {job} of ann@example.org"]
    assert not (job_folder / "shutdown").exists()
    result = run_module("fractal_work_drain", **options)
    thread.join()
    assert result["changed"] and result["left"] == [] and result["stopped"] == [f"job {job} of ann@example.org"]
    assert database.value(f"SELECT log FROM jobv2 WHERE id = {job}") == "by the runner"
    assert not run_module("fractal_work_drain", **options)["changed"]


def test_what_no_runner_ends_is_settled_with_its_history(
    database: Database, project: int, folder: FractalFolder, run_module: Run, tmp_path: Path
) -> None:
    other = add_job(database, project, "done", log="fine")
    job = add_job(database, project, "submitted", working_dir=str(tmp_path / "not there"), log="so far")
    activity = add_activity(database, 1, "pending")
    dataset = database.insert(
        "datasetv2", name="d", project_id=project, zarr_dir="/z", timestamp_created=LONG_AGO, images=[], history=[]
    )
    for number, state in ((job, "submitted"), (job, "done"), (other, "done")):
        run = database.insert(
            "historyrun",
            dataset_id=dataset,
            job_id=number,
            workflowtask_dump={},
            task_group_dump={},
            timestamp_started=LONG_AGO,
            status=state,
            num_available_images=0,
        )
        database.insert("historyunit", history_run_id=run, logfile="/l", status=state)
    options = {"env_file": str(folder.env_file)}
    left = [f"job {job} of ann@example.org", f"task collection {activity} of ann@example.org"]
    asked = run_module("fractal_work_drain", **options, mode="abort", timeout=0)
    assert (asked["stopped"], asked["left"]) == ([], left)
    assert run_module("fractal_work_drain", **options, state="settled", _check=True)["stopped"] == left
    assert status(database, job) == "submitted"
    result = run_module("fractal_work_drain", **options, state="settled")
    assert result["changed"] and result["stopped"] == left
    found = database.rows(
        f"SELECT status, log, end_timestamp > start_timestamp FROM jobv2 WHERE id IN ({job}, {other}) ORDER BY id"
    )
    assert found == [("done", "fine", None), ("failed", "so far\nStopped for an upgrade of Fractal.", True)]
    assert database.rows("SELECT status FROM historyrun ORDER BY id") == [("failed",), ("done",), ("done",)]
    assert database.rows("SELECT status FROM historyunit ORDER BY id") == [("failed",), ("done",), ("done",)]
    row = database.rows("SELECT status, timestamp_ended IS NOT NULL, log FROM taskgroupactivityv2")
    assert row == [("failed", True, "Stopped for an upgrade of Fractal.")]
    assert not run_module("fractal_work_drain", **options, state="settled")["changed"]


def test_a_running_service_is_not_settled(
    database: Database, project: int, installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a unit, which no test host offers."""
    job = add_job(database, project, "submitted")
    unit = SimpleNamespace(name="fractal-server.service", started_at=LONG_AGO.timestamp(), active_state="active")
    monkeypatch.setattr(fractal_work_drain, "read_unit", lambda _service: unit)
    monkeypatch.setattr(
        fractal_work_drain, "find_installation", lambda _options: replace(installation, service="fractal-server")
    )
    options = {"state": "settled", "python": python_of("2.16.6"), "timeout": 60}
    with pytest.raises(FractalError, match="runs, so its work in flight cannot"):
        fractal_work_drain.end_work(options, check_mode=False)
    assert status(database, job) == "submitted"
    unit.active_state = "inactive"
    assert fractal_work_drain.end_work(options, check_mode=False)["changed"]
    assert status(database, job) == "failed"
