"""The planner: from what is observed to what is to do."""

import pytest
from ansible_collections.fractal_ops.platform.plugins.module_utils._run import plan as plans
from ansible_collections.fractal_ops.platform.plugins.module_utils._run.plan import StageName

HEADS = {"2.16.6": "981d588fe248", "2.17.0": "83bc2ad3ffcc", "2.17.1": "7673fe18c05d", "2.17.2": "e0e717ae2f26"}


def plan_server(observed, database, target, workers=()):
    observed = dict(observed)
    return plans.plan_server(observed, database, target, workers, observed.pop("steps"))


def instance(version="2.16.6", generation="2.16", staged=(), active="active", hold=None):
    return {
        "version": version,
        "environment": "/opt/fractal/venv",
        "env_file": "/srv/.fractal_server.env",
        "steps": ["2.17.0"] if generation == "2.16" else [],
        "staged": list(staged),
        "active_state": active,
        "hold": hold,
    }


def database(release="2.16.6", data="pending"):
    return {"reachable": True, "revision": HEADS.get(release, release), "data_migration": data}


def pending(plan):
    return [
        (stage.name, stage.release) if stage.release else stage.name
        for stage in plan.stages
        if stage.state == "pending"
    ]


HOLD = {"run": "r", "since": "s", "controller": "c", "backup": "/b", "phase": "held"}


def test_a_working_old_instance_has_everything_to_do():
    plan = plan_server(instance(), database(), "2.17.0")
    assert plan.hops == ["2.17.0"]
    assert pending(plan) == [
        "stage",
        "stop",
        "backup",
        "environment_file",
        ("install", "2.17.0"),
        ("schema", "2.17.0"),
        ("data", "2.17.0"),
        ("start", "2.17.0"),
    ]


def test_an_upgrade_killed_at_its_very_end_is_ended_by_the_next_run():
    seen = {**instance("2.17.0", "2.17"), "half_forgotten": True}
    plan = plan_server(seen, database("2.17.0", "done"), "2.17.0")
    assert pending(plan) == [("start", "2.17.0")]
    assert "was killed" in plan.stages[-1].reason
    assert pending(plan_server({**seen, "half_forgotten": False}, database("2.17.0", "done"), "2.17.0")) == []


def test_of_each_stage_it_is_known_whether_it_is_to_be_done():
    todo = plan_server(instance(staged=["2.17.0"]), database(), "2.17.0").as_dict()["todo"]
    assert set(todo) == {name.value for name in StageName}
    assert [name for name, left in todo.items() if not left] == ["stage", "workers", "archive"]


def test_a_dump_that_was_not_made_is_to_be_made_without_another_window():
    finished = instance("2.17.0", "2.17", active="active")
    known = {name: value for name, value in finished.items() if name != "steps"}
    plan = plans.plan_server(known, database("2.17.0", "done"), "2.17.0", without_dump=["/backups/r"]).as_dict()
    assert [stage["name"] for stage in plan["stages"] if stage["state"] == "pending"] == ["archive"]
    assert plan["todo"]["archive"] and plan["finished"]
    assert not plan["pending"] and not plan["window"] and not plan["down"]
    assert "/backups/r" in plan["stages"][-1]["reason"]
    assert not any(plan_server(instance(), database("none"), "2.17.0").as_dict()["todo"].values())


def test_a_service_that_was_started_but_has_not_answered_is_only_waited_for():
    starting = instance("2.17.0", "2.17", active="activating", hold={**HOLD, "phase": "starting"})
    plan = plan_server(starting, database("2.17.0", "done"), "2.17.0").as_dict()
    assert [name for name, left in plan["todo"].items() if left] == ["start"]
    assert plan["window"] and not plan["down"]
    more = plan_server(starting, database("2.17.0", "done"), "2.17.2").as_dict()
    assert more["todo"]["stop"] and more["down"]


def test_two_hops_share_one_window():
    plan = plan_server(instance(), database(), "2.17.2")
    assert plan.hops == ["2.17.0", "2.17.2"]
    assert [name for name in pending(plan) if "stop" in name or "start" in name] == ["stop", ("start", "2.17.2")]
    assert ("schema", "2.17.2") in pending(plan)


def test_nothing_is_left_on_a_finished_instance():
    plan = plan_server(instance("2.17.0", "2.17"), database("2.17.0", "done"), "2.17.0")
    assert pending(plan) == []
    assert plan.as_dict()["window"] is False
    assert plan.as_dict()["finished"] is True


@pytest.mark.parametrize("data", ["pending", "partial"])
def test_an_unfinished_data_migration_is_finished_at_its_own_release(data):
    held = instance("2.17.0", "2.17", active="inactive", hold=HOLD)
    plan = plan_server(held, database("2.17.0", data), "2.17.2")
    assert plan.hops == ["2.17.0", "2.17.2"]
    assert ("data", "2.17.0") in pending(plan)
    assert ("schema", "2.17.0") not in pending(plan)
    assert "backup" in pending(plan)


def test_an_instance_killed_after_the_data_migration_only_starts():
    held = instance("2.17.0", "2.17", active="inactive", hold=HOLD)
    plan = plan_server(held, database("2.17.0", "done"), "2.17.0")
    assert pending(plan) == [("start", "2.17.0")]
    assert plan.as_dict()["window"] is True


def test_an_instance_killed_after_the_switch_goes_on_with_the_schema():
    held = instance("2.17.0", "2.17", staged=["2.17.0"], active="inactive", hold=HOLD)
    plan = plan_server(held, database(), "2.17.0")
    assert pending(plan) == ["backup", ("schema", "2.17.0"), ("data", "2.17.0"), ("start", "2.17.0")]


def test_a_setting_that_a_later_release_refuses_opens_a_window():
    strict = {**instance("2.17.0", "2.17"), "steps": ["2.17.2"]}
    plan = plan_server(strict, database("2.17.0", "done"), "2.17.2")
    [stage] = [stage for stage in plan.stages if stage.name == "environment_file"]
    assert (stage.state, stage.reason) == ("pending", "/srv/.fractal_server.env is to be changed for 2.17.2")
    there = {**instance("2.17.2", "2.17"), "steps": ["2.17.2"]}
    assert pending(plan_server(there, database("2.17.2", "not_needed"), "2.17.2")) == [
        *("stop", "environment_file", ("start", "2.17.2"))
    ]


def test_staged_environments_are_not_built_again():
    assert "stage" not in pending(plan_server(instance(staged=["2.17.0"]), database(), "2.17.0"))
    assert "stage" in pending(plan_server(instance(staged=["2.17.0"]), database(), "2.17.2"))


@pytest.mark.parametrize(
    ("observed", "state", "target", "reason"),
    [
        (instance("2.17.2", "2.17"), database("2.17.2", "not_needed"), "2.17.0", "newer than the target"),
        (instance(), database(), "2.99.0", "not on the release path"),
        (instance(), database(), "2.18.0", "No upgrade ends at"),
        (instance(), database("b3ffb095f973"), "2.17.0", "belongs to no release"),
        (instance("2.17.1"), database(), "2.17.1", "was skipped"),
        (instance(None), database(), "2.17.0", "not installed"),
        (instance("2.17.2", "2.17"), database("2.17.0", "done"), "2.17.1", "newer than the target"),
    ],
)
def test_contradictions_are_refused(observed, state, target, reason):
    plan = plan_server(observed, state, target)
    assert reason in plan.blocked
    assert plan.stages == []


def worker(version="2.16.6", staged=()):
    return {"host": "cluster", "version": version, "staged": list(staged)}


def test_workers_are_built_before_and_switched_inside_the_window():
    plan = plan_server(instance(staged=["2.17.0"]), database(), "2.17.0", [worker()])
    names = pending(plan)
    assert names.index(("workers", "2.17.0")) == names.index(("start", "2.17.0")) - 1
    assert next(stage.reason for stage in plan.stages if stage.name == "stage") == "to build: 2.17.0 on cluster"
    assert "stage" not in pending(
        plan_server(instance(staged=["2.17.0"]), database(), "2.17.0", [worker("", ["2.17.0"])])
    )


def test_workers_of_an_older_release_open_a_window_of_their_own():
    finished = (instance("2.17.0", "2.17"), database("2.17.0", "done"), "2.17.0")
    assert pending(plan_server(*finished, [worker("2.17.0")])) == []
    plan = plan_server(*finished, [worker(staged=["2.17.0"])])
    assert pending(plan) == ["stop", ("workers", "2.17.0"), ("start", "2.17.0")]
    assert plan.as_dict()["window"] is True


def test_an_upgrade_killed_around_the_switch_of_the_workers_goes_on_there():
    held = (instance("2.17.0", "2.17", active="inactive", hold=HOLD), database("2.17.0", "done"), "2.17.0")
    assert pending(plan_server(*held, [worker(staged=["2.17.0"])])) == [("workers", "2.17.0"), ("start", "2.17.0")]
    assert pending(plan_server(*held, [worker("2.17.0")])) == [("start", "2.17.0")]
