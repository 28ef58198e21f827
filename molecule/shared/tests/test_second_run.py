"""A second upgrade of a finished instance looks and verifies with one call to each host, and asks for nothing else."""

from __future__ import annotations

from scenario import Target, hosts_of
from testinfra.host import Host

from playbooks import run_playbook

testinfra_hosts = hosts_of("fractal_server")


def test_a_second_upgrade_changes_nothing_and_costs_one_task_a_host(
    host: Host,
) -> None:
    again = run_playbook("upgrade")
    assert again.code == 0 and again.changed == 0
    record = again.reports["server"]
    assert record["outcome"] == "up to date" and [web["outcome"] for web in record["web"]] == ["up to date"]
    assert {name: [task.rpartition(" : ")[2] for task in tasks] for name, tasks in again.sent.items()} == {
        "server": ["Look at the host"],
        "web": ["Look at the host"],
    }
    assert {check["id"]: check["status"] for check in record["checks"]}["api_version"] == "passed"
    assert {check["id"]: check["status"] for check in record["web"][0]["checks"]}["web_alive"] == "passed"


def test_a_precheck_of_it_says_so_with_one_look(host: Host) -> None:
    again = run_playbook("precheck")
    assert again.code == 0 and again.reports["server"]["outcome"] == "up to date"
    assert {name: len(tasks) for name, tasks in again.sent.items()} == {"server": 1, "web": 1}


def test_status_says_what_it_is_and_writes_nothing(host: Host, target: Target) -> None:
    told = run_playbook("status")
    assert told.code == 0 and told.changed == 0 and told.reports == {}
    for text in (
        "server (fractal-server)",
        f"release      {target.version}",
        f"schema of {target.schema_of}",
        "way back     to 2.16.6",
        "web (fractal-web)",
    ):
        assert text in told.output
    assert "  held" not in told.output and "  locked" not in told.output
