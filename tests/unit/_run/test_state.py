"""What is known after the prechecks: a check that could not be made is a finding, too."""

from ansible_collections.fractal_ops.platform.plugins.module_utils._run.state import (
    _without_what_follows,
    server_state,
    web_state,
)

INSTANCE = {
    "service": "fractal-server.service",
    "version": "2.16.6",
    "environment": "/venv",
    "env_file": "/srv/.env",
    "staged": [],
    "active_state": "active",
    "hold": None,
    "lock": None,
}
DATABASE = {"reachable": True, "revision": "981d588fe248", "data_migration": "pending"}
SEEN = {
    "instance": INSTANCE,
    "database": DATABASE,
    "environment": {"findings": [], "runner_backend": "slurm_sudo", "steps": ["2.17.0"]},
}
GOOD = {
    "seen": SEEN,
    "server": {"findings": []},
    "users": {"findings": [], "access": {"with_access": []}},
}


WEB = {"service": "fractal-web.service", "version": "1.20.1", "active_state": "active", "lock": None}


def finding(**changes):
    base = {
        "id": "a.b",
        "severity": "blocker",
        "subject": "s",
        "message": "m",
        "fix": "f",
        "reference": "",
        "acceptable": True,
    }
    return {**base, **changes}


def seeing(**parts):
    """Return what is registered where parts of the host are not as in GOOD."""
    return {**GOOD, "seen": {**SEEN, **parts}}


def ids(state):
    return [one["id"] for one in state["findings"]]


def test_a_good_instance_has_a_plan_and_no_failure():
    state = server_state(GOOD, "2.17.0")
    assert state["failure"] == ""
    assert state["plan"]["hops"] == ["2.17.0"]


def test_mistyped_variables_are_refused_unless_accepted():
    unknown = {"findings": [finding(id="variable.unknown", message="no such variable")]}
    for state in (
        server_state({**GOOD, "variables": unknown, "users": {"findings": [finding()]}}, "2.17.0"),
        web_state({"seen": {"instance": None, "reason": "m"}, "variables": unknown}, "1.21.1"),
    ):
        assert state["failure"] == "2 blocking finding(s): no such variable; m"
        assert state["refused"] == "1 blocking finding(s): no such variable"
    assert server_state({**GOOD, "variables": unknown}, "2.17.0", ["variable.unknown"])["failure"] == ""
    assert server_state(GOOD, "2.17.0")["refused"] == ""


def test_a_database_that_cannot_be_reached_is_told_once():
    told = {"id": "database.unreachable", "message": "The database cannot be reached: refused"}
    server = {"findings": [finding(**told), finding(id="unit.umask"), finding(**told)]}
    down = {**seeing(database={"reachable": False, "reason": "refused"}), "server": server}
    assert sorted(ids(server_state(down, "2.17.0"))) == ["database.unreachable", "unit.umask"]


def test_a_host_on_which_no_module_runs_is_told_apart_from_a_unit_that_is_missing():
    state = server_state({"seen": {"failed": True, "msg": "Missing sudo password"}}, "2.17.0")
    assert ids(state) == ["host.unusable"] and "Missing sudo password" in state["failure"]


def test_each_thing_that_could_not_be_observed_is_a_finding():
    assert ids(server_state({"seen": {"no_connection": True, "msg": "no route"}}, "2.17.0")) == ["host.unreachable"]
    assert ids(server_state({"seen": {"instance": None, "reason": "no unit"}}, "2.17.0")) == ["unit.missing"]
    assert ids(server_state({"seen": {"msg": "traceback"}}, "2.17.0")) == ["host.unusable"]
    down = {**seeing(database={"reachable": False, "reason": "refused"}), "users": {"skipped": True}}
    assert ids(server_state(down, "2.17.0")) == ["database.unreachable"]
    for part in ("database", "environment"):
        [broken] = server_state(seeing(**{part: {"failed": True, "msg": "no such file"}}), "2.17.0")["findings"]
        assert (broken["id"], broken["subject"]) == ("check.failed", part) and "no such file" in broken["message"]
    assert (
        ids(server_state({**GOOD, "server": {"msg": "broken"}, "users": {"msg": "x"}}, "2.17.0"))
        == ["check.failed"] * 2
    )
    assert ids(server_state(GOOD, "9.9.9")) == ["plan.blocked"]
    assert ids(web_state({"seen": {"instance": WEB}, "web": {"msg": "x"}}, "1.21.1")) == ["check.failed"]


def test_another_run_is_in_the_way_until_it_is_known_to_be_dead():
    lock = {"run": "a", "controller": "ann@ops1", "since": "2026-11-23T20:00:00Z", "idle": 3.0}
    results = seeing(instance={**INSTANCE, "lock": lock})
    refused = server_state(results, "2.17.0", run={"run": "b", "abandoned": ""})
    assert ids(refused) == ["run.locked"]
    assert "ann@ops1 holds its lock since 2026-11-23T20:00:00Z" in refused["failure"]
    assert server_state(results, "2.17.0", run={"run": "b", "abandoned": "a"})["failure"] == ""
    assert server_state(results, "2.17.0", run={"run": "a", "abandoned": ""})["failure"] == ""
    web = {"seen": {"instance": {**INSTANCE, "lock": lock}}}
    assert ids(web_state(web, "1.21.1", run={"run": "b", "abandoned": ""})) == ["run.locked"]


def test_when_the_old_settings_are_gone_too_early_the_choice_is_rollback():
    database = {**DATABASE, "revision": "7673fe18c05d", "data_migration": "not_needed"}
    left = {**database, "lost": ["ann@example.org"]}
    hold = {"run": "r", "since": "s", "controller": "c", "backup": "/b"}
    held = {**INSTANCE, "version": "2.17.1", "active_state": "inactive", "hold": hold}
    state = server_state(seeing(instance=held, database=left), "2.17.1")
    assert ids(state) == ["migration.lost"]
    assert "ann@example.org" in state["failure"]
    assert "rollback playbook" in state["findings"][0]["fix"]
    for instance, rows in ((held, database), ({**held, "hold": None}, left)):  # all migrated; or somebody new
        assert "migration.lost" not in ids(server_state(seeing(instance=instance, database=rows), "2.17.1"))


def test_a_blocker_is_a_failure_until_it_is_accepted():
    found = {**GOOD, "users": {"findings": [finding()]}}
    assert "1 blocking" in server_state(found, "2.17.0")["failure"]
    assert server_state(found, "2.17.0", ["a.b"])["failure"] == ""
    assert server_state(found, "2.17.0", ["a.b"])["findings"][0]["accepted"] is True


def test_a_finding_of_two_checks_is_shown_once():
    found = {
        **seeing(environment={"findings": [finding()]}),
        "server": {"findings": [finding(), finding(subject="t")]},
    }
    assert [one["subject"] for one in server_state(found, "2.17.0")["findings"]] == ["s", "t"]


def test_of_many_blockers_the_failure_names_the_first():
    found = {**GOOD, "users": {"findings": [finding(message=f"m{n}.") for n in range(100)]}}
    failure = server_state(found, "2.17.0")["failure"]
    assert failure.startswith("100 blocking finding(s): m0.;") and "95 more" in failure and "m5." not in failure


def test_a_blocker_that_would_break_the_migration_cannot_be_accepted():
    found = {**GOOD, "server": {"findings": [finding(acceptable=False)]}}
    assert server_state(found, "2.17.0", ["a.b"])["failure"]


def test_warnings_are_no_failure():
    found = {**GOOD, "server": {"findings": [finding(severity="warning")]}}
    assert server_state(found, "2.17.0")["failure"] == ""


def test_workers_are_part_of_the_state_and_what_is_wrong_with_one_is_a_finding():
    read = {"host": "a", "worker": {"python": "/w/bin/python3", "version": "2.16.6", "staged": []}}
    state = server_state({**GOOD, "workers": {"answers": [read]}}, "2.17.0")
    assert state["failure"] == ""
    assert state["workers"] == [{"host": "a", "python": "/w/bin/python3", "version": "2.16.6", "staged": []}]
    assert "workers" in [stage["name"] for stage in state["plan"]["stages"]]
    gone = {"host": "b", "no_connection": True, "msg": "no route"}
    broken = {"host": "c", "msg": "no fractal-server there"}
    state = server_state({**GOOD, "workers": {"answers": [read, gone, broken], "strays": ["d"]}}, "2.17.0")
    assert [(one["id"], one["subject"]) for one in state["findings"]] == [
        ("worker.no_server", "d"),
        ("host.unreachable", "b"),
        ("worker.unusable", "c"),
    ]
    assert "no fractal-server there" in state["failure"] and "no route" in state["failure"]
    assert [worker["version"] for worker in state["workers"]] == ["2.16.6", None, None]


def test_a_missing_environment_file_is_told_once() -> None:
    found = [{"id": name, "subject": "x"} for name in ("database.unreachable", "unit.umask", "check.failed")]
    assert _without_what_follows(found) == found
    missing = {"id": "unit.no_environment_file", "subject": "x"}
    assert _without_what_follows([*found, missing]) == [found[1], missing]


def test_nothing_is_left_to_do_for_a_web_only_where_all_of_it_was_seen() -> None:
    finished = {
        "instance": {**WEB, "version": "1.21.1"},
        "environment": {"changed": False},
        "process": {"stale": False},
    }
    assert web_state({"seen": finished}, "1.21.1")["pending"] is False
    assert web_state({"seen": {"instance": None, "reason": "no unit"}}, "1.21.1")["pending"] is False
    for part in (
        {"instance": WEB},
        {"instance": {**finished["instance"], "active_state": "inactive"}},
        {"environment": {"changed": True}},
        {"environment": {"failed": True, "msg": "There is no environment file."}},
        {"process": {"stale": True}},
        {"process": {"failed": True, "msg": "no such folder"}},
    ):
        assert web_state({"seen": {**finished, **part}}, "1.21.1")["pending"] is True, part


BEFORE = {
    "state": {"plan": {"stages": [], "pending": True, "window": True}, "findings": [], "failure": "x", "workers": []}
}


def test_of_a_host_whose_window_runs_the_state_is_what_its_own_run_knew() -> None:
    state = server_state({**GOOD, "seen": {"instance": {}, "window": {"running": True, "seen": BEFORE}}}, "2.17.0")
    assert state["attached"] and state["failure"] == ""
    plan = state["plan"]
    assert (plan["window"], plan["pending"], plan["finished"]) == (True, False, True), "nothing to check or prepare"


def test_a_window_that_no_report_tells_is_offered_only_where_the_instance_is_finished() -> None:
    untold = {"window": {"running": False, "seen": BEFORE}}
    pending = server_state({**GOOD, "seen": {**GOOD["seen"], **untold}}, "2.17.0")
    assert not pending["attached"] and pending["untold"] is None
    instance = {**GOOD["seen"]["instance"], "version": "2.17.0"}
    database = {**GOOD["seen"]["database"], "revision": "83bc2ad3ffcc", "data_migration": "done"}
    seen = {**GOOD["seen"], **untold, "instance": instance, "database": database, "environment": {"steps": []}}
    finished = server_state({**GOOD, "seen": seen}, "2.17.0")
    assert finished["plan"]["finished"], finished["plan"]
    assert finished["untold"]["attached"] and finished["untold"]["plan"]["window"]


def finished_server(**parts):
    instance = {**INSTANCE, "version": "2.17.0", **parts.pop("instance", {})}
    database = {**DATABASE, "revision": "83bc2ad3ffcc", "data_migration": "done"}
    return {**SEEN, "instance": instance, "database": database, "environment": {"findings": [], "steps": []}, **parts}


def test_the_verification_of_the_first_look_counts_for_what_needs_nothing_else() -> None:
    verified = {"verification": {"checks": []}}
    assert server_state({"seen": finished_server(**verified)}, "2.17.0")["verification"] == {"checks": []}
    assert server_state({"seen": finished_server()}, "2.17.0")["verification"] is None
    for other in (
        {"environment": {"findings": [], "steps": ["2.17.0"]}},
        {"instance": {"active_state": "failed"}},
        {"instance": {"lock": {"run": "r", "controller": "c", "since": "now", "idle": 3.0}}},
        {"database": {"failed": True, "msg": "no answer"}},
        {"window": {"running": False, "seen": BEFORE}},
    ):
        state = server_state({"seen": finished_server(**verified, **other)}, "2.17.0")
        assert state["verification"] is None, other


def test_the_verification_of_a_web_counts_where_its_server_says_the_same_of_itself() -> None:
    server = {"version": "2.17.0", "oauth_client": "", "runner_backend": "local", "default_group_name": "All"}
    seen = {
        "instance": {**WEB, "version": "1.21.1"},
        "environment": {"changed": False},
        "process": {"stale": False},
        "verification": {"checks": [], "told": server},
    }

    def verified(told_of_server=None, **parts):
        told = server if told_of_server is None else told_of_server
        results = {"seen": {**seen, **parts.pop("seen", {})}, "told_of_server": told, **parts}
        return web_state(results, "1.21.1")["verification"]

    assert verified() == seen["verification"] == verified({**server, "oauth_client": None}), (
        "None: several, not compared"
    )
    for key in server:
        assert verified({**server, key: "another"}) is None, key
    assert verified({}) is None, "its server was not verified"
    assert verified(seen={"environment": {"changed": True}}) is None
    assert verified(variables={"findings": [finding()]}) is None
    assert verified(seen={"verification": {"checks": [], "told": {**server, "version": "2.16.6"}}}) is None
    unreached = {name: value for name, value in server.items() if name != "version"}
    assert verified(seen={"verification": {"checks": [], "told": unreached}}) is None
