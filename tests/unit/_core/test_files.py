"""Files are replaced whole or not at all, with the owner and mode asked for."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from ansible_collections.fractal_ops.platform.plugins.module_utils._core import files as _atomic_file
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.files import (
    narrow_mode,
    private_folder,
    read_file,
    remove_file,
    write_file,
)

ME, MINE = os.getuid(), os.getgid()


@pytest.mark.parametrize(("mode", "expected"), [(0o644, 0o640), (0o600, 0o600), (0o440, 0o440), (0o777, 0o640)])
def test_a_mode_is_never_widened(mode: int, expected: int) -> None:
    assert narrow_mode(mode, 0o640) == expected


def test_content_and_mode_arrive_whatever_the_umask(tmp_path: Path) -> None:
    path = tmp_path / "env"
    old = os.umask(0o777)
    try:
        write_file(str(path), b"A=1\n", ME, MINE, 0o640)
    finally:
        os.umask(old)
    found = read_file(str(path), 100)
    assert found is not None
    assert (found.content, found.mode, found.uid, found.gid) == (b"A=1\n", 0o640, ME, MINE)


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to("real")
    write_file(str(tmp_path / "link"), b"new", ME, MINE, 0o600)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "env"
    path.write_text("old")
    monkeypatch.setattr(_atomic_file.os, "fsync", _disk_full)
    with pytest.raises(FractalError, match=r"No space left on device. It is unchanged"):
        write_file(str(path), b"new", ME, MINE, 0o600)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["env"]


def _disk_full(descriptor: int) -> None:
    raise OSError(28, os.strerror(28))


def test_what_a_killed_run_left_behind_goes_away(tmp_path: Path) -> None:
    (tmp_path / ".env.abcd1234.new").write_text("SECRET=1")
    (tmp_path / ".env.local.new").write_text("not ours")
    write_file(str(tmp_path / "env"), b"new", ME, MINE, 0o600)
    assert sorted(os.listdir(tmp_path)) == [".env.local.new", "env"]


@pytest.mark.parametrize("there", [True, False])
def test_what_a_killed_run_left_behind_goes_with_the_file(tmp_path: Path, there: bool) -> None:
    (tmp_path / ".env.abcd1234.new").write_text("SECRET=1")
    (tmp_path / ".env.local.new").write_text("not ours")
    (tmp_path / "env").write_text("A=1") if there else None
    assert remove_file(str(tmp_path / "env")) is there
    assert os.listdir(tmp_path) == [".env.local.new"]


def test_a_missing_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(FractalError, match="No such file or directory"):
        write_file(str(tmp_path / "no" / "env"), b"", ME, MINE, 0o600)


@pytest.mark.skipif(ME != 0, reason="needs root: files of other users")
def test_the_owner_is_set_before_the_name(tmp_path: Path) -> None:
    path = tmp_path / "env"
    write_file(str(path), b"A=1\n", 12345, 23456, 0o640)
    found = os.stat(path)
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (12345, 23456, 0o640)


@pytest.mark.parametrize("mask", [0o022, 0o077, 0])
def test_a_private_folder_leaves_what_it_lies_in_as_it_is(tmp_path: Path, mask: int) -> None:
    """/var/lib without this is /var/lib that no service can enter."""
    tmp_path.chmod(0o755)
    before = os.umask(mask)
    try:
        for path in (tmp_path / "ours", tmp_path / "new" / "ours", tmp_path / "ours"):
            assert private_folder(str(path)) == str(path)
    finally:
        os.umask(before)
    modes = {name: stat.S_IMODE((tmp_path / name).stat().st_mode) for name in (".", "ours", "new", "new/ours")}
    assert modes == {".": 0o755, "ours": 0o700, "new": 0o700, "new/ours": 0o700}


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    assert read_file(str(tmp_path / "missing"), 10) is None
    with pytest.raises(FractalError, match="is a directory"):
        read_file(str(tmp_path), 10)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FractalError, match="no regular file"):
        read_file(str(tmp_path / "pipe"), 10)
    (tmp_path / "big").write_bytes(b"x" * 11)
    with pytest.raises(FractalError, match="11 bytes"):
        read_file(str(tmp_path / "big"), 10)


def test_a_file_that_is_replaced_keeps_its_label(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SELinux's label of a file, under a name that this machine lets a file have."""
    monkeypatch.setattr(_atomic_file, "_SELINUX", "user.label")
    path = tmp_path / "env"
    path.write_text("old")
    try:
        os.setxattr(path, "user.label", b"system_u:object_r:etc_t:s0")
    except OSError as error:
        pytest.skip(f"no attributes here: {error.strerror}")
    write_file(str(path), b"new", os.getuid(), os.getgid(), 0o600)
    assert os.getxattr(path, "user.label") == b"system_u:object_r:etc_t:s0"
    write_file(str(tmp_path / "other"), b"new", os.getuid(), os.getgid(), 0o600)
    assert os.listxattr(tmp_path / "other") == []
