"""Files come back from a backup with no more than the rights of whoever named them; planted ones lead root nowhere."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.fractal_ops.platform.plugins.module_utils._backup import instance_files as files_of
from ansible_collections.fractal_ops.platform.plugins.module_utils._backup import restore_files as restoring
from ansible_collections.fractal_ops.platform.plugins.module_utils._backup.instance_files import (
    instance_files,
    read_files,
    save_files,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._backup.restore_files import restore_files
from ansible_collections.fractal_ops.platform.plugins.module_utils._backup.store import pack_backup, read_manifest
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.database import Installation

if TYPE_CHECKING:
    from conftest import Attacker


class Instance:
    """An instance in the attacker's folder, whose unit is root's, and its backup."""

    def __init__(self, attacker: Attacker, monkeypatch: pytest.MonkeyPatch) -> None:
        self.attacker, self.folder = attacker, attacker.theirs
        self.units = attacker.roots.with_name("units")
        self.units.mkdir()
        (self.units / "fractal.service").write_text("[Service]\n")
        self.unit: Any = SimpleNamespace(
            name="fractal.service",
            user=attacker.name,
            working_directory=str(self.folder),
            environment_files=[],
            fragment_path=str(self.units / "fractal.service"),
            drop_in_paths=[],
        )
        monkeypatch.setattr(restoring, "read_unit", lambda _name: self.unit)
        monkeypatch.setattr(files_of, "_UNIT_FOLDERS", (str(self.units),))
        self.env("A=1\n")

    def env(self, text: str) -> None:
        self.attacker.does((self.folder / ".fractal_server.env").write_text, text)

    def backup(self) -> str:
        path = self.attacker.roots.with_name("backup")
        path.mkdir(mode=0o700)
        files = instance_files(Installation(str(self.folder / ".fractal_server.env")), self.unit)
        manifest = {
            "format": 1,
            "created": "2026-11-26",
            "service": {"name": self.unit.name, "user": self.unit.user},
            "dump": {"file": "database.dump"},
            "files": save_files(str(path), read_files(files)),
            "absent": [one.path for one in files if not os.path.lexists(one.path)],
        }
        (path / "manifest.json").write_text(json.dumps(manifest))
        return str(path)


@pytest.fixture
def instance(attacker: Attacker, monkeypatch: pytest.MonkeyPatch) -> Instance:
    return Instance(attacker, monkeypatch)


def test_all_is_as_it_was_and_a_second_time_nothing_is_to_do(instance: Instance) -> None:
    instance.env("FRACTAL_SLURM_CONFIG_FILE=slurm.json\n")
    instance.attacker.does((instance.folder / "slurm.json").write_text, "{}")
    backup = instance.backup()
    instance.env("B=2\n")
    instance.attacker.does((instance.folder / "slurm.json").unlink)
    (instance.folder / ".fractal_server.env.old").write_text("A=1")
    drop_in = instance.units / "fractal.service.d" / "50-fractal.conf"
    drop_in.parent.mkdir()
    drop_in.write_text("[Service]\n")
    (instance.units / "fractal.service").unlink()
    changes = restore_files(backup, [str(drop_in)], check_mode=True)
    assert restore_files(backup, [str(drop_in)]) == changes
    assert {(Path(one["path"]).name, one["action"]) for one in changes} == {
        (".fractal_server.env", "restored"),
        ("slurm.json", "restored"),
        ("fractal.service", "restored"),
        (".fractal_server.env.old", "removed"),
        ("50-fractal.conf", "removed"),
    }
    assert (instance.folder / "slurm.json").stat().st_uid == instance.attacker.uid
    assert restore_files(backup, [str(drop_in)]) == []


def test_a_link_planted_after_the_backup_is_replaced_not_followed(instance: Instance) -> None:
    instance.env("FRACTAL_LOCAL_CONFIG_FILE=payload.conf\n")
    instance.attacker.does((instance.folder / "payload.conf").write_text, "[Service]\nExecStartPre=+/bin/evil\n")
    backup = instance.backup()
    for name in ("payload.conf", ".fractal_server.env"):
        instance.attacker.does((instance.folder / name).unlink)
        instance.attacker.does(os.symlink, instance.attacker.roots / "folder" / "yy.conf", instance.folder / name)
    restore_files(backup, [])
    assert not (instance.folder / "payload.conf").is_symlink()
    assert (instance.folder / ".fractal_server.env").read_text().startswith("FRACTAL_LOCAL")
    assert instance.attacker.untouched() and restore_files(backup, []) == []


@pytest.mark.parametrize("absent", ["d/important", "../roots/folder/important"])
def test_nothing_of_roots_is_removed_because_it_was_not_there(instance: Instance, absent: str) -> None:
    important = instance.attacker.roots / "folder" / "important"
    instance.env(f"FRACTAL_LOCAL_CONFIG_FILE={absent}\n")
    instance.attacker.does(os.mkdir, instance.folder / "d")
    important.unlink()
    backup = instance.backup()
    important.write_text("root's")
    instance.attacker.does(os.rmdir, instance.folder / "d")
    instance.attacker.does(os.symlink, instance.attacker.roots / "folder", instance.folder / "d")
    assert [one["action"] for one in restore_files(backup, [])] == ["left"]
    assert instance.attacker.untouched()


def test_a_file_of_roots_that_the_environment_file_names_is_not_set_back(instance: Instance) -> None:
    important = instance.attacker.roots / "folder" / "important"
    instance.env(f"FRACTAL_SLURM_CONFIG_FILE={important}\n")
    important.write_text("old")
    backup = instance.backup()
    important.write_text("root's")
    assert restore_files(backup, []) == [{"path": str(important), "action": "left"}]
    assert instance.attacker.untouched()


@pytest.mark.parametrize("named", ["canary", "folder"])
def test_what_the_account_cannot_read_is_not_backed_up_by_root(instance: Instance, named: str) -> None:
    instance.env(f"FRACTAL_SLURM_CONFIG_FILE={instance.attacker.roots / named}\n")
    with pytest.raises(FractalError, match=r"Cannot read|is a directory"):
        instance.backup()


def test_a_pipe_and_a_link_to_nothing_are_told_at_once(instance: Instance) -> None:
    instance.env("FRACTAL_LOCAL_CONFIG_FILE=pipe\n")
    instance.attacker.does(os.mkfifo, instance.folder / "pipe")
    with pytest.raises(FractalError, match="pipe is no regular file"):
        instance.backup()
    instance.attacker.does((instance.folder / "pipe").unlink)
    instance.attacker.does(os.symlink, "nowhere", instance.folder / ".fractal_server.env.old")
    with pytest.raises(FractalError, match="leads nowhere"):
        read_files(instance_files(Installation(str(instance.folder / ".fractal_server.env")), instance.unit))


def test_a_link_of_before_is_a_link_again(instance: Instance) -> None:
    real = instance.units / "server.env"
    real.write_text("A=1")
    (instance.units / "extra.env").symlink_to("server.env")
    instance.unit.environment_files = [str(instance.units / "extra.env")]
    backup = instance.backup()
    for spoil in (lambda: (instance.units / "extra.env").write_text("x"), lambda: _other(instance.units / "extra.env")):
        spoil()
        restore_files(backup, [])
        assert os.readlink(instance.units / "extra.env") == "server.env" and real.read_text() == "A=1"


def _other(link: Path) -> None:
    link.unlink()
    link.symlink_to("elsewhere")


# -- whose backup it is ------------------------------------------------------------------------------------------------


def test_a_backup_in_a_folder_of_another_account_is_not_believed(instance: Instance) -> None:
    backup = instance.backup()
    theirs = instance.folder / "backups" / "run"
    instance.attacker.does(os.makedirs, theirs)
    os.rename(backup, theirs / "real")
    for path in (theirs, theirs / "real"):
        with pytest.raises(FractalError, match="can change it"):
            restore_files(str(path), [])


@pytest.mark.parametrize(
    "spoiled",
    [
        {"absent": ["/etc/cron.d/../passwd"]},
        {"absent": ["relative"]},
        {"files": [{"path": "/x", "file": "../../etc/shadow"}]},
        {"files": [{"path": "/x", "file": "/etc/shadow"}]},
        {"files": [{"path": "x", "file": "files/x"}]},
        {"files": [7]},
        {"dump": None},
    ],
)
def test_a_manifest_with_strange_names_is_none(tmp_path: Path, spoiled: dict[str, Any]) -> None:
    good = {"format": 1, "created": "2026", "dump": {"file": "database.dump"}, "files": [], "absent": []}
    (tmp_path / "manifest.json").write_text(json.dumps({**good, **spoiled}))
    with pytest.raises(FractalError, match="not a finished backup"):
        read_manifest(str(tmp_path))


def test_packing_does_not_follow_a_link(instance: Instance) -> None:
    backup = instance.backup()
    instance.attacker.does(os.symlink, instance.attacker.roots / "folder" / "x", instance.folder / "backup.tar")
    with pytest.raises(FractalError, match="Cannot pack"):
        pack_backup(backup, str(instance.folder))
    assert instance.attacker.untouched()
