"""Every role's variables: defaults equal to argument specs, one meaning everywhere, all on one page."""

import importlib.util
import pathlib

import pytest
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[3]
SPEC = importlib.util.spec_from_file_location("generate_variables", ROOT / "tests/tools/generate_variables.py")
generate_variables = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(generate_variables)
ROLES = generate_variables.options_of_roles()


def test_defaults_and_argument_specs_agree():
    defaults = yaml.safe_load((ROOT / "roles" / "fractal" / "defaults" / "main.yml").read_text())
    specified = {
        name: option.get("default")
        for options in ROLES.values()
        for name, option in options.items()
        if not option.get("required")
    }
    assert defaults == specified


@pytest.mark.parametrize("role", sorted(set(ROLES) - {"fractal"}))
def test_every_role_takes_its_defaults_from_one_place(role):
    meta = yaml.safe_load((ROOT / "roles" / role / "meta" / "main.yml").read_text())
    assert meta["dependencies"] == [{"role": "fractal_ops.platform.fractal"}]
    assert not (ROOT / "roles" / role / "defaults").exists()


def test_every_role_has_argument_specs():
    assert sorted(ROLES) == sorted(path.name for path in (ROOT / "roles").iterdir())


def test_a_variable_means_the_same_in_every_role():
    seen = {}
    for role, options in ROLES.items():
        for name, option in options.items():
            assert seen.setdefault(name, option) == option, f"{name} differs in {role}"


def test_the_page_is_up_to_date():
    assert generate_variables.PAGE.read_text() == generate_variables.render()


def test_operators_variables_begin_with_fractal():
    assert all(name.startswith("fractal_") for options in ROLES.values() for name in options)
