"""A run that comes while the window of another one works: it watches that to its end, and asks of a server that may be
stopped just now only what can be asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.fractal_ops.platform.plugins.module_utils._run.state import server_state
from playbook_runs import PAIR, Ran
from pretended_hosts import PretendedHosts, server_seen, web_seen

SERVER, WEB = "fractal-server", "fractal-web"


def while_it_runs() -> dict[str, Any]:
    """Return what is seen of a server whose window works: what the run knew that began it, as the service still ran."""
    seen = server_seen(SERVER)
    return {
        "instance": seen["instance"],
        "window": {"running": True, "seen": {"state": server_state({"seen": seen}, "2.17.0")}},
    }


class Pair:
    """A pair of hosts whose server is seen so."""

    def __init__(self, folder: Path, seen: dict[str, Any]) -> None:
        self.folder, self.hosts = folder, PretendedHosts(folder)
        self.hosts.tell(SERVER, "fractal_observe", **seen)
        self.hosts.tell(WEB, "fractal_observe", **web_seen(WEB))
        self.hosts.write()

    def run(self, playbook: str) -> Ran:
        inventory = f"{PAIR}[all:vars]\nfractal_rehearsal=false\n"
        return Ran(self.folder, f"fractal_ops.platform.{playbook}", inventory, collections=self.hosts.root)


@pytest.mark.parametrize(("playbook", "outcome"), [("upgrade", "upgraded"), ("precheck", None)])
def test_the_web_host_need_not_reach_a_server_whose_window_works(
    tmp_path: Path, playbook: str, outcome: str | None
) -> None:
    pair = Pair(tmp_path, while_it_runs())
    ran = pair.run(playbook)
    assert ran.code == 0, ran.screen
    (asked,) = pair.hosts.options("fractal_web_precheck")
    assert "server" not in asked
    assert outcome is None or ran.report()["outcome"] == outcome


def test_the_web_host_has_to_reach_a_server_that_runs(tmp_path: Path) -> None:
    pair = Pair(tmp_path, server_seen(SERVER))
    ran = pair.run("precheck")
    assert ran.code == 0, ran.screen
    (asked,) = pair.hosts.options("fractal_web_precheck")
    assert asked["server"] == server_seen(SERVER)["instance"]


@pytest.mark.parametrize("works", [True, False])
def test_nothing_of_a_web_host_goes_while_the_window_of_its_server_works(tmp_path: Path, works: bool) -> None:
    pair = Pair(tmp_path, while_it_runs() if works else server_seen(SERVER))
    ran = pair.run("tidy")
    tidied = [one for one in pair.hosts.options("fractal_tidy") if one.get("kind") == "web"]
    assert (ran.code == 0, len(tidied)) == ((False, 0) if works else (True, 1)), ran.screen
    assert ("An upgrade of server is in progress" in ran.screen) == works
