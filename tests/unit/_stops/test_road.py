"""The stops at 2.18.0 and 2.23.0: how their rows are read, what is refused, what changes for users."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.state import data_migrations
from ansible_collections.fractal_ops.platform.plugins.module_utils._releases.path import release, release_at_head
from ansible_collections.fractal_ops.platform.plugins.module_utils._run.plan import plan_server
from ansible_collections.fractal_ops.platform.plugins.module_utils._run.state import server_state
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.accepts import accepts_of
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.data_migrations import DATA_MIGRATIONS
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.preconditions import FINDINGS, PRECONDITIONS
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.r2_18_0.prechecks import (
    check_dotted_settings,
    compare_viewers,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._upgrade.schema import why_refused

DIRECTORIES, VERSIONS = DATA_MIGRATIONS["2.18.0"], DATA_MIGRATIONS["2.23.0"]
EVERY = {"users": 2, "users_attached": 2, "users_left": []}
NOBODY = {"users": 2, "users_attached": 0, "users_left": ["ann", "bob"]}
SOME = {"users": 2, "users_attached": 1, "users_left": ["bob"]}


def state(at: str, stop: str, rows: dict[str, Any]) -> dict[str, Any]:
    head = release(at).alembic_head
    found = {f"data {stop} {name}": value for name, value in rows.items()}
    described = data_migrations(release_at_head(head), DATA_MIGRATIONS, found)
    return {"reachable": True, "revision": head, "other_sessions": [], **described}


@pytest.mark.parametrize(("rows", "expected"), [(EVERY, "done"), (NOBODY, "pending"), (SOME, "partial")])
def test_project_directories_are_migrated_when_nobody_is_without(rows: dict[str, Any], expected: str) -> None:
    found = state("2.18.0", "2.18.0", rows)
    assert (found["data_migration"], found["stop"], found["skipped"]) == (expected, "2.18.0", [])
    assert ("bob" in found["left"]) == (expected != "done")
    assert DIRECTORIES.state({"users": 0, "users_attached": 0, "users_left": []}) == "done"


@pytest.mark.parametrize(("tasks", "groups", "expected"), [(0, 0, "done"), (1, 0, "pending"), (0, 2, "pending")])
def test_versions_are_migrated_when_none_is_missing(tasks: int, groups: int, expected: str) -> None:
    found = state("2.23.0", "2.23.0", {"tasks_left": tasks, "task_groups_left": groups})
    assert (found["data_migration"], found["stop"]) == (expected, "2.23.0")
    assert found["left"] == ("" if expected == "done" else f"{tasks} tasks and {groups} task groups without a version")


@pytest.mark.parametrize(
    ("columns", "names"),
    [
        (["email", "project_dir"], set()),
        (["email", "project_dir", "project_dirs"], {"users", "users_attached", "users_left"}),
        (["email", "project_dirs"], {"users_left"}),
    ],
)
def test_the_questions_go_by_the_schema(columns: list[str], names: set[str]) -> None:
    assert {*DIRECTORIES.queries({"user_oauth": columns})} == names
    assert (
        VERSIONS.queries({"taskv2": ["version"]})
        == {}
        != VERSIONS.queries({"taskv2": ["version"], "taskgroupv2": ["version"]})
    )


@pytest.mark.parametrize("at", ["2.18.1", "2.18.5", "2.22.14", "2.23.1", "2.26.0"])
def test_a_skipped_script_is_refused_at_every_later_release(at: str) -> None:
    found = state(at, "2.18.0", {"users_left": ["bob@example.org"]})
    assert found["skipped"][0]["users"] == ["bob@example.org"] and found["lost"] == []
    refused = why_refused(found, release("2.26.0"), "2.26.0", "/venv/bin/python")
    if at != "2.26.0":
        assert "The data migration of 2.18.0 was skipped: the users bob@example.org" in refused
    instance = {
        **{"service": "fractal-server.service", "version": at, "environment": "/venv", "staged": [], "lock": None},
        **{"env_file": "/srv/.env", "active_state": "active", "hold": None},
    }
    results = {"seen": {"instance": instance, "database": found, "environment": {"steps": []}}}
    [told] = [one for one in server_state(results, "2.26.0")["findings"] if one["id"] == "migration.skipped"]
    assert told["severity"] == "blocker" and not told["acceptable"]
    assert "bob@example.org" in told["message"] and "UPDATE user_oauth SET project_dirs" in told["fix"]


def test_nobody_is_skipped_where_everybody_has_directories() -> None:
    assert state("2.26.0", "2.18.0", {"users_left": []})["skipped"] == []


def test_whoever_is_attached_late_is_not_taken_for_skipped() -> None:
    """The migration of 2.17.0 leaves out users who are not verified, and they may be since."""
    found = state("2.17.2", "2.17.0", {"users_left": ["ann"]})
    assert (found["lost"], found["skipped"]) == (["ann"], [])


def test_the_whole_way_is_one_window() -> None:
    instance = {
        **{"version": "2.16.6", "environment": "/venv", "env_file": "/srv/.env", "staged": []},
        **{"active_state": "active", "hold": None},
    }
    database = {"reachable": True, "revision": release("2.16.6").alembic_head, "data_migration": "pending"}
    plan = plan_server(instance, database, "2.26.0", steps=["2.17.0", "2.18.0"])
    assert plan.hops == ["2.17.0", "2.18.0", "2.23.0", "2.26.0"]
    kinds = [(stage.name, stage.release) for stage in plan.stages if stage.name in ("schema", "data")]
    assert kinds == [
        *(("schema", "2.17.0"), ("data", "2.17.0"), ("schema", "2.18.0"), ("data", "2.18.0")),
        *(("schema", "2.23.0"), ("data", "2.23.0"), ("schema", "2.26.0")),
    ]


def test_releases_with_the_same_schema_are_told_apart_by_what_is_installed() -> None:
    instance = {
        **{"version": "2.25.2", "environment": "/venv", "env_file": "/srv/.env", "staged": []},
        **{"active_state": "active", "hold": None},
    }
    database = {"reachable": True, "revision": "0c5e3f92c3a8", "data_migration": "not_needed"}
    plan = plan_server(instance, database, "2.25.4")
    stages = {(stage.name, stage.release): (stage.state, stage.reason) for stage in plan.stages}
    assert (plan.start, plan.hops) == ("2.25.2", ["2.25.4"])
    assert stages["schema", "2.25.4"][0] == "done" and stages["install", "2.25.4"][0] == "pending"
    assert stages["backup", ""] == ("pending", "the release changes")
    assert plan_server({**instance, "version": "2.26.0"}, database, "2.25.4").blocked
    half_way = {**instance, "version": "2.23.0"}
    assert (
        plan_server(half_way, database, "2.25.4").hops == [] and not plan_server(half_way, database, "2.25.4").blocked
    )


class Connection:
    """Answers every question with the same."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def exec_driver_sql(self, _query: str) -> Any:
        return SimpleNamespace(scalar_one=lambda: self.answer)


def test_users_with_several_directories_are_left_to_the_operator() -> None:
    with pytest.raises(FractalError, match=r"several project directories.*: ann\. Note their directories"):
        DIRECTORIES.has_rows_to_take_back(Connection(["ann"]))  # type: ignore[arg-type]
    assert VERSIONS.has_rows_to_take_back(Connection(1)) is False  # type: ignore[arg-type]


# -- the viewer -------------------------------------------------------------------------------------------------------


def found(*arguments: Any) -> dict[str, str]:
    return {one.id: one.message for one in compare_viewers(*arguments)}


def test_whoever_loses_a_folder_is_named_with_it() -> None:
    before = {"ann": ["/proj/ann", "/proj/ann/z", "/data/lab"], "bob": ["/proj/bob"]}
    own = {"ann": ["/proj//ann/"], "bob": ["/proj/bob"]}
    told = found("viewer-paths", before, own, {"lab": ["/data/lab"]})
    assert [*told] == ["viewer.folders_lost"] and "1 user(s) lose folders: ann loses /data/lab." in told[
        "viewer.folders_lost"
    ]
    assert "/proj/annie" in found("viewer-paths", {"ann": ["/proj/annie"]}, own, {})["viewer.folders_lost"]
    assert found("viewer-paths", {"ann": ["/proj/ann"]}, own, {"lab": []}) == {}


def test_paths_that_nobody_was_shown_are_told_too() -> None:
    told = found("none", {"ann": []}, {"ann": ["/proj/ann"]}, {"lab": ["/data/lab"]})
    assert [*told] == ["viewer.group_paths_dropped", "viewer.folders_shown"]
    assert "group lab has /data/lab" in told["viewer.group_paths_dropped"]


@pytest.mark.parametrize(
    ("stops", "values", "expected"),
    [
        (["2.17.0", "2.18.0"], {"FRACTAL_TASKS_DIR": "/a/../b"}, ["FRACTAL_TASKS_DIR=/a/../b"]),
        (["2.17.0", "2.18.0"], {"FRACTAL_TASKS_DIR": "../b"}, ["FRACTAL_TASKS_DIR=../b"]),
        (["2.17.0", "2.18.0"], {"FRACTAL_TASKS_DIR": "/a/..b"}, []),
        (["2.18.0"], {"FRACTAL_TASKS_DIR": "/a/../b"}, []),
    ],
)
def test_dotted_paths_of_the_environment_file_are_found(
    stops: list[str], values: dict[str, str], expected: list[str]
) -> None:
    host: Any = SimpleNamespace(
        stops=[SimpleNamespace(version=one) for one in stops], directory="/srv", values={**values, "OTHER": "/../"}
    )
    told = [finding.message for finding in check_dotted_settings(host)]
    assert len(told) == len(expected) and all(one in message for one, message in zip(expected, told))


# -- what is accepted -------------------------------------------------------------------------------------------------

RESOURCE: dict[str, Any] = {
    "type": "slurm_sudo",
    "name": "cluster",
    "tasks_python_config": {"default_version": "3.11", "versions": {"3.11": "/usr/bin/python3"}},
    "tasks_pixi_config": {},
    "tasks_local_dir": "/data/tasks",
    "jobs_local_dir": "/data/jobs",
    "jobs_slurm_python_worker": "/opt/venv/bin/python",
    "jobs_runner_config": {
        "default_slurm_config": {"partition": "main"},
        "batching_config": {
            **{"target_num_jobs": 1, "max_num_jobs": 2, "target_cpus_per_job": 1, "max_cpus_per_job": 1},
            **{"target_mem_per_job": "1G", "max_mem_per_job": 500},
        },
    },
}


@pytest.mark.parametrize("version", ["2.18.0", "2.18.5", "2.22.14", "2.23.0", "2.26.0"])
def test_from_2_18_on_dotted_paths_are_refused_and_new_options_taken(version: str) -> None:
    accepts = accepts_of(release(version).alembic_head)
    assert accepts.resource(RESOURCE)["tasks_local_dir"] == "/data/tasks"
    with pytest.raises(FractalError, match="tasks_local_dir: must not hold"):
        accepts.resource({**RESOURCE, "tasks_local_dir": "/data/../tasks"})
    assert accepts_of(release("2.17.2").alembic_head).resource({**RESOURCE, "tasks_local_dir": "/data/../tasks"})
    runner = {**RESOURCE["jobs_runner_config"], "default_slurm_config": {"nodes": 1, "use_mem_per_cpu": True}}
    assert accepts.resource({**RESOURCE, "jobs_runner_config": runner})
    with pytest.raises(FractalError):
        accepts_of(release("2.17.2").alembic_head).resource({**RESOURCE, "jobs_runner_config": runner})


def test_a_user_keeps_further_directories_and_the_declared_one_is_first() -> None:
    accepts = accepts_of(release("2.26.0").alembic_head)
    present = {"email": "ann", "project_dirs": ["/PLACEHOLDER", "/old"]}
    assert accepts.changes_of_user({"project_dir": "/new"}, present) == {"project_dirs": ["/new", "/old"]}
    assert accepts.project_folders(present) == ["/old"]
    on_s3 = {"email": "ann", "project_dirs": ["s3://bucket/ann"]}
    assert accepts.changes_of_user({"project_dir": "/new"}, on_s3) == {"project_dirs": ["/new", "s3://bucket/ann"]}
    with pytest.raises(FractalError, match="project_dirs"):
        accepts.changes_of_user({"project_dir": "relative"}, present)


# -- preconditions ----------------------------------------------------------------------------------------------------


def test_each_precondition_has_its_finding_which_no_operator_can_accept() -> None:
    for one in PRECONDITIONS:
        assert not FINDINGS[one.finding].acceptable and release(one.release)
    assert len({one.finding for one in PRECONDITIONS}) == len(PRECONDITIONS)
