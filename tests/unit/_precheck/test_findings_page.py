"""docs/findings.md is what the tables say, and every rule can be filled in."""

from __future__ import annotations

import importlib.util
import pathlib
import re
import string
import types

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[3]
SPEC = importlib.util.spec_from_file_location("generate_findings", ROOT / "tests/tools/generate_findings.py")
assert SPEC and SPEC.loader
generate_findings = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(generate_findings)
RULES = generate_findings.rules()


def test_the_page_is_up_to_date() -> None:
    page = generate_findings.PAGE.read_text(encoding="utf-8")
    assert page == generate_findings.render(), "run: python tests/tools/generate_findings.py"


def test_a_finding_without_a_chapter_is_refused() -> None:
    rule = RULES["run.locked"]
    assert (
        "run.locked"
        in generate_findings.PAGE.read_text(encoding="utf-8").partition("## The run: inventory, limit, lock")[2]
    )
    table = types.SimpleNamespace(__name__="new", FINDINGS={"run.locked": rule}, CHAPTERS={"runs": "Runs"})
    with pytest.raises(ValueError, match=r"new has no chapter for run\.locked"):
        generate_findings.chapters([table])


@pytest.mark.parametrize("name", RULES)
def test_each_rule_is_complete(name: str) -> None:
    rule = RULES[name]
    assert rule.title and rule.message and rule.fix
    assert not rule.title.endswith(".")
    for template in (rule.message, rule.fix):
        fields = {field for _unused, field, _unused, _unused in string.Formatter().parse(template) if field is not None}
        assert template.format(**dict.fromkeys(fields, "x"))


@pytest.mark.parametrize("name", [name for name in RULES if not name.startswith("work.")])  # these are put together
def test_each_rule_is_used(name: str) -> None:
    sources = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "plugins/module_utils").glob("_*/**/*.py"))
    assert len(re.findall(re.escape(f'"{name}"'), sources)) > 1, "no check makes this finding"
