"""The one look at a host: not into a database whose window runs; with the verification of what needs nothing else."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.database import Installation
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.lock import Lock
from ansible_collections.fractal_ops.platform.plugins.module_utils._resources.together import state_and_review
from ansible_collections.fractal_ops.platform.plugins.module_utils._upgrade.observation import ONLY_STATE
from ansible_collections.fractal_ops.platform.plugins.module_utils._upgrade.state import read_state
from ansible_collections.fractal_ops.platform.plugins.module_utils._window import journal as journal_file
from ansible_collections.fractal_ops.platform.plugins.module_utils._window import look
from ansible_collections.fractal_ops.platform.plugins.module_utils._window.journal import (
    begin_journal,
    note_told,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._window.look import look_at_server, look_at_web
from noted import note

UNIT = "fractal-server.service"
BEFORE = {"state": {"instance": {"service": UNIT, "version": "2.16.6"}, "plan": {}}}
WANTED = {"version": "2.17.0", "check_email": True}
REVIEW = {"checks": [], "review": {}, "findings": [], "viewer": {}}


class Host:
    """What is there; ``asked`` are the functions that a child process was to run, ``verified`` what was verified."""

    def __init__(self) -> None:
        self.running = False
        self.instance: dict[str, Any] | None = {
            **{"service": UNIT, "version": "2.17.0", "hold": None, "active_state": "active"},
        }
        self.told: dict[str, Any] = {"state": {"revision": "r"}, "review": REVIEW, "why_not": ""}
        self.asked: list[Any] = []
        self.begun: Any = None
        self.verified: list[tuple[Any, ...]] = []

    def call(self, function: Any, _installation: Any, *_options: Any) -> dict[str, Any]:
        self.asked.append(function)
        return self.told if function is state_and_review else self.told["state"]

    def observe(self, _service: str, reader: Any = ONLY_STATE, **_options: Any) -> dict[str, Any]:
        if self.instance is None:
            return {"instance": None, "reason": "There is no such unit."}
        self.begun = reader.needs
        return {"instance": self.instance, "database": reader.read(self, Installation(""), self.instance)}

    def verify(self, *told: Any) -> dict[str, Any]:
        self.verified.append(told)
        return {"checks": ["passed"]}


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    found = Host()
    monkeypatch.setattr(journal_file, "FOLDER", str(tmp_path / "fractal-ops"))
    monkeypatch.setattr(look, "is_worked_on", lambda _unit: found.running)
    monkeypatch.setattr(look, "read_lock", lambda _unit: Lock("r", "c", "now"))
    monkeypatch.setattr(look, "observe_server", found.observe)
    monkeypatch.setattr(look, "observe_web", lambda _service, **_options: {"instance": found.instance})
    monkeypatch.setattr(look, "verify_reviewed", found.verify)
    monkeypatch.setattr(look, "verify_found", found.verify)
    monkeypatch.setattr(look, "ServerInstance", SimpleNamespace)
    monkeypatch.setattr(look, "WebInstance", SimpleNamespace)
    return found


def test_nobody_looks_into_a_database_while_its_window_runs(host: Host) -> None:
    begin_journal(UNIT, "", BEFORE)
    host.running = True
    found = look_at_server("fractal-server", WANTED)
    assert host.asked == host.verified == []
    assert found["instance"]["version"] == "2.16.6" and found["instance"]["lock"]["run"] == "r"
    assert found["window"] == {"running": True, "seen": BEFORE}


def test_a_window_that_ended_well_is_offered_until_it_is_told(host: Host) -> None:
    begin_journal(UNIT, "", BEFORE)
    assert "window" not in look_at_server("fractal-server"), "the program was killed before it began"
    note(UNIT, ("began", {"id": "p1"}), ("ended", {"id": "p1", "outcome": "left", "msg": "x", "say": "y"}))
    assert "window" not in look_at_server("fractal-server"), "what is left is seen on the instance itself"
    note(UNIT, ("began", {"id": "p2"}), ("ended", {"id": "p2", "outcome": "upgraded", "msg": "", "say": ""}))
    assert look_at_server("fractal-server")["window"] == {"running": False, "seen": BEFORE}
    assert "verification" not in look_at_server("fractal-server", WANTED), "what an upgrade has left is verified last"
    note_told(UNIT, "r")
    assert "window" not in look_at_server("fractal-server")
    assert host.asked == [read_state] * 3 + [state_and_review] + [read_state]


def test_what_has_the_release_is_verified_with_the_look_and_by_the_same_child(host: Host) -> None:
    found = look_at_server("fractal-server", WANTED)
    assert found["verification"] == {"checks": ["passed"]} and found["database"] == {"revision": "r"}
    assert host.asked == [state_and_review] and host.begun is state_and_review
    ((instance, reviewed, options),) = host.verified
    assert instance.version == "2.17.0" and reviewed == REVIEW and options["check_email"] is True
    assert not options["email"] and not options["password"] and not options["probe_sources"], "no job is run"


@pytest.mark.parametrize("other", [{"version": "2.16.6"}, {"hold": {"run": "r"}}])
def test_what_an_upgrade_is_still_to_do_is_not_verified(host: Host, other: dict[str, Any]) -> None:
    assert host.instance is not None
    host.instance.update(other)
    assert "verification" not in look_at_server("fractal-server", WANTED)
    assert host.asked == [read_state] and host.verified == []


def test_nothing_is_verified_unless_it_was_asked_for_and_is_there(host: Host) -> None:
    assert "verification" not in look_at_server("fractal-server") and host.asked == [read_state]
    assert "verification" not in look_at_web("fractal-web")
    host.instance = None
    assert look_at_server("fractal-server", WANTED) == {"instance": None, "reason": "There is no such unit."}
    assert "verification" not in look_at_web("fractal-web", {"version": "1.21.1"})
    assert host.verified == []


def test_a_database_that_tells_its_state_alone_is_one_failed_check(host: Host) -> None:
    host.told = {"state": {"revision": "r"}, "review": None, "why_not": "Its schema is not known."}
    assert "verification" in look_at_server("fractal-server", WANTED)
    (check,) = host.verified[0][1]["checks"]
    assert (check["id"], check["status"], check["message"]) == ("schema", "failed", "Its schema is not known.")


def test_a_web_host_is_verified_without_its_server_if_it_has_the_release(host: Host) -> None:
    assert look_at_web("fractal-web", {"version": "2.17.0"})["verification"] == {"checks": ["passed"]}
    ((_instance, options),) = host.verified
    assert options["server"] is None
    assert "verification" not in look_at_web("fractal-web", {"version": "1.21.1"})


def test_what_cannot_be_verified_is_left_to_a_verification_of_its_own(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_told: Any) -> dict[str, Any]:
        raise FractalError("A file that the unit requires cannot be read.")

    monkeypatch.setattr(look, "verify_reviewed", refuse)
    monkeypatch.setattr(look, "verify_found", refuse)
    assert set(look_at_server("fractal-server", WANTED)) == {"instance", "database"}
    assert set(look_at_web("fractal-web", {"version": "2.17.0"})) == {"instance"}


@pytest.mark.parametrize(("state", "up"), [("inactive", True), ("failed", False), ("active", None)])
def test_whether_a_maintenance_page_is_in_the_place_of_a_web_that_does_not_run(
    host: Host, monkeypatch: pytest.MonkeyPatch, state: str, up: bool | None
) -> None:
    assert host.instance is not None
    host.instance["active_state"] = state
    monkeypatch.setattr(look, "page_is_up", lambda unit: unit == UNIT and up)
    assert look_at_web("fractal-web")["instance"].get("page_is_up") == up
