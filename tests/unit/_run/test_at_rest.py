"""Which hosts need no play of an upgrade: an instance rests as a whole, and whatever is not known does not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.fractal_ops.platform.plugins.module_utils._run.at_rest import but_at_rest

GROUPS = {"fractal_server": ["s1", "s2"], "fractal_web": ["w1", "w2", "w3"], "all": ["x"]}
SEEN = {"instance": {"lock": None}, "verification": {"checks": []}}


def server(**state: Any) -> dict[str, Any]:
    plan = {"finished": True, "window": False, "todo": {"archive": False}, **state.pop("plan", {})}
    return {"__server_state": {"plan": plan, "untold": None, **SEEN, **state}, "__server_failure": ""}


def web(of: str, **state: Any) -> dict[str, Any]:
    return {"__web_state": {"pending": False, **SEEN, **state}, "__web_failure": "", "fractal_server_host": of}


def hosts() -> dict[str, dict[str, Any]]:
    return {"s1": server(), "s2": server(), "w1": web("s1"), "w2": web("s2"), "w3": web("s2"), "x": {}}


def test_all_is_at_rest() -> None:
    assert but_at_rest(hosts(), GROUPS) == ["!s1", "!s2", "!w1", "!w2", "!w3"]


@pytest.mark.parametrize(
    "disturb",
    [
        lambda hosts: hosts["s2"].update(server(plan={"finished": False})),
        lambda hosts: hosts["s2"].update(server(plan={"window": True})),
        lambda hosts: hosts["s2"].update(server(untold={"plan": {}})),
        lambda hosts: hosts["s2"].update(__server_failure="Lost."),
        lambda hosts: hosts["s2"].pop("__server_failure"),
        lambda hosts: hosts["s2"].clear(),
        lambda hosts: hosts.pop("s2"),
        lambda hosts: hosts["w3"].update(web("s2", pending=True)),
        lambda hosts: hosts["w3"].update(__web_failure="Lost."),
        lambda hosts: hosts["w3"].pop("__web_state"),
    ],
)
def test_one_host_of_an_instance_keeps_all_of_it_and_no_other(disturb: Callable[[dict[str, Any]], None]) -> None:
    told = hosts()
    disturb(told)
    assert but_at_rest(told, GROUPS) == ["!s1", "!w1"]


@pytest.mark.parametrize(
    "disturb",
    [
        lambda hosts: hosts["s2"].update(server(verification=None)),
        lambda hosts: hosts["s2"].update(server(instance={"lock": {"run": "r"}})),
        lambda hosts: hosts["s2"].update(server(plan={"todo": {"archive": True}})),
        lambda hosts: hosts["w2"].update(web("s2", verification=None)),
        lambda hosts: hosts["w2"].update(web("s2", instance={"lock": {"run": "r"}})),
    ],
)
def test_what_is_not_verified_yet_takes_part_in_the_verification_alone(
    disturb: Callable[[dict[str, Any]], None],
) -> None:
    told = hosts()
    disturb(told)
    assert but_at_rest(told, GROUPS) == ["!s1", "!w1"]


def test_a_web_host_without_a_server_stays() -> None:
    told = {**hosts(), "w1": web(""), "w2": web("elsewhere")}
    assert but_at_rest(told, GROUPS) == ["!s1", "!s2", "!w3"]


def test_a_host_that_is_both_rests_with_both() -> None:
    groups = {"fractal_server": ["a"], "fractal_web": ["a", "b"]}
    both = {**server(), **web("a")}
    assert but_at_rest({"a": both, "b": web("a")}, groups) == ["!a", "!b"]
    assert but_at_rest({"a": both, "b": web("a", pending=True)}, groups) == []


def test_nothing_is_known_before_the_first_play() -> None:
    assert but_at_rest({}, GROUPS) == but_at_rest({}, {}) == []


@pytest.mark.parametrize("name", ["w*", "web[1]", "~w.*", "fe80::1", "a,b", "a&b"])
def test_a_name_that_could_mean_other_hosts_stays(name: str) -> None:
    assert but_at_rest({name: server(), "w1": web(name)}, {"fractal_server": [name], "fractal_web": ["w1"]}) == ["!w1"]


def test_a_web_host_of_which_nothing_is_known_keeps_its_server() -> None:
    assert but_at_rest({"s1": server(), "s2": server(), "w1": {"fractal_server_host": "s1"}}, GROUPS) == ["!s2"]
