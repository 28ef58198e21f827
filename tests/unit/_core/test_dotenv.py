"""The document model against the readers that it speaks for."""

from __future__ import annotations

import io
import logging
import os
import re
from unittest import mock

import dotenv.main
import dotenv.version
import pytest
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.dotenv import (
    BOM,
    Reader,
    Reference,
    Statement,
    assignments,
    encode,
    interpolate,
    join,
    parse,
    plain,
    render,
)
from dotenv.parser import parse_stream
from hypothesis import example, given, settings
from hypothesis import strategies as st
from systemd_cases import SYSTEMD_CASES

many = settings(max_examples=int(os.environ.get("FRACTAL_HYPOTHESIS_EXAMPLES", "2000")), deadline=None)
INSTALLED = Reader.DOTENV_1_1 if dotenv.version.__version__.startswith("1.1.") else Reader.DOTENV_1_2

# pieces that make or break environment files, glued together at random
_FRAGMENTS = [
    *("A", "B", "KEY", "=", "==", " = ", "=x", "export ", "export\t", "'", '"', "\\", "\\'", '\\"', "\\\\", "\\n"),
    *("\n", "\r\n", "\r", "\n\n", " ", "\t", "\x0b", "\x85", "\u2028", "#", " # note", "${A}", "${B:-x}", "${", "}"),
    *("${:-$}{A}", "'K'", "é", "=''", '=""', "='a b'", '="a\\"b"', "='a\\\\'", "= # none", BOM, "$A", ":-", "a b"),
]
files = st.lists(st.sampled_from(_FRAGMENTS) | st.text(max_size=3), max_size=25).map("".join)
utf8 = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"))

logging.getLogger("dotenv.main").disabled = True  # it has something to say about every second example


def as_opened(text: str) -> io.StringIO:
    """Return ``text`` as a file opened in text mode gives it."""
    return io.StringIO(text, newline=None)


def real_parse(text: str) -> tuple[list[tuple[str, str | None]], int]:
    bindings = list(parse_stream(as_opened(text)))
    return [(b.key, b.value) for b in bindings if b.key is not None], sum(b.error for b in bindings)


@many
@given(files)
@example("A='x\\\\'\nB='y'\n")
@example("A= # none\n")
@example(BOM + "A=1\n")
@example("A='1\r\n2'\r\nB=\r\n")
def test_python_dotenv_reads_the_same(text: str) -> None:
    statements = parse(text, INSTALLED)
    keys, errors = real_parse(text)
    assert [(s.key, s.value) for s in statements if s.key is not None] == keys
    assert sum(bool(s.error) for s in statements) == errors


@many
@given(files, st.sampled_from(Reader))
def test_an_untouched_document_is_the_input_and_its_line_numbers_are_those_of_an_editor(
    text: str, reader: Reader
) -> None:
    statements = parse(text, reader)
    assert render(statements) == text
    before = ""
    for s in statements:
        assert s.line == 1 + len(re.findall("\r\n|\r|\n", before))
        before += s.text
        if s.key is not None:
            assert as_opened(s.text[slice(*s.key_span)]).read() == s.key
            assert s.renamed(s.text[slice(*s.key_span)]).text == s.text


@many
@given(files, st.booleans())
def test_python_dotenv_interpolates_the_same(text: str, file_wins: bool) -> None:
    environ = {"A": "from the process", "HOME": "/root"}
    with mock.patch.dict(os.environ, environ, clear=True):
        expected = dotenv.main.DotEnv(None, stream=as_opened(text), override=file_wins).dict()
    values = interpolate(parse(text, INSTALLED), environ, file_wins)
    # outside there is nothing but environ here, so that what is unknown is unset
    closed = {
        key: None if value is None else "".join(p if isinstance(p, str) else p.default or "" for p in value)
        for key, value in values.items()
    }
    assert closed == expected


@many
@given(utf8, st.sampled_from(["", "'", '"']), st.sampled_from([Reader.DOTENV_1_1, Reader.DOTENV_1_2]))
@example("ends with a backslash\\", "'", Reader.DOTENV_1_1)
@example('it\'s "${A}" \\\' \\" $', "", Reader.DOTENV_1_1)
@example("a\r\nb", "'", Reader.DOTENV_1_2)
def test_every_value_can_be_written(value: str, quote: str, reader: Reader) -> None:
    text = f"KEY={encode(value, quote)} # note\nA='after'\nB=\"after\"\n"
    values = interpolate(parse(text, reader), {"A": "wrong"}, True)
    assert {key: plain(v) for key, v in values.items()} == {"KEY": value, "A": "after", "B": "after"}


@many
@given(utf8.filter(lambda v: "\r" not in v and "${" not in v and not v.endswith("\\")), st.sampled_from(["", "'", '"']))
def test_systemd_reads_ordinary_values_the_same(value: str, quote: str) -> None:
    statements = parse(f"KEY={encode(value, quote)}\nA=after\n", Reader.SYSTEMD)
    assert assignments(statements) == {"KEY": value, "A": "after"}


@many
@given(st.lists(utf8 | st.builds(Reference, st.sampled_from("XYZ"), st.none() | st.just("d"))))
def test_open_references_stay_open(pieces: list[str | Reference]) -> None:
    value = join(pieces)
    for reader in (Reader.DOTENV_1_1, Reader.DOTENV_1_2):
        assert interpolate(parse("KEY=" + encode(value), reader), {}, True) == {"KEY": value}


# what systemd does with each of these was taken down from systemd itself (tests/integration/test_env_systemd.py)
@pytest.mark.parametrize(("text", "expected"), SYSTEMD_CASES.items())
def test_systemd_syntax(text: str, expected: dict[str, str]) -> None:
    assert assignments(parse(text, Reader.SYSTEMD)) == expected


def test_a_statement_keeps_its_place_quotes_and_comment_when_renamed_or_changed() -> None:
    statement = next(s for s in parse("  export 'OLD' = \"x\"  # why\r\n", Reader.DOTENV_1_1) if s.key)
    renamed = statement.renamed("LONGER")
    assert renamed.text == "  export 'LONGER' = \"x\"  # why\r\n"
    assert renamed.with_value("1") == "  export 'LONGER' = 1  # why\r\n"
    assert statement.with_value(encode("y z", statement.quote)) == "  export 'OLD' = \"y z\"  # why\r\n"


@pytest.mark.parametrize(
    ("text", "line"), [("A=1\nB='x\nC=2\n", 2), ("\n\nA='x' y\n", 3), ("=1\n", 1), ("A='1\n2'\nB b\n", 3)]
)
def test_what_cannot_be_read_is_known_by_its_line(text: str, line: int) -> None:
    assert [s.line for s in parse(text, Reader.DOTENV_1_2) if s.error] == [line]


def test_the_two_releases_of_python_dotenv_differ_where_they_do() -> None:
    for text in ("A= # none\n", "A='x\\\\'\nB='y'\n", BOM + "A=1\n"):
        assert parse(text, Reader.DOTENV_1_1) != parse(text, Reader.DOTENV_1_2)
    assert isinstance(parse("A=1", Reader.DOTENV_1_1)[0], Statement)
