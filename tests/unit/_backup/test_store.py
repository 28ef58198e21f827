"""Which backup belongs to an instance, how many stay, and the copy of one."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.fractal_ops.platform.plugins.module_utils._backup.store import (
    find_backup,
    finished_backups,
    pack_backup,
    prune_backups,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError


def manifest(created: str) -> dict[str, Any]:
    return {"format": 1, "created": created, "dump": {"file": "database.dump"}, "files": [], "absent": []}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number, name in enumerate(("older", "newer", ".killed.partial")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "manifest.json").write_text(json.dumps(manifest(f"2026-11-0{number + 1}")))
    (tmp_path / "unfinished").mkdir()
    return tmp_path


def test_the_newest_one_if_nothing_else_is_said(folder: Path) -> None:
    assert [backup.path for backup in finished_backups(str(folder))] == [str(folder / "newer"), str(folder / "older")]
    assert find_backup(str(folder)) == str(folder / "newer")
    assert find_backup(str(folder / "unfinished")) is None
    assert find_backup(str(folder / "missing")) is None


def test_the_one_of_the_upgrade_in_progress(folder: Path) -> None:
    assert find_backup(str(folder), held=str(folder / "older")) == str(folder / "older")


def test_never_one_of_an_earlier_upgrade_while_another_is_in_progress(folder: Path) -> None:
    assert find_backup(str(folder), held=str(folder / "unfinished")) is None


def test_the_one_that_the_operator_names(folder: Path) -> None:
    assert find_backup(str(folder), named=str(folder / "older"), held=str(folder / "newer")) == str(folder / "older")
    with pytest.raises(FractalError, match="no finished backup"):
        find_backup(str(folder), named=str(folder / "unfinished"))


def test_the_newest_backups_stay_and_the_one_of_this_upgrade(folder: Path) -> None:
    assert prune_backups(str(folder), keep=2, spared="newer") == []
    assert prune_backups(str(folder), keep=1, spared="older") == []
    assert prune_backups(str(folder), keep=1, spared="newer", check_mode=True) == [str(folder / "older")]
    assert (folder / "older").exists()
    assert prune_backups(str(folder), keep=1, spared="newer") == [str(folder / "older")]
    assert sorted(path.name for path in folder.iterdir()) == [".killed.partial", "newer", "unfinished"]


def test_a_removal_that_was_killed_leaves_no_half_backup(folder: Path) -> None:
    (folder / "older").rename(folder / ".older.removed")
    assert [backup.path for backup in finished_backups(str(folder))] == [str(folder / "newer")]
    prune_backups(str(folder), keep=1, spared="newer")
    assert not (folder / ".older.removed").exists()


def test_a_packed_backup_is_for_the_folders_owner_only(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    packed = Path(pack_backup(str(folder / "newer"), str(tmp_path_factory.mktemp("into"))))
    assert (packed.name, packed.stat().st_mode & 0o777) == ("newer.tar", 0o600)
    with tarfile.open(packed) as tar:
        assert tar.getnames() == ["newer", "newer/manifest.json"]
    with pytest.raises(FractalError, match="Cannot pack"):
        pack_backup(str(folder / "newer"), str(packed.parent))
