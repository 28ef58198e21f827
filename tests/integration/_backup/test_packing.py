"""A dump from inside the downtime, as the real pg_dump writes it there, packed afterwards and restored both ways."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
from postgres_cluster import OWNER, PLAIN, Cluster, Database
from postgres_seed import seed
from releases_environments import FractalFolder

from _backup.test_restore_database import alter, dump_of

RunModule = Callable[..., dict[str, Any]]


@pytest.fixture(autouse=True)
def no_databases_left(cluster: Cluster) -> Iterator[None]:
    yield
    for name in cluster.names():
        if "_failed_" in name:
            cluster.drop(name)


@pytest.mark.parametrize(("owner", "method"), [(OWNER, "fresh_database"), (PLAIN, "in_place")])
def test_packed_after_the_downtime(
    owner: str,
    method: str,
    new_database: Callable[..., Database],
    fractal_folder: Callable[..., FractalFolder],
    tmp_path: Path,
    run_module: RunModule,
) -> None:
    database = new_database(owner=owner)
    seed(database)
    before, folder = dump_of(database), fractal_folder(database)
    proof = "restore" if owner == OWNER else "list"
    given = {"env_file": str(folder.env_file), "backup_root": str(tmp_path / "b"), "run": "run-1", "proof": proof}
    backup = tmp_path / "b/run-1"
    assert run_module("fractal_backup", **given)["changed"]
    manifest = json.loads((backup / "manifest.json").read_text())
    newer = manifest["database"]["server_version_num"] >= 160000
    assert manifest["dump"]["compress"] == ("lz4" if newer else "0"), manifest["dump"]
    archived = run_module("fractal_backup", **given, state="archived", _check=True)
    assert archived["changed"] != newer and (backup / "database.dump").exists()
    archived = run_module("fractal_backup", **given, state="archived")
    assert archived["packed_dumps"] == ([] if newer else [str(backup)]) and archived["archived"] == []
    assert newer or not (backup / "database.dump").exists()
    before_bytes, after_bytes = manifest["dump"]["size"], sum(one.stat().st_size for one in backup.glob("database.*"))
    assert newer or after_bytes < before_bytes / 2
    assert not run_module("fractal_backup", **given, state="archived")["changed"]
    alter(database)
    restored = run_module("fractal_database_restore", env_file=given["env_file"], backup=str(backup))
    assert restored["method"] == method and dump_of(database) == before, restored
    assert "database.dump" not in os.listdir(backup) or newer
