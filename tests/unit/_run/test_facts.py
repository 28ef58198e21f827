"""The table of facts and the YAML agree, both ways: a renamed fact would empty a row of the report in silence."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.fractal_ops.platform.plugins.module_utils._run import facts

ROOT = Path(__file__).resolve().parents[3]
TABLE = {
    value for name, value in vars(facts).items() if isinstance(value, str) and value.startswith("__") and name.isupper()
}
YAML = sorted([*ROOT.glob("roles/*/tasks/*.yml"), *ROOT.glob("roles/*/vars/*.yml"), *ROOT.glob("playbooks/*.yml")])
NAME = re.compile(r"(?<![A-Za-z0-9])__[a-z][a-z_]*[a-z]\b")
WHOLE_RUN = ("__server_state", "__server_failure", "__web_state", "__web_failure", "__web_server", "__not_begun")


def tasks(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, list):
        for one in node:
            yield from tasks(one)
    elif isinstance(node, dict):
        yield node
        for key in ("block", "rescue", "always", "tasks", "pre_tasks", "post_tasks"):
            yield from tasks(node.get(key) or [])


def parameters(path: Path) -> set[str]:
    """Names that a file gives to another role."""
    given: set[str] = set()
    for task in tasks(yaml.safe_load(path.read_text())) if path.parent.name != "vars" else ():
        if any(f"ansible.builtin.{one}" in task for one in ("include_role", "import_role", "import_playbook")):
            given |= set(task.get("vars") or {})
    return given


def made(path: Path) -> set[str]:
    """Names that a file makes: registered, set, or variables of a role, play, task or loop."""
    content = yaml.safe_load(path.read_text())
    if path.parent.name == "vars":
        return set(content)
    names: set[str] = set()
    for task in tasks(content):
        names |= {task["register"]} if "register" in task else set()
        names |= {(task.get("ansible.builtin.include_vars") or {}).get("name", "")}
        names |= set(task.get("ansible.builtin.set_fact") or {}) | set(task.get("vars") or {})
        names |= {(task.get("loop_control") or {}).get("loop_var", "")} - {""}
    return {name for name in names if name.startswith("__")}


MADE = {path: made(path) for path in YAML}
EVERY = set().union(*MADE.values())


def owner(path: Path) -> str:
    return path.parts[-3] if path.parts[-2] in ("tasks", "vars") else "playbook"


def test_each_fact_of_the_table_is_made_by_a_role_or_playbook() -> None:
    assert TABLE <= EVERY, sorted(TABLE - EVERY)
    assert len(TABLE) > 20


@pytest.mark.parametrize("path", YAML, ids=lambda path: str(path.relative_to(ROOT)))
def test_each_fact_that_is_read_is_made(path: Path) -> None:
    read = set(NAME.findall(path.read_text()))
    assert read <= EVERY, sorted(read - EVERY)


def test_each_fact_that_is_made_is_read() -> None:
    """By the YAML in another place than its own making, or by the report."""
    text = "\n".join(path.read_text() for path in YAML)
    uses = {name: len(re.findall(rf"(?<![A-Za-z0-9]){name}\b", text)) for name in EVERY}
    makings = {name: sum(name in names for names in MADE.values()) for name in EVERY}
    unread = {name for name in EVERY - TABLE if uses[name] <= makings[name]}
    assert unread == set()


def test_what_is_read_elsewhere_is_in_the_table_or_another_roles_own() -> None:
    """A fact begins with the name of its owner."""
    for path, names in MADE.items():
        prefix = "__" + owner(path) + "_"
        for name in names - set(WHOLE_RUN) - parameters(path):
            assert name.startswith(prefix) or path.parent.name == "playbooks", f"{name} in {path}"


@pytest.mark.parametrize("source", ["_run/report.py", "_run/state.py"])
def test_the_code_knows_facts_by_the_table_only(source: str) -> None:
    text = (ROOT / "plugins/module_utils" / source).read_text()
    assert not re.findall(r"[\"']__[a-z]", text)
