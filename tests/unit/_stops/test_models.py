"""The models of what 2.17 accepts, by themselves; tests/integration/test_models_real.py compares them with 2.17.0."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.acceptance import problems
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.r2_17_0.accepts import ACCEPTS
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.r2_17_0.models import (
    UserSettingsUpdate,
    UserUpdate,
    normalize_url,
    slurm_mem_to_mb,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.r2_18_0 import models as r2_18_0
from pydantic import ValidationError

BATCHING = {
    "target_num_jobs": 1,
    "max_num_jobs": 2,
    "target_cpus_per_job": 1,
    "max_cpus_per_job": 1,
    "target_mem_per_job": "1G",
    "max_mem_per_job": 2000,
}
RESOURCE: dict[str, Any] = {
    "type": "slurm_sudo",
    "name": "Resource",
    "tasks_python_config": {"default_version": "3.11", "versions": {"3.11": "/usr/bin/python3.11"}},
    "tasks_pixi_config": {},
    "tasks_local_dir": "/tasks",
    "jobs_local_dir": "/jobs",
    "jobs_slurm_python_worker": "/venv/bin/python3",
    "jobs_runner_config": {"default_slurm_config": {"mem": "3G"}, "batching_config": BATCHING},
}


def test_resource_is_returned_as_2_17_stores_it() -> None:
    fields = ACCEPTS.resource(RESOURCE)
    assert fields["jobs_poll_interval"] == 5
    assert fields["jobs_runner_config"]["default_slurm_config"]["mem"] == 3000
    assert fields["jobs_runner_config"]["user_local_exports"] == {}


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"type": "slurm"}, "must be one of local, slurm_sudo, slurm_ssh"),
        ({"tasks_local_dir": "tasks"}, "tasks_local_dir: must be an absolute path"),
        ({"name": "  "}, "name: string should have at least 1 character"),
        ({"host": "cluster"}, "host: input should be None"),
        ({"type": "slurm_ssh"}, "host: field required"),
        ({"tasks_python_config": {"default_version": "3.12", "versions": {"3.11": "/p"}}}, "3.12 is not in versions"),
        ({"tasks_pixi_config": {"versions": {"1": "/a/1", "2": "/b/2"}, "default_version": "1"}}, "is not in /a"),
        ({"tasks_pixi_config": {"versions": {"1": "/a/one"}, "default_version": "1"}}, "must be called 1"),
        ({"jobs_runner_config": {"default_slurm_config": {}}}, "jobs_runner_config.batching_config: field required"),
    ],
)
def test_refused_resource_is_told_by_field(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(FractalError, match=r"fractal-server 2\.17\.0 does not accept|must be one of") as error:
        ACCEPTS.resource({**RESOURCE, **changes})
    assert text in str(error.value)


def test_pixi_on_ssh_needs_its_slurm_options() -> None:
    pixi = {"versions": {"1": "/pixi/1"}, "default_version": "1"}
    ssh = {**RESOURCE, "type": "slurm_ssh", "host": "cluster", "tasks_pixi_config": pixi}
    with pytest.raises(FractalError, match="SLURM_CONFIG"):
        ACCEPTS.resource(ssh)
    pixi["SLURM_CONFIG"] = {"partition": "main", "cpus": 1, "mem": "1G", "time": "10"}
    assert ACCEPTS.resource(ssh)["tasks_pixi_config"]["PIXI_CONCURRENT_SOLVES"] == 4


def test_profiles_differ_by_resource_type() -> None:
    assert ACCEPTS.profile({"name": "p", "resource_type": "slurm_sudo", "username": "ann"})["ssh_key_path"] is None
    with pytest.raises(FractalError, match="ssh_key_path: field required"):
        ACCEPTS.profile({"name": "p", "resource_type": "slurm_ssh", "username": "ann"})
    with pytest.raises(FractalError, match="username"):
        ACCEPTS.profile({"name": "p", "resource_type": "local", "username": "ann"})


@pytest.mark.parametrize(
    ("value", "megabytes"), [(5, 5), ("5", 5), ("5M", 5), ("5G", 5000), ("2T", 2000000), ("5MM", 5), ("0", 0)]
)
def test_memory_sizes(value: int | str, megabytes: int) -> None:
    assert slurm_mem_to_mb(value) == megabytes


@pytest.mark.parametrize("value", ["G", "5K", "M5", "5 G", "1.5G", "5GM"])
def test_refused_memory_sizes(value: str) -> None:
    with pytest.raises(ValueError, match="memory size"):
        slurm_mem_to_mb(value)


@pytest.mark.parametrize(("value", "stored"), [("/a/../b//c/ ", "/b/c"), ("/", "/"), ("//a", "//a"), (" /a", "/a")])
def test_folders_are_stored_in_normal_form(value: str, stored: str) -> None:
    assert normalize_url(value) == stored


@pytest.mark.parametrize("value", ["", " ", "a/b", "s3://bucket", "~"])
def test_refused_folders(value: str) -> None:
    with pytest.raises(ValueError, match=r"S3|must begin"):
        normalize_url(value)


def test_what_administrators_may_write() -> None:
    assert UserUpdate(project_dir=" /data ", slurm_accounts=["a "]).model_dump(exclude_unset=True) == {
        "project_dir": "/data",
        "slurm_accounts": ["a"],
    }
    for model in (UserUpdate, UserSettingsUpdate):
        for bad in ({"project_dir": "/a$b"}, {"slurm_accounts": ["a", "a"]}, {"unknown": 1}):
            with pytest.raises(ValidationError):
                model(**bad)


def test_problems_hold_no_values() -> None:
    with pytest.raises(ValidationError) as error:
        UserSettingsUpdate(slurm_accounts=["s3cret", "s3cret"], ssh_host=4711)  # type: ignore[arg-type]
    assert problems(error.value) == ["ssh_host: input should be a valid string", "slurm_accounts: has repetitions"]


def test_classes_can_be_defined_without_pydantic() -> None:
    script = (
        "import sys; sys.modules['pydantic'] = None\n"
        "from ansible_collections.fractal_ops.platform.plugins.module_utils._core.pydantic_or_stand_ins import *\n"
        "from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.r2_17_0 import models\n"
        "assert models.normalize_url('/a/') == '/a'\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_no_validator_is_built_before_it_is_needed() -> None:
    """A child that asks the database imports the models of all releases, and needs those of one resource, or none."""
    script = f"""
import {r2_18_0.__name__} as models
built = lambda: [name for name, one in models.RESOURCES.items() if one.__pydantic_complete__]
before = built()
try:
    models.RESOURCES["local"]()
except ValueError:
    print(before, built())
"""
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert done.stdout == "[] ['local']\n"
