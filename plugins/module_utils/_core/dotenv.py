# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""Environment files, read without loss and as their real readers read them.

The same bytes mean different things to different readers, and an upgrade changes the reader: fractal-server pinned
python-dotenv 1.1 once, its later releases take any (1.2 by now), systemd has a syntax of its own
(``EnvironmentFile=``). So `parse` takes the reader, and `encode` writes what all of them read alike.

A document is the sequence of its statements; joining their texts gives the input back, byte for byte.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from functools import lru_cache
from typing import Callable, Optional, Union

BOM = "\ufeff"


class Reader(Enum):
    """Who reads the file."""

    DOTENV_1_1 = "python-dotenv 1.1"
    DOTENV_1_2 = "python-dotenv 1.2"
    SYSTEMD = "systemd"


@dataclass(frozen=True)
class Statement:
    """One assignment with its line ending, or a stretch of comments and blank lines.

    ``value`` is what stands there, unquoted but before interpolation; None for a key without ``=``. The spans are
    places within ``text``: the key without its quotes, the value with them. ``error`` says why the reader cannot
    read the statement.
    """

    text: str
    line: int
    key: str | None = None
    value: str | None = None
    key_span: tuple[int, int] = (0, 0)
    value_span: tuple[int, int] = (0, 0)
    error: str = ""

    @property
    def quote(self) -> str:
        """The quote character around the value, or nothing."""
        first = self.text[self.value_span[0] : self.value_span[0] + 1]
        return first if first in ("'", '"') else ""

    def renamed(self, key: str) -> Statement:
        """Return the statement with another key in the same place."""
        start, end = self.key_span
        grown = start + len(key) - end
        value_span = (self.value_span[0] + grown, self.value_span[1] + grown)
        text = self.text[:start] + key + self.text[end:]
        return replace(self, text=text, key=key, key_span=(start, end + grown), value_span=value_span)

    def with_value(self, raw: str) -> str:
        """Return the text with another value, as `encode` wrote it, in the same place."""
        return self.text[: self.value_span[0]] + raw + self.text[self.value_span[1] :]


@dataclass(frozen=True)
class Reference:
    """A ``${name}`` or ``${name:-default}`` whose meaning nobody here knows: neither file nor unit sets it."""

    name: str
    default: str | None = None

    def __str__(self) -> str:
        """Return the notation of the file."""
        return "${" + self.name + ("" if self.default is None else ":-" + self.default) + "}"


Value = tuple[Union[str, Reference], ...]
"""A value with everything known filled in: texts, and the references that stay open."""


def parse(text: str, reader: Reader) -> list[Statement]:
    """Return the statements of ``text`` as ``reader`` sees them; it never fails, see `Statement.error`."""
    return list(_parse(text, reader))


@lru_cache(maxsize=256)  # a migration looks at the same few texts again and again
def _parse(text: str, reader: Reader) -> tuple[Statement, ...]:
    if reader is Reader.SYSTEMD:
        return tuple(_scan_systemd(text))
    return tuple(_scan_dotenv(text, newer=reader is Reader.DOTENV_1_2))


def render(statements: Iterable[Statement]) -> str:
    """Return the text of a document."""
    return "".join(statement.text for statement in statements)


# -- python-dotenv: dotenv/parser.py of releases 1.1.1 and 1.2.4 ------------------------------------------------------

_NEWLINE = re.compile(r"\r\n|\n|\r")
_SPACES = re.compile(r"\s*")
_BLANKS = re.compile(r"[^\S\r\n]*")
_EXPORT = re.compile(r"(?:export[^\S\r\n]+)?")
_QUOTED_KEY = re.compile(r"'([^']+)'")
_PLAIN_KEY = re.compile(r"([^=#\s]+)")
_EQUALS = re.compile(r"=[^\S\r\n]*")
_OLD_QUOTED = {"'": re.compile(r"'((?:\\'|[^'])*)'"), '"': re.compile(r'"((?:\\"|[^"])*)"')}
_NEW_QUOTED = {
    "'": re.compile(r"'((?:\\.|[^'\\])*)'", re.DOTALL),
    '"': re.compile(r'"((?:\\.|[^"\\])*)"', re.DOTALL),
}
_LINE = re.compile(r"[^\r\n]*")
_TRAILING_COMMENT = re.compile(r"\s+#.*")
_COMMENT = re.compile(r"(?:[^\S\r\n]*#[^\r\n]*)?")
_END_OF_LINE = re.compile(r"[^\S\r\n]*(?:\r\n|\n|\r|\Z)")
_REST_OF_LINE = re.compile(r"[^\r\n]*(?:\r\n|\n|\r)?")
_ESCAPES = {"'": re.compile(r"\\([\\'])"), '"': re.compile(r"\\([\\'\"abfnrtv])")}
_CONTROL = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


class _Unreadable(Exception):
    """The line makes no sense to the reader from ``position`` on."""

    def __init__(self, reason: str, position: int) -> None:
        super().__init__(reason)
        self.position = position


def _scan_dotenv(text: str, newer: bool) -> Iterator[Statement]:
    start = len(BOM) if newer and text.startswith(BOM) else 0
    if start:
        yield Statement(BOM, 1)
    yield from _scan(text, start, _SPACES, lambda position, line: _read_statement(text, position, line, newer))


def _scan(
    text: str, position: int, spaces: re.Pattern[str], read: Callable[[int, int], Statement]
) -> Iterator[Statement]:
    line = 1
    while position < len(text):
        start = _after_blank_lines(text, position, spaces)
        statement = Statement(text[position:start], line) if start > position else read(start, line)
        yield statement
        position += len(statement.text)
        line += _lines(statement.text)


def _read_statement(text: str, start: int, line: int, newer: bool) -> Statement:
    key, value, key_span, value_span = None, None, (start, start), (start, start)
    position = _end(_EXPORT, text, _end(_BLANKS, text, start))
    try:
        if not text.startswith("#", position):
            match = (_QUOTED_KEY if text.startswith("'", position) else _PLAIN_KEY).match(text, position)
            if match is None:
                raise _Unreadable("there is no variable name", position)
            key, key_span = _NEWLINE.sub("\n", match.group(1)), match.span(1)
            position = _end(_BLANKS, text, match.end())
            value_span = (position, position)
            if text.startswith("=", position):
                value, value_span = _read_value(text, position, newer)
        end = _end_of_statement(text, _end(_COMMENT, text, value_span[1] if key else position))
    except _Unreadable as problem:
        return Statement(text[start : _end(_REST_OF_LINE, text, problem.position)], line, error=str(problem))
    return Statement(text[start:end], line, key, value, _within(key_span, start), _within(value_span, start))


def _read_value(text: str, equals: int, newer: bool) -> tuple[str, tuple[int, int]]:
    start = _end(_EQUALS, text, equals)
    quote = text[start : start + 1]
    if quote == "#" and newer and start - equals > 1:
        return "", (start, start)
    if quote not in _ESCAPES:
        value = _TRAILING_COMMENT.sub("", text[start : _end(_LINE, text, start)]).rstrip()
        return value, (start, start + len(value))
    match = (_NEW_QUOTED if newer else _OLD_QUOTED)[quote].match(text, start)
    if match is None:
        raise _Unreadable(f"the quote {quote} is never closed", start)
    inner = _NEWLINE.sub("\n", match.group(1))  # files are opened with universal newlines
    return _ESCAPES[quote].sub(lambda found: _CONTROL.get(found.group(1), found.group(1)), inner), match.span()


def _end_of_statement(text: str, position: int) -> int:
    match = _END_OF_LINE.match(text, position)
    if match is None:
        raise _Unreadable("there is more text where the line should end", position)
    return match.end()


def _after_blank_lines(text: str, position: int, spaces: re.Pattern[str]) -> int:
    """Return where the next statement's line starts; its indentation belongs to it."""
    end = _end(spaces, text, position)
    if end == len(text):
        return end
    return max(text.rfind("\n", position, end), text.rfind("\r", position, end), position - 1) + 1


def _end(pattern: re.Pattern[str], text: str, position: int) -> int:
    match = pattern.match(text, position)
    return match.end() if match else position


def _within(span: tuple[int, int], start: int) -> tuple[int, int]:
    return span[0] - start, span[1] - start


def _lines(text: str) -> int:
    return len(_NEWLINE.findall(text))


# -- systemd: parse_env_file_internal() of src/basic/env-file.c (254 and later) ---------------------------------------

_SYSTEMD_SPACES = re.compile(r"[ \t\r\n]*")
_SYSTEMD_KEY = re.compile(r"[^\r\n][^=\r\n]*")  # a line that begins with "=" has that in its key
_SYSTEMD_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


def _scan_systemd(text: str) -> Iterator[Statement]:
    return _scan(text, 0, _SYSTEMD_SPACES, lambda position, line: _read_systemd_statement(text, position, line))


def _read_systemd_statement(text: str, start: int, line: int) -> Statement:
    key_start = _end(_SYSTEMD_SPACES, text, start)
    equals = _end(_SYSTEMD_KEY, text, key_start)
    if text[key_start] in "#;" or not text.startswith("=", equals):
        return Statement(text[start : _end(_REST_OF_LINE, text, start)], line)
    key = text[key_start:equals].rstrip(" \t")
    value, value_end, closed = _read_systemd_value(text, equals + 1)
    statement = text[start : _end(_END_OF_LINE, text, value_end)]
    if not _SYSTEMD_NAME.match(key):  # ignored by systemd, which says so in the journal
        return Statement(statement, line)
    key_span = _within((key_start, key_start + len(key)), start)
    span = _within((equals + 1, value_end), start)
    return Statement(statement, line, key, value, key_span, span, "" if closed else "a quote is never closed")


def _read_systemd_value(text: str, start: int) -> tuple[str, int, bool]:
    """Return the value, where its text ends (before the line ending), and whether its quotes are closed."""
    value, state, position = "", "before", start
    kept = 0  # length of the value without trailing blanks, which count only if quoted or escaped
    while position < len(text):
        char = text[position]
        if state in ("'", '"'):
            if char == state:
                state = "before"
            elif char == "\\" and state == '"':
                position += 1
                follows = text[position : position + 1]
                value += follows if follows in ('"', "\\", "`", "$") else "" if follows == "\n" else "\\" + follows
            else:
                value += char
            kept = len(value)
        elif char in "\r\n":
            break
        elif state == "before" and char in "'\"":
            state = char
        elif char == "\\":
            position += 1
            follows = text[position : position + 1]
            value += "" if follows in ("\n", "\r") else follows
            state, kept = "inside", len(value)
        elif not (state == "before" and char in " \t"):
            value, state = value + char, "inside"
            kept = kept if char in " \t" else len(value)
        position += 1
    return value[:kept], position, state not in ("'", '"')


# -- values -----------------------------------------------------------------------------------------------------------

_VARIABLE = re.compile(r"\$\{(?P<name>[^}:]*)(?::-(?P<default>[^}]*))?\}")  # dotenv/variables.py
_PLAIN = re.compile(r"[A-Za-z0-9_./:@%+,=~-]+\Z")
_DOLLAR = "${:-$}"  # an unset variable whose default is a dollar sign: the only way to write a literal "${"
_NOTHING = "${:-}"


def interpolate(
    statements: Iterable[Statement], environ: Mapping[str, str], file_wins: bool
) -> dict[str, Optional[Value]]:
    """Return every variable's value with its ``${…}`` filled in, as far as file and ``environ`` know them.

    A reference to what only a later line sets counts as unset: what the file sets, nobody else is taken to set.

    Args:
        statements: A document as python-dotenv reads it. The last assignment of a variable counts.
        environ: The known part of the process environment.
        file_wins: Whether an earlier line of the file wins over ``environ`` within ``${…}``: yes for
            ``DotEnv(override=True)``, no for ``load_dotenv()`` and for ``DotEnv(override=False)``.
    """
    values: dict[str, Optional[Value]] = {}
    document = list(statements)
    later = {statement.key for statement in document}

    def known(name: str) -> Value | None:
        if name in environ and not (file_wins and name in values):
            return (environ[name],)
        return (values[name] or ()) if name in values else None

    def fill(reference: Reference) -> Value:
        found = known(reference.name)
        if found is None:
            return literal(reference.default or "") if reference.name in later else (reference,)
        return found

    for statement in document:
        if statement.key is not None:
            values[statement.key] = None if statement.value is None else _fill(statement.value, fill)
    return values


def _fill(value: str, fill: Callable[[Reference], Value]) -> Value:
    pieces: list[str | Reference] = []
    position = 0
    for match in _VARIABLE.finditer(value):
        pieces.append(value[position : match.start()])
        pieces += fill(Reference(match["name"], match["default"]))
        position = match.end()
    return join([*pieces, value[position:]])


def join(pieces: Iterable[str | Reference]) -> Value:
    """Return the value made of ``pieces`` in its normal form: no empty texts, no two texts in a row."""
    joined: list[str | Reference] = []
    for piece in pieces:
        if isinstance(piece, str) and joined and isinstance(joined[-1], str):
            joined[-1] += piece
        elif piece != "":
            joined.append(piece)
    # the name between "${" and "}" can be empty, and no environment has a variable without name
    if any(isinstance(piece, Reference) and not piece.name for piece in joined):
        return join((p.default or "") if isinstance(p, Reference) and not p.name else p for p in joined)
    return tuple(joined)


def literal(text: str) -> Value:
    """Return a text as a value."""
    return (text,) if text else ()


def plain(value: Value | None) -> str | None:
    """Return the text of a value, or None if it is unset or depends on a variable that nobody here knows."""
    if value is None or any(isinstance(piece, Reference) for piece in value):
        return None
    return "".join(map(str, value))


def encode(value: Value | str, quote: str = "") -> str:
    """Return ``value`` in the notation that python-dotenv 1.1 and 1.2, and where possible systemd, read alike.

    Args:
        value: What the readers shall see.
        quote: The quote character to use if it can be; empty for none.
    """
    pieces = (value,) if isinstance(value, str) else value
    text = "".join(p.replace("${", _DOLLAR + "{") if isinstance(p, str) else str(p) for p in pieces)
    if not quote and _PLAIN.match(text):
        return text
    if quote != '"' and not re.search(r"['\\\r]", text):
        return f"'{text}'"
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\r", "\\r")
    # python-dotenv 1.1 takes an escaped backslash before the closing quote for an escaped quote
    return f'"{escaped}{_NOTHING if text.endswith(chr(92)) else ""}"'


def split(value: str) -> Value:
    """Return a statement's value as texts and references, nothing filled in."""
    return _fill(value, lambda reference: (reference,))


def line_ending(text: str) -> str:
    """Return the line ending that ``text`` uses first."""
    match = _NEWLINE.search(text)
    return match.group() if match else "\n"


def encode_for_systemd(value: str) -> str:
    """Return ``value`` in the notation of ``EnvironmentFile=``, which can express all values."""
    return value if _PLAIN.match(value) else '"' + re.sub(r'(["\\`$])', r"\\\1", value) + '"'


def is_robust(statement: Statement) -> bool:
    """Return whether python-dotenv 1.1 and 1.2 read a statement alike, whatever follows it in the file."""
    alone = [parse(statement.text, reader) for reader in (Reader.DOTENV_1_1, Reader.DOTENV_1_2)]
    seen = [[(s.key, s.value, s.error) for s in statements if s.key is not None or s.error] for statements in alone]
    raw = statement.text[slice(*statement.value_span)]
    # release 1.1 may take a backslash before the closing quote for an escape, and read on to the next quote
    return seen[0] == seen[1] and len(seen[0]) <= 1 and not (statement.quote and raw[:-1].endswith("\\"))


def assignments(statements: Iterable[Statement]) -> dict[str, Optional[str]]:
    """Return the last value of every key, without interpolation; for systemd, which has none, these are the values."""
    return {s.key: s.value for s in statements if s.key is not None}
