"""Write docs/examples.md, which says which test runs each example: python tests/tools/generate_examples.py."""

from __future__ import annotations

import pathlib
import re
import sys
from collections.abc import Iterator

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "integration"))

from examples import module_examples, playbook_lines, told, wheel_lines

PAGE = ROOT / "docs" / "examples.md"
RUN = "tests/integration/_run"
STORY, FILTERS, LINES = (f"{RUN}/test_{name}.py" for name in ("examples", "filter_examples", "page_examples"))
README, EVERYTHING = "tests/bed/readme.sh", ".github/workflows/test.yml"
HEAD = """# Which test runs an example

Every example of README.md, of playbooks, roles, modules, filters and hooks is run by a test, as it stands: only names,
addresses and paths are the test bed's. `python tests/tools/generate_examples.py` makes this page; a unit test refuses
examples that nothing runs. `tests/unit/test_examples.py` holds each to the options, variables and files that there are.

What a module or role shows is run on a real pair of hosts, in the order of an upgrade, by `make examples`:
`tests/integration/examples.py`.
What a page shows as a command is run word by word on pretended hosts, or, where README.md has it, on real ones.
"""


def examples() -> Iterator[tuple[str, str, str]]:
    """Yield where each example is, what it is, and what runs it; an empty text where nothing does."""
    runs = {name: f"{STORY}::{test}" for name, test in told().items()}
    readme = (ROOT / "README.md").read_text()
    use = [line for line in re.findall(r"^ {4}(\S.*)", _chapter(readme, "Use it"), re.MULTILINE) if "ansible" in line]
    for line in use:
        yield "README.md", _code(line), README
    workflow = (ROOT / EVERYTHING).read_text() + (ROOT / ".ci" / "run").read_text()
    for line in re.findall(r"^ {4}(make .*)", _chapter(readme, "Try it, test it"), re.MULTILINE):
        words = _command(line).removeprefix("make ")
        yield (
            "README.md",
            _code(line),
            EVERYTHING if re.search(rf"\bmake (.* )?{re.escape(words)}(?!\w)", workflow) else "",
        )
    for line in playbook_lines():
        yield "docs/playbooks.md", _code(line), f"{LINES}::test_a_command_of_the_pages_does_what_it_is_for"
    for line in wheel_lines():
        yield "docs/playbooks.md", _code(line), f"{STORY}::test_wheels_for_hosts_without_a_network"
    yield "docs/hooks.md", "the hook that calls somebody", f"{LINES}::test_the_hook_of_the_page_calls_somebody"
    for path in sorted((ROOT / "roles").iterdir()):
        yield f"role `{path.name}`", "its play", runs.get(f"role {path.name}", "")
    for module, tasks in module_examples().items():
        for task in tasks:
            yield f"module `{module}`", task["name"], runs.get(task["name"], "")
    for path in sorted((ROOT / "plugins" / "filter").glob("*.yml")):
        for _example in yaml.safe_load(yaml.safe_load(path.read_text())["EXAMPLES"]):
            yield "filters", f"`{path.stem}`", f"{FILTERS}::test_each_example_shows_what_it_is_for"


def _chapter(text: str, title: str) -> str:
    return text.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def _command(line: str) -> str:
    return line.partition(" #")[0].strip()


def _code(line: str) -> str:
    return f"`{_command(line)}`"


def render() -> str:
    """Return the page."""
    tests: dict[str, dict[str, list[str]]] = {}
    for where, example, test in examples():
        tests.setdefault(test, {}).setdefault(where, []).append(example)
    page = HEAD
    for test, rows in tests.items():
        page += f"\n**`{test}`**\n\n" + "".join(f"- {where}: {'; '.join(found)}\n" for where, found in rows.items())
    return page


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
