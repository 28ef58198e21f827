"""The models accept exactly what the real fractal-server 2.17.0 and 2.17.2 accept, and store the same."""

from __future__ import annotations

import copy
import json
import random
import subprocess
from typing import Any, Callable

import pytest
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.r2_17_0 import models
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.r2_17_0.accepts import ACCEPTS
from pydantic import ValidationError

_REAL = """
import json, sys
from pydantic import TypeAdapter, ValidationError
from fractal_server.app.schemas.v2.profile import cast_serialize_profile
from fractal_server.app.schemas.v2.resource import cast_serialize_resource
from fractal_server.app.schemas.user import UserUpdate

def user(data):
    return UserUpdate(**data).model_dump(exclude_unset=True)

kinds = {"resource": cast_serialize_resource, "profile": cast_serialize_profile, "user": user}
for kind, data in json.load(sys.stdin):
    try:
        print(json.dumps(kinds[kind](data)))
    except Exception:
        print("null")
"""
ODD = [
    None, "", " ", "x", " x ", "/", "/a/b", " /a ", "a/b", "s3://b", "/a;b", "/a$b", 0, 1, -1, 1.0, 1.5, "1", "0", True,
    [], ["a"], ["a", "a"], ["a", " a"], [""], [1], {}, {"a": "b"}, {" a": "/b", "a ": "/c"}, {"": "x"}, "5G", "G", "5K",
    "3.11",
    "3.15", {"3.11": "/usr/bin/python3.11"}, {"3.13": "/p"}, {"3.11": "p"}, {"1": "/a/1", "2": "/a/2"}, {"1": "/a/2"},
]  # fmt: skip
SLURM = {
    "default_slurm_config": {"partition": "main", "cpus_per_task": 1, "mem": "100M", "extra_lines": ["#SBATCH -x"]},
    "gpu_slurm_config": {"gres": "gpu:1"},
    "batching_config": {
        "target_num_jobs": 1,
        "max_num_jobs": 2,
        "target_cpus_per_job": 1,
        "max_cpus_per_job": 1,
        "target_mem_per_job": "1G",
        "max_mem_per_job": 2000,
    },
    "user_local_exports": {"A": "b"},
}
PIXI = {
    "versions": {"0.1": "/pixi/0.1", "0.2": "/pixi/0.2"},
    "default_version": "0.1",
    "PIXI_CONCURRENT_SOLVES": 2,
    "SLURM_CONFIG": {"partition": "main", "cpus": 1, "mem": "1G", "time": "10"},
}
COMMON = {
    "name": "r",
    "tasks_python_config": {"default_version": "3.11", "versions": {"3.11": "/p"}, "pip_cache_dir": None},
    "tasks_pixi_config": PIXI,
    "tasks_local_dir": "/t",
    "jobs_local_dir": "/j",
    "jobs_poll_interval": 3,
}
WORKER = {"jobs_slurm_python_worker": "/w", "jobs_runner_config": SLURM}
VALID: list[tuple[str, dict[str, Any]]] = [
    ("resource", {**COMMON, "type": "local", "jobs_runner_config": {"parallel_tasks_per_job": 1}}),
    ("resource", {**COMMON, **WORKER, "type": "slurm_sudo"}),
    ("resource", {**COMMON, **WORKER, "type": "slurm_ssh", "host": "h"}),
    ("profile", {"name": "p", "resource_type": "local"}),
    ("profile", {"name": "p", "resource_type": "slurm_sudo", "username": "u"}),
    (
        "profile",
        {
            "name": "p",
            "resource_type": "slurm_ssh",
            "username": "u",
            "ssh_key_path": "/k",
            "jobs_remote_dir": "/j",
            "tasks_remote_dir": "/t",
        },
    ),
    ("user", {"is_verified": True, "profile_id": 1, "project_dir": "/d", "slurm_accounts": ["a"]}),
]  # fmt: skip


def places(data: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Return the path of every value within nested dictionaries."""
    found = [path] if path else []
    if isinstance(data, dict):
        for key, value in data.items():
            found += places(value, (*path, key))
    return found


def changed(data: dict[str, Any], path: tuple[str, ...], value: Any, remove: bool) -> dict[str, Any]:
    """Return a copy with the value at ``path`` replaced or removed."""
    result = copy.deepcopy(data)
    inner = result
    for key in path[:-1]:
        inner = inner[key]
    if remove:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return result


def cases() -> list[tuple[str, dict[str, Any]]]:
    """Return valid data, and the same with each value replaced by every odd one, removed, or joined by another."""
    found = list(VALID)
    for kind, data in VALID:
        for path in places(data):
            found.append((kind, changed(data, path, None, remove=True)))
            found.append((kind, changed(data, (*path[:-1], "unknown"), 1, remove=False)))
            found += [(kind, changed(data, path, odd, remove=False)) for odd in ODD]
    chance = random.Random(4711)
    for _unused in range(1000):
        kind, data = chance.choice(VALID)
        for _unused in range(chance.randint(2, 3)):
            data = changed(data, chance.choice(places(data)), chance.choice(ODD), remove=False)
        found.append((kind, data))
    return found


def ours(kind: str, data: dict[str, Any]) -> Any:
    """Return what our models make of the data, None if they refuse it."""
    try:
        if kind == "user":
            return models.UserUpdate(**data).model_dump(exclude_unset=True)
        return (ACCEPTS.resource if kind == "resource" else ACCEPTS.profile)(data)
    except (FractalError, ValidationError):
        return None


@pytest.mark.parametrize("release", ["2.17.0", "2.17.2"])
def test_same_verdict_and_same_result(release: str, release_python: Callable[[str], str], tmp_path: Any) -> None:
    wanted = cases()
    (tmp_path / ".fractal_server.env").write_text("JWT_SECRET_KEY=x\nPOSTGRES_DB=x\n", encoding="utf-8")
    done = subprocess.run(
        [release_python(release), "-c", _REAL],
        input=json.dumps(wanted),
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=True,
    )
    theirs = [json.loads(line) for line in done.stdout.splitlines()]
    accepted = sum(result is not None for result in theirs)
    print(f"{release}: {accepted} of {len(wanted)} accepted")
    assert len(theirs) == len(wanted) and len(VALID) < accepted < len(wanted)
    for (kind, data), their in zip(wanted, theirs):
        own = ours(kind, data)
        # UserUpdate of 2.17 takes no explicit null; there None means that nothing was said
        if kind == "user" and None in data.values():
            continue
        assert own == their, (kind, data)
