"""The JSON files, and the resource that the data migration makes of them and of the variables."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.r2_17_0.configurations import (
    check_configuration,
)

CONFIG = {
    "default_slurm_config": {"partition": "main", "cpus_per_task": 1, "mem": "100M"},
    "gpu_slurm_config": {},
    "batching_config": {
        "target_cpus_per_job": 1,
        "max_cpus_per_job": 1,
        "target_mem_per_job": 200,
        "max_mem_per_job": 500,
        "target_num_jobs": 2,
        "max_num_jobs": 4,
    },
}


@pytest.fixture
def good(tmp_path: Path) -> dict[str, str]:
    """Variables in which nothing is wrong."""
    (tmp_path / "slurm.json").write_text(json.dumps(CONFIG), encoding="utf-8")
    return {
        "FRACTAL_SLURM_CONFIG_FILE": "slurm.json",
        "FRACTAL_SLURM_WORKER_PYTHON": "/venv/bin/python3",
        "FRACTAL_TASKS_DIR": "/tasks",
        "FRACTAL_RUNNER_WORKING_BASE_DIR": "/jobs",
        "FRACTAL_TASKS_PYTHON_DEFAULT_VERSION": "3.11",
        "FRACTAL_TASKS_PYTHON_3_11": "/usr/bin/python3.11",
    }


def ids(values: dict[str, str], directory: Path) -> list[tuple[str, str]]:
    return [(one.id, one.subject) for one in check_configuration(values, "slurm_sudo", str(directory))]


def test_nothing_wrong(good: dict[str, str], tmp_path: Path) -> None:
    assert ids(good, tmp_path) == []


def test_file_that_is_not_named(good: dict[str, str], tmp_path: Path) -> None:
    del good["FRACTAL_SLURM_CONFIG_FILE"]
    assert ids(good, tmp_path) == [("config.missing", "FRACTAL_SLURM_CONFIG_FILE")]


def test_file_that_cannot_be_read(good: dict[str, str], tmp_path: Path) -> None:
    good["FRACTAL_PIXI_CONFIG_FILE"] = "nowhere.json"
    assert ids(good, tmp_path) == [("config.unreadable", str(tmp_path / "nowhere.json"))]


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("FRACTAL_TASKS_DIR", "relative"),
        ("FRACTAL_RUNNER_WORKING_BASE_DIR", "relative"),
        ("FRACTAL_SLURM_WORKER_PYTHON", "python3"),
        ("FRACTAL_SLURM_POLL_INTERVAL", "fast"),
        ("FRACTAL_TASKS_PYTHON_3_11", "python3"),
        ("FRACTAL_PIP_CACHE_DIR", "cache"),
    ],
)
def test_setting_that_the_resource_refuses(variable: str, value: str, good: dict[str, str], tmp_path: Path) -> None:
    assert ids({**good, variable: value}, tmp_path) == [("config.resource_refused", variable)]
