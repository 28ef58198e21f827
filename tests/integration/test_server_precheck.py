"""fractal_server_precheck on real releases and databases."""

from __future__ import annotations

from typing import Any, Callable

import pytest
from postgres_cluster import Database
from releases_environments import FractalFolder

Run = Callable[..., dict[str, Any]]
Folder = Callable[..., FractalFolder]


def found(result: dict[str, Any], severity: str | None = None) -> set[str]:
    assert "findings" in result, result
    return {f["id"] for f in result["findings"] if severity in (None, f["severity"])}


def test_good_instance_has_no_blocker(seeded_database: Database, fractal_folder: Folder, run_module: Run) -> None:
    folder = fractal_folder(seeded_database)
    result = run_module("fractal_server_precheck", env_file=str(folder.env_file), target_version="2.17.2")
    print(result)
    assert found(result, "blocker") == set()


@pytest.mark.parametrize("values", [{"FRACTAL_RUNNER_BACKEND": "local"}])
def test_local_backend(
    values: dict[str, str], seeded_database: Database, fractal_folder: Folder, run_module: Run
) -> None:
    folder = fractal_folder(seeded_database, **values)
    assert "release.backend_local" in found(run_module("fractal_server_precheck", env_file=str(folder.env_file)))
