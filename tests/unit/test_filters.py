"""The filters that are more than a name for a function elsewhere."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.fractal_ops.platform.plugins.filter.upgrade import worker_hosts, worker_problems

GROUPS = {"fractal_server": ["one", "two"], "fractal_worker": ["cluster", "two", "lost", "wrong"]}
HOSTVARS: dict[str, Any] = {
    "cluster": {"fractal_server_host": "one"},
    "two": {},
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
