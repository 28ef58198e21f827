"""What modules decide by themselves: check mode above all, which must say what would be done and do nothing."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.fractal_ops.platform.plugins.module_utils._backup.store import FORMAT
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance import lock as _lock
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.hold import Hold, read_hold, render_hold
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.lock import take
from ansible_collections.fractal_ops.platform.plugins.module_utils._window import journal
from ansible_collections.fractal_ops.platform.plugins.modules import (
    fractal_backup_info,
    fractal_files_restore,
    fractal_lock,
    fractal_server_environment,
    fractal_service_hold,
    fractal_settings_check,
    fractal_web_release,
)
from fake_systemd import UNIT, FakeSystemd, systemd

__all__ = ["systemd"]

RUN = {"run": "r1", "controller": "ann@ops1", "abandoned": ""}
OTHER = {"run": "r2", "controller": "bob@ops2", "abandoned": ""}


# -- fractal_lock


@pytest.fixture
def locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(_lock, "FOLDER", str(tmp_path))
    return tmp_path


def test_the_lock_is_predicted_and_not_taken(locks: Path) -> None:
    assert fractal_lock.predict(UNIT, RUN, "present") == {"changed": True}
    assert fractal_lock.predict(UNIT, RUN, "absent") == {"changed": False}
    assert list(locks.iterdir()) == []
    take(UNIT, RUN)
    assert fractal_lock.predict(UNIT, RUN, "present") == {"changed": False}
    assert fractal_lock.predict(UNIT, RUN, "absent") == {"changed": True}


def test_a_window_is_noted_as_told_when_its_run_gives_the_lock_back(
    locks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "FOLDER", str(tmp_path / "fractal-ops"))
    params = {"service": "fractal-server", "state": "absent", "run": RUN, "told": True}
    fractal_lock.take_or_give_back(params, False)
    assert journal.read_events(UNIT) == [], "no window, nothing to tell"
    journal.begin_journal(UNIT, "", {})
    window = journal.Journal(UNIT)
    window.note(journal.BEGAN, id="p")
    window.close()
    fractal_lock.take_or_give_back({**params, "told": False}, False)
    assert not journal.summary(journal.read_events(UNIT))["told"]
    take(UNIT, RUN)
    assert fractal_lock.take_or_give_back(params, False) == {"changed": True} and list(locks.glob("*lock")) == []
    assert journal.summary(journal.read_events(UNIT))["told"]
    assert journal.read_events(UNIT)[-1]["run"] == RUN["run"]


def test_the_lock_of_another_run_is_refused_in_check_mode_too(locks: Path) -> None:
    take(UNIT, OTHER)
    with pytest.raises(FractalError, match="bob@ops2"):
        fractal_lock.predict(UNIT, RUN, "present")
    assert fractal_lock.predict(UNIT, RUN, "absent") == {"changed": False}
    heir = {**RUN, "abandoned": "r2"}
    assert fractal_lock.predict(UNIT, heir, "present") == {"changed": True}
    assert fractal_lock.predict(UNIT, heir, "absent") == {"changed": True}


# -- fractal_service_hold

HOLD_OPTIONS: dict[str, Any] = {
    "service": "fractal-server",
    "state": "present",
    "controller": "ops1",
    "backup_root": "/b",
    "backup": None,
    "running": True,
    "version": None,
    "url": "http://127.0.0.1:9",
    "timeout": 0.01,
}


def held(check_mode: bool = True, **options: Any) -> dict[str, Any]:
    return fractal_service_hold.hold_or_start({**HOLD_OPTIONS, **options}, check_mode)


def test_the_hold_is_predicted_and_nothing_is_stopped(systemd: FakeSystemd) -> None:
    predicted = held()
    assert predicted["changed"] and predicted["hold"]["backup"].startswith(f"/b/{UNIT}/")
    assert (systemd.state, read_hold(UNIT), systemd.commands) == ("active", None, [])
    assert held(state="absent") == {"changed": False}
    assert held(state="absent", running=False) == {"changed": False}
    done = held(False)
    assert done["changed"] and systemd.state == "inactive"
    assert held() == {"changed": False, "hold": done["hold"]}
    assert held(state="absent") == {"changed": True}
    assert held(state="absent", running=False) == {"changed": True}
    assert read_hold(UNIT) is not None and systemd.state == "inactive"


def test_a_service_that_was_stopped_before_is_only_let_go(systemd: FakeSystemd) -> None:
    systemd.set("inactive")
    held(False)
    assert held(False, state="absent", running=False) == {"changed": True}
    assert (systemd.state, read_hold(UNIT)) == ("inactive", None)
    assert "start" not in systemd.commands


def test_a_service_that_does_not_answer_keeps_its_record(systemd: FakeSystemd) -> None:
    held(False)
    with pytest.raises(FractalError, match="is not healthy"):
        held(False, state="absent")
    hold = read_hold(UNIT)
    assert hold is not None and hold.phase == "starting"


# -- fractal_backup_info


def backup_info(root: Path, backup: str | None = None, version: str | None = None) -> dict[str, Any]:
    given = {"service": "fractal-server", "backup_root": str(root), "backup": backup, "version": version}
    return fractal_backup_info.find(given)


def make_backup(folder: Path, created: str, ran_before: bool = True) -> str:
    folder.mkdir(parents=True)
    manifest = {
        "format": FORMAT,
        "created": created,
        "dump": {"file": "database.dump"},
        "files": [],
        "absent": [],
        "environment": {"version": "2.16.6", "real_path": "/opt/fractal/venv"},
        "contents": {"revision": "981d588fe248"},
        "service": {"name": UNIT, "ran_before": ran_before},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return str(folder)


def test_the_backup_of_the_upgrade_in_progress_counts_and_no_other(systemd: FakeSystemd, tmp_path: Path) -> None:
    none = backup_info(tmp_path)
    assert (none["hold"], none["backup"], none["ran_before"]) == (None, None, True)
    assert none["folder"] == str(tmp_path / UNIT)
    older = make_backup(tmp_path / UNIT / "1", "2026-11-01", ran_before=False)
    found = backup_info(tmp_path)
    assert (found["backup"]["path"], found["ran_before"]) == (older, False)
    assert backup_info(tmp_path, version="2.16.6") == found
    gone_back = backup_info(tmp_path, version="2.16.5")
    assert (gone_back["backup"], gone_back["ran_before"]) == (None, True)
    systemd.drop_in.parent.mkdir(parents=True)
    systemd.drop_in.write_text(render_hold(UNIT, Hold("2", "s", "c", str(tmp_path / UNIT / "2"), ran_before=False)))
    unfinished = backup_info(tmp_path)
    assert unfinished["backup"] is None and unfinished["hold"]["run"] == "2"
    assert unfinished["ran_before"] is False, "the hold knows, as long as there is no backup"
    make_backup(tmp_path / UNIT / "2", "2026-11-02")
    assert backup_info(tmp_path)["backup"]["path"].endswith("/2")
    assert backup_info(tmp_path)["ran_before"] is True, "a rollback holds, too: what was before is in the backup"
    assert backup_info(tmp_path, older)["backup"]["path"] == older


# -- fractal_settings_check, fractal_files_restore, fractal_server_environment


def test_the_rendered_file_is_removed_whatever_was_found_but_not_in_check_mode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rendered = tmp_path / "rendered"
    params = {"service": "s", "python": "/p", "env_file": str(rendered), "hidden": ["B"], "remove": True}
    seen: list[Any] = []
    monkeypatch.setattr(fractal_settings_check, "unit_environment", lambda _: {"A": "1", "B": "2"})
    monkeypatch.setattr(fractal_settings_check, "read_unit", lambda _: SimpleNamespace(user="fractal"))
    monkeypatch.setattr(fractal_settings_check, "check_settings", lambda *given: seen.append(given) or "2.17.0")
    rendered.touch()
    assert fractal_settings_check.check(params, check_mode=True) == {"version": "2.17.0"}
    assert rendered.exists()
    fractal_settings_check.check(params, check_mode=False)
    assert not rendered.exists()
    assert seen[-1] == ("/p", str(rendered), {"A": "1"}, "fractal")

    def refuse(*_given: Any) -> str:
        raise FractalError("it is refused")

    rendered.touch()
    monkeypatch.setattr(fractal_settings_check, "read_unit", lambda _: SimpleNamespace(user="fractal"))
    monkeypatch.setattr(fractal_settings_check, "check_settings", refuse)
    with pytest.raises(FractalError):
        fractal_settings_check.check(params, check_mode=False)
    assert not rendered.exists(), "it holds secrets"


def test_files_come_back_only_without_check_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def restore(backup: str, created: list[str], check_mode: bool) -> list[dict[str, str]]:
        asked.append((backup, created, check_mode))
        return [{"path": "/x", "action": "restored"}] if backup == "/b" else []

    monkeypatch.setattr(fractal_files_restore, "restore_files", restore)
    assert fractal_files_restore.restore({"backup": "/b", "created": ["/y"]}, True)["changed"] is True
    assert fractal_files_restore.restore({"backup": "/same", "created": []}, False) == {"changed": False, "changes": []}
    assert asked == [("/b", ["/y"], True), ("/same", [], False)]


class Instance:
    """An instance in an environment, as `discover_server` returns it."""

    def __init__(self, environment: Path, version: str = "2.16.6") -> None:
        self.environment, self.version = str(environment), version

    def as_dict(self) -> dict[str, Any]:
        python = f"{self.environment}/bin/python3"
        return {"environment": self.environment, "version": self.version, "staged": ["2.17.0"], "python": python}


ENVIRONMENT_OPTIONS: dict[str, Any] = {
    "service": "s", "python": None, "state": "staged", "releases": [], "release": None, "original": None,
    "packages": None, "strategy": "staged", "wheelhouse": None, "pip_extra_args": [], "pythons": [],
}  # fmt: skip


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "venv"
    (folder / "bin").mkdir(parents=True)
    monkeypatch.setattr(fractal_server_environment, "discover_server", lambda *_a, **_k: Instance(folder))
    return folder


def environment_module(check_mode: bool, **options: Any) -> dict[str, Any]:
    return fractal_server_environment.stage_or_switch({**ENVIRONMENT_OPTIONS, **options}, check_mode)


def test_left_overs_are_named_in_check_mode_and_removed_without(environment: Path) -> None:
    partial = environment.with_name("venv-2.17.0.partial")
    partial.mkdir()
    predicted = environment_module(True, state="tidy")
    assert predicted["changed"] and predicted["removed"] == [str(partial)] and partial.exists()
    assert environment_module(False, state="tidy") == predicted
    assert not partial.exists()
    assert environment_module(True, state="tidy")["changed"] is False


def test_only_what_is_missing_is_built(environment: Path) -> None:
    assert environment_module(True, releases=["2.17.0", "2.16.6"]) == {
        "changed": False, "built": [], "environment": str(environment)
    }  # fmt: skip
    assert environment_module(True, releases=["2.17.0", "2.17.2"])["changed"] is True


def test_going_back_in_place_is_predicted_by_the_packages(environment: Path, tmp_path: Path) -> None:
    """A pip that was killed half-way may have left the release's own package, and only others changed."""
    environment.with_name("venv-2.16.6").mkdir()
    packages = tmp_path / "packages.txt"
    packages.write_text("fractal-server==2.16.6\n")
    predicted = environment_module(True, state="original", release="2.16.6", packages=str(packages))
    assert predicted["changed"] is True
    assert sorted(os.listdir(tmp_path)) == ["packages.txt", "venv", "venv-2.16.6"], "nothing was exchanged"


# -- fractal_web_release


@pytest.mark.parametrize(
    ("state", "version", "belongs", "changed"),
    [
        ("switched", "1.21.1", False, True),
        ("switched", "1.20.1", False, False),
        ("original", "1.20.1", False, False),
        ("original", None, False, True),
        ("original", None, True, False),
        ("staged", "1.21.1", False, True),
    ],
)
def test_what_becomes_of_fractal_web_is_predicted(
    monkeypatch: pytest.MonkeyPatch, state: str, version: str | None, belongs: bool, changed: bool
) -> None:
    about = {
        "version": "1.20.1",
        "release_directory": "/web",
        "active_state": "active",
        "url": "",
        "node_version": "20",
    }
    monkeypatch.setattr(fractal_web_release, "discover_web", lambda *_a: type("W", (), {"as_dict": lambda _: about})())
    monkeypatch.setattr(fractal_web_release, "belongs_to", lambda *_a: belongs)
    monkeypatch.setattr(fractal_web_release, "kept_release", lambda _: "1.19.0")
    for name in ("stage_web_release", "switch_web_release", "switch_web_release_back"):
        monkeypatch.setattr(fractal_web_release, name, lambda *_a: pytest.fail("check mode changed something"))
    params = dict.fromkeys(("service", "env_file", "url", "server_version", "archive", "checksum"))
    result = fractal_web_release.apply({**params, "state": state, "version": version}, True)
    assert result == {"release_directory": "/web", "changed": changed}


def test_a_web_server_has_one_time_for_its_start_and_its_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[float] = []
    clock = iter([0.0, 20.0])
    monkeypatch.setattr(fractal_web_release, "start", lambda _service, timeout: given.append(timeout) or True)
    monkeypatch.setattr(fractal_web_release, "is_stale", lambda *_given: False)
    monkeypatch.setattr(fractal_web_release.time, "monotonic", lambda: next(clock))
    health = SimpleNamespace(as_dict=dict)
    monkeypatch.setattr(
        fractal_web_release, "wait_until_healthy", lambda *_given, timeout, **_more: given.append(timeout) or health
    )
    params = {"service": "fractal-web", "version": "1.20.1", "server_version": None, "timeout": 30.0}
    fractal_web_release.start_or_restart(params, {"active_state": "inactive", "url": ""}, False)
    assert given == [30.0, 10.0]


@pytest.mark.parametrize(
    ("active", "stale", "done", "changed"),
    [
        ("active", True, ["restart"], True),
        ("active", False, [], False),
        ("inactive", False, ["start"], True),
    ],
    ids=["hangs, or is another release", "as it has to be", "stopped"],
)
def test_a_web_server_that_hangs_is_restarted_and_then_waited_for(
    monkeypatch: pytest.MonkeyPatch, active: str, stale: bool, done: list[str], changed: bool
) -> None:
    """A process that accepts connections and never answers is "active": to start it would change nothing."""
    calls: list[str] = []
    for name in ("restart", "start"):
        monkeypatch.setattr(fractal_web_release, name, lambda _service, _timeout, name=name: calls.append(name) or True)
    monkeypatch.setattr(fractal_web_release, "is_stale", lambda *_given: stale)
    health = SimpleNamespace(as_dict=lambda: {"version": "1.20.1"})
    monkeypatch.setattr(
        fractal_web_release, "wait_until_healthy", lambda *_given, **_more: calls.append("wait") or health
    )
    params = {"service": "fractal-web", "version": "1.20.1", "server_version": None, "timeout": 1}
    about = {"active_state": active, "version": "1.20.1", "url": ""}
    told = fractal_web_release.start_or_restart(params, about, False)
    assert calls == [*done, "wait"] and told["changed"] is changed
    assert fractal_web_release.start_or_restart(params, about, True) == {"changed": changed}
    assert calls == [*done, "wait"], "check mode changes nothing"
