"""Files of the controller on the host: only what is missing is sent, and only what was said arrives."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from ansible_collections.fractal_ops.platform.plugins.module_utils._core import copied
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.copied import (
    copied_folders,
    folder_of,
    lay_out,
    missing_files,
    remove_copied,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.modules import fractal_copied_files
from hypothesis import given
from hypothesis import strategies as st


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(copied, "FOLDER", str(tmp_path / "cache"))
    return tmp_path / "cache"


def sent(folder: Path, **content: bytes) -> dict[str, str]:
    """Write files as they arrive, and return what the controller says of them."""
    folder.mkdir(exist_ok=True)
    for name, text in content.items():
        (folder / name).write_bytes(text)
    return {name: hashlib.sha256(text).hexdigest() for name, text in content.items()}


def test_a_set_arrives_whole_readable_by_all_whatever_the_umask(tmp_path: Path, place: Path) -> None:
    files = sent(tmp_path / "sent", a=b"one", b=b"two" * 1_000_000)
    old = os.umask(0o077)
    try:
        assert missing_files(files) == ["a", "b"]
        assert lay_out(files, str(tmp_path / "sent")) is True
    finally:
        os.umask(old)
    folder = Path(folder_of(files))
    assert sorted(one.name for one in folder.iterdir()) == ["a", "b"] and (folder / "a").read_bytes() == b"one"
    assert {one.stat().st_mode & 0o777 for one in folder.iterdir()} == {0o644}
    assert {one.stat().st_mode & 0o777 for one in (place, folder)} == {0o755}
    assert missing_files(files) == [] and lay_out(files, "/nonexistent") is False


def test_what_another_set_has_is_not_sent_again_and_no_set_sees_another(tmp_path: Path) -> None:
    first = sent(tmp_path / "sent", a=b"one", b=b"two")
    lay_out(first, str(tmp_path / "sent"))
    second = sent(tmp_path / "more", b=b"two", c=b"three")
    assert missing_files(second) == ["c"]
    (tmp_path / "more" / "b").unlink()
    assert lay_out(second, str(tmp_path / "more")) is True
    folder = Path(folder_of(second))
    assert folder != Path(folder_of(first)) and sorted(one.name for one in folder.iterdir()) == ["b", "c"]
    assert os.path.samefile(folder / "b", Path(folder_of(first), "b"))


def test_a_file_that_was_changed_on_the_host_is_missing(tmp_path: Path) -> None:
    files = sent(tmp_path / "sent", a=b"one", b=b"two")
    lay_out(files, str(tmp_path / "sent"))
    Path(folder_of(files), "a").write_bytes(b"cut o")
    assert missing_files(files) == ["a"]
    assert lay_out(files, str(tmp_path / "sent")) is True and missing_files(files) == []


@pytest.mark.parametrize("way", ["other", "link", "pipe", "gone"])
def test_what_was_exchanged_on_the_way_is_refused_and_left_nowhere(tmp_path: Path, way: str) -> None:
    files = sent(tmp_path / "sent", a=b"one")
    path = tmp_path / "sent" / "a"
    (tmp_path / "secret").write_bytes(b"one")
    path.unlink()
    if way == "other":
        path.write_bytes(b"two")
    elif way == "link":
        path.symlink_to(tmp_path / "secret")
    elif way == "pipe":
        os.mkfifo(path)
    with pytest.raises(FractalError) as refused:
        lay_out(files, str(tmp_path / "sent"))
    assert list(Path(folder_of(files)).iterdir()) == []
    assert ("was not sent" in str(refused.value)) == (way == "gone")


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "/etc/passwd", "a/b", ".hidden", "a\0b"])
def test_only_a_plain_name_is_one_of_a_file(name: str) -> None:
    with pytest.raises(FractalError, match="not a plain file name"):
        folder_of({name: "0"})


@given(st.dictionaries(st.text("abc.", min_size=1).map("x".__add__), st.text("01", min_size=1), max_size=4))
def test_a_folder_is_named_by_what_is_in_it_and_by_nothing_else(files: dict[str, str]) -> None:
    assert folder_of(files) == folder_of(dict(reversed(files.items())))
    assert folder_of(files) != folder_of({**files, "y": "0"})


def test_all_sets_go_and_nothing_else(tmp_path: Path, place: Path) -> None:
    lay_out(sent(tmp_path / "sent", a=b"one"), str(tmp_path / "sent"))
    (place / "not-ours").mkdir()
    assert fractal_copied_files.keep({"state": "absent"}, True)["removed"] == copied_folders()
    removed = copied_folders()
    assert len(removed) == 1 and remove_copied() == removed
    assert [one.name for one in place.iterdir()] == ["not-ours"] and remove_copied() == []


def test_the_module_says_what_is_missing_and_check_mode_takes_nothing(tmp_path: Path, place: Path) -> None:
    files = sent(tmp_path / "sent", a=b"one")
    options = {"state": "present", "files": files, "source": None}
    asked = fractal_copied_files.keep(options, False)
    assert asked == {"changed": True, "folder": folder_of(files), "missing": ["a"]}
    assert fractal_copied_files.keep({**options, "source": str(tmp_path / "sent")}, True) == asked
    assert not place.exists()
    done = fractal_copied_files.keep({**options, "source": str(tmp_path / "sent")}, False)
    assert done == {"changed": True, "folder": folder_of(files)}
    assert fractal_copied_files.keep(options, False) == {**done, "changed": False, "missing": []}
