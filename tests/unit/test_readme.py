"""README.md says what the tests are made of: cores, systems, releases, and what the collection holds."""

from __future__ import annotations

import importlib.util
import pathlib

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
SPEC = importlib.util.spec_from_file_location("generate_tested", ROOT / "tests/tools/generate_tested.py")
assert SPEC and SPEC.loader
generate_tested = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(generate_tested)


def test_the_page_is_up_to_date() -> None:
    page = generate_tested.PAGE.read_text(encoding="utf-8")
    assert page == generate_tested.render(), "run: python tests/tools/generate_tested.py"


def test_the_oldest_core_is_the_one_that_is_required() -> None:
    required = yaml.safe_load((ROOT / "meta" / "runtime.yml").read_text())["requires_ansible"]
    oldest, _python, early = generate_tested.cores()[0]
    assert required == f">={oldest}.0" and not early, "meta/runtime.yml says which cores there are; then run: make lock"
