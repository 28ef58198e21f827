"""The filters that are more than a name for a function elsewhere."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.fractal_ops.platform.plugins.filter.upgrade import (
    but_hosts_to_prepare,
    failure,
    server_waits,
    web_waits,
    wheels,
    worker_hosts,
    worker_problems,
)

GROUPS = {"fractal_server": ["one", "two"], "fractal_worker": ["cluster", "two", "lost", "wrong"]}
HOSTVARS: dict[str, Any] = {
    "cluster": {"fractal_server_host": "one"},
    "two": {"fractal_server_host": "one"},  # as from a group's variables; it is a server itself
    "lost": {},
    "wrong": {"fractal_server_host": "tow"},
}


@pytest.mark.parametrize(("server", "hosts"), [("one", ["cluster"]), ("two", ["two"]), ("", ["lost", "wrong"])])
def test_a_worker_belongs_to_the_server_it_names_or_is(server: str, hosts: list[str]) -> None:
    assert worker_hosts(HOSTVARS, GROUPS, server) == hosts


def test_a_worker_need_not_name_the_only_server() -> None:
    assert worker_hosts({"w": {}}, {"fractal_server": ["s"], "fractal_worker": ["w"]}, "s") == ["w"]
    assert worker_hosts({}, {"fractal_server": ["s"]}, "s") == []


def test_every_worker_that_did_not_follow_is_named() -> None:
    good = {"host": "a", "worker": {}}
    bad = [{"host": "b", "msg": "no room"}, {"host": "c", "unreachable": True}]
    assert worker_problems([good]) == ""
    assert worker_problems([good, *bad]) == "The workers on b: no room; The workers on c: it gave no answer"


def test_a_wheelhouse_has_each_release_of_the_way_with_its_bounds() -> None:
    assert wheels("2.17.0", "2.16.6") == [["fractal-server==2.17.0", "bcrypt<5", "paramiko<5"]]
    assert [one[0].partition("==")[2] for one in wheels("2.18.5")] == ["2.17.0", "2.18.0", "2.18.5"]
    assert wheels("newest")[-1][1:] == ["bcrypt<5"]
    for target, start in (("2.99.0", ""), ("2.17.0", "2.18.0"), ("2.17.0", "nonsense")):
        with pytest.raises(AnsibleFilterError):
            wheels(target, start)


def test_a_web_host_that_the_run_has_lost_keeps_its_server_from_beginning() -> None:
    pending = {"plan": {"pending": True}, "instance": {"hold": None}}
    hostvars = {
        "one": {"__server_state": pending, "__server_failure": ""},
        "lost": {"__begin": {}},  # in the run, and nothing is known of it
        "elsewhere": {},
    }
    groups = {"fractal_web": ["lost", "elsewhere"], "fractal_server": ["one"]}
    assert "fractal-web on lost cannot be" in server_waits(hostvars, groups, "one")
    assert "its server one is not" in web_waits(hostvars, groups, "elsewhere")
    assert but_hosts_to_prepare(hostvars, groups, "fractal_server") == ["!one"]
    del hostvars["lost"]["__begin"]
    assert server_waits(hostvars, groups, "one") == web_waits(hostvars, groups, "elsewhere") == ""
    assert but_hosts_to_prepare(hostvars, groups, "fractal_server") == []


def test_of_a_loop_the_item_that_failed_says_why() -> None:
    items = {"msg": "One or more items failed", "results": [{"failed": False}, {"failed": True, "msg": "no room"}]}
    task = {"name": "Go", "action": "fractal_ops.platform.fractal_backup"}
    assert failure(items, task) == "Go: no room"
    assert failure({"msg": "no room"}, task) == "Go: no room"
    assert failure({}, task) == "Go: it gave no answer"


@pytest.mark.parametrize("action", ["ansible.builtin.fail", "ansible.builtin.assert", "fail"])
def test_a_task_that_only_tells_is_not_named(action: str) -> None:
    assert failure({"msg": "set-db broke"}, {"name": "Say what happened", "action": action}) == "set-db broke"


def test_the_filters_load_no_library_of_the_service_side() -> None:
    """Ansible loads them anew in each task that uses one: a library there costs every such task."""
    code = (
        "import sys; import ansible_collections.fractal_ops.platform.plugins.filter.upgrade; "
        "print(sorted({'sqlalchemy', 'psycopg', 'pydantic'} & {*sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
