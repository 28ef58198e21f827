"""Mistyped variables: known from the names alone, in any role or playbook."""

from __future__ import annotations

from ansible_collections.fractal_ops.platform.plugins.filter.upgrade import FilterModule
from ansible_collections.fractal_ops.platform.plugins.module_utils._run.variables import (
    invalid_variables,
    unknown_variables,
)

KNOWN = {"fractal_accept", "fractal_target_version", "fractal_on_failure"}


def test_all_unknown_names_are_told_with_the_nearest_known_one() -> None:
    names = [*KNOWN, "fractal_taget_version", "fractal_zzz", "fractal_onfailure", "__fractal_x", "fractal", "other_var"]
    assert [finding.message for finding in unknown_variables(names, KNOWN)] == [
        "The variable fractal_onfailure does not exist. Did you mean fractal_on_failure?",
        "The variable fractal_taget_version does not exist. Did you mean fractal_target_version?",
        "The variable fractal_zzz does not exist.",
    ]


def test_the_filter_knows_the_variables_of_the_roles() -> None:
    mistyped = FilterModule().filters()["mistyped"]
    assert mistyped(["fractal_backup_root", "fractal_web_url", "fractal_report_dir"]) == {"findings": []}
    (finding,) = mistyped(["fractal_backup_rot"])["findings"]
    assert finding["subject"] == "fractal_backup_rot" and "fractal_backup_root?" in finding["message"]


SPECS = {
    "fractal_start_timeout": {"type": "int", "default": 120},
    "fractal_on_failure": {"type": "str", "choices": ["stop", "rollback"], "default": "stop"},
    "fractal_users": {"type": "list", "elements": "dict", "default": []},
    "fractal_verify_mail_server": {"type": "bool", "default": False},
    "fractal_verify_password": {"type": "int", "default": ""},
    "fractal_target_version": {"type": "str", "default": "2.17.0"},
    "fractal_wheelhouse": {"type": "path", "default": ""},
}


def test_values_that_a_spec_refuses_are_told_with_what_they_can_be() -> None:
    values = {
        "fractal_start_timeout": "0.5",
        "fractal_on_failure": "rolback",
        "fractal_users": [1],
        "fractal_verify_mail_server": "perhaps",
        "fractal_verify_password": "s3cret",
        "fractal_target_version": "2.99.0",
        "another": "x",
    }
    told = {finding.subject: finding.message for finding in invalid_variables(values, SPECS)}
    assert told.pop("fractal_users").startswith("The variable fractal_users has a wrong part: ")
    assert told.pop("fractal_target_version").startswith("The variable fractal_target_version cannot be met: ")
    assert told == {
        "fractal_on_failure": "The variable fractal_on_failure is 'rolback'; it can be 'stop' or 'rollback'.",
        "fractal_start_timeout": "The variable fractal_start_timeout is '0.5'; it must be a whole number.",
        "fractal_verify_mail_server": "The variable fractal_verify_mail_server is 'perhaps'; it must be true or false.",
        "fractal_verify_password": "The variable fractal_verify_password is set; it must be a whole number.",
    }


def test_values_as_command_lines_and_inventories_give_them_are_taken() -> None:
    values = {"fractal_start_timeout": "60", "fractal_verify_mail_server": "yes", "fractal_users": [{"email": "a@x"}]}
    assert invalid_variables(values, SPECS) == []
    defaults = {name: spec["default"] for name, spec in SPECS.items()}
    assert invalid_variables(defaults, SPECS) == []
    assert invalid_variables(dict.fromkeys(SPECS), SPECS) == []
