"""What the playbook ``status`` says of each instance."""

from __future__ import annotations

from typing import Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._run.status import status_lines

INSTANCE: dict[str, Any] = {
    **{"version": "2.16.6", "active_state": "active", "url": "http://127.0.0.1:8000", "environment": "/opt/venv"},
    **{"hold": None, "lock": None, "staged": []},
}
DATABASE: dict[str, Any] = {
    **{"reachable": True, "revision": "981d588fe248", "size_bytes": 12_400_000},
    **{"jobs_in_flight": 2, "activities_in_flight": 0},
}
BACKUP = {"backup": {"version": "2.16.6", "created": "2026-11-26T12:00:00Z", "path": "/b/run-1"}}
GROUPS = {"fractal_server": ["one", "two"], "fractal_web": ["web"]}


def lines(instance: dict[str, Any] | None, history: tuple[dict[str, Any], ...] = (), **facts: Any) -> list[str]:
    state = {"instance": instance, "database": DATABASE, "failure": "" if instance else "no unit"}
    hostvars = {"one": {"__server_state": state, **facts}}
    return status_lines(hostvars, GROUPS, ["one"], history)


def test_an_instance_that_runs() -> None:
    ran = {"name": "one", "outcome": "verified", "run": {"playbook": "verify", "ended": "2026-11-26 12:30:00 UTC"}}
    older = {**ran, "outcome": "failed"}
    assert lines(INSTANCE, (ran, older), __fractal_backup=BACKUP) == [
        "one (fractal-server)",
        "  release      2.16.6, active, http://127.0.0.1:8000",
        "  environment  /opt/venv",
        "  database     schema of 2.16.0 to 2.16.6, 12 MB, 2 jobs and 0 task collections in flight",
        "  way back     to 2.16.6 of 2026-11-26T12:00:00Z: /b/run-1",
        "  last run     verify, 2026-11-26 12:30:00 UTC: verified",
    ]


def test_what_stands_in_the_way_is_told() -> None:
    kept = {**INSTANCE, "hold": {"run": "r1"}, "lock": {"run": "r2", "controller": "ann@c"}, "staged": ["2.17.0"]}
    told = lines(kept, __fractal_backup={"backup": None})
    assert "  held         by the run r1: run upgrade again, which continues it, or rollback" in told
    assert "  locked       by the run r2 of ann@c" in told
    assert "  prepared     2.17.0" in told
    assert "  way back     none: there is no backup" in told
    assert "  last run     no report on this controller" in told


def test_what_lies_beside_an_instance_is_prepared_only_if_it_is_newer() -> None:
    told = lines({**INSTANCE, "version": "2.17.0", "staged": ["2.16.6", "2.9.0", "2.18.0"]})
    assert "  prepared     2.18.0" in told and "  left beside  2.16.6, 2.9.0" in told


def test_an_open_maintenance_page_is_told() -> None:
    web = {**INSTANCE, "version": "1.20.1", "active_state": "inactive"}

    def told(**instance: Any) -> list[str]:
        facts = {"web": {"__web_state": {"instance": {**web, **instance}, "failure": ""}}}
        return status_lines(facts, GROUPS, ["web"], ())

    assert [line for line in told(page_is_up=True) if line.startswith("  page         the maintenance page answers")]
    assert not [line for line in [*told(), *told(page_is_up=False)] if "page" in line]


def test_an_upgrade_in_its_window_is_told_with_what_was_before() -> None:
    state = {"instance": INSTANCE, "database": DATABASE, "failure": "", "attached": True}
    told = status_lines({"one": {"__server_state": state}}, GROUPS, ["one"], ())
    assert told[1] == "  upgrade      runs in its window at this moment; what follows was so before it"


def test_what_could_not_be_looked_at_is_told() -> None:
    assert lines(None) == ["one (fractal-server)", "  unknown      no unit"]
    assert "  way back     not read" in lines(INSTANCE)
    lost = status_lines({"one": {}, "web": {}}, GROUPS, ["one", "web"], ())
    assert [line for line in lost if "Ansible lost this host" in line] and len(lost) == 4
    down = {"instance": INSTANCE, "database": {"reachable": False, "reason": "refused"}}
    told = status_lines({"one": {"__server_state": down}}, GROUPS, ["one"], ())
    assert "  database     not reachable: refused" in told


def test_web_hosts_come_after_the_servers_and_others_stay_out() -> None:
    web = {"__web_state": {"instance": {**INSTANCE, "version": "1.20.1"}}}
    told = status_lines({"one": {}, "two": {}, "web": web}, GROUPS, ["two", "web"], ())
    assert told[0] == "two (fractal-server)" and told[2:] == [
        "web (fractal-web)",
        "  release      1.20.1, active, http://127.0.0.1:8000",
    ]
