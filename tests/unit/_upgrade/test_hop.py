"""A hop: four stages in order, each only where it is due; the real ones are in tests/integration."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._upgrade import hop
from ansible_collections.fractal_ops.platform.plugins.module_utils._venv import strategies
from in_process import InProcess

HOST: Any = SimpleNamespace(service="fractal-server")


class Stages:
    """The parts of a hop, which note that they were called."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, version: str | None) -> None:
        self.calls: list[Any] = []
        self.door = InProcess()
        monkeypatch.setattr(hop, "facts", lambda *_given: SimpleNamespace(version=version))
        monkeypatch.setattr(hop, "python_of", lambda *_where: self.door.python)
        monkeypatch.setattr(hop, "service_side", lambda *_where: self.door)
        monkeypatch.setattr(hop, "migrate_environment", lambda *given: self.stage("file", given[3]))
        monkeypatch.setattr(strategies, "switch", lambda *given: self.note("switch", *given))
        monkeypatch.setattr(strategies, "install_in_place", lambda *given: self.note("pip", *given[:4]))
        monkeypatch.setattr(hop, "migrate_schema", lambda *given, **more: self.stage("schema", given[2], **more))
        monkeypatch.setattr(hop, "migrate_data", lambda *_given, **_more: self.stage("data"))

    def note(self, *call: Any) -> bool:
        self.calls.append(call)
        return True

    def stage(self, *call: Any, check_mode: bool = False) -> dict[str, Any]:
        self.note(*call, *(["check"] if check_mode else []))
        return {"changed": True}


def test_file_switch_schema_and_data_in_this_order(monkeypatch: pytest.MonkeyPatch) -> None:
    stages = Stages(monkeypatch, "2.16.6")
    result = hop.make_hop(HOST, None, "2.17.0")
    assert stages.calls == [
        *(("file", "2.17.0"), ("switch", "/venv", "2.16.6", "2.17.0"), ("schema", "2.17.0"), ("data",))
    ]
    assert result["changed"] and stages.door.called == [("/venv/bin/python3", hop.migrate)]
    assert all("duration" in result[stage] for stage in ("environment", "switch", "schema", "data"))


def test_what_is_installed_is_not_switched_or_installed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    for strategy in ("staged", "in_place"):
        stages = Stages(monkeypatch, "2.17.0")
        assert hop.make_hop(HOST, None, "2.17.0", strategy)["switch"]["changed"] is False
        assert stages.calls == [("file", "2.17.0"), ("schema", "2.17.0"), ("data",)]


def test_an_environment_that_was_just_looked_at_is_not_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    stages = Stages(monkeypatch, "2.17.0")
    hop.make_hop(HOST, None, "2.17.0", installed="2.16.6")
    assert ("switch", "/venv", "2.16.6", "2.17.0") in stages.calls


def test_in_place_pip_does_it_and_a_release_that_is_no_stop_has_no_data(monkeypatch: pytest.MonkeyPatch) -> None:
    stages = Stages(monkeypatch, "2.17.0")
    assert hop.make_hop(HOST, None, "2.17.2", "in_place")["data"] is None
    pip = ("pip", "/venv", "/venv/bin/python3", "2.17.0", "2.17.2")
    assert stages.calls == [("file", "2.17.2"), pip, ("schema", "2.17.2")]


def test_what_a_killed_pip_left_is_installed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    stages = Stages(monkeypatch, None)
    assert hop.make_hop(HOST, None, "2.17.2", "in_place")["switch"]["changed"]
    monkeypatch.setattr(strategies, "_copy_of_half", lambda *_given: "/venv-2.16.6")
    assert hop.make_hop(HOST, None, "2.17.2", "in_place", installed="2.17.2")["switch"]["changed"]
    assert [call[0] for call in stages.calls].count("pip") == 2
    hop.make_hop(HOST, None, "2.17.2")
    assert ("switch", "/venv", "unknown", "2.17.2") in stages.calls


def test_in_check_mode_only_the_schema_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    stages = Stages(monkeypatch, "2.16.6")
    assert hop.make_hop(HOST, None, "2.17.0", check_mode=True)["changed"] is True
    assert stages.calls == [("schema", "2.17.0", "check")]
    assert [python for python, _function in stages.door.called] == ["/venv-2.17.0/bin/python3"]
    hop.make_hop(HOST, None, "2.17.0", "in_place", check_mode=True)
    assert stages.door.called[-1][0] == "/venv/bin/python3", "in place, there is no other one"


def test_a_stage_that_fails_ends_the_hop(monkeypatch: pytest.MonkeyPatch) -> None:
    stages = Stages(monkeypatch, "2.16.6")

    def fail(*_given: Any, **_more: Any) -> dict[str, Any]:
        raise FractalError("set-db failed")

    monkeypatch.setattr(hop, "migrate_schema", fail)
    with pytest.raises(FractalError, match="set-db failed"):
        hop.make_hop(HOST, None, "2.17.0")
    assert [call[0] for call in stages.calls] == ["file", "switch"]
