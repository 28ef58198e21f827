"""Several instances in waves: a canary first, then the others, and none after one that is not upgraded and verified."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from playbook_runs import HERE, Ran
from pretended_hosts import FAILED, PretendedHosts, failed_window, server_seen, web_seen

WORK = ("fractal_window:started", "fractal_web_release:running", "fractal_verify", "fractal_web_verify")


class Fleet:
    """Instances ``s1``, ``s2``, ... each with fractal-web on ``w1``, ``w2``, ..."""

    def __init__(self, folder: Path, instances: int = 3) -> None:
        self.folder, self.hosts, self.names = folder, PretendedHosts(folder), range(1, instances + 1)
        for number in self.names:
            self.hosts.tell(f"s{number}", "fractal_observe", **server_seen(f"s{number}"))
            self.hosts.tell(f"w{number}", "fractal_observe", **web_seen(f"w{number}"))

    def upgrade(self, *arguments: str, playbook: str = "upgrade") -> Ran:
        self.hosts.write()
        servers = "".join(f"s{one} fractal_server_service=s{one}\n" for one in self.names)
        webs = "".join(f"w{one} fractal_web_service=w{one} fractal_server_host=s{one}\n" for one in self.names)
        own = "\n".join(["[all:vars]", *HERE.split(), "fractal_rehearsal=false"])
        inventory = f"[fractal_web]\n{webs}[fractal_server]\n{servers}{own}\n"
        return Ran(self.folder, f"fractal_ops.platform.{playbook}", inventory, *arguments, collections=self.hosts.root)

    def outcomes(self, ran: Ran) -> list[str]:
        return [ran.report(f"s{one}")["outcome"] for one in self.names]

    def worked_on(self) -> list[str]:
        """Return the instances in the order of their windows."""
        return [service for service, _unused in self.hosts.calls("fractal_window:started")]


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet(tmp_path)


def serial(value: str) -> tuple[str, str]:
    return "-e", f'{{"fractal_serial": {value}}}'


def test_a_canary_is_verified_before_the_wave_after_it_begins(fleet: Fleet) -> None:
    ran = fleet.upgrade(*serial('[1, "100%"]'))
    assert ran.code == 0, ran.screen
    assert fleet.outcomes(ran) == ["upgraded"] * 3
    done = [service[1] for service, _unused in fleet.hosts.calls(*WORK)]
    assert set(done[: len(WORK)]) == {"1"} and "1" not in done[len(WORK) :]
    before = ("fractal_observe", "fractal_server_environment", "fractal_window:started")
    # all are checked and prepared before the first window; a web host is looked at again, knowing what its server says
    assert [name for _unused, name in fleet.hosts.calls(*before)] == (
        [before[0]] * (6 + 3) + [before[1]] * 3 + [before[2]] * 3
    )


def test_without_waves_all_windows_come_before_any_verification(fleet: Fleet) -> None:
    ran = fleet.upgrade()
    assert ran.code == 0 and fleet.outcomes(ran) == ["upgraded"] * 3
    assert [name for _unused, name in fleet.hosts.calls(*WORK)] == [name for name in WORK for _unused in range(3)]


@pytest.mark.parametrize(
    ("service", "module", "answer", "outcome"),
    [
        ("s2", "fractal_window:watched", failed_window("no room"), "failed"),
        pytest.param("w2", "fractal_web_verify", {"checks": FAILED}, "failed", marks=pytest.mark.long),
        pytest.param(
            "w2", "fractal_observe", {"instance": None, "reason": "no unit"}, "blocked", marks=pytest.mark.long
        ),
    ],
)
def test_no_wave_follows_one_that_is_not_well(
    tmp_path: Path, service: str, module: str, answer: dict[str, Any], outcome: str
) -> None:
    """The second of four is broken, in whatever way: two are worked on beside it, the last does not begin."""
    fleet = Fleet(tmp_path, 4)
    fleet.hosts.tell(service, module, **answer)
    ran = fleet.upgrade(*serial("[1, 2]"))
    assert ran.code == 2
    assert fleet.outcomes(ran) == ["upgraded", outcome, "upgraded", "not begun"]
    assert "s4" not in fleet.worked_on() and ("w4", WORK[1]) not in fleet.hosts.calls(*WORK)
    record = ran.report("s4")
    why = f"Not begun, because of s2 ({outcome})"
    assert record["failure"].startswith(why) and [web["outcome"] for web in record["web"]] == ["not begun"]
    assert record["again"].endswith("fractal_ops.platform.upgrade --limit s4,w4")
    said = " ".join(ran.screen.split())
    assert "== s4: not begun ==" in said and why in said
    index = (ran.folder / "index.html").read_text()
    assert all(word in index for word in ("not begun", outcome, "upgraded"))
    assert ("s4", "fractal_lock:absent") in fleet.hosts.calls("fractal_lock:absent")


def test_no_server_begins_without_a_web_host_that_the_run_has_lost(tmp_path: Path) -> None:
    """Its variables cannot even be rendered, so that no task of ours has run on it and no role knows of it."""
    fleet = Fleet(tmp_path, 2)
    (tmp_path / "host_vars").mkdir()
    (tmp_path / "host_vars" / "w1.yml").write_text('ansible_connection: "{{ undefined_here.connection }}"\n')
    ran = fleet.upgrade()
    assert ran.code != 0 and fleet.worked_on() == ["s2"] and fleet.outcomes(ran) == ["failed", "upgraded"]
    assert "fractal-web on w1 cannot be" in ran.report("s1")["failure"] and "--limit s1,w1" in ran.report("s1")["again"]


def test_what_is_stopped_or_finished_already_is_not_kept_waiting(tmp_path: Path) -> None:
    """To leave the service of an interrupted upgrade down would help nobody."""
    fleet = Fleet(tmp_path)
    fleet.hosts.tell("s1", "fractal_verify", checks=FAILED)
    held = server_seen("s2")
    held["instance"]["hold"] = {"run": "r", "since": "s", "controller": "c", "backup": "", "phase": "held"}
    fleet.hosts.tell("s2", "fractal_observe", **held)
    done = server_seen("s3")
    done["instance"]["version"], done["environment"]["steps"] = "2.17.0", []
    done["database"].update(revision="83bc2ad3ffcc", data_migration="done")
    fleet.hosts.tell("s3", "fractal_observe", **done)
    web = web_seen("w3")
    web["instance"]["version"] = "1.21.1"
    fleet.hosts.tell("w3", "fractal_observe", **web, environment={"changed": False}, process={"stale": False})
    ran = fleet.upgrade(*serial("1"))
    assert fleet.worked_on() == ["s1", "s2"] and fleet.outcomes(ran) == ["failed", "upgraded", "up to date"]


@pytest.mark.parametrize("value", ["0", '[1, "some"]', '{"a": 1}'])
def test_what_is_no_serial_is_refused_before_any_host_is_contacted(fleet: Fleet, value: str) -> None:
    ran = fleet.upgrade(*serial(value))
    assert ran.code != 0 and ran.plays == 1 and ran.sent == {}
    assert "The variable fractal_serial" in ran.screen


def test_one_run_has_one_order(fleet: Fleet) -> None:
    (fleet.folder / "host_vars").mkdir()
    (fleet.folder / "host_vars" / "s2.yml").write_text("fractal_serial: 2\n")
    ran = fleet.upgrade()
    assert ran.code != 0 and ran.plays == 1
    assert "fractal_serial is None for s1, but 2 for s2" in " ".join(ran.screen.split())
