"""A run that comes while the window of another one works: it watches that to its end, and asks of a server that may be
stopped just now only what can be asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.fractal_ops.platform.plugins.module_utils._run.state import server_state
from playbook_runs import HERE, PAIR, Ran
from pretended_hosts import PretendedHosts, server_seen, web_seen

SERVER, WEB = "fractal-server", "fractal-web"


def while_it_runs() -> dict[str, Any]:
    """Return what is seen of a server whose window works: what the run knew that began it, as the service still ran."""
    seen = server_seen(SERVER)
    return {
        "instance": seen["instance"],
        "window": {"running": True, "seen": {"state": server_state({"seen": seen}, "2.17.0")}},
    }


@pytest.mark.parametrize(("playbook", "outcome"), [("upgrade", "upgraded"), ("precheck", None)])
def test_the_web_host_need_not_reach_a_server_whose_window_works(
    tmp_path: Path, playbook: str, outcome: str | None
) -> None:
    hosts = PretendedHosts(tmp_path)
    hosts.tell(SERVER, "fractal_observe", **while_it_runs())
    hosts.tell(WEB, "fractal_observe", **web_seen(WEB))
    hosts.write()
    own = "\n".join(["[all:vars]", *HERE.split(), "fractal_rehearsal=false"])
    ran = Ran(tmp_path, f"fractal_ops.platform.{playbook}", f"{PAIR}{own}\n", collections=hosts.root)
    assert ran.code == 0, ran.screen
    (asked,) = hosts.options("fractal_web_precheck")
    assert "server" not in asked
    assert outcome is None or ran.report()["outcome"] == outcome


def test_the_web_host_has_to_reach_a_server_that_runs(tmp_path: Path) -> None:
    hosts = PretendedHosts(tmp_path)
    hosts.tell(SERVER, "fractal_observe", **server_seen(SERVER))
    hosts.tell(WEB, "fractal_observe", **web_seen(WEB))
    hosts.write()
    ran = Ran(tmp_path, "fractal_ops.platform.precheck", PAIR, collections=hosts.root)
    assert ran.code == 0, ran.screen
    (asked,) = hosts.options("fractal_web_precheck")
    assert asked["server"] == server_seen(SERVER)["instance"]
