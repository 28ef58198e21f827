"""The table of verification: what needs a check that did not pass is skipped with the reason; nothing vanishes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.http_client import Api
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.verification import (
    Check,
    CheckRule,
    Step,
    run_steps,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._verify.checks import CHECKS
from ansible_collections.fractal_ops.platform.plugins.module_utils._verify.server import all_checks
from ansible_collections.fractal_ops.platform.plugins.module_utils._verify.session import Session

RULES = {
    rule.id: rule
    for rule in (
        CheckRule("door", "The door opens", "Open it."),
        CheckRule("room", "The room is light", "Light it.", needs=("door",)),
        CheckRule("lamp", "The lamp works", "Mend it.", needs=("room",)),
        CheckRule("bed", "The bed is made", "Make it.", needs=("door",)),
        CheckRule("roof", "The roof holds", "Mend it."),
    )
}
OPTIONS = {
    "version": None,
    "email": None,
    "password": None,
    "probe_sources": None,
    "probe_timeout": 1,
    "check_email": False,
}


def run(door: Check | Exception, **more: Any) -> dict[str, tuple[str, str]]:
    def make(found: Check | Exception) -> list[Check]:
        if isinstance(found, Exception):
            raise found
        return [found]

    steps = [Step(("door",), lambda: make(door))]
    for name in ("room", "lamp", "bed", "roof"):
        found = more.get(name, RULES[name].passed("s", "fine"))
        steps.append(Step((name,), lambda found=found: make(found)))  # type: ignore[misc]
    return {check.id: (check.status, check.message) for check in run_steps(RULES, steps, "s")}


def test_a_failure_skips_what_needs_it_and_nothing_else() -> None:
    found = run(FractalError("it is locked"))
    assert found["door"] == ("failed", "it is locked")
    reason = "not made, as 'The door opens' did not pass"
    assert found["room"] == found["bed"] == ("skipped", reason)
    assert found["lamp"] == ("skipped", reason), "the first cause is told, not the link between"
    assert found["roof"] == ("passed", "fine")


def test_what_was_skipped_says_the_same_of_what_needs_it() -> None:
    found = run(RULES["door"].skipped("s", "no key was given", "Give one."))
    assert {found[name] for name in ("door", "room", "lamp", "bed")} == {("skipped", "no key was given")}


def test_each_check_is_made_whatever_its_neighbour_found() -> None:
    found = run(RULES["door"].passed("s", "open"), room=RULES["room"].failed("s", "dark"))
    assert [status for status, _said in found.values()] == ["passed", "failed", "skipped", "passed", "passed"]


def test_a_step_of_several_checks_leaves_none_out() -> None:
    rules = {**RULES}
    half = Step(("door", "roof"), lambda: [RULES["door"].failed("s", "stuck")])
    broken = Step(("door", "roof"), lambda: (one for one in ()).throw(FractalError("gone")))
    none = Step(("door", "roof"), list)
    for step, states in ((half, ["failed", "skipped"]), (broken, ["failed", "skipped"]), (none, ["skipped"] * 2)):
        assert [check.status for check in run_steps(rules, [step], "s")] == states


def test_an_api_that_is_down_leaves_no_check_out() -> None:
    instance = SimpleNamespace(version="2.17.0", env_file="/nowhere")
    session = Session(instance=instance, variables={}, api=Api("http://127.0.0.1:9"))  # type: ignore[arg-type]
    account = {"email": "ann@example.org", "password": "x"}
    found = {check.id: check for check in all_checks(session, {**OPTIONS, **account})}
    of_the_api = {name for name, rule in CHECKS.items() if rule.needs}
    assert of_the_api <= set(found)
    assert {found[name].status for name in of_the_api} == {"skipped"}
    assert all("The API answers" in found[name].message for name in of_the_api)
    assert found["api_version"].status == "failed"
    assert found["email"].status == "skipped"
    without = {check.id for check in all_checks(session, OPTIONS)}
    assert without == set(found), "with and without an account the report has the same checks"


@pytest.mark.parametrize("rule", CHECKS.values(), ids=lambda rule: rule.id)
def test_needs_are_checks_that_are_made_before(rule: CheckRule) -> None:
    order = list(CHECKS)
    assert all(order.index(need) < order.index(rule.id) for need in rule.needs)
