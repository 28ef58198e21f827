"""The table of checks, and the parts of the verification that need no Fractal."""

from __future__ import annotations

import os
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.folders import LocalFolders, RemoteFolders
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.discovery import ServerInstance
from ansible_collections.fractal_ops.platform.plugins.module_utils._verify.checks import CHECKS, POINTS
from ansible_collections.fractal_ops.platform.plugins.module_utils._verify.probe import _end, _wrong_result
from ansible_collections.fractal_ops.platform.plugins.module_utils._verify.server import service

ME = os.environ.get("USER") or "root"


def test_each_of_the_eight_points_of_the_upgrade_page_has_a_check() -> None:
    assert len(POINTS) == 8
    assert {rule.point for rule in CHECKS.values()} - {""} == set(POINTS)


@pytest.mark.parametrize("rule", CHECKS.values(), ids=list(CHECKS))
def test_a_failure_always_tells_how_to_mend_it(rule: Any) -> None:
    failed = rule.failed("x", "broken")
    assert failed.status == "failed" and failed.fix and failed.title
    assert rule.passed("x", "good").fix == ""


def instance(**values: Any) -> ServerInstance:
    about: dict[str, Any] = {field.name: "" for field in fields(ServerInstance)}
    about.update(service="fractal-server.service", active_state="active", enabled_state="enabled", hold=None)
    return ServerInstance(**{**about, **values})


@pytest.mark.parametrize(
    ("values", "status"),
    [
        ({}, "passed"),
        ({"active_state": "failed"}, "failed"),
        ({"enabled_state": "disabled"}, "failed"),
        ({"hold": {"run": "1"}}, "failed"),
    ],
)
def test_the_unit_must_run_and_start_with_the_machine(values: dict[str, Any], status: str) -> None:
    assert service(instance(**values)).status == status


FACTS = {"user": "alice", "read_back": "alice", "slurm_job": "12", "host": "node"}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({}, ""),
        ({"user": "fractal", "read_back": "fractal"}, "ran as fractal, not as the profile's username alice"),
        ({"read_back": None}, "did not read back"),
        ({"slurm_job": "none"}, "did not run inside a SLURM job"),
    ],
)
def test_a_job_counts_only_as_the_right_user_and_in_slurm(changed: dict[str, Any], said: str) -> None:
    problem = _wrong_result({**FACTS, **changed}, "alice", "slurm_sudo")
    assert said in problem and bool(problem) == bool(said)


def test_no_image_at_all_is_no_result() -> None:
    assert _wrong_result({}, "alice", "slurm_sudo")


def test_of_a_log_with_a_traceback_only_what_was_raised_is_shown() -> None:
    frames = 'Traceback (most recent call last):\n  File "/a.py", line 1, in run\n    start()\n'
    log = f"UNKNOWN ERROR\nTRACEBACK:\n{frames}RuntimeError: version mismatch.\nLocal: 2.17.0.\n  Remote: 2.16.6.\n"
    assert _end(log) == "UNKNOWN ERROR\nTRACEBACK:\nRuntimeError: version mismatch.\nLocal: 2.17.0.\n  Remote: 2.16.6."
    assert _end(None) == "no log"
    assert _end("x" * 5000).startswith("…x") and len(_end("x" * 5000)) < 2000


# --- folders ---


def test_a_jobs_folder_is_removed_with_all_that_is_in_it(tmp_path: Path) -> None:
    folder = tmp_path / "proj" / "deep"
    folder.mkdir(parents=True)
    (folder / "file").write_text("x")
    mine = LocalFolders(ME)
    mine.remove(str(folder))
    mine.remove_empty(str(folder.parent))
    assert not folder.parent.exists()


def test_a_folder_in_use_is_not_removed_as_empty(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    LocalFolders(ME).remove_empty(str(tmp_path))
    assert tmp_path.exists()


@pytest.mark.parametrize("folder", ["/", "/opt", "/opt/fractal", "relative/a/b", "/a/b/../../etc", ""])
def test_nothing_but_a_deep_folder_is_ever_removed(folder: str) -> None:
    for folders in (LocalFolders(ME), RemoteFolders("nowhere", "x", "/key", ME, "/bin/false")):
        with pytest.raises(FractalError, match="is not removed"):
            folders.remove(folder)


def test_a_cluster_that_cannot_be_reached_is_told(tmp_path: Path) -> None:
    with pytest.raises(FractalError, match="on nowhere"):
        RemoteFolders("nowhere", "alice", "/key", ME, "/bin/false").remove("/data/alice/job")
