"""The facts about Fractal's own tools that this collection builds on, on real releases."""

from __future__ import annotations

from typing import Callable

import pytest
from postgres_cluster import Database
from releases_environments import FractalFolder

HEADS = {"2.16.6": "981d588fe248", "2.17.0": "83bc2ad3ffcc", "2.17.1": "7673fe18c05d", "2.17.2": "e0e717ae2f26"}


@pytest.mark.parametrize("release", HEADS)
def test_each_release_arrives_at_its_head_with_its_rows(
    release: str, seeded_database: Database, fractal_folder: Callable[..., FractalFolder]
) -> None:
    folder = fractal_folder(seeded_database)
    if release != "2.16.6":
        folder.upgrade(release)
    assert seeded_database.value("SELECT version_num FROM alembic_version") == HEADS[release]
    assert seeded_database.value("SELECT count(*) FROM user_oauth") == 7
    if release != "2.16.6":
        assert seeded_database.value("SELECT count(*) FROM profile") == 4
