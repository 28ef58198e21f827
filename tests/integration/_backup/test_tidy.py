"""Tidying up after real backups, upgrades and rollbacks: what goes, what stays, and what is not ours."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
from ansible_collections.fractal_ops.platform.plugins.module_utils._backup import tidy as tidy_room
from ansible_collections.fractal_ops.platform.plugins.module_utils._backup.tidy import tidy_server
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.database import find_installation
from postgres_cluster import Cluster, Database
from releases_environments import FractalFolder, python_of

from _backup.test_restore_database import alter

RunModule = Callable[..., dict[str, Any]]


@pytest.fixture(autouse=True)
def no_databases_left(cluster: Cluster) -> Iterator[None]:
    yield
    for name in cluster.names():
        if any(f"_{kind}_" in name for kind in ("failed", "frozen", "proof", "rehearsal")):
            cluster.drop(name)


@pytest.fixture
def folder(seeded_database: Database, fractal_folder: Callable[..., FractalFolder]) -> FractalFolder:
    return fractal_folder(seeded_database)


def beside(cluster: Cluster, database: Database) -> list[str]:
    """Return the databases beside the instance's own, without its name and in order."""
    names = (name for name in cluster.names() if name.startswith(database.dbname + "_"))
    return sorted(name[len(database.dbname) + 1 :] for name in names)


def test_after_upgrades_and_rollbacks(
    folder: FractalFolder, tmp_path: Path, run_module: RunModule, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tidy_room, "_RUN", str(tmp_path))
    (tmp_path / "x.service.env.rendered").touch()
    (tmp_path / "x.service.window").mkdir()
    database, root = folder.database, tmp_path / "backups"
    given = {"env_file": str(folder.env_file), "backup_root": str(root), "method": "copy"}
    installation = find_installation({"env_file": str(folder.env_file)})
    environment = tmp_path / "venv"
    python = str(python_of("2.16.6"))
    instance = {"service": "x.service", "python": python, "environment": str(environment), "worker_python": ""}
    instance = {**instance, "version": "2.16.6"}

    def tidy(**options: Any) -> dict[str, Any]:
        return tidy_server(installation, instance, str(root), **options)

    def gone(result: dict[str, Any]) -> list[str]:
        return sorted(os.path.basename(one["name"]) for one in result["found"] if one["goes"])

    for run in ("run-1", "run-2", "run-3"):
        assert run_module("fractal_backup", **given, run=run)["changed"]
    bare = (root / "run-1/manifest.json").read_text()
    alter(database)
    assert run_module("fractal_database_restore", env_file=given["env_file"], backup=str(root / "run-2"))["changed"]
    assert run_module("fractal_backup", **given, run="run-2b")["changed"]
    assert run_module("fractal_backup", **given, run="run-2b", state="archived")["changed"]
    (root / "run-1/manifest.json").write_text(bare)  # as if its archive had not been made
    (root / "run-1/database.dump").unlink()
    (root / ".run-9.partial").mkdir()
    (root / "run-3/database.dump.partial").write_text("half")  # its archive was killed, and a rollback followed
    database.rows(f'CREATE DATABASE "{database.dbname}_frozen_run-9" TEMPLATE template0 ALLOW_CONNECTIONS false')
    database.rows(f'CREATE DATABASE "{database.dbname}_proof_run-8"')
    mark = f"fractal_ops.platform proof run-8 beside {database.dbname}: {database.dbname}_proof_run-8"
    database.rows(f"COMMENT ON DATABASE \"{database.dbname}_proof_run-8\" IS '{mark}'")
    rehearsal = f"{database.dbname}_rehearsal_rehearsal"  # killed when its copy was half made
    database.rows(f'CREATE DATABASE "{rehearsal}"')
    mark = f"fractal_ops.platform rehearsal rehearsal beside {database.dbname}: {rehearsal}"
    database.rows(f"COMMENT ON DATABASE \"{rehearsal}\" IS '{mark}'")
    database.rows(f'CREATE DATABASE "{rehearsal}_frozen_rehearsal" TEMPLATE template0 ALLOW_CONNECTIONS false')
    database.rows(f'CREATE DATABASE "{database.dbname}_frozen_mine"')
    database.rows(f'CREATE DATABASE "{database.dbname}_failed_20250101T000000Z"')
    before = beside(cluster, database)
    wanted = ["_failed_run-2", "_frozen_run-3", "_frozen_run-9", "_proof_run-8"]
    wanted += ["_rehearsal_rehearsal", "_rehearsal_rehearsal_frozen_rehearsal"]

    predicted = tidy(check_mode=True)
    assert beside(cluster, database) == before and (root / ".run-9.partial").exists()
    assert (root / "run-3/database.dump.partial").exists()
    result = tidy()
    assert result == predicted and result["failed_items"] == []
    names = [".run-9.partial", "database.dump.partial", *(database.dbname + name for name in wanted)]
    assert gone(result) == [*names, "x.service.env.rendered", "x.service.window"]
    assert result["bytes"] > 3 * 5_000_000, "empty databases have some megabytes"
    assert set(before) - set(beside(cluster, database)) == {name[1:] for name in wanted}
    why = {os.path.basename(one["name"]): one["why"] for one in result["found"] if not one["goes"]}
    assert "holds nothing else" in why[f"{database.dbname}_frozen_run-1"]
    assert "rollback" in why[f"{database.dbname}_frozen_run-2b"]
    assert "without a mark" in why[f"{database.dbname}_failed_20250101T000000Z"]
    assert not tidy()["changed"]

    newest = (root / "run-2b/manifest.json").read_text()
    later = json.loads(newest)
    later["environment"]["version"] = "2.17.0"  # as if the instance had gone back from that release
    (root / "run-2b/manifest.json").write_text(json.dumps(later))
    passed_over = tidy(keep=1, check_mode=True)
    assert f"{database.dbname}_frozen_run-2b" in gone(passed_over) and "run-3" not in gone(passed_over)
    (root / "run-2b/manifest.json").write_text(newest)

    (root / "run-2/manifest.json.partial").write_text("half")  # goes with its backup
    with cluster.superuser(f"{database.dbname}_frozen_run-1").connect():  # its backup goes, and it is looked at
        looked_at = tidy(keep=1)
        assert "run-1" in looked_at["failed_items"][0] and "being accessed" in looked_at["failed_items"][0]
    assert gone(looked_at) == ["run-1", "run-2", "run-3"]
    assert gone(tidy(keep=1)) == [f"{database.dbname}_frozen_run-1"]
    assert gone(tidy(keep=1, rollback=True)) == [f"{database.dbname}_frozen_run-2b"]
    assert not tidy(keep=1, rollback=True)["changed"]
    assert beside(cluster, database) == ["failed_20250101T000000Z", "frozen_mine"]
    assert os.listdir(root) == ["run-2b"] and (root / "run-2b/database.dump").exists()
    for name in beside(cluster, database):
        cluster.drop(f"{database.dbname}_{name}")
