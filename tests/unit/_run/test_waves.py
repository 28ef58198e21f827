"""Waves of instances: every one once, in the order of the inventory, each with its web hosts."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ansible.executor.playbook_executor import PlaybookExecutor
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._run.serial import sizes
from ansible_collections.fractal_ops.platform.plugins.module_utils._run.variables import invalid_variables
from ansible_collections.fractal_ops.platform.plugins.module_utils._run.waves import (
    hosts_of_waves,
    waves,
    why_not_begun,
)
from hypothesis import given
from hypothesis import strategies as st

COUNTS = st.integers(1, 40)
SHARES = st.integers(1, 100).map(lambda share: f"{share}%")
SERIALS = st.lists(COUNTS | SHARES, min_size=1, max_size=5)
SERVERS = st.integers(1, 60).map(lambda count: [f"s{number}" for number in range(count)])


@given(SERVERS, SERIALS)
def test_every_instance_is_in_one_wave_and_in_order(servers: list[str], serial: list[Any]) -> None:
    made = waves(servers, serial)
    assert [name for wave in made for name in wave] == servers and all(made)
    wanted = sizes(serial, len(servers))
    for number, wave in enumerate(made[:-1]):
        assert len(wave) == wanted[min(number, len(wanted) - 1)]


@given(SERVERS, st.lists(COUNTS, min_size=1, max_size=5))
def test_waves_of_instances_are_what_ansible_makes_of_hosts(servers: list[str], serial: list[Any]) -> None:
    """Of shares it computes with floats: 29% of 100 hosts are 28 there."""
    play = SimpleNamespace(hosts="all", order=None, serial=serial)
    executor = SimpleNamespace(_inventory=SimpleNamespace(get_hosts=lambda *_args, **_kwargs: list(servers)))
    assert waves(servers, serial) == PlaybookExecutor._get_serialized_batches(executor, play)


@given(SERVERS, COUNTS)
def test_a_number_may_be_written_in_all_the_ways_that_ansible_takes(servers: list[str], count: int) -> None:
    assert waves(servers, count) == waves(servers, str(count)) == waves(servers, [str(count)])
    assert waves(servers, f"1,{count}") == waves(servers, [1, count])


@pytest.mark.parametrize("nothing", [None, "", []])
def test_without_it_all_are_one_wave(nothing: Any) -> None:
    assert waves(["a", "b"], nothing) == [["a", "b"]] and waves([], nothing) == []


NONSENSE = [0, -1, 1.5, True, False, "0%", "101%", "150%", "half", "1 2", "%", [1, "x"], [[1]], {"a": 1}]


@pytest.mark.parametrize("serial", NONSENSE)
def test_nonsense_is_refused_and_told_what_it_can_be(serial: Any) -> None:
    with pytest.raises(FractalError, match="a number from 1 on"):
        waves(["a"], serial)
    spec = {"fractal_serial": {"type": "list", "elements": "str", "default": []}}
    assert [one.id for one in invalid_variables({"fractal_serial": serial}, spec)] == ["variable.invalid"]


GROUPS = {"fractal_server": ["s1", "s2", "s3"], "fractal_web": ["w3", "w1", "w2", "v1", "s2"]}
HOSTVARS: dict[str, dict[str, Any]] = {
    **{name: {"fractal_serial": [1]} for name in GROUPS["fractal_server"]},
    **{name: {"fractal_server_host": f"s{name[1]}"} for name in ("w1", "w2", "w3", "v1")},
}


@given(st.sets(st.sampled_from(sorted(HOSTVARS)), min_size=1))
def test_each_host_of_the_run_is_in_one_wave_with_its_server(run: set[str]) -> None:
    made = hosts_of_waves(HOSTVARS, GROUPS, run)
    servers = {"s1", "s2", "s3"} & run
    assert sorted(host for hosts in made for host in hosts) == (sorted(run) if servers else [])
    for hosts in made:
        assert len({*hosts} & servers) == 1
        own = next(iter({*hosts} & servers))
        assert all(host[1] == own[1] or f"s{host[1]}" not in run for host in hosts)


def test_an_instance_is_one_wave_with_its_web_hosts_and_one_that_has_none() -> None:
    assert hosts_of_waves(HOSTVARS, GROUPS, [*HOSTVARS]) == [["s1", "w1", "v1"], ["s2", "w2"], ["s3", "w3"]]


def server(version: str = "2.16.6", failure: str = "", pending: bool = True, **facts: Any) -> dict[str, Any]:
    plan = {"stages": [], "window": pending, "pending": pending}
    state = {"instance": {"version": version, "hold": None}, "target": "2.17.0", "failure": "", "findings": []}
    return {"fractal_serial": 1, "__server_state": {**state, "plan": plan}, "__server_failure": failure, **facts}


def web(of: str, failure: str = "", pending: bool = True) -> dict[str, Any]:
    state = {"instance": {"version": "1.20.1"}, "version": "1.21.1", "pending": pending, "failure": "", "findings": []}
    return {"fractal_server_host": of, "__web_server": of, "__web_state": state, "__web_failure": failure}


UPGRADED = server(__server_upgrade_window={"window": {"outcome": "upgraded", "window_seconds": 1.0}})
UPDATED_WEB = {**web("s1"), "__web_upgrade_run": {"health": {"version": "1.21.1"}}}
BAD_CHECK = {"id": "x", "subject": "x", "status": "failed", "message": "m", "fix": ""}
HELD = {"run": "r"}


def run_of(**hosts: dict[str, Any]) -> tuple[dict[str, Any], dict[str, list[str]], list[str]]:
    facts = {"s1": UPGRADED, "w1": UPDATED_WEB, "s2": server(), "w2": web("s2"), **hosts}
    return facts, {"fractal_server": ["s1", "s2"], "fractal_web": ["w1", "w2"]}, [*facts]


@pytest.mark.parametrize(
    "bad",
    [
        {"s1": server(failure="no room")},
        {"s1": {**UPGRADED, "__verify_server": {"checks": [BAD_CHECK]}}},
        {"w1": web("s1", failure="no answer")},
        {"w1": {**UPDATED_WEB, "__verify_web": {"checks": [BAD_CHECK]}}},
        {"s1": {"fractal_serial": 1}},  # Ansible lost it
    ],
)
def test_an_instance_does_not_begin_after_one_that_is_not_well(bad: dict[str, Any]) -> None:
    assert why_not_begun(*run_of(), ["s2", "w2"]) == {}
    why = why_not_begun(*run_of(**bad), ["s2", "w2"])
    assert [*why] == ["s2", "w2"] and why["s2"] == why["w2"]
    assert why["s2"].startswith("Not begun, because of s1 (failed):")


def test_the_first_wave_and_a_run_without_waves_always_begin() -> None:
    failed = {"s1": server(failure="no room")}
    assert why_not_begun(*run_of(**failed), ["s1", "w1"]) == {}
    together = {name: {**facts, "fractal_serial": 2} for name, facts in run_of(**failed)[0].items()}
    assert why_not_begun(*run_of(**together), ["s1", "w1", "s2", "w2"]) == {}


@pytest.mark.parametrize(
    "other",
    [
        {"s2": server(failure="blocked itself")},
        {"s2": {**server(), "__server_state": {**server()["__server_state"], "instance": {"hold": HELD}}}},
        {"s2": server(pending=False), "w2": web("s2", pending=False)},
        {"s2": {"fractal_serial": 1}},
    ],
)
def test_what_has_failed_is_stopped_or_has_nothing_to_do_is_left_as_it_is(other: dict[str, Any]) -> None:
    facts = {"s1": server(failure="no room"), **other}
    assert why_not_begun(*run_of(**facts), ["s2", "w2"]) == {}


def test_it_goes_by_the_first_wave_and_not_by_one_that_was_not_begun() -> None:
    third = {"s3": server(), "w3": web("s3")}
    facts = {**run_of(s1=server(failure="no room"))[0], **third}
    groups = {"fractal_server": ["s1", "s2", "s3"], "fractal_web": ["w1", "w2", "w3"]}
    first = why_not_begun(facts, groups, [*facts], ["s2", "w2"])
    told = {host: {**facts[host], "__not_begun": why, "__server_failure": why} for host, why in first.items()}
    assert why_not_begun({**facts, **told}, groups, [*facts], ["s3", "w3"]) == dict.fromkeys(["s3", "w3"], first["s2"])
