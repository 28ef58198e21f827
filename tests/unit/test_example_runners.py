"""Each example has a test that runs it; docs/examples.md names it."""

from __future__ import annotations

import importlib
import importlib.util
import pathlib

ROOT = pathlib.Path(__file__).resolve().parents[2]
SPEC = importlib.util.spec_from_file_location("generate_examples", ROOT / "tests/tools/generate_examples.py")
assert SPEC and SPEC.loader
generate_examples = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(generate_examples)
EXAMPLES = list(generate_examples.examples())


def test_each_example_is_run_by_a_test() -> None:
    idle = [(where, example) for where, example, test in EXAMPLES if not test]
    assert not idle, "no test runs these; docs/developing.md says where they take their place"


def test_the_tests_are_there() -> None:
    for test in {test for _where, _example, test in EXAMPLES}:
        file, _colons, name = test.partition("::")
        assert f"def {name}(" in (ROOT / file).read_text() if name else (ROOT / file).exists(), test


def test_the_story_tells_only_examples_that_there_are() -> None:
    there = {example for _where, example, _test in EXAMPLES}
    roles = {f"role {path.name}" for path in (ROOT / "roles").iterdir()}
    assert set(generate_examples.told()) - there - roles == set()


def test_each_task_has_a_name_of_its_own() -> None:
    """By which the story tells it."""
    names = [example for where, example, _test in EXAMPLES if where.startswith("module ")]
    assert len(names) == len(set(names))


def test_the_page_is_up_to_date() -> None:
    page = generate_examples.PAGE.read_text(encoding="utf-8")
    assert page == generate_examples.render(), "run: python tests/tools/generate_examples.py"


def test_what_is_replaced_is_in_an_example() -> None:
    """Or the table says of an example what it does not do."""
    pages = "".join(path.read_text().partition("EXAMPLES = ")[2] for path in (ROOT / "plugins/modules").glob("*.py"))
    assert [name for name in importlib.import_module("examples").OTHER_NAMES if name not in pages] == []
