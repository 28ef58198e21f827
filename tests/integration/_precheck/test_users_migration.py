"""Each condition under which the real data migration stops at users: found before, and gone after the fix told.

The migration runs on copies of the database: without the fix it must fail, with the fix it must pass.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Callable

import hypothesis
import hypothesis.strategies as st
import pytest
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.database import DatabaseSettings, connect
from ansible_collections.fractal_ops.platform.plugins.module_utils._precheck.user_report import check
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.users import USER_CHECKS
from postgres_cluster import Database
from postgres_seed import add_user
from releases_environments import FractalFolder
from warm_fractalctl import WarmMigration

Run = Callable[..., dict[str, Any]]
Folder = Callable[..., FractalFolder]
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


# --- the other way round: whenever nothing is found, the real migration passes (and fails when something is) ---

CASES_EACH = int(os.environ.get("FRACTAL_OPS_CASES", "60"))
ODD = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
NAMES = st.one_of(st.sampled_from(["ann", "bob", " ann", "ann ", "", "  ", "\u00a0", "ä"]), ODD)
FOLDERS = st.one_of(
    st.sampled_from(
        ["/data", "/data/", "//data", "/data/../x", " /data ", "/a b", "/", "data", "s3://b", "", " ", "/\u2003"]
    ),
    ODD,
    ODD.map(lambda text: "/" + text),
)


def likely(value: Any, others: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Mostly ``value``, so that many cases have nothing wrong; else anything, or nothing."""
    return st.integers(0, 15).flatmap(lambda n: others if n == 7 else st.none() if n == 11 else st.just(value))


ACCOUNTS = st.one_of(
    st.lists(st.one_of(st.sampled_from(["a", " a", "b"]), ODD), max_size=3),
    st.sampled_from([None, {}, {"a": "b"}, "text", [1], [["a"]], [None]]),
)
USERS = st.fixed_dictionaries(
    {
        "active": st.sampled_from([True, True, True, False]),
        "verified": st.sampled_from([True, True, True, False]),
        "superuser": st.booleans(),
        "settings": st.one_of(
            st.just(None),
            *[
                st.fixed_dictionaries(
                    {
                        "project_dir": likely("/data", FOLDERS),
                        "slurm_user": likely("ann", NAMES),
                        "slurm_accounts": likely([], ACCOUNTS),
                        "ssh_host": likely("h1", st.one_of(st.sampled_from(["h2", None]), NAMES)),
                        "ssh_username": likely("ann", NAMES),
                        "ssh_private_key_path": likely("/key", FOLDERS),
                        "ssh_tasks_dir": likely("/t", FOLDERS),
                        "ssh_jobs_dir": likely("/j", FOLDERS),
                    }
                )
            ]
            * 9,
        ),
    }
)


def put(database: Database, users: Sequence[Mapping[str, Any]]) -> None:
    """Make ``users`` the only rows of a database at 2.17.0's schema whose data was not migrated."""
    with database.connect(autocommit=False) as connection:
        connection.execute("TRUNCATE user_oauth, user_settings, resource, profile RESTART IDENTITY CASCADE")
        for number, user in enumerate(users, 1):
            settings = user["settings"]
            if settings is not None:
                values = {**settings, "slurm_accounts": json.dumps(settings["slurm_accounts"])}
                columns = ", ".join(values)
                marks = ", ".join(["%s"] * len(values))
                statement = f"INSERT INTO user_settings (id, {columns}) VALUES (%s, {marks})"
                connection.execute(statement.encode(), [number, *values.values()])
            connection.execute(
                "INSERT INTO user_oauth (email, hashed_password, is_active, is_verified, is_superuser, "
                "user_settings_id, "
                "slurm_accounts) VALUES (%s, '$2b$', %s, %s, %s, %s, '{}')",
                [
                    f"u{number}@example.org",
                    user["active"],
                    user["verified"],
                    user["superuser"],
                    None if settings is None else number,
                ],
            )


@pytest.mark.parametrize("backend", ["slurm", "slurm_ssh"])
def test_nothing_found_means_that_the_migration_passes(
    backend: str, migrations: Callable[[str], WarmMigration], new_database: Callable[[], Database]
) -> None:
    migration = migrations(backend)
    seen: Counter[bool] = Counter()
    assert migration.passed(migration.migrate(new_database())) or backend == "slurm_ssh"  # brings the schema to 2.17.0
    database = migration.database
    settings = DatabaseSettings(database.host, database.port, database.user, database.password, database.dbname)

    @hypothesis.settings(max_examples=CASES_EACH, deadline=None, database=None)
    @hypothesis.given(st.lists(USERS, min_size=1, max_size=4))
    def prove(users: Sequence[Mapping[str, Any]]) -> None:
        put(database, users)
        with connect(settings, read_only=True) as connection:
            report = check(connection, {}, backend, None, USER_CHECKS)
        stopping = [f for f in report.findings if f.severity == "blocker" and not f.acceptable]
        outcome = migration.migrate_data()
        seen[bool(stopping)] += 1
        assert migration.passed(outcome) == (not stopping), (stopping, outcome.output)

    prove()
    print(f"{backend}: {seen[False]} cases without and {seen[True]} with a finding that stops the migration")
    assert min(seen.values()) > CASES_EACH // 20, "the cases are all of one kind"
