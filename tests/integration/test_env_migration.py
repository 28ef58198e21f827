"""Migrated environment files before the real releases: their settings classes and the real data migration."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any, Callable

from postgres_cluster import Database
from releases_environments import FractalFolder

Run = Callable[..., dict[str, Any]]

_SETTINGS = """
import json, os
from fractal_server.config import *
from fractal_server.config import get_db_settings, get_settings, get_email_settings, get_oauth_settings
from fractal_server.config import get_data_settings
from pydantic import SecretStr
values = {}
for settings in (get_db_settings(), get_settings(), get_email_settings(), get_oauth_settings(), get_data_settings()):
    for name, value in settings:
        values[name] = value.get_secret_value() if isinstance(value, SecretStr) else value
print(json.dumps(values, default=str))
"""


def settings_of(python: str, folder: Path, environ: dict[str, str] | None = None) -> dict[str, Any]:
    """Return all settings as a release of 2.17 sees them in ``folder``."""
    done = subprocess.run(
        [python, "-c", _SETTINGS], cwd=folder, env=environ or {}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_slurm_instance_is_migrated_end_to_end(
    seeded_database: Database,
    fractal_folder: Callable[..., FractalFolder],
    release_python: Callable[[str], str],
    run_module: Run,
) -> None:
    folder = fractal_folder(seeded_database)
    python = release_python("2.16.6")
    options = {"path": str(folder.env_file), "server_python": python}
    first = run_module("fractal_env_migrate", **options)
    assert first["changed"] and first["generation"] == "2.16", first
    assert not run_module("fractal_env_migrate", **options)["changed"]
    for release in ("2.17.0", "2.17.2"):
        found = settings_of(release_python(release), folder.path)
        assert found["FRACTAL_RUNNER_BACKEND"] == "slurm_sudo"
        assert found["FRACTAL_API_MAX_JOB_LIST_LENGTH"] == 50
    folder.set_db("2.17.0")
    folder.update_db_data()
    assert seeded_database.value("SELECT jobs_poll_interval FROM resource") == 5
