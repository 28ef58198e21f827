"""A release tries its new environment file: as the account of the service, whatever the unit's variables name."""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._venv.settings_check import check_settings

if TYPE_CHECKING:
    from conftest import Attacker

PYTHON = "/usr/bin/python3"  # one that every account can run


def user_site(base: Path) -> str:
    code = "import site; print(site.getusersitepackages())"
    said = subprocess.run([PYTHON, "-c", code], env={"PYTHONUSERBASE": str(base)}, stdout=subprocess.PIPE, check=True)
    return said.stdout.decode().strip()


@pytest.mark.parametrize("planted", ["sitecustomize.py", "usercustomize.py", "json.py", "user site", "home"])
def test_what_the_units_variables_name_runs_as_the_account(planted: str, attacker: Attacker, tmp_path: Path) -> None:
    note = attacker.theirs / "who"
    code = f"import os; os.close(os.open({str(note)!r} + str(os.getuid()), os.O_CREAT | os.O_WRONLY))"
    folder, name, variables = attacker.theirs, planted, {"PYTHONPATH": str(attacker.theirs)}
    if planted == "user site":
        folder, name, variables = Path(user_site(folder)), "x.pth", {"PYTHONUSERBASE": str(folder)}
    if planted == "home":
        folder, name, variables = Path(user_site(folder / ".local")), "x.pth", {"HOME": str(folder)}
    attacker.does(os.makedirs, folder, 0o755, True)
    attacker.does((folder / name).write_text, code + "\n")
    (tmp_path / "env").write_text("A=1\n")
    with contextlib.suppress(FractalError):  # it has no fractal-server
        check_settings(PYTHON, str(tmp_path / "env"), variables, attacker.name)
    ran = [path.name for path in attacker.theirs.glob("who*")]
    assert set(ran) <= {f"who{attacker.uid}"} and (ran or planted == "home")
    assert attacker.untouched()
