# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""What fractal-server accepts as resource, profile and user from 2.18.0 on, where it differs from 2.17.

Paths with ``..`` are refused, users have a list of project directories. What came in between 2.18.0 and 2.26.0 is
optional, and is accepted here from the beginning: a stored value is never refused for it.

Sources (fractal-server 2.18.0 to 2.26.0): ``types/``, ``app/schemas/``, ``runner/config/``, ``tasks/config/``.
"""

from __future__ import annotations

import os
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, Optional

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.pydantic_or_stand_ins import (
    AfterValidator,
    BaseModel,
    Field,
    model_validator,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.r2_17_0 import models as r2_17_0
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.r2_17_0.models import NonEmptyStr


def _no_parent(path: str) -> str:
    if ".." in PurePosixPath(path).parts:
        raise ValueError("must not hold /../")
    return os.path.normpath(path)


def _project_dir(path: str) -> str:
    if not r2_17_0.NOT_ALLOWED_IN_COMMANDS.isdisjoint(path):
        raise ValueError(f"must not hold any of {''.join(sorted(r2_17_0.NOT_ALLOWED_IN_COMMANDS))}")
    if path.startswith("s3://"):
        return path
    if not path.startswith("/"):
        raise ValueError("must be an absolute path")
    return _no_parent(path)


AbsolutePathStr = Annotated[r2_17_0.AbsolutePathStr, AfterValidator(_no_parent)]
ProjectDirStr = Annotated[NonEmptyStr, AfterValidator(_project_dir)]
PythonVersion = Literal["3.9", "3.10", "3.11", "3.12", "3.13", "3.14", "3.15"]


def _unique(values: list[str]) -> list[str]:
    if len(set(values)) != len(values):
        raise ValueError("has repetitions")
    return values


class TasksPythonConfig(r2_17_0.TasksPythonConfig):
    """Interpreters for task environments."""

    versions: dict[PythonVersion, AbsolutePathStr]  # type: ignore[assignment]  # one more than before
    pip_cache_dir: Optional[AbsolutePathStr] = None


class PixiSlurmConfig(r2_17_0.PixiSlurmConfig):
    """Options of the SLURM jobs that pixi runs in; memory is given once."""

    mem: Optional[r2_17_0.MemoryWithUnit] = None  # type: ignore[assignment]  # may be left out now
    mem_per_cpu: Optional[r2_17_0.MemoryWithUnit] = None
    preamble: list[str] = Field(default_factory=list)

    @model_validator(mode="after")
    def _memory_once(self) -> PixiSlurmConfig:
        if (self.mem is None) == (self.mem_per_cpu is None):
            raise ValueError("must set either mem or mem_per_cpu")
        return self


class TasksPixiConfig(r2_17_0.TasksPixiConfig):
    """pixi installations for task environments."""

    SLURM_CONFIG: Optional[PixiSlurmConfig] = None


class SlurmOptions(r2_17_0.SlurmOptions):
    """Default options of SLURM jobs."""

    nodes: Optional[int] = None
    shebang_line: str = "#!/bin/sh"
    use_mem_per_cpu: bool = False


class JobRunnerConfigSlurm(r2_17_0.JobRunnerConfigSlurm):
    """How jobs run on SLURM."""

    default_slurm_config: SlurmOptions
    gpu_slurm_config: Optional[SlurmOptions] = None


def _pixi_config(value: dict[NonEmptyStr, Any]) -> dict[NonEmptyStr, Any]:
    return TasksPixiConfig(**value).model_dump() if value else value


TasksPixi = Annotated[dict[NonEmptyStr, Any], AfterValidator(_pixi_config)]


class LocalResource(r2_17_0.LocalResource):
    """A resource of type ``local``."""

    tasks_python_config: TasksPythonConfig
    tasks_pixi_config: TasksPixi
    tasks_local_dir: AbsolutePathStr
    jobs_local_dir: AbsolutePathStr


class SlurmSudoResource(r2_17_0.SlurmSudoResource):
    """A resource of type ``slurm_sudo``."""

    tasks_python_config: TasksPythonConfig
    tasks_pixi_config: TasksPixi
    tasks_local_dir: AbsolutePathStr
    jobs_local_dir: AbsolutePathStr
    jobs_slurm_python_worker: AbsolutePathStr
    jobs_runner_config: JobRunnerConfigSlurm


class SlurmSshResource(r2_17_0.SlurmSshResource):
    """A resource of type ``slurm_ssh``."""

    tasks_python_config: TasksPythonConfig
    tasks_pixi_config: TasksPixi
    tasks_local_dir: AbsolutePathStr
    jobs_local_dir: AbsolutePathStr
    jobs_slurm_python_worker: AbsolutePathStr
    jobs_runner_config: JobRunnerConfigSlurm


class SlurmSshProfile(r2_17_0.SlurmSshProfile):
    """A profile on a resource of type ``slurm_ssh``."""

    ssh_key_path: AbsolutePathStr
    jobs_remote_dir: AbsolutePathStr
    tasks_remote_dir: AbsolutePathStr


class UserUpdate(r2_17_0.UserUpdate):
    """What an administrator may change of a user (``UserUpdate``); None: unchanged."""

    project_dirs: Optional[Annotated[list[ProjectDirStr], AfterValidator(_unique), Field(min_length=1)]] = None


RESOURCES: dict[str, type[BaseModel]] = {
    "local": LocalResource,
    "slurm_sudo": SlurmSudoResource,
    "slurm_ssh": SlurmSshResource,
}
PROFILES: dict[str, type[BaseModel]] = {**r2_17_0.PROFILES, "slurm_ssh": SlurmSshProfile}
