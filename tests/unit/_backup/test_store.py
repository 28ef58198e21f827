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


def manifest(created: str, version: str) -> dict[str, Any]:
    known = {"format": 1, "created": created, "environment": {"version": version}}
    return {**known, "dump": {"file": "database.dump"}, "files": [], "absent": []}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    backups = (("older", "2.16.6"), ("newer", "2.17.0"), (".killed.partial", "2.17.0"))
    for number, (name, version) in enumerate(backups):
        (tmp_path / name).mkdir()
        (tmp_path / name / "manifest.json").write_text(json.dumps(manifest(f"2026-11-0{number + 1}", version)))
    (tmp_path / "unfinished").mkdir()
    return tmp_path


def test_the_newest_one_if_nothing_else_is_said(folder: Path) -> None:
    assert [backup.path for backup in finished_backups(str(folder))] == [str(folder / "newer"), str(folder / "older")]
    assert find_backup(str(folder)) == str(folder / "newer")
    assert find_backup(str(folder / "unfinished")) is None
    assert find_backup(str(folder / "missing")) is None


@pytest.mark.parametrize(
    ("installed", "name"),
    [
        ("2.17.2", "newer"),
        ("2.17.0", "newer"),
        ("2.16.10", "older"),  # by number, not by letter
        ("2.16.6", "older"),
        ("2.16.5", None),
        ("", "newer"),  # nothing is installed that could tell
        ("2.17.0a1", "newer"),
    ],
)
def test_none_of_a_release_that_the_instance_has_gone_back_from(folder: Path, installed: str, name: str | None) -> None:
    assert find_backup(str(folder), installed=installed) == (str(folder / name) if name else None)


def test_one_in_progress_or_named_is_of_any_release(folder: Path) -> None:
    newer = str(folder / "newer")
    assert find_backup(str(folder), held=newer, installed="2.16.6") == newer
    assert find_backup(str(folder), named=newer, installed="2.16.6") == newer


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
