"""Each condition under which the real data migration stops at users: found before, and gone after the fix told.

The migration runs on copies of the database: without the fix it must fail, with the fix it must pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Callable

import pytest
from postgres_cluster import Cluster, Database
from postgres_seed import add_user
from releases_environments import FractalFolder
from warm_fractalctl import WarmMigration

Run = Callable[..., dict[str, Any]]
Folder = Callable[..., FractalFolder]
BACKENDS = {"slurm": "slurm_sudo", "slurm_ssh": "slurm_ssh"}
ANN, BOB = "ann@example.org", "bob@example.org"
SSH = {
    "ssh_host": "cluster",
    "ssh_username": "ann",
    "ssh_private_key_path": "/keys/ann",
    "ssh_tasks_dir": "/ssh/tasks",
    "ssh_jobs_dir": "/ssh/jobs",
}


@dataclass(frozen=True)
class Case:
    """Users by e-mail, the finding about ``subject``, and the fix as options of fractal_users."""

    finding: str
    users: Mapping[str, Mapping[str, Any]]
    fix: Sequence[Mapping[str, Any]]
    subject: str = ANN
    backend: str = "slurm"
    rules: Sequence[Mapping[str, Any]] = field(default_factory=list)


def sudo(finding: str, settings: Mapping[str, Any], **fix: Any) -> Case:
    return Case(finding, {ANN: settings}, [{"email": ANN, **fix}])


def ssh(finding: str, settings: Mapping[str, Any], **fix: Any) -> Case:
    return Case(
        finding,
        {ANN: {**SSH, **settings}, BOB: {**SSH, "ssh_username": "b"}},
        [{"email": ANN, **fix}],
        ANN,
        "slurm_ssh",
    )


INVALID, UNSET = "user.setting_invalid", "user.setting_unset"
CASES = {
    "13 no settings": sudo("user.settings_missing", {"user_settings_id": None}, slurm_user="ann", project_dir="/d"),
    "13 no settings, left out": sudo("user.settings_missing", {"user_settings_id": None}, is_verified=False),
    "14 project_dir unset": sudo(UNSET, {"project_dir": None}, project_dir="/d"),
    "15 project_dir relative": sudo(INVALID, {"project_dir": "data/ann"}, project_dir="/data/ann"),
    "15 project_dir on S3": sudo(INVALID, {"project_dir": "s3://bucket"}, project_dir="/data/ann"),
    "15 project_dir empty": sudo(INVALID, {"project_dir": ""}, project_dir="/data/ann"),
    "16 slurm_user unset": sudo(UNSET, {"slurm_user": None}, slurm_user="ann"),
    "16 slurm_user empty": sudo(INVALID, {"slurm_user": ""}, slurm_user="ann"),
    "16 slurm_user blank": sudo(INVALID, {"slurm_user": "  "}, slurm_user="ann"),
    "18 accounts repeated": sudo(INVALID, {"slurm_accounts": ["a", "a"]}, slurm_accounts=["a"]),
    "18 accounts repeated but for blanks": sudo(INVALID, {"slurm_accounts": ["a", " a"]}, slurm_accounts=["a"]),
    "18 account empty": sudo(INVALID, {"slurm_accounts": ["a", ""]}, slurm_accounts=[]),
    "18 accounts no list": sudo(INVALID, {"slurm_accounts": {"a": 1}}, slurm_accounts=["a"]),
    "stock superuser": sudo(
        "user.superuser_without_settings",
        {"is_superuser": True, "project_dir": None, "slurm_user": None},
        is_verified=False,
    ),
    "superuser without settings row": sudo(
        "user.superuser_without_settings", {"is_superuser": True, "user_settings_id": None}, is_verified=False
    ),
    **{f"17 {name} unset": ssh(UNSET, {name: None}, **{name: SSH[name]}) for name in SSH if name != "ssh_host"},
    "17 ssh_username empty": ssh(INVALID, {"ssh_username": ""}, ssh_username="ann"),
    "17 key relative": ssh(INVALID, {"ssh_private_key_path": "keys/ann"}, ssh_private_key_path="/keys/ann"),
    "17 tasks folder relative": ssh(INVALID, {"ssh_tasks_dir": "tasks"}, ssh_tasks_dir="/ssh/tasks"),
    "17 jobs folder empty": ssh(INVALID, {"ssh_jobs_dir": ""}, ssh_jobs_dir="/ssh/jobs"),
    "19 different keys": Case(
        "user.ssh_profile_conflict",
        {ANN: SSH, BOB: {**SSH, "ssh_private_key_path": "/keys/bob"}},
        [{"email": BOB, "ssh_private_key_path": "/keys/ann"}],
        BOB,
        "slurm_ssh",
    ),
    "19 different folders": Case(
        "user.ssh_profile_conflict",
        {ANN: SSH, BOB: {**SSH, "ssh_jobs_dir": "/ssh/jobs/bob"}},
        [{"email": BOB, "ssh_username": "bob"}],
        BOB,
        "slurm_ssh",
    ),
    "12 no host": Case(
        "user.ssh_host_missing",
        {ANN: {**SSH, "ssh_host": None}},
        [],
        "ssh_host",
        "slurm_ssh",
        [{"match": {"email": "*"}, "set": {"ssh_host": "cluster"}}],
    ),
    "12 empty host": Case(
        "user.ssh_host_empty",
        {ANN: {**SSH, "ssh_host": " "}},
        [{"email": ANN, "ssh_host": "cluster"}],
        "ssh_host",
        "slurm_ssh",
    ),
}


@pytest.fixture(scope="module")
def migrations(
    cluster: Cluster, template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], WarmMigration]]:
    """Function that gives the real migration for a backend of 2.16."""
    with ExitStack() as stack:

        @cache
        def migration(backend: str) -> WarmMigration:
            database = cluster.create(template)
            stack.callback(cluster.drop, database.dbname)
            folder = FractalFolder(tmp_path_factory.mktemp(backend), database)
            return stack.enter_context(WarmMigration(cluster, folder, BACKENDS[backend]))

        yield migration


def blockers(run_module: Run, folder: FractalFolder) -> set[tuple[str, str]]:
    result = run_module("fractal_user_precheck", env_file=str(folder.env_file))
    assert "findings" in result, result
    return {(f["id"], f["subject"]) for f in result["findings"] if f["severity"] == "blocker" and not f["acceptable"]}


@pytest.mark.parametrize("name", CASES)
def test_condition_is_found_and_its_fix_works(
    name: str,
    migrations: Callable[[str], WarmMigration],
    new_database: Callable[[], Database],
    fractal_folder: Folder,
    run_module: Run,
) -> None:
    case = CASES[name]
    database = new_database()
    for email, settings in case.users.items():
        add_user(database, email, **settings)
    folder = fractal_folder(database, FRACTAL_RUNNER_BACKEND=case.backend)
    assert blockers(run_module, folder) == {(case.finding, case.subject)}
    migration = migrations(case.backend)
    assert not migration.passed(migration.migrate(database))
    settled = run_module("fractal_users", env_file=str(folder.env_file), users=case.fix, rules=case.rules)
    assert settled["changed"], settled
    assert blockers(run_module, folder) == set()
    outcome = migration.migrate(database)
    assert migration.passed(outcome), outcome.output


def test_all_conditions_are_found_in_one_run(
    new_database: Callable[[], Database], fractal_folder: Folder, run_module: Run
) -> None:
    database = new_database()
    expected = set()
    for number, case in enumerate(case for case in CASES.values() if case.backend == "slurm"):
        email = f"u{number}@example.org"
        add_user(database, email, **case.users[ANN])
        expected.add((case.finding, email))
    assert blockers(run_module, fractal_folder(database)) == expected
