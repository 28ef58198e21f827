"""What tidying up judges to be needed, and how that is told."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.fractal_ops.platform.plugins.module_utils._backup import tidy
from ansible_collections.fractal_ops.platform.plugins.module_utils._backup.store import (
    Backup,
    finished_backups,
    left_over_files,
    left_over_folders,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._backup.tidy import (
    is_used,
    judge_backups,
    judge_database,
    judge_release,
    tidy_web,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._core import copied
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance import web_release
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.hold import Hold
from ansible_collections.fractal_ops.platform.plugins.module_utils._venv.build import releases_of_ours


def backup(run: str, dump: bool = True) -> Backup:
    return Backup(f"/b/{run}", {"run": run, "dump": {"file": "database.dump"} if dump else None})


# of what the instance has gone back from, what a rollback goes back to, an older one, and one without a dump
STAYING = [backup("left"), backup("new"), backup("old"), backup("bare", dump=False)]
BACK = STAYING[1]


@pytest.mark.parametrize(
    ("kind", "run", "rollback", "goes", "why"),
    [
        ("frozen", "new", False, False, "a rollback of the newest upgrade gives it back"),
        ("frozen", "new", True, True, "given up"),
        ("frozen", "old", False, True, "a rollback does not go back to /b/old, which has its dump"),
        ("frozen", "left", False, True, "a rollback does not go back to /b/left, which has its dump"),
        ("frozen", "bare", False, False, "holds nothing else"),
        ("frozen", "bare", True, False, "holds nothing else"),
        ("frozen", "pruned", False, True, "its backup is gone"),
        ("failed", "new", False, True, "a rollback has put it aside"),
        ("proof", "new", False, True, "killed"),
        ("restore", "x", False, True, "killed"),
        ("unfinished", "x", False, True, "killed"),
    ],
)
def test_which_databases_go(kind: str, run: str, rollback: bool, goes: bool, why: str) -> None:
    found = judge_database(kind, run, STAYING, BACK, rollback)
    assert found[0] == goes and why in found[1]


def test_the_only_way_back_stays_though_it_is_given_up() -> None:
    bare = backup("bare", dump=False)
    assert judge_database("frozen", "bare", [bare], bare, True)[0] is False


@pytest.mark.parametrize(
    ("keep", "gone"), [(0, []), (1, ["old", "bare"]), (2, ["old", "bare"]), (3, ["bare"]), (9, [])]
)
def test_which_backups_go(keep: int, gone: list[str]) -> None:
    verdicts = judge_backups(STAYING, keep, BACK)
    assert [path for path, (goes, _why) in verdicts.items() if goes] == [f"/b/{name}" for name in gone]
    assert verdicts["/b/new"] == (False, "a rollback goes back to it")
    assert judge_backups([], keep, None) == {}


@pytest.mark.parametrize(
    ("used", "wanted_back", "rollback", "goes"),
    [
        (True, False, True, False),
        (False, True, False, False),
        (False, True, True, True),
        (False, False, False, True),
    ],
)
def test_which_releases_go(used: bool, wanted_back: bool, rollback: bool, goes: bool) -> None:
    assert judge_release("2.16.6", used, wanted_back, rollback)[0] == goes


def test_a_process_that_runs_from_a_folder_is_seen(tmp_path: Path) -> None:
    folder = tmp_path / "venv-1"
    folder.mkdir()
    assert not is_used(str(folder))
    with subprocess.Popen(["sleep", "60"], cwd=folder) as process:
        try:
            assert is_used(str(folder)) and not is_used(str(tmp_path / "venv"))
        finally:
            process.kill()


def environment(folder: Path, version: str, names: Path) -> None:
    packages = folder / f"lib/python3.11/site-packages/fractal_server-{version}.dist-info"
    packages.mkdir(parents=True)
    (folder / "bin").mkdir()
    (folder / "bin/fractalctl").write_text(f"#!{names}/bin/python3\n")


def test_which_environments_are_ours(tmp_path: Path) -> None:
    """One that names the path whose place it takes; not one made at its own place, nor a link, nor another folder."""
    known = tmp_path / "venv"
    environment(tmp_path / "venv-2.17.0", "2.17.0", known)
    environment(tmp_path / "venv-2.16.0", "2.16.0", tmp_path / "venv-2.16.0")
    environment(tmp_path / "venv-2.16.5", "2.16.6", known)
    (tmp_path / "venv-2.16.6").symlink_to("venv-2.17.0")
    (tmp_path / "venv-2.15.0").mkdir()
    (tmp_path / "venv-backup").mkdir()
    assert releases_of_ours(str(known)) == ["2.17.0"]


def test_what_killed_backups_left(tmp_path: Path) -> None:
    for name in (".a.partial", ".b.removed", "c", "d.partial"):
        (tmp_path / name).mkdir()
    assert [os.path.basename(path) for path in left_over_folders(str(tmp_path))] == [".a.partial", ".b.removed"]


@pytest.mark.parametrize("kept", ["database.dump", "database.dump.gz", ""])
def test_what_killed_runs_left_in_finished_backups(tmp_path: Path, kept: str) -> None:
    """What the manifest names stays, and what is none of ours; a folder without a manifest is not looked at."""
    partial = [f"{name}.partial" for name in ("database.dump", "manifest.json", "after.json")]
    ours = {"database.dump", "database.dump.gz", *partial}
    for folder in ("a", "unfinished"):
        (tmp_path / folder).mkdir(mode=0o700)
        for name in (*ours, "after.json", "packages.txt", "notes.partial"):
            (tmp_path / folder / name).touch()
    dump = {"file": kept} if kept else None
    told = {"format": 2, "created": "now", "dump": dump, "copy": {"name": "c"}, "files": [], "absent": []}
    (tmp_path / "a/manifest.json").write_text(json.dumps(told))
    found = left_over_files(finished_backups(str(tmp_path)))
    assert {os.path.relpath(path, tmp_path / "a") for path in found} == ours - {kept}


@pytest.fixture
def web(tmp_path: Path) -> dict[str, Any]:
    """fractal-web 1.22.2, after two upgrades from 1.20.1, and a folder of the operator's."""
    for version in ("1.19.0", "1.20.1", "1.21.1", "1.22.2"):
        folder = tmp_path / f"fractal-web-{version}"
        folder.mkdir()
        (folder / "package.json").write_text(f'{{"version": "{version}"}}')
    (tmp_path / "fractal-web-1.21.1" / web_release.MARK).write_text('{"moves_aside": "1.20.1"}')
    (tmp_path / "fractal-web-1.22.2" / web_release.MARK).write_text('{"moves_aside": ""}')
    (tmp_path / "fractal-web").symlink_to("fractal-web-1.22.2")
    (tmp_path / "web.env").write_text("now")
    (tmp_path / "web.env-1.20.1").write_text("then")
    (tmp_path / "fractal-web-1.23.0.partial").mkdir()
    names = {"release_directory": str(tmp_path / "fractal-web"), "env_file": str(tmp_path / "web.env")}
    return {**names, "service": "fractal-web.service", "version": "1.22.2"}


def test_folders_of_fractal_web(tmp_path: Path, web: dict[str, Any]) -> None:
    before = sorted(os.listdir(tmp_path))
    predicted = tidy_web(web, check_mode=True)
    assert sorted(os.listdir(tmp_path)) == before
    result = tidy_web(web)
    assert result == predicted and result["changed"] and result["failed_items"] == []
    gone = {"fractal-web-1.20.1", "web.env-1.20.1", "fractal-web-1.23.0.partial"}
    assert set(before) - set(os.listdir(tmp_path)) == gone
    assert result["bytes"] == sum(one["bytes"] for one in result["found"] if one["goes"]) > 0
    (kept,) = [one for one in result["found"] if not one["goes"]]
    assert kept["name"].endswith("fractal-web-1.21.1") and "rollback" in kept["why"]
    assert not tidy_web(web)["changed"]
    assert tidy_web(web, rollback=True)["changed"]
    assert sorted(os.listdir(tmp_path)) == ["fractal-web", "fractal-web-1.19.0", "fractal-web-1.22.2", "web.env"]


def test_what_was_copied_from_the_controller_goes(
    tmp_path: Path, web: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copied, "FOLDER", str(tmp_path / "cache"))
    (tmp_path / "cache" / "0123456789abcdef").mkdir(parents=True)
    (tmp_path / "cache" / "not-ours").mkdir()
    (item,) = [one for one in tidy_web(web)["found"] if one["kind"] == "files"]
    assert item["goes"] and "copied from the controller" in item["why"]
    assert os.listdir(tmp_path / "cache") == ["not-ours"]


def test_what_cannot_be_removed_is_told(web: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str) -> None:
        raise FractalError(f"Cannot remove {path}: busy.")

    monkeypatch.setattr(tidy, "remove_beside", refuse)
    result = tidy_web(web)
    assert not result["changed"] and result["bytes"] == 0 and len(result["failed_items"]) == 3
    assert all("Cannot remove" in one["why"] for one in result["found"] if "1.20.1" in one["name"])


def test_nothing_is_removed_while_an_upgrade_is_in_progress(
    tmp_path: Path, web: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sorted(os.listdir(tmp_path))
    monkeypatch.setattr(tidy, "read_hold", lambda _: Hold("r", "2026-11-26", "ann@ops1"))
    with pytest.raises(FractalError, match="in progress since 2026-11-26"):
        tidy_web(web)
    with pytest.raises(FractalError, match="Nothing was removed"):
        tidy.tidy_server(None, {"service": "fractal-server.service"}, "/b")  # type: ignore[arg-type]
    assert sorted(os.listdir(tmp_path)) == before
