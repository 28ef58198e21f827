"""The workers' environment: reading it, switching it and going back, with real virtual environments."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.accounts import Account
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance import worker
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.worker import (
    discover_worker,
    settle_worker,
)


def environment(folder: Path, version: str | None) -> Path:
    """Make a virtual environment in which fractal-server ``version`` seems to be installed."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    if version:
        info = next(folder.glob("lib/python*/site-packages")) / f"fractal_server-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: fractal-server\nVersion: {version}\n")
        (info / "RECORD").write_text(f"{info.name}/RECORD,,\n")
    return folder


@pytest.fixture(autouse=True)
def asked_as_ourselves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody else gets to these environments, which lie in root's own folders."""
    monkeypatch.setattr(worker, "keeper", lambda _program: Account.named(None))


@pytest.fixture
def venv(tmp_path: Path) -> Path:
    environment(tmp_path / "venv-2.17.0", "2.17.0")
    return environment(tmp_path / "venv", "2.16.6")


def settle(venv: Path, state: str, release: str | None = None, check_mode: bool = False) -> dict[str, Any]:
    return settle_worker(str(venv / "bin/python3"), state, release, [], {}, check_mode)


def test_reading_changes_nothing(venv: Path) -> None:
    result = settle(venv, "read")
    found = result["worker"]
    assert result["changed"] is False and (found["version"], found["staged"]) == ("2.16.6", ["2.17.0"])
    assert found["environment"] == str(venv)


def test_what_lies_beside_it_is_not_built_again(venv: Path) -> None:
    assert settle(venv, "staged", "2.17.0")["changed"] is False


def test_switch_and_back_and_each_only_once(venv: Path) -> None:
    assert settle(venv, "switched", "2.17.0", check_mode=True)["changed"] is True
    assert not venv.is_symlink()
    assert settle(venv, "switched", "2.17.0")["worker"]["version"] == "2.17.0"
    assert settle(venv, "switched", "2.17.0")["changed"] is False
    assert settle(venv, "original", "2.16.6")["worker"]["version"] == "2.16.6"
    assert not venv.is_symlink()
    assert settle(venv, "original", "2.16.6")["changed"] is False


def test_going_back_removes_what_a_killed_build_left(venv: Path) -> None:
    left = venv.with_name("venv-2.17.2.partial")
    left.mkdir()
    assert settle(venv, "original", "2.16.6", check_mode=True)["changed"] is False and left.exists()
    assert settle(venv, "original", "2.16.6")["changed"] is True and not left.exists()


def test_a_release_that_was_not_prepared_is_refused(venv: Path) -> None:
    with pytest.raises(FractalError, match=r"2\.17\.2 was not prepared"):
        settle(venv, "switched", "2.17.2")


def test_an_environment_without_fractal_is_none_of_a_worker(tmp_path: Path) -> None:
    with pytest.raises(FractalError, match="has no fractal-server"):
        discover_worker(str(environment(tmp_path / "v", None) / "bin/python3"))


def test_a_python_that_does_not_run_is_told(tmp_path: Path) -> None:
    with pytest.raises(FractalError, match="does not run"):
        discover_worker(str(tmp_path / "gone/bin/python3"))
