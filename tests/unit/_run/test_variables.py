"""Mistyped variables: known from the names alone, in any role or playbook."""

from __future__ import annotations

from ansible_collections.fractal_ops.platform.plugins.filter.upgrade import FilterModule
from ansible_collections.fractal_ops.platform.plugins.module_utils._run.variables import unknown_variables

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
