"""A throwaway account of this host, so that what another account can do to root's work is really done by one."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable

import pytest
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance import archives
from hypothesis import settings

settings.register_profile("busy", deadline=None)  # how long an example takes says something of the machine only
settings.load_profile("busy")


@pytest.fixture
def archives_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the archives that were installed are noted: not on this machine."""
    record = tmp_path.parent / f"{tmp_path.name}-state" / "archives.json"
    monkeypatch.setattr(archives, "RECORD", str(record))
    return record


@dataclass(frozen=True)
class Attacker:
    """The account, a folder of its own, and what it must not reach: a folder of root's that everybody may look into."""

    uid: int
    gid: int
    name: str
    theirs: Path
    roots: Path

    def does(self, work: Callable[..., object], *arguments: Any) -> None:
        """Do something as this account, in a child."""
        child = os.fork()
        if child == 0:
            code = 1
            try:
                os.setgroups([])
                os.setresgid(self.gid, self.gid, self.gid)
                os.setresuid(self.uid, self.uid, self.uid)
                work(*arguments)
                code = 0
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, "the account may not do this by itself"

    def untouched(self) -> bool:
        """Return whether all that is root's is as it was."""
        canary = self.roots / "canary"
        found = canary.lstat()
        return (
            sorted(os.listdir(self.roots)) == ["canary", "folder"]
            and os.listdir(self.roots / "folder") == ["important"]
            and canary.read_text() == "root's"
            and (found.st_uid, found.st_gid, found.st_mode & 0o7777) == (0, 0, 0o600)
            and {(path.lstat().st_uid, path.lstat().st_gid) for path in self.roots.rglob("*")} == {(0, 0)}
        )


@pytest.fixture(scope="session")
def attacker_account() -> Iterator[pwd.struct_passwd]:
    if os.getuid() != 0:
        pytest.skip("needs root: another account is made")
    name = f"fractal-files-{os.getpid()}"
    subprocess.run(["useradd", "--system", "--user-group", "--no-create-home", name], check=True)
    yield pwd.getpwnam(name)
    subprocess.run(["userdel", name], check=True)


@pytest.fixture
def attacker(attacker_account: pwd.struct_passwd) -> Iterator[Attacker]:
    base = Path(tempfile.mkdtemp(prefix="fractal-files-", dir="/srv"))
    base.chmod(0o755)
    theirs, roots = base / "theirs", base / "roots"
    theirs.mkdir(mode=0o755)
    os.chown(theirs, attacker_account.pw_uid, attacker_account.pw_gid)
    (roots / "folder").mkdir(parents=True)
    (roots / "folder" / "important").write_text("root's")
    (roots / "canary").write_text("root's")
    (roots / "canary").chmod(0o600)
    yield Attacker(attacker_account.pw_uid, attacker_account.pw_gid, attacker_account.pw_name, theirs, roots)
    shutil.rmtree(base)
