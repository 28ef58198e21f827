"""Hooks and the maintenance page around the window of the shared upgrade."""

from __future__ import annotations

import json
from typing import Any

import pytest
import testinfra
from scenario import Target, curl, hosts_of
from testinfra.host import Host

testinfra_hosts = hosts_of("fractal_server")
PAGE = "fractal-maintenance-fractal-web.service"
JOURNAL = "/var/lib/fractal-ops/fractal-server.service/window.jsonl"


def told(server: Host) -> list[dict[str, Any]]:
    """Return what the hooks were told, in the order in which they ran."""
    return [json.loads(line) for line in server.file("/root/hooks").content_string.splitlines()]


def said(web: Host, what: str) -> list[float]:
    """Return when systemd said something of the maintenance page, in seconds since the epoch."""
    journal = web.check_output(f"journalctl -q -o json -u {PAGE}")
    events = [json.loads(line) for line in journal.splitlines()]
    return [int(one["__REALTIME_TIMESTAMP"]) / 1e6 for one in events if str(one["MESSAGE"]).startswith(what)]


@pytest.fixture
def web() -> Host:
    return testinfra.get_host(hosts_of("fractal_web")[0])


def test_each_hook_ran_once_and_knows_what_happened(host: Host, target: Target) -> None:
    """A second upgrade, which has no window, has run before this."""
    before, after = told(host)
    same = {"instance": "server", "web": ["web"], "playbook": "upgrade", "from": "2.16.6", "to": target.version}
    for event in (before, after):
        assert same.items() <= event.items() and event["message"] == event["stage"] == ""
        assert event["service"] == "active" and event["run"] == before["run"]
    assert (before["hook"], before["outcome"], before["backup"]) == ("before_window", "", "")
    assert (after["hook"], after["outcome"]) == ("after_window", "upgraded")
    assert host.file(after["backup"]).is_directory


def test_the_page_was_up_while_the_window_was_open(host: Host, web: Host) -> None:
    """That it answered with 503 where fractal-web did was seen first, or nothing would have been stopped."""
    window = [json.loads(line) for line in host.file(JOURNAL).content_string.splitlines()]
    stop = next(one["at"] for one in window if (one["event"], one.get("stage")) == ("stage", "stop"))
    ended = next(one["at"] for one in window if one["event"] == "ended")
    (up,), (down,) = said(web, "Started "), said(web, f"{PAGE}: Deactivated successfully")
    assert up < stop < ended < down


def test_nothing_of_the_page_is_left(web: Host) -> None:
    assert not web.run("ls /run | grep fractal-maintenance").stdout
    assert web.service("fractal-web").is_running and web.service("fractal-web").is_enabled
    assert curl(web, "http://localhost:5173/alive")["alive"]
