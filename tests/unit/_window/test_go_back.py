"""Going back in one call: in which order, and what a failure leaves undone."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance import service as starting
from ansible_collections.fractal_ops.platform.plugins.module_utils._window import go_back as steps
from ansible_collections.fractal_ops.platform.plugins.modules import fractal_rollback

MANIFEST = {"environment": {"version": "2.16.6", "real_path": "/opt/venv-2.16.6", "path": "/opt/venv"}}
INSTANCE = SimpleNamespace(as_dict=lambda: {"environment": "/opt/venv", "python": "/opt/venv/bin/python3"})
DATABASE = {"changed": False, "method": "exchange", "kept_aside": "fractal_failed_r", "lost": []}
OPTIONS: dict[str, Any] = {
    **{"service": "fractal-server", "python": None, "backup": "/b/r", "controller": "ann@ops1", "running": True},
    **{"accept_data_loss": False, "seen": {"versions": {}}, "version": "2.16.6", "url": None, "timeout": 1.0},
}


class Host:
    """What is done on it, in order; ``fails`` names the step that fails."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.done: list[str] = []
        self.fails = ""
        self.seen: Any = None
        self._patch = monkeypatch
        self._step(fractal_rollback, "read_manifest", MANIFEST)
        self._step(fractal_rollback, "find_installation", SimpleNamespace(service="fractal-server.service"))
        self._step(fractal_rollback, "discover_server", INSTANCE)
        self._step(steps, "stop_and_hold", (False, None))
        self._step(steps, "old_environment", False)
        self._step(steps, "restore_database", DATABASE)
        self._step(steps, "restore_files", [])
        self._step(starting, "lift_and_start", (False, SimpleNamespace(as_dict=dict)))
        self._step(starting, "lift", True)

    def _step(self, where: Any, name: str, answer: Any) -> None:
        def step(*_arguments: Any, **options: Any) -> Any:
            self.done.append(name)
            self.seen = options.get("seen", self.seen)
            if name == self.fails:
                raise FractalError(name)
            return answer

        self._patch.setattr(where, name, step)


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(monkeypatch)


def test_nothing_comes_between_stop_and_start(host: Host) -> None:
    result = fractal_rollback.go_back(OPTIONS)
    looked, work = host.done[:3], host.done[3:]
    assert sorted(looked) == ["discover_server", "find_installation", "read_manifest"]
    assert work == ["stop_and_hold", "old_environment", "restore_database", "restore_files", "lift_and_start"]
    assert list(result["seconds"]) == ["stop again", "old environment", "old database", "old files", "old service"]
    assert not result["changed"] and result["method"] == "exchange" and host.seen == {"versions": {}}


def test_a_service_that_was_stopped_before_stays_so(host: Host) -> None:
    assert fractal_rollback.go_back({**OPTIONS, "running": False})["changed"] and host.done[-1] == "lift"


@pytest.mark.parametrize("fails", ["stop_and_hold", "old_environment", "restore_database", "restore_files"])
def test_nothing_follows_a_step_that_fails(fails: str, host: Host) -> None:
    host.fails = fails
    with pytest.raises(FractalError, match=fails):
        fractal_rollback.go_back(OPTIONS)
    assert host.done[-1] == fails
