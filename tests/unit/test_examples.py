"""What examples and pages name is there: options, filters, playbooks, variables, targets, files.

Which test runs an example, docs/developing.md says under "Examples"; here nothing is run.
"""

from __future__ import annotations

import importlib
import inspect
import itertools
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.cli.playbook import PlaybookCLI
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.fractal_ops.platform.plugins.filter.upgrade import FilterModule
from jinja2 import Environment
from jinja2.nodes import Filter

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "ansible_collections.fractal_ops.platform.plugins.modules"
COLLECTION = "fractal_ops.platform."
FILTERS = {f"{COLLECTION}{name}": function for name, function in FilterModule().filters().items()}
MODULES = sorted(path.stem for path in (ROOT / "plugins" / "modules").glob("*.py"))
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir())
PLAYBOOKS = sorted(path.stem for path in (ROOT / "playbooks").glob("*.yml"))
SPECS = [yaml.safe_load(path.read_text())["argument_specs"] for path in ROOT.glob("roles/*/meta/argument_specs.yml")]
VARIABLES = {name for spec in SPECS for entry in spec.values() for name in entry.get("options") or {}}
PAGES = sorted(
    str(path.relative_to(ROOT))
    for pattern in ("*.md", "docs/**/*.md", "roles/*/README.md")
    for path in ROOT.glob(pattern)
)
PAGES.remove("CHANGELOG.md")  # tells of what was
# What begins with fractal_ and is none of the variables, modules and groups of hosts.
OTHER_NAMES = {
    "fractal_ops": "the namespace",
    "fractal_event": "what a hook is told",
    "fractal_reports": "the statistic of a run",
    "fractal_server": "a group of hosts, and part of file names",
    "fractal_web": "a group of hosts",
    "fractal_worker": "a group of hosts",
    "fractal_ops_run_timestamp_seconds": "a metric",
    "fractal_ops_run_outcome": "a metric",
    "fractal_ops_findings": "a metric",
    "fractal_ops_window_seconds": "a metric",
}


# -- modules and filters


def own_tasks(name: str, examples: str) -> list[dict[str, Any]]:
    """Return the tasks of an example."""
    found = yaml.safe_load(examples)
    assert isinstance(found, list) and found and all("name" in task for task in found), f"the EXAMPLES of {name}"
    return found


def validator(name: str, monkeypatch: pytest.MonkeyPatch) -> ArgumentSpecValidator:
    """Return what checks a module's arguments, as the module itself makes it."""
    module = importlib.import_module(f"{PACKAGE}.{name}")
    if not hasattr(module, "AnsibleModule"):  # its action plugin does all
        keys = ("type", "elements", "choices", "required")
        options = yaml.safe_load(module.DOCUMENTATION)["options"]
        return ArgumentSpecValidator(
            {one: {key: row[key] for key in keys if key in row} for one, row in options.items()}
        )

    class Made(Exception):
        """The module has made itself."""

    def make(argument_spec: dict[str, Any], **rules: Any) -> None:
        raise Made(argument_spec, rules)

    monkeypatch.setattr(module, "AnsibleModule", make)
    with pytest.raises(Made) as made:
        module.main()
    spec, rules = made.value.args
    for unused in ("supports_check_mode", "add_file_common_args", "no_log"):
        rules.pop(unused, None)
    return ArgumentSpecValidator(spec, **rules)


def plain(given: dict[str, Any], spec: dict[str, Any]) -> dict[str, Any]:
    """Return arguments with something of the right kind where only a run can fill it in."""
    return {key: _stand_in(spec.get(key, {})) if _filled_in(value) else _without(value) for key, value in given.items()}


def _stand_in(row: dict[str, Any]) -> Any:
    if row.get("choices"):
        return row["choices"][0]
    if row.get("type") == "dict":
        return {key: _stand_in(part) for key, part in (row.get("options") or {}).items() if part.get("required")}
    return {"bool": True, "int": 1, "float": 1.0, "list": []}.get(row.get("type", "str"), "filled in")


def _without(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without(item) for key, item in value.items() if not _filled_in(item)}
    return [_without(item) for item in value] if isinstance(value, list) else value


def _filled_in(value: Any) -> bool:
    return isinstance(value, str) and value.startswith("{{")


@pytest.mark.parametrize("name", MODULES)
def test_each_example_of_a_module_has_arguments_that_it_takes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    examples = importlib.import_module(f"{PACKAGE}.{name}").EXAMPLES
    check = validator(name, monkeypatch)
    of_it = [task for task in own_tasks(name, examples) if f"{COLLECTION}{name}" in task]
    assert of_it, f"no example of {name}"
    for task in of_it:
        given = task[f"{COLLECTION}{name}"] or {}
        errors = check.validate(plain(given, check.argument_spec)).error_messages
        assert not errors, f"{name}, {task['name']}: {errors}"


@pytest.mark.parametrize("name", MODULES)
def test_each_example_of_a_module_uses_filters_that_there_are(name: str) -> None:
    must_use_filters(importlib.import_module(f"{PACKAGE}.{name}").EXAMPLES)


@pytest.mark.parametrize("name", sorted(FILTERS))
def test_each_filter_has_a_page_with_an_example_of_itself(name: str) -> None:
    path = ROOT / "plugins" / "filter" / f"{name.removeprefix(COLLECTION)}.yml"
    page = yaml.safe_load(path.read_text())
    own_tasks(name, page["EXAMPLES"])
    assert name in must_use_filters(page["EXAMPLES"])
    private = "Private to the roles and playbooks of this collection; it may change in any release."
    assert page["DOCUMENTATION"]["description"][0] == private, f"say in {path.name}, first of all: {private}"


def must_use_filters(text: str) -> set[str]:
    """See that each filter of ours in a text exists and takes these arguments; return those that it uses."""
    environment = Environment()
    environment.filters.update(dict.fromkeys(FILTERS, str))
    environment.filters.update(
        {one: str for one in re.findall(r"\|\s*([\w.]+)", text) if not one.startswith(COLLECTION)}
    )
    used = set()
    for node in environment.parse(text).find_all(Filter):
        if node.name.startswith(COLLECTION):
            assert node.name in FILTERS, f"there is no filter {node.name}"
            named = {one.key: None for one in node.kwargs}
            inspect.signature(FILTERS[node.name]).bind(None, *node.args, **named)
            used.add(node.name)
    return used


# -- pages


def blocks(page: str) -> list[str]:
    """Return the pieces of a page that are set as code."""
    text = (ROOT / page).read_text()
    fenced = re.findall(r"^```[^\n{]*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    indented = re.findall(r"(?<=\n\n)((?: {4}.*\n|\n(?= {4}))+)", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S))
    return [*fenced, *(re.sub(r"^ {4}", "", block, flags=re.MULTILINE) for block in indented)]


def commands(page: str) -> Iterator[list[str]]:
    """Yield the commands among the blocks of a page, each as its words."""
    for block in blocks(page):
        for line in block.splitlines():
            if re.match(r"(ansible\S*|make|pytest|python|FRACTAL_\w+=\S+) ", line):
                words = shlex.split(line, comments=True)
                yield list(itertools.dropwhile(lambda word: "=" in word and word[0] != "-", words))


@pytest.mark.parametrize("page", PAGES)
def test_names_on_a_page_exist(page: str) -> None:
    text = (ROOT / page).read_text()
    known = VARIABLES | set(MODULES) | set(OTHER_NAMES)
    unknown = set(re.findall(r"(?<![\w.])fractal_[a-z_]+[a-z](?![\w*])", text)) - known
    assert not unknown, f"{page} names what is no variable of a role, no module and nothing in OTHER_NAMES here"
    parts = {*PLAYBOOKS, *ROLES, *MODULES, "NAME", *(name.removeprefix(COLLECTION) for name in FILTERS)}
    unknown = set(re.findall(r"\bfractal_ops\.platform\.(\w+)", text)) - parts
    assert not unknown, f"{page} names what is no playbook, role, module or filter"


@pytest.mark.parametrize("page", PAGES)
def test_plays_on_a_page_can_be_read(page: str) -> None:
    for block in blocks(page):
        if re.match(r"(---\n|- \w+:)", block):
            assert isinstance(yaml.safe_load(block), list)
            must_use_filters(block)


@pytest.mark.parametrize("page", PAGES)
def test_commands_on_a_page_have_options_targets_and_files_that_there_are(page: str) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for words in commands(page):
        program, *arguments = words
        if program == "ansible-playbook":
            cli = PlaybookCLI(words)
            cli.init_parser()
            called = cli.parser.parse_args(arguments)
            assert {one.removeprefix(COLLECTION) for one in called.args} <= {*PLAYBOOKS, "NAME"}, words
            for given in called.extra_vars or []:
                names = set(yaml.safe_load(given)) if given[0] == "{" else {given.partition("=")[0]}
                assert names <= VARIABLES, words
        elif program == "make":
            asked = {word for word in arguments if "=" not in word}
            assert asked <= targets, words
            scenarios = [word.partition("=")[2] for word in arguments if word.startswith("SCENARIOS=")]
            assert all((ROOT / "molecule" / one).is_dir() for word in scenarios for one in word.split() if one != "...")
        elif program in ("pytest", "python"):
            files = [word for word in arguments if "/" in word]
            assert all((ROOT / word).exists() for word in files), words


def test_blocks_and_commands_are_found() -> None:
    """Else the tests above would look at nothing."""
    assert len(list(commands("README.md"))) > 8 and len(list(commands("docs/playbooks.md"))) > 8
    assert any(words[0] == "pytest" for words in commands("docs/developing.md"))
    assert sum(block.startswith("- ") for role in ROLES for block in blocks(f"roles/{role}/README.md")) == len(ROLES)
