"""Which backup a rollback goes back to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ansible_collections.fractal_ops.platform.plugins.module_utils._errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._files_restore import find_backup


def backup(folder: Path, name: str, created: str | None) -> str:
    """Make a backup; one without a time of its creation was never finished."""
    path = folder / name
    path.mkdir()
    if created:
        (path / "manifest.json").write_text(json.dumps({"created": created}))
    return str(path)


def test_the_one_of_the_upgrade_in_progress_wins_if_it_was_finished(tmp_path: Path) -> None:
    old, new = backup(tmp_path, "a", "2026-02-01"), backup(tmp_path, "b", "2026-01-01")
    assert find_backup(str(tmp_path)) == old
    assert find_backup(str(tmp_path), held=new) == new
    assert find_backup(str(tmp_path), held=backup(tmp_path, "c", None)) == old
    assert find_backup(str(tmp_path / "none")) is None


def test_a_named_one_must_be_there(tmp_path: Path) -> None:
    assert find_backup(str(tmp_path), backup(tmp_path, "a", "2026-01-01")) == str(tmp_path / "a")
    with pytest.raises(FractalError, match="holds no finished backup"):
        find_backup(str(tmp_path), backup(tmp_path, "b", None))


def test_an_upgrade_that_failed_before_its_backup_goes_back_to_no_older_one(tmp_path: Path) -> None:
    backup(tmp_path, "a", "2026-01-01")
    held = backup(tmp_path, "b", None)
    assert find_backup(str(tmp_path), named=held, held=held) is None
