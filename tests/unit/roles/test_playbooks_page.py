"""docs/playbooks.md is what the playbooks say of themselves."""

from __future__ import annotations

import importlib.util
import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[3]
SPEC = importlib.util.spec_from_file_location("generate_playbooks", ROOT / "tests/tools/generate_playbooks.py")
assert SPEC and SPEC.loader
generate_playbooks = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(generate_playbooks)


def test_the_page_is_up_to_date() -> None:
    page = generate_playbooks.PAGE.read_text(encoding="utf-8")
    assert page == generate_playbooks.render(), "run: python tests/tools/generate_playbooks.py"


@pytest.mark.parametrize("name", generate_playbooks.documented())
def test_each_playbook_has_an_example_of_itself(name: str) -> None:
    _text, example = generate_playbooks.head_of(name)
    assert any(f"fractal_ops.platform.{name}" in line for line in example), f"the comment of playbooks/{name}.yml"


def test_the_variables_are_those_that_are_reached() -> None:
    """By a role's task file, by what that includes, by a default; and no others."""
    upgrade, status = (set(generate_playbooks.variables_of(name)) for name in ("upgrade", "status"))
    assert {"fractal_backup_keep", "fractal_on_failure", "fractal_report_dir", "fractal_target_version"} <= upgrade
    assert "fractal_users" not in upgrade and not {"fractal_on_failure", "fractal_start_timeout"} & status
    assert "fractal_user_rules" in generate_playbooks.variables_of("users")
