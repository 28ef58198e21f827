"""fractal_user_precheck on real databases, against what the real data migration does."""

from __future__ import annotations

from typing import Any, Callable

from postgres_cluster import Database
from releases_environments import FractalFolder

Run = Callable[..., dict[str, Any]]
Folder = Callable[..., FractalFolder]


def ids(result: dict[str, Any], severity: str | None = None) -> set[tuple[str, str]]:
    """Return (id, subject) of the findings."""
    assert "findings" in result, result
    return {(f["id"], f["subject"]) for f in result["findings"] if severity in (None, f["severity"])}


def test_seeded_instance(seeded_database: Database, fractal_folder: Folder, run_module: Run) -> None:
    folder = fractal_folder(seeded_database)
    result = run_module("fractal_user_precheck", env_file=str(folder.env_file))
    print(result)
    assert ids(result, "blocker") == set()
