"""Going back in one call: in which order, and what a failure leaves undone."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.fractal_ops.platform.plugins.module_utils._backup import go_back
from ansible_collections.fractal_ops.platform.plugins.module_utils._backup.go_back import go_back_to
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError

OLD = {"version": "2.16.6", "real_path": "/opt/venv-2.16.6", "path": "/opt/venv"}
DATABASE = {"changed": True, "method": "exchange", "kept_aside": "fractal_failed_r", "lost": []}


class Host:
    """What is done on it, in order; ``fails`` names the step that fails."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.done: list[str] = []
        self.fails = ""
        self.seen: Any = None
        answers: dict[str, Any] = {
            "read_manifest": {"environment": OLD},
            "find_installation": None,
            "discover_server": SimpleNamespace(
                as_dict=lambda: {"environment": "/opt/venv", "python": "/opt/venv/bin/p"}
            ),
            "stop_and_hold": (False, None),
            "_old_environment": False,
            "restore_database": {**DATABASE, "changed": False},
            "restore_files": [],
            "lift_and_start": (False, None),
            "lift": True,
        }
        for name, answer in answers.items():
            monkeypatch.setattr(go_back, name, self._step(name, answer))

    def _step(self, name: str, answer: Any) -> Any:
        def step(*_arguments: Any, **options: Any) -> Any:
            self.done.append(name)
            self.seen = options.get("seen", self.seen)
            if name == self.fails:
                raise FractalError(name)
            return answer

        return step


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(monkeypatch)


def back(start: bool = True) -> dict[str, Any]:
    healthy: Any = (lambda: None) if start else None
    return go_back_to("/b/r", "fractal-server", None, "ann@ops1", False, {"versions": {}}, healthy)


def test_nothing_slow_comes_between_stop_and_start(host: Host) -> None:
    result = back()
    looked, work = host.done[:3], host.done[3:]
    assert sorted(looked) == ["discover_server", "find_installation", "read_manifest"]
    assert work == ["stop_and_hold", "_old_environment", "restore_database", "restore_files", "lift_and_start"]
    assert list(result["seconds"]) == ["stop", "environment", "database", "files", "start"]
    assert not result["changed"] and result["method"] == "exchange" and host.seen == {"versions": {}}


def test_a_service_that_was_stopped_before_stays_so(host: Host) -> None:
    assert back(start=False)["changed"] and host.done[-1] == "lift"


@pytest.mark.parametrize("fails", ["stop_and_hold", "_old_environment", "restore_database", "restore_files"])
def test_nothing_follows_a_step_that_fails(fails: str, host: Host) -> None:
    host.fails = fails
    with pytest.raises(FractalError, match=fails):
        back()
    assert host.done[-1] == fails
