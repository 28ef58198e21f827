"""Everybody sees in the viewer what they saw before, by the schemes ``users-folders`` and ``none``."""

from __future__ import annotations

import json

from conftest import FILES, before
from scenario import hosts_of
from testinfra.host import Host

testinfra_hosts = hosts_of("fractal_server")


def test_the_folders_are_those_of_before(host: Host) -> None:
    name = host.check_output("hostname")
    old = before(name)["viewer"]
    now = json.loads(host.check_output("python3 -c %s", (FILES / "viewer_paths.py").read_text()))
    dave = "dave@example.org"  # active but not verified: 2.17 refuses what 2.16 let him ask
    assert now.pop(dave) == 403
    del old[dave]
    assert now == old
    expected = {"server": ["/data/users/alice", "/home/alice/fractal"], "closed": []}
    assert now["alice@example.org"] == expected[name]
