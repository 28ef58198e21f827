"""Cached virtual environments with the real releases of fractal-server, and working folders to run them in."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from postgres_cluster import Database

_NEEDS = {"2.23.0": "3.13", "2.26.0": "3.13"}  # the Python of the whole way; the others have the machine's own 3.11
CACHE = Path(os.environ.get("FRACTAL_OPS_CACHE") or Path.home() / ".cache" / "fractal_ops")
SLURM_CONFIG: dict[str, Any] = {
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
    "user_local_exports": {},
}
YES = "yes\n" * 5  # the five questions of `fractalctl update-db-data`
JWT_SECRET = "jwt-canary-4711"


def environment(release: str) -> Path:
    """Return the virtual environment with fractal-server ``release``, made once and kept in the cache."""
    folder = CACHE / "venvs" / release
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(folder.parent / f".{release}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / ".complete").exists():
            print(f"making the environment of fractal-server {release} in {folder}", file=sys.stderr, flush=True)
            shutil.rmtree(folder, ignore_errors=True)
            python = interpreter(_NEEDS.get(release, "3.11"))
            if python is None:
                pytest.skip(f"this machine has no Python {_NEEDS[release]}, which fractal-server {release} needs")
            subprocess.run([python, "-m", "venv", str(folder)], check=True)
            subprocess.run(
                [str(folder / "bin/pip"), "install", "-q", "--disable-pip-version-check", f"fractal-server=={release}"],
                check=True,
            )
            (folder / ".complete").touch()
    return folder


def interpreter(version: str) -> str | None:
    """Return a Python of this version that runs, as tests/bed/lib.sh looks for it, or None."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    there = (shutil.which(f"python{version}"), *pyenv.glob(f"versions/{version}.*/bin/python{version}"))
    works = (str(one) for one in there if one and subprocess.run([one, "-c", ""], check=False).returncode == 0)
    return next(works, None)


def python_of(release: str) -> str:
    """Return the interpreter that runs fractal-server ``release``."""
    return str(environment(release) / "bin/python")


@dataclass
class FractalFolder:
    """A fractal-server working directory with environment file(s) and JSON configs, on one database.

    ``values`` are the variables of ``.fractal_server.env`` besides the database's; change them and call ``write()``.
    ``fractalctl(release, command)`` runs the real program of a release in the folder, whatever its exit code.
    ``upgrade(to)`` does what the official upgrade page says: new environment file, set-db, data migration.
    """

    path: Path
    database: Database
    values: dict[str, str] = field(default_factory=dict)
    slurm_config: dict[str, Any] = field(default_factory=lambda: deepcopy(SLURM_CONFIG))

    def __post_init__(self) -> None:
        """Write the files of a 2.16 instance on SLURM with sudo."""
        self.values = {
            "JWT_SECRET_KEY": JWT_SECRET,
            "FRACTAL_RUNNER_BACKEND": "slurm",
            "FRACTAL_TASKS_DIR": str(self.path / "tasks"),
            "FRACTAL_RUNNER_WORKING_BASE_DIR": str(self.path / "jobs"),
            "FRACTAL_SLURM_CONFIG_FILE": "config_slurm.json",
            "FRACTAL_SLURM_WORKER_PYTHON": "/usr/bin/python3",
            "FRACTAL_TASKS_PYTHON_DEFAULT_VERSION": "3.11",
            "FRACTAL_TASKS_PYTHON_3_11": "/usr/bin/python3",
            **self.values,
        }
        self.write()

    @property
    def env_file(self) -> Path:
        """The environment file that fractal-server reads."""
        return self.path / ".fractal_server.env"

    @property
    def old_env_file(self) -> Path:
        """The copy that the 2.17.0 data migration reads."""
        return self.path / ".fractal_server.env.old"

    def write(self, values: Mapping[str, str] | None = None) -> None:
        """Write ``.fractal_server.env`` (``values`` instead of the folder's own) and the SLURM configuration."""
        text = "".join(f"{key}={value}\n" for key, value in (values or self.values).items())
        self.env_file.write_text(text + self.database.env_lines(), encoding="utf-8")
        self.env_file.chmod(0o600)
        (self.path / "config_slurm.json").write_text(json.dumps(self.slurm_config), encoding="utf-8")

    def write_new_generation(self, backend: str = "slurm_sudo") -> None:
        """Keep the 2.16 file as ``.old`` and write the one of 2.17, as the upgrade page says."""
        self.write()
        shutil.copy2(self.env_file, self.old_env_file)
        self.write(
            {
                "JWT_SECRET_KEY": self.values["JWT_SECRET_KEY"],
                "FRACTAL_RUNNER_BACKEND": backend,
                "FRACTAL_DEFAULT_GROUP_NAME": "All",
            }
        )

    def fractalctl(self, release: str, *arguments: str, answers: str = "") -> subprocess.CompletedProcess[str]:
        """Run the real ``fractalctl`` of a release in this folder."""
        return subprocess.run(
            [str(environment(release) / "bin/fractalctl"), *arguments],
            cwd=self.path,
            input=answers,
            capture_output=True,
            text=True,
            check=False,
        )

    def set_db(self, release: str) -> None:
        """Migrate the schema to a release with its own ``fractalctl set-db``."""
        done = self.fractalctl(release, "set-db")
        assert done.returncode == 0, done.stdout + done.stderr

    def update_db_data(self, release: str = "2.17.0") -> None:
        """Migrate the data with ``fractalctl update-db-data``."""
        done = self.fractalctl(release, "update-db-data", answers=YES)
        assert done.returncode == 0 and "END" in done.stderr, done.stdout + done.stderr

    def upgrade(self, to: str = "2.17.0", data: bool = True) -> None:
        """Bring a 2.16.6 folder and database to ``to`` with Fractal's own tools only."""
        self.write_new_generation()
        self.set_db("2.17.0")
        if data:
            self.update_db_data()
        if to != "2.17.0":
            self.set_db(to)
