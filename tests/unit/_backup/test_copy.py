"""Parts of the frozen copy that need no database: room, compression of dumps, the manifest, and the archive."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.fractal_ops.platform.plugins.module_utils._backup import archive, copy, make
from ansible_collections.fractal_ops.platform.plugins.module_utils._backup.store import (
    newest_without_dump,
    open_backup,
    partial_path,
    run_of_partial,
    without_dump,
    write_manifest,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.contents import (
    Contents,
    TableContents,
    differences,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.database import Installation
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.programs import (
    PostgresPrograms,
    cheapest_compression,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._venv.interpreter import PythonFacts

GB = 10**9
COUNTED = {"rows": 2, "digest": "", "columns": ["id"], "kept": "", "max_id": 7}
CONTENTS = {"revision": "r", "tables": {"jobv2": COUNTED}, "sequences": {}, "structure": {}, "schema": "public"}
COPY = {"name": "fractal_frozen_r", "oid": 5, "search_path": "public", "seconds": 1.0}


def manifest(**changes: Any) -> dict[str, Any]:
    return {
        "format": 2,
        "run": "r",
        "created": "2026",
        "dump": None,
        "copy": COPY,
        "proof": {"kind": "copy", "seconds": 1.0, "left_out": []},
        "contents": CONTENTS,
        "environment": {"version": "2.16.6"},
        "release": "2.16.0",
        "files": [],
        "absent": [],
        **changes,
    }


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "r").mkdir()
    write_manifest(str(tmp_path / "r"), manifest())
    return tmp_path


@pytest.mark.parametrize(("free", "enough"), [(2.4 * GB, True), (2.3 * GB, False)])
def test_room_for_the_copy_and_for_the_proof_of_its_dump(
    free: float, enough: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copy, "data_folder", lambda _: str(tmp_path))
    monkeypatch.setattr(copy.shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    assert (copy.no_room(GB, 1) == []) == enough


class Copying:
    """A door behind which a frozen copy is made; ``asked`` notes what was asked of host and database, in order."""

    python, account = "/venv/bin/python3", None

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[str] = []
        found = PythonFacts("/venv", "/usr/bin/python3", "2.16.6", "3.11.7", True)
        for name, answer in {"why_not_copied": [], "facts": found, "package_lines": ["a==1"]}.items():
            monkeypatch.setattr(make, name, lambda *_where, name=name, answer=answer: self.asked.append(name) or answer)
        monkeypatch.setattr(make, "service_side", lambda *_where: self)

    def begin(self, function: Any, *_given: Any) -> Copying:
        self.asked.append(function.__name__)
        return self

    def __enter__(self) -> Copying:
        return self

    def __exit__(self, *_error: object) -> None:
        """Nothing is left."""

    def answer(self) -> dict[str, Any]:
        self.asked.append("copied")
        told = {"database": {}, "contents": CONTENTS, "task_groups": [], "copy": COPY}
        return {**told, "copy_seconds": 1.0, "compare_seconds": 1.0}


def test_what_was_seen_before_the_stop_is_not_asked_in_the_window(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    door, root = Copying(monkeypatch), tmp_path / "backups"
    (tmp_path / ".env").write_text("POSTGRES_DB=d\n")
    installation = Installation(str(tmp_path / ".env"))
    before = make.see_before(installation, None, "auto")
    everything, door.asked = door.asked, []
    meanwhile = {"meanwhile": lambda: door.asked.append("meanwhile"), "before": before}
    told = make.make_backup(installation, None, str(root), "r", method="auto", **meanwhile)
    assert door.asked == ["copy_database", "meanwhile", "copied"] and told["backup"]["version"] == "2.16.6"
    assert (root / "r" / "packages.txt").read_text() == "a==1\n"
    door.asked = []
    make.make_backup(installation, None, str(root), "r2", method="auto")
    assert door.asked == [*everything, "copy_database", "copied"], "without it, it asks"
    door.asked = []
    assert make.see_before(installation, None, "dump") == before and "why_not_copied" not in door.asked


def test_no_copy_is_begun_that_was_seen_to_be_forbidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    door, installation = Copying(monkeypatch), Installation(str(tmp_path / ".env"))
    before = replace(make.see_before(installation, None, "copy"), why_not_copied=["no room"])
    door.asked = []
    with pytest.raises(FractalError, match="no room"):
        make.make_backup(installation, None, str(tmp_path / "backups"), "r", method="copy", before=before)
    assert door.asked == []


def test_an_environment_without_fractal_server_is_none_to_go_back_to(monkeypatch: pytest.MonkeyPatch) -> None:
    Copying(monkeypatch)
    monkeypatch.setattr(make, "facts", lambda *_where: PythonFacts("/venv", "/usr/bin/python3", None, "3.11.7", True))
    with pytest.raises(FractalError, match="fractal-server is not installed in the environment of /venv"):
        make.see_before(Installation("/srv/.env"), None, "dump")


def test_where_postgresql_runs_elsewhere_its_room_is_not_known() -> None:
    assert copy.no_room(10**18, 0) == []


SAYS = 'case "$*" in *{0}*) echo "pg_dump: error: {1}" >&2; exit 1;; esac\n'
REFUSES = SAYS.format("nonsense", "invalid value 'nonsense' for option -Z/--compress")
NO_LZ4 = SAYS.format("lz4", "this build does not support compression with LZ4")
OLD = "true"  # takes any word for a number
NEITHER = 'echo "pg_dump: error: unrecognized compression algorithm" >&2; exit 1'


@pytest.mark.parametrize(
    ("script", "free", "compress"),
    [
        (REFUSES, 0, "lz4"),
        (REFUSES + NO_LZ4, 100 * GB, "zstd:1"),
        (REFUSES + NEITHER, 4 * GB, "0"),
        (REFUSES + NEITHER, 3 * GB, "1"),
        (OLD, 4 * GB, "0"),
        (OLD, 2 * GB, "1"),
    ],
)
def test_the_cheapest_compression(script: str, free: int, compress: str, tmp_path: Path) -> None:
    """This pg_dump is asked what it has; an old one, which takes any word, is not believed."""
    goes_on = 'echo "pg_dump: error: connection to server on socket failed: No such file" >&2; exit 1'
    (tmp_path / "pg_dump").write_text(f"#!/bin/sh\n{script}\n{goes_on}\n")
    (tmp_path / "pg_dump").chmod(0o755)
    assert cheapest_compression(PostgresPrograms(str(tmp_path), 16), GB, free) == compress


def test_rows_without_digests_are_compared_as_far_as_they_tell() -> None:
    counted, now = Contents.from_dict(CONTENTS), Contents.from_dict(CONTENTS)
    now.tables["jobv2"] = TableContents(2, "77", ["id"], "77", 7)
    assert differences(counted, now) == [] == differences(now, counted)
    now.tables["jobv2"] = TableContents(3, "77", ["id"], "77", 7)
    assert differences(counted, now) == ["table jobv2 has 3 rows instead of 2"]


@pytest.mark.parametrize(
    ("before", "now", "equal"),
    [
        (("1", "v"), ("1", "w"), True),  # written, and the same again
        (("1", "v"), ("2", "v"), False),
        (("1", "v"), ("", "v"), True),
        (("1", "v"), ("", "w"), False),
        (("", "v"), ("2", "w"), False),
        (("", "v"), ("2", ""), True),
    ],
)
def test_versions_of_rows_tell_what_digests_do_not(before: tuple[str, str], now: tuple[str, str], equal: bool) -> None:
    def holding(digest: str, versions: str) -> Contents:
        table = TableContents(2, digest, ["id"], digest, 7, versions)
        return Contents("r", {"jobv2": table}, {}, {})

    assert (differences(holding(*before), holding(*now)) == []) == equal


def test_a_backup_that_is_a_copy_alone(root: Path) -> None:
    backup = open_backup(str(root / "r"))
    assert (
        not backup.has_dump
        and backup.summary()["frozen_copy"] == "fractal_frozen_r"
        and backup.summary()["dump_bytes"] == 0
    )
    write_manifest(str(root / "r"), manifest(copy={"name": ""}))
    with pytest.raises(FractalError, match="not a finished backup"):
        open_backup(str(root / "r"))
    assert run_of_partial(partial_path(str(root), "20261126T170000Z")) == "20261126T170000Z"


def test_only_the_newest_backup_asks_for_its_dump(root: Path) -> None:
    assert newest_without_dump(str(root)) == without_dump(str(root)) == [str(root / "r")]
    (root / "s").mkdir()
    write_manifest(str(root / "s"), manifest(created="2027", dump={"file": "database.dump"}))
    assert newest_without_dump(str(root)) == [] and without_dump(str(root)) == [str(root / "r")]


@pytest.fixture
def child(root: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the dump of the copy tells; the database is another test's."""
    table = {**COUNTED, "digest": "77", "kept": "77"}
    answer = {
        "dump": {"file": "database.dump", "seconds": 1.0, "size": 4, "sha256": "x"},
        "proof": {"kind": "restore", "seconds": 2.0, "left_out": []},
        "contents": {**CONTENTS, "tables": {"jobv2": table}},
    }

    def dumped(_door: Any, _installation: Any, _run: str, _proof: str, path: str, wanted: Any) -> dict[str, Any]:
        assert wanted == COPY and path == str(root / "r/database.dump.partial")
        Path(path).write_text("dump")
        return answer

    monkeypatch.setattr(archive, "dumped", dumped)
    monkeypatch.setattr(archive, "service_side", lambda *_: None)
    return answer


def test_the_archive_finishes_the_backup(root: Path, child: dict[str, Any]) -> None:
    (root / "r/database.dump.partial").write_text("of a killed run")
    assert archive.archive_backups(None, None, str(root), check_mode=True)["changed"]  # type: ignore[arg-type]
    assert json.loads((root / "r/manifest.json").read_text()) == manifest()
    result = archive.archive_backups(None, None, str(root))  # type: ignore[arg-type]
    assert (result["changed"], result["dump_seconds"], result["proof_seconds"]) == (True, 1.0, 2.0)
    assert result["archived"][0]["proof"]["kind"] == "restore"
    assert json.loads((root / "r/manifest.json").read_text()) == manifest(**child)
    assert sorted(os.listdir(root / "r")) == ["database.dump", "manifest.json"]
    again = archive.archive_backups(None, None, str(root))  # type: ignore[arg-type]
    assert not again["changed"] and again["archived"] == []


def test_a_changed_copy_gets_no_archive(root: Path, child: dict[str, Any]) -> None:
    child["contents"]["tables"]["jobv2"]["rows"] = 1
    with pytest.raises(FractalError, match="has 1 rows instead of 2"):
        archive.archive_backups(None, None, str(root))  # type: ignore[arg-type]
    assert os.listdir(root / "r") == ["manifest.json"]
    assert json.loads((root / "r/manifest.json").read_text()) == manifest()


def test_a_copy_that_is_gone_is_told(root: Path, child: dict[str, Any]) -> None:
    child.clear()
    result = archive.archive_backups(None, None, str(root))  # type: ignore[arg-type]
    assert (result["changed"], result["gone"]) == (False, [str(root / "r")])
    assert os.listdir(root / "r") == ["manifest.json"]
