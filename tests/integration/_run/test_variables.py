"""Mistyped variables before every playbook: all are told in one run, wherever they are set, and nothing is changed."""

from __future__ import annotations

import json
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


RIGHT = INVENTORY.partition("[fractal_server:vars]")[0]


def run(
    folder: Path,
    playbook: str,
    *arguments: str,
    hosts: Sequence[str] = ("server", "web"),
    inventory: str = INVENTORY,
) -> str:
    """Run a playbook on this host, which has no unit of Fractal; return what it says on failing."""
    (folder / "inventory").write_text(inventory)
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
    return " ".join(done.stdout.split())  # it may break lines anywhere


@pytest.mark.parametrize("playbook", ["precheck", "upgrade", "verify", "rollback", "users"])
def test_every_playbook_names_all_of_them_before_any_host_is_contacted(tmp_path: Path, playbook: str) -> None:
    wrong = ["fractal_taget_version=2.17.2", "fractal_start_timeout=0.5", "fractal_on_failure=rolback"]
    told = run(tmp_path, playbook, *(word for one in wrong for word in ("-e", one)), hosts=["server"])
    for name, meant in (
        ("fractal_taget_version", "fractal_target_version"),
        ("fractal_backup_rot", "fractal_backup_root"),
        ("fractal_web_adress", "fractal_web_archive"),
    ):
        assert f"The variable {name} does not exist. Did you mean {meant}?" in told
    assert "The variable fractal_start_timeout is '0.5'; it must be a whole number." in told
    assert "The variable fractal_on_failure is 'rolback'; it can be 'stop' or 'rollback'." in told
    assert "fractal_report_dir does not" not in told
    assert told.count("PLAY [") == 1


def test_a_release_that_is_not_known_is_one_finding(tmp_path: Path) -> None:
    told = run(tmp_path, "upgrade", "-e", "fractal_target_version=2.99.0", inventory=RIGHT, hosts=["server"])
    assert "The variable fractal_target_version cannot be met: " in told and "Found: 1 blocker." in told


def test_a_password_is_not_repeated(tmp_path: Path) -> None:
    secret = '{"fractal_verify_password": {"s3cret": "s3cret"}, "fractal_start_timeout": "x"}'
    told = run(tmp_path, "verify", "-e", secret, inventory=RIGHT, hosts=["server"])
    assert "fractal_start_timeout is 'x'" in told and "s3cret" not in told


def test_what_another_role_has_can_be_accepted(tmp_path: Path) -> None:
    told = run(tmp_path, "precheck", "-e", '{"fractal_accept": ["variable.unknown"]}')
    assert "Found: 2 blockers, 2 accepted." in told and "BLOCKER variable.unknown" not in told  # no unit on either host


def test_users_are_not_settled_with_any_of_them(tmp_path: Path) -> None:
    told = run(tmp_path, "users", "-e", '{"fractal_user": []}', hosts=["server"])
    assert "The variable fractal_user does not exist. Did you mean fractal_users?" in told
    assert "Bring the users to their declared state" not in told


def test_hooks_that_cannot_run_are_told_before_any_host_is_contacted(tmp_path: Path) -> None:
    (tmp_path / "broken.yml").write_text("- no.such.module:\n")
    (tmp_path / "good.yml").write_text("- name: Say it\n  ansible.builtin.debug:\n    msg: '{{ fractal_event }}'\n")
    names = {"before_window": "gone", "after_window": "good", "on_failure": "broken"}
    hooks = {name: f"{{{{ inventory_dir }}}}/{file}.yml" for name, file in names.items()}
    told = run(tmp_path, "upgrade", "-e", json.dumps({"fractal_hooks": hooks}), inventory=RIGHT, hosts=["server"])
    assert "fractal_hooks.before_window names " in told and "/gone.yml, which cannot be read: No such file" in told
    assert "fractal_hooks.on_failure names " in told and "/broken.yml, which Ansible cannot load: " in told
    assert "after_window names" not in told and told.count("PLAY [") == 1


def test_a_hook_that_does_not_exist_is_told_before_any_host_is_contacted(tmp_path: Path) -> None:
    wrong = ["-e", '{"fractal_hooks": {"before_windw": "/x.yml"}, "fractal_maintenance_page": "yes please"}']
    told = run(tmp_path, "upgrade", *wrong, inventory=RIGHT, hosts=["server"])
    assert "The variable fractal_hooks has a wrong part: " in told and "before_windw" in told
    assert "The variable fractal_maintenance_page is 'yes please'; it must be true or false." in told
    assert told.count("PLAY [") == 1
