# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""What fractal-server 2.17 accepts as resource, profile, user and configuration: the same constraints, as models.

Sources (fractal-server 2.17.0; equal in 2.17.1 and 2.17.2): ``app/schemas/v2/resource.py``,
``app/schemas/v2/profile.py``, ``app/schemas/user.py``, ``runner/config/``, ``tasks/config/``, ``types/``, ``urls.py``,
``string_tools.py``, and the two models of ``data_migrations/2_17_0.py``.
"""

from __future__ import annotations

import os
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, Optional, Union

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.pydantic_or_stand_ins import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PositiveInt,
    StringConstraints,
    model_validator,
)

NOT_ALLOWED_IN_COMMANDS = frozenset(r"`#$&*()\|[]{};<>?!")  # string_tools.py


def normalize_url(url: str) -> str:
    """Return a folder as 2.17 stores it: stripped, ``//`` and ``..`` resolved (2.17.0, urls.py).

    Raises:
        ValueError: The folder is relative, empty, or on S3.
    """
    url = url.strip()
    if url.startswith("/"):
        is_normal = "//" not in url and "/." not in url and not url.endswith("/")
        return url if is_normal else os.path.normpath(url)
    if url.startswith("s3"):
        raise ValueError("folders on S3 are not supported")
    raise ValueError("must begin with '/'")


def slurm_mem_to_mb(value: Union[int, str]) -> int:
    """Return a SLURM memory size (``200``, ``"71M"``, ``"93G"``, ``"2T"``) in MB.

    Source: 2.17.0, runner/config/slurm_mem_to_MB.py.

    Raises:
        ValueError: The text is not a whole number with an optional unit.
    """
    if isinstance(value, int):
        return value
    number, factor = value, 1
    for unit, unit_factor in (("M", 1), ("G", 10**3), ("T", 10**6)):
        if value.endswith(unit):
            number, factor = value.strip(unit), unit_factor
    if not value[0].isdigit() or not number.isdigit():
        raise ValueError("must be a memory size such as 93, 71M, 93G or 71T")
    return int(number) * factor


def _unique(values: list[str]) -> list[str]:
    if len(set(values)) != len(values):
        raise ValueError("has repetitions")
    return values


def _clean_keys(values: dict[str, str]) -> dict[str, str]:
    keys = [key.strip() for key in values]
    if "" in keys:
        raise ValueError("has an empty key")
    if len(set(keys)) != len(keys):
        raise ValueError("has a key twice")
    return dict(zip(keys, values.values()))


def _plain_path(path: str) -> str:
    if not NOT_ALLOWED_IN_COMMANDS.isdisjoint(path):
        raise ValueError(f"must not hold any of {''.join(sorted(NOT_ALLOWED_IN_COMMANDS))}")
    return path


def _memory_with_unit(size: str) -> str:
    if size[-1] not in "KMGT":
        raise ValueError("must end with one of the units K, M, G, T")
    return size


NonEmptyStr = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]
# the pattern is looked at after stripping, as val_absolute_path is; an empty text is reported as too short first
AbsolutePathStr = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True, pattern="^/")]
CommandPathStr = Annotated[AbsolutePathStr, AfterValidator(_plain_path)]
ListUniqueNonEmptyStr = Annotated[list[NonEmptyStr], AfterValidator(_unique)]
DictStrStr = Annotated[dict[str, NonEmptyStr], AfterValidator(_clean_keys)]
MemoryMb = Annotated[Union[PositiveInt, NonEmptyStr], AfterValidator(slurm_mem_to_mb)]
MemoryWithUnit = Annotated[NonEmptyStr, AfterValidator(_memory_with_unit)]
PythonVersion = Literal["3.9", "3.10", "3.11", "3.12", "3.13", "3.14"]


class _Model(BaseModel):
    """A model whose validator is built when it is needed: most processes need one or two of all these, or none."""

    model_config = ConfigDict(defer_build=True)


class _Strict(_Model):
    """A model that refuses keys it does not know."""

    model_config = ConfigDict(extra="forbid")


# --- configuration of a resource ---


class TasksPythonConfig(_Model):
    """Interpreters for task environments (tasks/config/_python.py)."""

    default_version: NonEmptyStr
    versions: dict[PythonVersion, AbsolutePathStr]
    pip_cache_dir: Optional[AbsolutePathStr] = None

    @model_validator(mode="after")
    def _default_is_there(self) -> TasksPythonConfig:
        if self.default_version not in self.versions:
            raise ValueError(f"default_version {self.default_version} is not in versions ({', '.join(self.versions)})")
        return self


class PixiSlurmConfig(_Model):
    """Options of the SLURM jobs that pixi runs in (tasks/config/_pixi.py)."""

    partition: NonEmptyStr
    cpus: PositiveInt
    mem: MemoryWithUnit
    time: NonEmptyStr


class TasksPixiConfig(_Model):
    """pixi installations for task environments (tasks/config/_pixi.py)."""

    versions: DictStrStr
    default_version: str
    PIXI_CONCURRENT_SOLVES: int = 4
    PIXI_CONCURRENT_DOWNLOADS: int = 4
    TOKIO_WORKER_THREADS: int = 2
    DEFAULT_ENVIRONMENT: str = "default"
    DEFAULT_PLATFORM: str = "linux-64"
    SLURM_CONFIG: Optional[PixiSlurmConfig] = None

    @model_validator(mode="after")
    def _folders_are_versions(self) -> TasksPixiConfig:
        if self.default_version not in self.versions:
            raise ValueError(f"default_version {self.default_version} is not in versions ({', '.join(self.versions)})")
        base = PurePosixPath(self.versions[self.default_version]).parent
        for version, folder in self.versions.items():
            if PurePosixPath(folder).parent != base:
                raise ValueError(f"the folder {folder} of version {version} is not in {base}, where the default is")
            if PurePosixPath(folder).name != version:
                raise ValueError(f"the folder {folder} of version {version} must be called {version}")
        return self


class TasksPixiConfigSsh(TasksPixiConfig):
    """The same on a resource of type ``slurm_ssh`` (app/schemas/v2/resource.py)."""

    SLURM_CONFIG: PixiSlurmConfig


class JobRunnerConfigLocal(_Strict):
    """How jobs run on the server's own machine (runner/config/_local.py)."""

    parallel_tasks_per_job: Optional[int] = None


class SlurmOptions(_Strict):
    """Default options of SLURM jobs (runner/config/_slurm.py)."""

    partition: Optional[NonEmptyStr] = None
    cpus_per_task: Optional[PositiveInt] = None
    mem: Optional[MemoryMb] = None
    constraint: Optional[NonEmptyStr] = None
    gres: Optional[NonEmptyStr] = None
    exclude: Optional[NonEmptyStr] = None
    nodelist: Optional[NonEmptyStr] = None
    time: Optional[NonEmptyStr] = None
    account: Optional[NonEmptyStr] = None
    extra_lines: list[NonEmptyStr] = Field(default_factory=list)
    gpus: Optional[NonEmptyStr] = None


class BatchingOptions(_Strict):
    """How tasks are packed into SLURM jobs (runner/config/_slurm.py)."""

    target_num_jobs: PositiveInt
    max_num_jobs: PositiveInt
    target_cpus_per_job: PositiveInt
    max_cpus_per_job: PositiveInt
    target_mem_per_job: MemoryMb
    max_mem_per_job: MemoryMb


class JobRunnerConfigSlurm(_Strict):
    """How jobs run on SLURM (runner/config/_slurm.py)."""

    default_slurm_config: SlurmOptions
    gpu_slurm_config: Optional[SlurmOptions] = None
    batching_config: BatchingOptions
    user_local_exports: DictStrStr = Field(default_factory=dict)


# --- resources ---


def _pixi_config(value: dict[NonEmptyStr, Any]) -> dict[NonEmptyStr, Any]:
    return TasksPixiConfig(**value).model_dump() if value else value


class _Resource(_Model):
    name: NonEmptyStr
    tasks_python_config: TasksPythonConfig
    tasks_pixi_config: Annotated[dict[NonEmptyStr, Any], AfterValidator(_pixi_config)]
    tasks_local_dir: AbsolutePathStr
    jobs_local_dir: AbsolutePathStr
    jobs_poll_interval: int = 5


class LocalResource(_Resource):
    """A resource of type ``local``."""

    type: Literal["local"]
    jobs_runner_config: JobRunnerConfigLocal
    jobs_slurm_python_worker: None = None
    host: None = None


class SlurmSudoResource(_Resource):
    """A resource of type ``slurm_sudo``."""

    type: Literal["slurm_sudo"]
    jobs_slurm_python_worker: AbsolutePathStr
    jobs_runner_config: JobRunnerConfigSlurm
    host: None = None


class SlurmSshResource(_Resource):
    """A resource of type ``slurm_ssh``."""

    type: Literal["slurm_ssh"]
    host: NonEmptyStr
    jobs_slurm_python_worker: AbsolutePathStr
    jobs_runner_config: JobRunnerConfigSlurm

    @model_validator(mode="after")
    def _pixi_runs_in_slurm(self) -> SlurmSshResource:
        if self.tasks_pixi_config and self.tasks_pixi_config["SLURM_CONFIG"] is None:
            raise ValueError("tasks_pixi_config must include SLURM_CONFIG")
        return self


# --- profiles ---


class _Profile(_Model):
    name: NonEmptyStr


class LocalProfile(_Profile):
    """A profile on a resource of type ``local``."""

    resource_type: Literal["local"]
    username: None = None
    ssh_key_path: None = None
    jobs_remote_dir: None = None
    tasks_remote_dir: None = None


class SlurmSudoProfile(_Profile):
    """A profile on a resource of type ``slurm_sudo``."""

    resource_type: Literal["slurm_sudo"]
    username: NonEmptyStr
    ssh_key_path: None = None
    jobs_remote_dir: None = None
    tasks_remote_dir: None = None


class SlurmSshProfile(_Profile):
    """A profile on a resource of type ``slurm_ssh``."""

    resource_type: Literal["slurm_ssh"]
    username: NonEmptyStr
    ssh_key_path: AbsolutePathStr
    jobs_remote_dir: AbsolutePathStr
    tasks_remote_dir: AbsolutePathStr


# --- users ---


class UserMigration(_Model):
    """What the data migration writes to a user (data_migrations/2_17_0.py, ``UserUpdateInfo``)."""

    user_id: int
    project_dir: AbsolutePathStr
    slurm_accounts: ListUniqueNonEmptyStr


class LocalMigration(LocalProfile, UserMigration):
    """All that the data migration makes of one user, on a resource of type ``local``."""


class SlurmSudoMigration(SlurmSudoProfile, UserMigration):
    """All that the data migration makes of one user, on a resource of type ``slurm_sudo``."""


class SlurmSshMigration(SlurmSshProfile, UserMigration):
    """All that the data migration makes of one user, on a resource of type ``slurm_ssh``."""


class UserUpdate(_Strict):
    """What an administrator may change of a user in 2.17 (app/schemas/user.py, ``UserUpdate``); None: unchanged."""

    is_active: Optional[bool] = None
    is_superuser: Optional[bool] = None
    is_verified: Optional[bool] = None
    profile_id: Optional[int] = None
    project_dir: Optional[CommandPathStr] = None
    slurm_accounts: Optional[ListUniqueNonEmptyStr] = None


class UserSettingsUpdate(_Strict):
    """What an administrator may write to a user's settings in 2.16 (2.16.6, app/schemas/user_settings.py)."""

    ssh_host: Optional[NonEmptyStr] = None
    ssh_username: Optional[NonEmptyStr] = None
    ssh_private_key_path: Optional[AbsolutePathStr] = None
    ssh_tasks_dir: Optional[AbsolutePathStr] = None
    ssh_jobs_dir: Optional[AbsolutePathStr] = None
    slurm_user: Optional[NonEmptyStr] = None
    slurm_accounts: Optional[ListUniqueNonEmptyStr] = None
    project_dir: Optional[CommandPathStr] = None


RESOURCES: dict[str, type[BaseModel]] = {
    "local": LocalResource,
    "slurm_sudo": SlurmSudoResource,
    "slurm_ssh": SlurmSshResource,
}
PROFILES: dict[str, type[BaseModel]] = {
    "local": LocalProfile,
    "slurm_sudo": SlurmSudoProfile,
    "slurm_ssh": SlurmSshProfile,
}

MIGRATIONS = {"local": LocalMigration, "slurm_sudo": SlurmSudoMigration, "slurm_ssh": SlurmSshMigration}
