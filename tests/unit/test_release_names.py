"""No room but `_stops` and `_releases` knows a release of fractal-server by its name.

The rule is in docs/developing.md: in code, comments and docstrings of the other rooms, of modules, roles and playbooks
a release is named only inside a citation, ``fractal-server 2.17.0, app/schemas/user.py``, which says where a fact is
from. What is documentation for the operator may name releases: DOCUMENTATION, EXAMPLES and RETURN, argument specs,
READMEs and defaults.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# 2.16 and 2_17_0, but neither 12.16 nor 2.170
NAMED = re.compile(r"(?<![\d.])2[._](?:1[6-9]|2\d)(?!\d)")
# a release or several, a comma, and a file, a folder, or the changelog
CITATION = re.compile(
    r"fractal-server 2\.\d+\.\d+(?:(?:,| and) 2\.\d+\.\d+)*, (?:[\w.-]+/)*(?:\w+\.\w+|[\w-]+/|CHANGELOG)"
    r"(?:(?:,| and) (?:[\w.-]+/)*(?:\w+\.\w+|[\w-]+/))*"
)
EXEMPT = ("plugins/module_utils/_stops/", "plugins/module_utils/_releases/")
OF_THE_OPERATOR = ("DOCUMENTATION", "EXAMPLES", "RETURN")
TEXTS = (
    "roles/*/tasks/**/*",
    "roles/*/handlers/**/*",
    "roles/*/vars/**/*",
    "roles/*/templates/**/*",
    "roles/*/files/**/*",
    "playbooks/**/*",
    "plugins/**/*.j2",
)


def named(text: str) -> bool:
    """Return whether a text names a release outside of a citation."""
    return bool(NAMED.search(CITATION.sub("", text)))


def sources() -> list[Path]:
    return [path for path in sorted(ROOT.glob("plugins/**/*.py")) if not str(path.relative_to(ROOT)).startswith(EXEMPT)]


def texts() -> list[Path]:
    return [
        path for pattern in TEXTS for path in sorted(ROOT.glob(pattern)) if path.is_file() and path.suffix != ".pyc"
    ]


def names_in(source: str) -> Iterator[tuple[int, str]]:
    """Return line and text of whatever names a release in a Python file."""
    tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
    for token in tokens:
        if token.type in (tokenize.NAME, tokenize.NUMBER) and NAMED.search(token.string):
            yield token.start[0], token.string
    comments = [(token.start[0], token.string.lstrip("# ")) for token in tokens if token.type == tokenize.COMMENT]
    for _block, lines in groupby(enumerate(comments), key=lambda item: item[1][0] - item[0]):
        block = [comment for _number, comment in lines]
        text = " ".join(words for _line, words in block)
        if named(text):
            yield block[0][0], text
    tree = ast.parse(source)
    exempt = {
        id(part)
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") in OF_THE_OPERATOR
        for part in ast.walk(node.value)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in exempt:
            text = " ".join(node.value.split())
            if named(text):
                yield node.lineno, text


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_code_names_no_release(path: Path) -> None:
    assert list(names_in(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize("path", texts(), ids=lambda path: str(path.relative_to(ROOT)))
def test_roles_and_playbooks_name_no_release(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert [(number, line) for number, line in enumerate(lines, 1) if named(line)] == []


@pytest.mark.parametrize(
    "source",
    [
        'if version >= "2.17":\n    pass\n',
        'at = (f"{x} of 2.18.0")\n',
        "from a._stops.r2_17_0 import b\n",
        "import a._stops.r2_17_0.b\n",
        "def before_2_17():\n    pass\n",
        "since = 2.17\n",
        "x = 1  # as 2.16.6 does\n",
        '"""Works with 2.23.0."""\n',
        'x = "fractal-server 2.17.0, or later"\n',
        "# fractal-server 2.17.0, app/x.py; only from 2.17.1 on\n",
        'f(text="for 2.16 and 2.17")\n',
    ],
)
def test_a_name_is_seen(source: str) -> None:
    assert len(list(names_in(source))) == 1


@pytest.mark.parametrize(
    "source",
    [
        '"""Return it (fractal-server 2.17.0, app/routes/auth/__init__.py)."""\n',
        "# (fractal-server 2.16.6 and 2.17.0,\n# app/routes/auth/current_user.py)\n",
        'x = "fractal-server 2.17.2, CHANGELOG"\n',
        'x = "fractal-server 2.17.0, migrations/ and string_tools.py"\n',
        'EXAMPLES = r"""\nversion: 2.17.0\n"""\n',
        'x = "12.16 of 2.170 and 2.1"\n',
    ],
)
def test_a_citation_and_documentation_may_name_it(source: str) -> None:
    assert list(names_in(source)) == []
