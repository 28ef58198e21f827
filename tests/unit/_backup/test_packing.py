"""A dump without compression is packed later, and read as it was; killed anywhere, the backup has one good dump."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from ansible_collections.fractal_ops.platform.plugins.module_utils._backup import packing
from ansible_collections.fractal_ops.platform.plugins.module_utils._backup.packing import (
    not_packed,
    opened_dump,
    pack_dump,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._backup.store import (
    DUMP,
    measure,
    open_backup,
    write_manifest,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError

CONTENT = b"PGDMP" + b"all the same " * 100_000


def make(root: Path, content: bytes = CONTENT, compress: str = "0") -> Path:
    folder = root / "run"
    folder.mkdir(mode=0o700)
    (folder / DUMP).write_bytes(content)
    dump = {"file": DUMP, "seconds": 1.0, "compress": compress, **measure(str(folder / DUMP))}
    write_manifest(str(folder), {"format": 1, "run": "run", "created": "2026", "dump": dump, "files": [], "absent": []})
    return folder


def content_of(folder: Path) -> bytes:
    with opened_dump(open_backup(str(folder))) as descriptor:
        os.lseek(descriptor, 0, os.SEEK_SET)
        with open(os.dup(descriptor), "rb") as stream:
            return stream.read()


def test_packed_and_read_again(tmp_path: Path) -> None:
    folder = make(tmp_path)
    assert not_packed(str(tmp_path)) == [str(folder)] and content_of(folder) == CONTENT
    pack_dump(str(folder))
    assert sorted(os.listdir(folder)) == ["database.dump.gz", "manifest.json"]
    assert (folder / "database.dump.gz").stat().st_size < len(CONTENT) / 10
    assert (folder / "database.dump.gz").stat().st_mode & 0o777 == 0o600
    assert not_packed(str(tmp_path)) == [] and content_of(folder) == CONTENT
    assert sorted(os.listdir(folder)) == ["database.dump.gz", "manifest.json"], "what was unpacked is gone"


def test_what_packing_does_not_make_smaller_stays(tmp_path: Path) -> None:
    content = os.urandom(50_000)
    folder = make(tmp_path, content)
    pack_dump(str(folder))
    assert sorted(os.listdir(folder)) == [DUMP, "manifest.json"] and content_of(folder) == content
    assert not_packed(str(tmp_path)) == []


@pytest.mark.parametrize("compress", ["1", "lz4", "zstd:1"])
def test_one_with_compression_is_left(compress: str, tmp_path: Path) -> None:
    make(tmp_path, compress=compress)
    assert not_packed(str(tmp_path)) == []


class Killed(BaseException):
    """Nothing can catch it as an error."""


@pytest.mark.parametrize("at", ["_pack", "write_manifest", "sync_folder"])
def test_killed_anywhere(at: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, wanted = make(tmp_path), getattr(packing, at)

    def dies(*arguments: object) -> None:
        if at == "_pack":
            (folder / "database.dump.gz").write_bytes(b"half")
        raise Killed

    monkeypatch.setattr(packing, at, dies)
    with pytest.raises(Killed):
        pack_dump(str(folder))
    monkeypatch.setattr(packing, at, wanted)
    assert content_of(folder) == CONTENT
    for path in not_packed(str(tmp_path)):
        pack_dump(path)
    assert sorted(os.listdir(folder)) == ["database.dump.gz", "manifest.json"] and content_of(folder) == CONTENT


def test_killed_just_before_the_plain_one_goes(tmp_path: Path) -> None:
    folder = make(tmp_path)
    pack_dump(str(folder))
    (folder / DUMP).write_bytes(CONTENT)
    assert not_packed(str(tmp_path)) == [str(folder)]
    pack_dump(str(folder))
    assert sorted(os.listdir(folder)) == ["database.dump.gz", "manifest.json"] and not_packed(str(tmp_path)) == []


def test_a_damaged_one_is_refused_in_words(tmp_path: Path) -> None:
    folder = make(tmp_path)
    pack_dump(str(folder))
    packed = folder / "database.dump.gz"
    packed.write_bytes(packed.read_bytes()[:-100])
    with pytest.raises(FractalError, match="damaged"):
        open_backup(str(folder))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["dump"].update(measure(str(packed)))
    write_manifest(str(folder), manifest)
    with pytest.raises(FractalError, match="Cannot unpack"):
        content_of(folder)
