"""Mistyped variables before every playbook: all are told in one run, wherever they are set, and nothing is changed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from conftest import COLLECTIONS_ROOT

INVENTORY = """\
[fractal_server]
server
[fractal_web]
web
[all:vars]
ansible_connection=local
ansible_become=false
[fractal_server:vars]
fractal_backup_rot=/var/backups
[fractal_web:vars]
fractal_web_adress=http://localhost
"""


def run(folder: Path, playbook: str, *arguments: str, hosts: Sequence[str] = ("server", "web")) -> str:
    """Run a playbook on this host, which has no unit of Fractal; return what it says on failing."""
    (folder / "inventory").write_text(INVENTORY)
    program = Path(sys.executable).with_name("ansible-playbook")
    extra = ["-e", f"fractal_report_dir={folder}/reports ansible_python_interpreter={sys.executable}", *arguments]
    done = subprocess.run(
        [str(program), "-i", "inventory", f"fractal_ops.platform.{playbook}", *extra],
        cwd=folder,
        env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": COLLECTIONS_ROOT, "ANSIBLE_HOME": str(folder / "home")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0 and "Traceback" not in done.stdout + done.stderr
    assert re.findall(r"^(server|web) .* changed=0 ", done.stdout, re.MULTILINE) == list(hosts)
    return done.stdout


@pytest.mark.parametrize("playbook", ["precheck", "upgrade", "verify", "rollback"])
def test_every_playbook_names_all_of_them(tmp_path: Path, playbook: str) -> None:
    told = run(tmp_path, playbook, "-e", "fractal_taget_version=2.17.2")
    for name, meant in (
        ("fractal_taget_version", "fractal_target_version"),
        ("fractal_backup_rot", "fractal_backup_root"),
        ("fractal_web_adress", "fractal_web_archive"),
    ):
        assert f"The variable {name} does not exist. Did you mean {meant}?" in told
    if playbook == "rollback":
        assert "server: Refuse mistyped variables before anything is changed: 2 blocking finding(s)" in told
    assert "fractal_report_dir does not" not in told


def test_what_another_role_has_can_be_accepted(tmp_path: Path) -> None:
    told = run(tmp_path, "precheck", "-e", '{"fractal_accept": ["variable.unknown"]}')
    assert "1 blocking finding(s)" in told and "2 blocking finding(s)" not in told  # there is no unit here


def test_users_are_not_settled_with_any_of_them(tmp_path: Path) -> None:
    told = run(tmp_path, "users", "-e", '{"fractal_user": []}', hosts=["server"])
    assert "The variable fractal_user does not exist. Did you mean fractal_users?" in told
    assert "Discover fractal-server" not in told
