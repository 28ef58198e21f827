"""Server and web hosts go to the new release together, or none of them begins."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.fractal_ops.platform.plugins.module_utils._run.both_halves import (
    but_to_prepare,
    why_server_waits,
    why_web_waits,
)

GROUPS = {"fractal_server": ["one", "two"], "fractal_web": ["a", "b", "c"]}
RUN = ["one", "two", "a", "b", "c"]
TOGETHER = "Not upgraded, because fractal-web on b cannot be: both belong together."
NOT_ITS_SERVER = "Not upgraded, because its server one is not."


def server(failure: str = "", pending: bool = True, hold: Any = None, **more: Any) -> dict[str, Any]:
    state = {"plan": {"pending": pending}, "instance": {"hold": hold}}
    return {"__server_state": state, "__server_failure": failure, **more}


def web(of: str, failure: str = "", pending: bool = True) -> dict[str, Any]:
    return {"fractal_server_host": of, "__web_state": {"pending": pending}, "__web_failure": failure}


def hosts(**changed: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Two servers, the first with two web hosts."""
    return {"one": server(), "two": server(), "a": web("one"), "b": web("one"), "c": web("two"), **changed}


def waiting(facts: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Return who waits, and why."""
    servers = {name: why_server_waits(facts, GROUPS, name, RUN) for name in GROUPS["fractal_server"]}
    webs = {name: why_web_waits(facts, GROUPS, name, RUN) for name in GROUPS["fractal_web"]}
    return {name: why for name, why in {**servers, **webs}.items() if why}


def test_nobody_waits_where_nothing_is_in_the_way() -> None:
    assert waiting(hosts()) == {}


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"one": server("no room")}, {"one": "no room", "a": NOT_ITS_SERVER, "b": NOT_ITS_SERVER}),
        ({"b": web("one", "no archive")}, {"one": TOGETHER, "a": NOT_ITS_SERVER, "b": "no archive"}),
        ({"b": {"fractal_server_host": "one"}}, {"one": TOGETHER, "a": NOT_ITS_SERVER, "b": NOT_ITS_SERVER}),
        # stopped by an interrupted run: it is continued, and so is the web host that can follow
        ({"one": server(hold={"phase": "held"}), "b": web("one", "no archive")}, {"b": "no archive"}),
        ({"one": server(pending=False), "b": web("one", "no archive")}, {"b": "no archive"}),
        ({"a": web("")}, {"a": "Not upgraded, because its server (which fractal_server_host does not name) is not."}),
        (
            {"one": server("Not begun.", __not_begun="Not begun.")},
            {"one": "Not begun.", "a": "Not begun.", "b": "Not begun."},
        ),
        ({"one": {}}, {"a": NOT_ITS_SERVER, "b": NOT_ITS_SERVER}),  # it was never checked
    ],
)
def test_who_waits_and_why(changed: dict[str, dict[str, Any]], expected: dict[str, str]) -> None:
    assert waiting(hosts(**changed)) == expected


@pytest.mark.parametrize(
    ("changed", "servers", "webs"),
    [
        ({}, [], []),
        ({"one": server(pending=False)}, ["!one"], []),
        ({"a": web("one", pending=False)}, [], ["!a"]),
        ({"one": server("no room")}, ["!one"], ["!a", "!b"]),
        ({"b": web("one", "no archive")}, ["!one"], ["!a", "!b"]),
        ({"c": {}, "two": {}}, ["!two"], ["!c"]),
    ],
)
def test_only_hosts_that_may_be_upgraded_are_prepared(
    changed: dict[str, dict[str, Any]], servers: list[str], webs: list[str]
) -> None:
    facts = hosts(**changed)
    assert but_to_prepare(facts, GROUPS, "fractal_server", RUN) == servers
    assert but_to_prepare(facts, GROUPS, "fractal_web", RUN) == webs


def test_before_the_first_play_all_hosts_are_listed() -> None:
    assert but_to_prepare({}, GROUPS, "fractal_server", RUN) == []
