"""Each role is usable alone: it has a page, an example that Ansible can read, and observes by itself."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir())
OBSERVES = {"precheck": "tasks_from: look.yml", "users": "fractal_users:", "fractal": "fractal_observe:"}


def page(role: str) -> str:
    return (ROOT / "roles" / role / "README.md").read_text()


@pytest.mark.parametrize("role", ROLES)
def test_the_example_of_each_page_is_a_playbook(role: str, tmp_path: Path) -> None:
    play = tmp_path / "play.yml"
    play.write_text(page(role).partition("## Example\n")[2])
    done = subprocess.run(
        ["ansible-playbook", "--syntax-check", "-i", "localhost,", str(play)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "ANSIBLE_LOCAL_TEMP": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    assert f"fractal_ops.platform.{role}" in play.read_text()


@pytest.mark.parametrize("role", ROLES)
def test_each_page_names_the_roles_variables(role: str) -> None:
    spec = yaml.safe_load((ROOT / "roles" / role / "meta" / "argument_specs.yml").read_text())["argument_specs"]
    options = {name for entry in spec.values() for name in entry["options"] if not name.startswith("__")}
    listed = page(role).partition("## Variables")[2].partition("## Example")[0]
    assert set(re.findall(r"`(\w+)`", listed)) == options


@pytest.mark.parametrize("role", ROLES)
def test_each_role_observes_what_nobody_has_observed(role: str) -> None:
    """Itself, or through precheck (the upgrades)."""
    tasks = "".join(path.read_text() for path in (ROOT / "roles" / role / "tasks").glob("*.yml"))
    asks = OBSERVES.get(role, "tasks_from: observe.yml")
    assert asks in tasks or "name: fractal_ops.platform.precheck" in tasks


def test_each_entry_point_has_a_spec_or_is_part_of_another() -> None:
    """What other roles and playbooks call has a spec; what is left is included by the role itself."""
    for role in ROLES:
        folder = ROOT / "roles" / role
        spec = yaml.safe_load((folder / "meta" / "argument_specs.yml").read_text())["argument_specs"]
        own = "".join(path.read_text() for path in (folder / "tasks").glob("*.yml"))
        for path in (folder / "tasks").glob("*.yml"):
            included = re.search(rf"(include|import)_tasks: {path.name}", own)
            named = f"'{path.stem}'" in own  # in the loop of an include
            assert path.stem in spec or included or named, f"{role}/{path.name}"
        assert set(spec) <= {path.stem for path in (folder / "tasks").glob("*.yml")}
