"""The page about the environment files says what the rules do."""

from __future__ import annotations

import re
from pathlib import Path

from ansible_collections.fractal_ops.platform.plugins.module_utils._env_file.rules import Rule
from ansible_collections.fractal_ops.platform.plugins.module_utils._releases.oauth import PARTS
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.env_steps import ENV_STEPS
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.r2_17_0 import env_rules

PAGE = Path(__file__).resolve().parents[3] / "docs" / "environment.md"


def row(rule: Rule) -> str:
    """Return the row of the page's table for a rule."""
    what = {"keep": "stays", "rename": f"becomes `{rule.new_name}`", "decrypt": "is decrypted", "drop": "goes"}[
        rule.action
    ]
    if rule.action == "keep" and rule.mend is not None:
        what += ", checked"
    if rule.when_unset is not None:
        what += f", `{rule.when_unset}` if unset"
    return f"| `{rule.variable}` | {what} | {rule.reason} |"


def test_the_page_has_every_rule_and_no_other() -> None:
    text = PAGE.read_text(encoding="utf-8")
    expected = [row(rule) for step in ENV_STEPS for rule in step.rules]
    assert re.findall(r"^\| `(?:FRACTAL|JWT|COOKIE|DB|POSTGRES|PROJECT)_.*\|$", text, re.MULTILINE) == expected


def test_the_page_names_the_oauth_and_web_variables() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for part, name in PARTS.items():
        assert f"| `OAUTH_<CLIENT>_{part}` | `{name}` |" in text
    for name in env_rules.WEB_REASONS:
        assert f"- `{name}`" in text
