"""The copy of a backup on the controller: only where it stays secret, and the folder stays as its owner made it."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from playbook_runs import HERE, Ran
from pretended_hosts import PretendedHosts

RUN = "20261127T170000Z"
PLAYBOOK = [
    {
        "hosts": "fractal_server",
        "gather_facts": False,
        "vars": {
            "__server_state": {"instance": {"python": "/venv/bin/python3"}},
            "__server_upgrade_window": {
                "window": {"results": {"backup": {"backup": {"path": f"/backups/{RUN}", "run": RUN}}}}
            },
            "__fractal_lock": {"run": "r", "controller": "c"},
        },
        "tasks": [
            {
                "name": "Copy",
                "ansible.builtin.include_role": {"name": "fractal_ops.platform.backup", "tasks_from": "copy.yml"},
            }
        ],
    }
]


class Controller:
    """This machine, which is the host as well; ``folder`` is that for copies."""

    def __init__(self, root: Path, prefix: str) -> None:
        self.root, self.folder, self.hosts = root, root / "copies", PretendedHosts(root)
        self.service = prefix.removeprefix("fractal-backup-")
        packed = root / f"{RUN}.tar"
        packed.write_text("secret")
        packed.chmod(0o644)
        self.hosts.tell("", "fractal_backup:packed", packed=str(packed))

    def left(self) -> set[str]:
        """Return what is on the host of packed backups of this service."""
        return {path.name[-1] for path in Path("/var/tmp").glob(f"fractal-backup-{self.service}-*")}

    def leave(self, name: str, uid: int) -> None:
        """Leave on the host what a killed run of this account leaves there."""
        folder = Path(f"/var/tmp/fractal-backup-{self.service}-{name}")
        folder.mkdir(0o700)
        (folder / f"{RUN}.tar").touch()
        os.chown(folder, uid, -1)

    def copy(self) -> Ran:
        self.hosts.write()
        (self.root / "copy.yml").write_text(json.dumps(PLAYBOOK))
        inventory = f"[fractal_server]\nserver fractal_server_service={self.service} {HERE}\n"
        option = ("-e", f"fractal_backup_copy_to={self.folder}")
        return Ran(self.root, "copy.yml", inventory, *option, collections=self.hosts.root)

    def copied(self) -> dict[str, int]:
        return {path.name: path.stat().st_mode & 0o777 for path in self.folder.iterdir()}


@pytest.fixture
def controller(tmp_path: Path) -> Iterator[Controller]:
    """The service has a name that nobody else uses, as all packed backups lie in one folder of the machine."""
    with tempfile.TemporaryDirectory(prefix="fractal-backup-", dir="/var/tmp") as unique:
        found = Controller(tmp_path, Path(unique).name)
        yield found
        for path in Path("/var/tmp").glob(f"fractal-backup-{found.service}-*"):
            shutil.rmtree(path)


def test_a_folder_that_every_account_can_write_is_refused_and_stays_as_it_is(controller: Controller) -> None:
    """To take /tmp from all others would be worse than to have no copy."""
    controller.folder.mkdir()
    controller.folder.chmod(0o1777)
    run = controller.copy()
    said = " ".join(run.screen.split())
    assert run.code == 2 and f"Every account can write in {controller.folder}: no copy" in said
    assert controller.folder.stat().st_mode & 0o7777 == 0o1777 and controller.copied() == {}
    assert controller.left() == set() and not (controller.root / "calls").exists(), "nothing is packed for it"


@pytest.mark.parametrize(("mode", "becomes"), [(0o750, 0o750), (None, 0o700)], ids=["0750", "new"])
def test_a_folder_keeps_the_mode_that_its_owner_gave_it(controller: Controller, mode: int | None, becomes: int) -> None:
    """A group that fetches the copies is not locked out; only a new folder is made for nobody else."""
    if mode is not None:
        controller.folder.mkdir()
        controller.folder.chmod(mode)
    run = controller.copy()
    assert run.code == 0, run.screen
    assert controller.folder.stat().st_mode & 0o7777 == becomes
    assert controller.copied() == {f"server-{RUN}.tar": 0o600}
    (asked,) = controller.hosts.options("fractal_backup")
    assert asked["into"].startswith(f"/var/tmp/fractal-backup-{controller.service}-") and asked["run"] == RUN
    assert controller.left() == set()


def test_what_a_killed_run_left_on_the_host_is_removed(controller: Controller) -> None:
    controller.leave("x", os.geteuid())
    run = controller.copy()
    assert run.code == 0, run.screen
    assert controller.left() == set(), run.screen


@pytest.mark.skipif(os.geteuid() != 0, reason="without root nothing is anybody else's")
def test_what_another_account_put_there_is_not_touched(controller: Controller) -> None:
    """In a folder that all can write, a name says nothing of whose it is."""
    controller.leave("x", os.geteuid())
    controller.leave("y", 65534)
    run = controller.copy()
    assert run.code == 0, run.screen
    assert controller.left() == {"y"}
