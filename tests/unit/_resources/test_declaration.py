"""Declared state and review of resources, profiles and users, without a database."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._resources.declaration import (
    Change,
    Desired,
    changes_between,
    diff,
    wanted_state,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._resources.review import (
    State,
    review,
    review_checks,
    review_findings,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.r2_17_0.accepts import ACCEPTS

SLURM = {
    "default_slurm_config": {"partition": "main", "mem": "100M"},
    "batching_config": {
        "target_num_jobs": 2,
        "max_num_jobs": 4,
        "target_cpus_per_job": 1,
        "max_cpus_per_job": 1,
        "target_mem_per_job": 200,
        "max_mem_per_job": 500,
    },
}


def resource(**fields: Any) -> dict[str, Any]:
    return {
        "type": "slurm_sudo",
        "name": "Resource Name",
        "host": None,
        "jobs_local_dir": "/jobs",
        "jobs_runner_config": SLURM,
        "jobs_slurm_python_worker": "/venv/bin/python3",
        "jobs_poll_interval": 15,
        "tasks_local_dir": "/tasks",
        "tasks_python_config": {"default_version": "3.11", "versions": {"3.11": "/py311"}, "pip_cache_dir": None},
        "tasks_pixi_config": {},
        **fields,
    }


def profile(username: str, **fields: Any) -> dict[str, Any]:
    return {
        "name": f"Profile {username}",
        "resource_id": 1,
        "resource_type": "slurm_sudo",
        "username": username,
        "ssh_key_path": None,
        "jobs_remote_dir": None,
        "tasks_remote_dir": None,
        **fields,
    }


def user(name: str, profile_id: int | None, **fields: Any) -> dict[str, Any]:
    return {
        "email": f"{name}@example.org",
        "is_active": True,
        "is_verified": True,
        "is_superuser": False,
        "profile_id": profile_id,
        "project_dir": f"/data/{name}",
        "slurm_accounts": [],
        **fields,
    }


@pytest.fixture
def state() -> State:
    """What the data migration leaves: alice and bob compute, carol was not verified."""
    return State(
        ACCEPTS,
        resources={1: resource()},
        profiles={1: profile("alice"), 2: profile("bob")},
        users={
            1: user("alice", 1),
            2: user("bob", 2),
            3: user("carol", None, is_verified=False, project_dir="/PLACEHOLDER"),
        },
        projects={(1, 1): 2},
        task_groups={(1, 1): 1},
    )


def declare(state: State, **desired: Any) -> tuple[State, list[Change]]:
    for options in desired.values():
        if isinstance(options, list):
            for option in options:
                option.setdefault("state", "present")
    wanted = wanted_state(state, Desired(**desired))
    return wanted, changes_between(state, wanted)


def test_a_rename_changes_one_row_and_creates_none(state: State) -> None:
    renamed = [{"name": "cluster", "previous_name": "Resource Name"}]
    wanted, changes = declare(state, resources=renamed)
    assert [(c.action, c.table, c.after) for c in changes] == [("update", "resource", {"name": "cluster"})]
    assert declare(wanted, resources=renamed)[1] == []


def test_an_unknown_resource_is_never_created_in_passing(state: State) -> None:
    with pytest.raises(FractalError, match="No resource is called 'cluster'; there are: 'Resource Name'"):
        declare(state, resources=[{"name": "cluster"}])


def test_a_rename_onto_another_resource_is_refused(state: State) -> None:
    state.resources[2] = resource(name="cluster")
    with pytest.raises(FractalError, match="would make two into one"):
        declare(state, resources=[{"name": "cluster", "previous_name": "Resource Name"}])


def test_an_additional_resource_has_to_be_asked_for_and_complete(state: State) -> None:
    wish = {"name": "gpu", "create": True, "type": "slurm_sudo", "interpreters": {"3.12": "/py312"}}
    with pytest.raises(FractalError, match=r"default_version: field required.*tasks_local_dir"):
        declare(state, resources=[wish])
    complete = {
        **wish,
        "default_python_version": "3.12",
        "tasks_local_dir": "/t",
        "jobs_local_dir": "/j",
        "jobs_runner_config": SLURM,
        "jobs_slurm_python_worker": "/venv/bin/python3",
    }
    wanted, _unused = declare(state, resources=[complete])
    assert [r["name"] for r in wanted.resources.values()] == ["Resource Name", "gpu"]
    with pytest.raises(FractalError, match="must be of type slurm_sudo"):
        declare(state, resources=[{**complete, "type": "local"}])


def test_interpreters_are_added_replaced_and_taken_away(state: State) -> None:
    wish = {"name": "Resource Name", "interpreters": {"3.12": "/py312", "3.11": ""}, "default_python_version": "3.12"}
    wanted, changes = declare(state, resources=[wish])
    assert wanted.resources[1]["tasks_python_config"] == {
        "default_version": "3.12",
        "versions": {"3.12": "/py312"},
        "pip_cache_dir": None,
    }
    assert list(changes[0].after) == ["tasks_python_config"]


def test_the_default_interpreter_cannot_be_taken_away(state: State) -> None:
    with pytest.raises(FractalError, match=r"default_version 3\.11 is not in versions"):
        declare(state, resources=[{"name": "Resource Name", "interpreters": {"3.12": "/py312", "3.11": ""}}])


def test_configuration_is_compared_as_fractal_stores_it(state: State) -> None:
    wish = [{"name": "Resource Name", "jobs_runner_config": {**SLURM, "user_local_exports": {"X": "1"}}}]
    wanted, changes = declare(state, resources=wish)
    assert len(changes) == 1 and wanted.resources[1]["jobs_runner_config"]["default_slurm_config"]["mem"] == 100
    assert declare(wanted, resources=wish)[1] == []


@pytest.mark.parametrize(
    ("field", "value"),
    [("jobs_slurm_python_worker", "python3"), ("jobs_local_dir", "jobs"), ("jobs_runner_config", {"partition": "x"})],
)
def test_what_fractal_would_refuse_is_refused(state: State, field: str, value: Any) -> None:
    with pytest.raises(FractalError, match=f"does not accept the resource.*{field}"):
        declare(state, resources=[{"name": "Resource Name", field: value}])


def test_the_old_file_hands_on_interpreters_and_poll_interval_once(state: State) -> None:
    handed = {"tasks_python": {"3.13": "/py313"}, "default_version": "3.13", "poll_interval": 5}
    wanted, changes = declare(state, handed_on=handed)
    python = wanted.resources[1]["tasks_python_config"]
    assert (python["default_version"], python["versions"]) == ("3.13", {"3.11": "/py311", "3.13": "/py313"})
    assert wanted.resources[1]["jobs_poll_interval"] == 5 and len(changes) == 1
    assert declare(wanted, handed_on=handed)[1] == []


def test_an_interpreter_that_stood_in_for_the_data_migration_is_taken_away(state: State) -> None:
    state.resources[1]["tasks_python_config"]["versions"]["3.12"] = "/py313"
    stand_in = {"tasks_python": {"3.13": "/py313"}, "default_version": "3.13", "stand_ins": {"3.12": "/py313"}}
    wanted, changes = declare(state, handed_on=stand_in)
    assert wanted.resources[1]["tasks_python_config"]["versions"] == {"3.11": "/py311", "3.13": "/py313"}
    assert len(changes) == 1 and declare(wanted, handed_on=stand_in)[1] == []


@pytest.mark.parametrize("own", [{"3.12": "/own"}, {"default_version": "3.12"}])
def test_an_interpreter_that_somebody_has_taken_over_is_no_stand_in(state: State, own: dict[str, str]) -> None:
    python = state.resources[1]["tasks_python_config"]
    python["versions"].update({"3.12": own.get("3.12", "/py313"), "3.13": "/py313"})
    python.update({name: value for name, value in own.items() if name == "default_version"})
    assert declare(state, handed_on={"stand_ins": {"3.12": "/py313"}})[1] == []


def test_what_is_handed_on_never_overrides_an_administrator(state: State) -> None:
    state.resources[1]["jobs_poll_interval"] = 30
    state.resources[1]["tasks_python_config"]["versions"]["3.13"] = "/own/python"
    handed = {"tasks_python": {"3.13": "/py313"}, "default_version": "3.13", "poll_interval": 5}
    assert declare(state, handed_on=handed)[1] == []


def test_profiles_are_known_by_name_previous_name_or_username(state: State) -> None:
    by_previous = [{"name": "a", "previous_name": "Profile alice"}]
    by_username = [{"name": "a", "username": "alice"}]
    for wish in (by_previous, by_username):
        wanted, changes = declare(state, profiles=wish)
        assert [(c.action, c.id, c.after) for c in changes] == [("update", 1, {"name": "a"})]
        assert declare(wanted, profiles=wish)[1] == []


def test_users_are_split_over_several_profiles(state: State) -> None:
    state.users[2]["profile_id"] = 1
    wish = {
        "profiles": [{"name": "alice", "username": "alice"}, {"name": "alice-2", "username": "alice"}],
        "users": [{"email": "Bob@example.org", "profile": "alice-2"}],
    }
    wanted, changes = declare(state, **wish)
    assert sorted((c.table, c.action) for c in changes) == [
        ("profile", "create"),
        ("profile", "update"),
        ("user_oauth", "update"),
    ]
    assert review(wanted)["profiles"][-1]["users"] == ["bob@example.org"]
    assert declare(wanted, **wish)[1] == []


def test_a_user_left_out_of_the_migration_is_attached(state: State) -> None:
    wish = {"email": "carol@example.org", "profile": "bob", "is_verified": True}
    with pytest.raises(
        FractalError, match=r"carol@example\.org would be active and verified, but with no project folder"
    ):
        declare(state, users=[wish])
    wanted, changes = declare(state, users=[{**wish, "project_dir": "/data/carol"}])
    assert changes[0].after == {"is_verified": True, "profile_id": 2, "project_dir": "/data/carol"}
    assert review(wanted)["without_access"] == []


@pytest.mark.parametrize(
    ("user_option", "said"),
    [
        ({"email": "nobody@example.org"}, "No user has the e-mail 'nobody@example.org'"),
        ({"email": "bob@example.org", "profile": "x"}, "No profile is called 'x'"),
        ({"email": "bob@example.org", "project_dir": "data/bob"}, "project_dir"),
        ({"email": "bob@example.org", "slurm_accounts": ["a", "a"]}, "repetitions"),
    ],
)
def test_a_wrong_user_is_refused(state: State, user_option: dict[str, Any], said: str) -> None:
    with pytest.raises(FractalError, match=said):
        declare(state, users=[user_option])


def test_nothing_is_detached(state: State) -> None:
    absent = {"state": "absent"}
    with pytest.raises(FractalError, match=r"cannot be removed: 2 profiles, 2 projects, 1 task groups belong to it"):
        declare(state, resources=[{"name": "Resource Name", **absent}])
    with pytest.raises(FractalError, match=r"'Profile bob' cannot be removed: bob@example.org would lose access"):
        declare(state, profiles=[{"name": "Profile bob", **absent}])
    state.resources[2] = resource(name="other")
    with pytest.raises(FractalError, match=r"alice@example.org: 2 projects and 1 task groups are on another resource"):
        declare(state, profiles=[{"name": "Profile alice", "resource": "other"}])
    state.profiles[3] = profile("x", resource_id=2)
    with pytest.raises(FractalError, match=r"alice@example.org: 2 projects and 1 task groups are on another resource"):
        declare(state, users=[{"email": "alice@example.org", "profile": "Profile x"}])


def test_what_nobody_uses_can_be_removed(state: State) -> None:
    state.resources[2] = resource(name="other")
    state.profiles[3] = profile("x", resource_id=2)
    absent = {"state": "absent"}
    wish = {"resources": [{"name": "other", **absent}], "profiles": [{"name": "Profile x", **absent}]}
    wanted, changes = declare(state, **wish)
    assert [(c.action, c.table) for c in changes] == [("delete", "profile"), ("delete", "resource")]
    assert declare(wanted, **wish)[1] == []


def test_all_problems_are_told_at_once(state: State) -> None:
    with pytest.raises(FractalError) as caught:
        declare(state, resources=[{"name": "a"}], users=[{"email": "b@example.org"}])
    assert "'a'" in str(caught.value) and "b@example.org" in str(caught.value)


def test_one_name_for_two_profiles_is_refused(state: State) -> None:
    with pytest.raises(FractalError, match="The profile 'x' is declared twice"):
        declare(
            state,
            profiles=[{"name": "x", "previous_name": "Profile alice"}, {"name": "x", "username": "zoe"}],
        )


def test_the_diff_tells_names_not_ids(state: State) -> None:
    wanted, changes = declare(
        state,
        profiles=[{"name": "x", "username": "xavier"}],
        users=[{"email": "bob@example.org", "profile": "x"}],
    )
    told = diff(state, wanted, changes)
    assert told["before"]["user bob@example.org"] == {"profile": "Profile bob"}
    assert told["after"]["user bob@example.org"] == {"profile": "x"}
    assert told["after"]["profile x"]["resource"] == "Resource Name"


# --- review ---


def test_the_review_tells_who_uses_what_and_who_has_none_and_why(state: State) -> None:
    shown = review(state)
    assert shown["resources"][0]["profiles"] == ["Profile alice", "Profile bob"]
    assert (shown["resources"][0]["projects"], shown["resources"][0]["task_groups"]) == (2, 1)
    assert [p["users"] for p in shown["profiles"]] == [["alice@example.org"], ["bob@example.org"]]
    assert shown["without_access"] == [
        {"email": "carol@example.org", "reason": "not verified, no profile, no project folder"}
    ]


def test_placeholders_are_found_until_they_are_renamed(state: State) -> None:
    found = {(f.id, f.subject) for f in review_findings(review(state))}
    assert {("resource_name_placeholder", "Resource Name"), ("profile_name_placeholder", "Profile alice")} <= found
    state.resources[1]["name"] = "cluster"
    for number, fields in state.profiles.items():
        fields["name"] = f"p{number}"
    assert {f.id for f in review_findings(review(state))} == {"user_without_access"}


def test_the_checks_pass_on_a_good_instance(state: State) -> None:
    assert {check.id: check.status for check in review_checks(state)} == {
        "resource_names": "passed",
        "user_profiles": "passed",
    }


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (lambda s: s.resources.clear() or s.profiles.clear(), "there is no resource"),
        (lambda s: s.resources[1].update(jobs_slurm_python_worker="python3"), "jobs_slurm_python_worker"),
        (lambda s: s.profiles[1].update(username=""), "username"),
        (
            lambda s: s.profiles[1].update(resource_type="slurm_ssh"),
            "is for slurm_ssh, its resource is of type slurm_sudo",
        ),
        (lambda s: s.resources.update({2: resource(name="x", type="slurm_ssh", host="h")}), "several types"),
    ],
)
def test_the_names_check_fails(state: State, broken: Any, said: str) -> None:
    broken(state)
    check = review_checks(state)[0]
    assert check.status == "failed" and said in check.message and check.fix


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (lambda s: s.users[2].update(profile_id=None), "bob@example.org: no profile"),
        (lambda s: s.users[2].update(project_dir="/PLACEHOLDER"), "bob@example.org: no project folder"),
        (
            lambda s: s.projects.update({(1, 2): 5}),
            "alice@example.org: 5 projects and 0 task groups are on another resource",
        ),
    ],
)
def test_the_users_check_fails(state: State, broken: Any, said: str) -> None:
    broken(state)
    check = review_checks(state)[1]
    assert check.status == "failed" and said in check.message and check.fix
