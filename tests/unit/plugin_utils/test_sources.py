"""What an operator names on the controller, to be copied to hosts."""

from __future__ import annotations

import hashlib
from pathlib import Path

from ansible_collections.fractal_ops.platform.plugins.plugin_utils.sources import files_of, sha256_of, why_not_copied


def test_the_files_of_a_folder_and_a_file_alone(tmp_path: Path) -> None:
    for name in ("b.whl", "a.whl", ".hidden"):
        (tmp_path / name).write_text(name)
    (tmp_path / "deeper").mkdir()
    assert list(files_of(str(tmp_path))) == ["a.whl", "b.whl"]
    assert files_of(str(tmp_path / "a.whl")) == {"a.whl": tmp_path / "a.whl"}
    assert sha256_of(tmp_path / "a.whl") == hashlib.sha256(b"a.whl").hexdigest()
    assert why_not_copied(str(tmp_path)) == why_not_copied(str(tmp_path / "a.whl")) == ""


def test_what_cannot_be_copied(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert why_not_copied(f"{tmp_path}/none") == "which cannot be read on the controller: No such file or directory"
    assert why_not_copied(f"{tmp_path}/empty") == "which is an empty folder on the controller"
