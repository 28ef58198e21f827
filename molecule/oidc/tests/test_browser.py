"""A browser logs in through fractal-web as it did before the upgrade (see prepare), as the same user."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from browser import SESSION, WEB, browser, by_password, by_provider, page
from conftest import before
from scenario import inventory, query
from selenium.webdriver import Chrome
from testinfra.host import Host

ALICE = ("alice@example.org", "pw-alice")


@pytest.fixture
def chromium() -> Iterator[Chrome]:
    """A browser that was never here."""
    with browser(inventory()["all"]["pair"]) as driver:
        yield driver


def arrived(seen: dict[str, Any]) -> tuple[Any, ...]:
    return seen["path"], seen["user"], seen["id"]


def inside_as(user: dict[str, Any]) -> tuple[Any, ...]:
    return "/v2/projects", user["email"], user["id"]


def test_by_password_she_is_who_she_was(chromium: Chrome, seed: dict[str, Any]) -> None:
    old, new = before("browser")["password"], by_password(chromium, *ALICE)
    assert arrived(old) == arrived(new) == inside_as(seed["users"]["alice"])


def test_through_the_provider_she_is_who_she_was(chromium: Chrome, seed: dict[str, Any]) -> None:
    old, new = before("browser")["provider"], by_provider(chromium, "carol-sub")
    assert arrived(old) == arrived(new) == inside_as(seed["users"]["carol"])
    assert new["session"]["secure"] and new["session"]["httpOnly"]


@pytest.mark.parametrize(("way", "name"), [("password", "alice"), ("provider", "carol")])
def test_who_was_logged_in_still_is(chromium: Chrome, seed: dict[str, Any], way: str, name: str) -> None:
    chromium.get(f"{WEB}/v2/projects")
    assert page(chromium)["path"] == "/auth/login"
    chromium.add_cookie({"name": SESSION, "value": before("browser")[way]["session"]["value"]})
    chromium.get(f"{WEB}/v2/projects")
    assert arrived(page(chromium)) == inside_as(seed["users"][name])


def test_a_wrong_password_is_refused_and_the_page_says_so(chromium: Chrome) -> None:
    for seen in (before("browser")["wrong"], by_password(chromium, ALICE[0], "wrong")):
        assert (seen["path"], seen["id"], seen["session"]) == ("/auth/login", None, None)
        assert "Invalid credentials" in seen["text"]


def test_a_stranger_is_refused_and_the_page_says_so(chromium: Chrome, server: Host) -> None:
    users = query(server, "select count(*) from user_oauth")
    seen = by_provider(chromium, "stranger@example.org")
    assert (seen["path"], seen["id"], seen["session"]) == ("/", None, None)
    assert "registering" in seen["text"]
    assert query(server, "select count(*) from user_oauth") == users


def test_who_was_never_verified_is_told_that_she_may_nothing(chromium: Chrome, seed: dict[str, Any]) -> None:
    seen = by_provider(chromium, "dora-sub")
    assert (seen["path"], seen["id"]) == ("/", seed["users"]["dora"]["id"])
    assert "not authorized to use this Fractal instance" in seen["text"]
