# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""Editing an environment file until every reader gets the intended values, and changing nothing else."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.dotenv import (
    BOM,
    Reader,
    Statement,
    Value,
    assignments,
    encode,
    encode_for_systemd,
    interpolate,
    is_robust,
    line_ending,
    parse,
    plain,
    render,
    split,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError

_DOTENV = (Reader.DOTENV_1_1, Reader.DOTENV_1_2)


def settle(
    text: str,
    targets: Mapping[str, Value | None],
    header: str,
    without_effect: Collection[str] = (),
    for_systemd: bool = False,
) -> str:
    """Edit ``text`` until both releases of python-dotenv read exactly ``targets`` from it, whatever the process has.

    Args:
        text: The file, of statements that are `robust`.
        targets: What to read, by name; None for not set.
        header: Comment before lines that are added at the end.
        without_effect: Variables that may say anything.
        for_systemd: Whether a corrected line must mean the same to systemd.

    Raises:
        FractalError: It cannot be done; better than a wrong file.
    """

    def wrong(statements: list[Statement]) -> list[str]:
        values = interpolate(statements, {}, file_wins=True)
        seen = assignments(parse(render(statements), Reader.SYSTEMD)) if for_systemd else {}
        # in the service, a reference finds what systemd has read, also from a later line; fractalctl finds it unset
        process = {name: value for name, value in seen.items() if value is not None}
        in_service = interpolate(statements, process, file_wins=True) if process else values
        differing = [n for n, value in targets.items() if (values.get(n), in_service.get(n)) != (value, value)]
        extra = [n for n, v in values.items() if v is not None and n not in targets and n not in without_effect]
        return [name for name in differing if not _only_for_systemd(targets[name], seen.get(name))] + extra

    for _attempt in range(3 * (1 + len(targets))):
        statements = parse(text, Reader.DOTENV_1_1)
        names = wrong(statements)
        places = {statement.key: number for number, statement in enumerate(statements)}
        present = sorted((name for name in names if name in places), key=lambda name: places[name])
        if present:  # one at a time: a value that refers to it may be right afterwards
            text = correct(statements, present[0], targets.get(present[0]), for_systemd)
        elif names:
            text = append(text, {name: targets[name] for name in names}, header)
        else:
            break
    return _proved(text, wrong)


def _only_for_systemd(value: Value | None, seen: str | None) -> bool:
    """Return whether systemd sees the value that is wanted, and no notation shows it to python-dotenv as well.

    The service is right then, as the process environment wins; only ``fractalctl`` on its own is not.
    """
    if value is None or seen is None or plain(value) != seen:
        return False
    return not _systemd_sees(f"A={encode(value)}\n", "A", value)


def complete(text: str, targets: Mapping[str, Value | None], header: str) -> str:
    """Add lines at the end of ``text`` until python-dotenv reads ``targets`` from it, with no reference in them.

    Raises:
        FractalError: It cannot be done.
    """

    def wrong(statements: list[Statement]) -> list[str]:
        values = interpolate(statements, {}, file_wins=True)
        written = {s.key: split(s.value or "") for s in statements if s.key is not None}
        return [n for n, v in targets.items() if values.get(n) != v or plain(written.get(n, ())) is None]

    names = wrong(parse(text, Reader.DOTENV_1_1))
    return _proved(append(text, {name: targets[name] for name in names}, header) if names else text, wrong)


def _proved(text: str, wrong: Callable[[list[Statement]], list[str]]) -> str:
    for reader in _DOTENV:
        names = wrong(parse(text, reader))
        if names:
            raise FractalError(
                f"The migrated environment file would not mean the same to {reader.value}: {', '.join(names)}. "
                "Nothing was written. Simplify these lines (quotes, escapes, ${...}) and run again."
            )
    return text


def correct(statements: list[Statement], name: str, value: Value | None, for_systemd: bool = False) -> str:
    """Return the text with ``value`` where the variable is assigned last; without the variable for None."""
    last = [statement for statement in statements if statement.key == name][-1]
    if value is None:
        return render(statement for statement in statements if statement.key != name)
    if last.value is None:  # a name without "=" unsets what stands before it
        return render(s for s in statements if s.key != name or s.value is not None)
    text = last.with_value(encode(value, last.quote))
    if for_systemd and plain(value) is not None and not _systemd_sees(text, name, value):
        text = _line_for_systemd(last, name, value)
    return "".join(text if statement is last else statement.text for statement in statements)


def _line_for_systemd(statement: Statement, name: str, value: Value) -> str:
    """Return the assignment without what systemd does not take: ``export``, a comment after it, other escapes.

    Where no notation suits both, systemd's reading counts: the service gets it.

    Raises:
        FractalError: There is none that systemd reads right and python-dotenv reads at all.
    """
    comment, newline = statement.text[statement.value_span[1] :].strip(), line_ending(statement.text)
    text = plain(value) or ""
    for notation in (encode(value), re.sub(r"([^A-Za-z0-9_/.:@%+,=-])", r"\\\1", text), encode_for_systemd(text)):
        line = f"{name}={notation}{newline}"
        if _systemd_sees(line, name, value) and all(map(is_robust, parse(line, Reader.DOTENV_1_1))):
            return (comment + newline if comment else "") + line
    raise FractalError(
        f"The value of {name} cannot be written so that systemd and fractal-server both read it. Nothing was written. "
        "Choose a simpler value: no line breaks together with a backslash at the end."
    )


def _systemd_sees(text: str, name: str, value: Value) -> bool:
    return assignments(parse(text, Reader.SYSTEMD)) == {name: plain(value)}


def append(text: str, values: Mapping[str, Value | None], header: str) -> str:
    """Return the text with assignments at its end, after a comment; None gives a name without ``=``, which unsets."""
    newline = line_ending(text)
    lines = [name if value is None else f"{name}={encode(value)}" for name, value in values.items()]
    start = text if not text or text.endswith(("\n", "\r")) else text + newline
    return start + (newline if start else "") + newline.join([header, *lines]) + newline


def robust(statement: Statement) -> str:
    """Return the statement in a notation that no reader can misunderstand; nearly always it is already."""
    if statement.key is None or is_robust(statement):
        return statement.text
    return statement.with_value(encode(split(statement.value or ""), statement.quote))


def without_mark(statement: Statement) -> Statement:
    """Return a statement that newer releases of python-dotenv read like older ones, which saw the byte order mark."""
    if statement.key is None or not statement.key.startswith(BOM):
        return statement
    text = statement.text.replace(BOM, "", 1)
    if statement.key != BOM or statement.value is not None:
        text = "".join(f"# {line}" for line in text.splitlines(keepends=True))
    return Statement(text, statement.line)
