# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A file of variables that settles what was found: to be read, changed, and given to a playbook with ``-e @FILE``.

What a finding proposes is in force. What only a person knows or may decide (a value, whether somebody gets access,
whether a risk is accepted) is there as a comment. The file is for Ansible, which would evaluate templates in it, and
texts in findings come from the database: so each text is one that Ansible takes as it is.

Only for the controller, which has PyYAML.
"""

from __future__ import annotations

import re
import shlex
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import yaml
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.findings import SETTLING, SEVERITIES
from ansible_collections.fractal_ops.platform.plugins.module_utils._run.advice import with_inventory
from ansible_collections.fractal_ops.platform.plugins.module_utils._window.advice import command

EXTENSION = "vars.yml"
_USERS = ("fractal_users", "fractal_user_rules")  # what the playbook users takes
_ACCEPT = "fractal_accept"
_USEFUL = ("blocked", "failed", "upgrade planned", "not begun")  # afterwards the users are others
_WIDTH = 110
_NAME = re.compile(r"[a-z][a-z0-9_]*")


def has_remedies(record: Mapping[str, Any]) -> bool:
    """Return whether a variable settles anything that was found, and it is not too late for that."""
    return record["outcome"] in _USEFUL and bool(_by_variable(_findings(record)))


def render_remedies(record: Mapping[str, Any]) -> str:
    """Return the file for one instance, as YAML.

    Args:
        record: The record of the report, with its ``run`` and, in ``remedies``, the command that takes the file.
    """
    settled, run = _by_variable(_findings(record)), record["run"]
    head = f"What settles findings about {record['name']} ({run['playbook']}, {run['ended']}). Read it and change it."
    ask = "A line with one # has no effect: it needs a value or a decision of yours. Remove the # to use it."
    lines = [*_comment(head), *_comment(ask), *_comment("Then run:"), f"##   {_plain(record['remedies'])}", "---"]
    for variable, entries in settled.items():
        lines += ["", *_variable(variable, entries)]
    return "\n".join(lines) + "\n"


def how_to_use(record: Mapping[str, Any], path: str) -> str:
    """Return the command that takes the file: the playbook users, if it settles users, else a precheck.

    Args:
        record: The record of the report, with its ``run``.
        path: The file.
    """
    users = any(name in _USERS for one in _findings(record) for name, _value, _asks in _settles(one))
    ran: str = with_inventory(command("users" if users else "precheck", record["hosts"]), record["run"]["inventory"])
    return f"{ran} -e {shlex.quote('@' + path)}"


class _Entry:
    """What one variable, or one user of a list of them, is to be; findings that ask for it are told above."""

    def __init__(self) -> None:
        self.why: list[str] = []
        self.fields: dict[str, tuple[Any, bool]] = {}  # value, and whether it is in force

    def add(self, fields: Mapping[str, Any], asks: bool, why: str) -> None:
        self.why.append(why)
        whole = "email" in fields or _is_known(fields)  # a setting of a user can go without the others
        for name, value in fields.items():
            in_force = not asks and whole and _is_known(value)
            if name not in self.fields or in_force > self.fields[name][1]:
                self.fields[name] = (value, in_force)


def _is_known(value: Any) -> bool:
    """Return whether nothing of it is left to a person."""
    if isinstance(value, Mapping):
        return all(_is_known(one) for one in value.values())
    return all(_is_known(one) for one in value) if isinstance(value, (list, tuple)) else value is not None


def _findings(record: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    found = [one for host in (record, *record["web"]) for one in host["findings"] if not one.get("accepted")]
    return sorted(found, key=lambda one: SEVERITIES.index(one["severity"]))


def _by_variable(findings: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, _Entry]]:
    """Return, by variable, its entries by what they are about; a variable that is no list has one."""
    settled: dict[str, dict[str, _Entry]] = {}
    accept: list[Mapping[str, Any]] = []
    for one in findings:
        for variable, value, asks in _settles(one):
            for about, fields in _entries(value):
                entry = settled.setdefault(variable, {}).setdefault(about, _Entry())
                entry.add(fields, asks, f"{one['severity']} {one['id']}: {one['message']} {one['fix']}")
        if one["severity"] == "blocker" and one["acceptable"]:
            accept.append(one)
    for one in accept:
        entry = settled.setdefault(_ACCEPT, {}).setdefault(one["id"], _Entry())
        entry.add({"": one["id"]}, True, f"Instead of a repair: {one['message']}")
    return settled


def _settles(finding: Mapping[str, Any]) -> Iterator[tuple[str, Any, bool]]:
    """Yield the variables that settle a finding, each with its value and whether a person has to decide.

    The account of the service may have answered it: only variables that a row may name count, each as far as that goes.
    """
    told = finding.get("settles")
    values = told.get("values") if isinstance(told, Mapping) else None
    for variable, value in values.items() if isinstance(values, Mapping) else ():
        if variable in SETTLING and _is_plain(value):
            yield variable, value, bool(told["asks"]) or not SETTLING[variable]


def _is_plain(value: Any) -> bool:
    """Return whether all names in a value are those of variables or columns; texts are quoted, names are not."""
    if isinstance(value, Mapping):
        return all(_NAME.fullmatch(str(name)) and _is_plain(one) for name, one in value.items())
    return not isinstance(value, list) or all(_is_plain(one) for one in value)


def _entries(value: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    if not isinstance(value, list):
        yield "", {"": value}
    for one in value if isinstance(value, list) else ():
        fields = dict(one) if isinstance(one, Mapping) else {"": one}
        yield str(fields.get("email", one)), fields


def _variable(variable: str, entries: Mapping[str, _Entry]) -> Iterator[str]:
    if "" in entries:
        [(value, in_force)] = entries[""].fields.values()
        yield from _reasons(entries[""], "")
        yield _line(f"{variable}: {_scalar(value)}", in_force)
        return
    alive = {about: _in_force(entry) for about, entry in entries.items()}
    yield _line(f"{variable}:", any(alive.values()))
    for about, entry in entries.items():
        yield from _reasons(entry, "  ")
        start = "  - "
        for name, (value, in_force) in entry.fields.items():
            shown = f"{name}: {_scalar(value)}" if name else _scalar(value)
            whole = alive[about] if name == "email" else in_force and alive[about]
            yield _line(f"{start}{shown}", whole)
            start = "    "


def _in_force(entry: _Entry) -> bool:
    """Return whether an entry says anything: the address alone does not."""
    return any(in_force for name, (_unused, in_force) in entry.fields.items() if name != "email")


def _reasons(entry: _Entry, indent: str) -> Iterator[str]:
    for why in entry.why:
        yield from _comment(why, indent)


def _line(text: str, in_force: bool) -> str:
    return text.rstrip() if in_force else f"# {text}".rstrip()


def _scalar(value: Any) -> str:
    """Return a value in one line of YAML; a text so that Ansible does not evaluate it. Nothing, for None."""
    if value is None:
        return ""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name}: {_scalar(one)}" for name, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_scalar, value)) + "]"
    shown: str = yaml.safe_dump([value], default_flow_style=True, width=float("inf"), allow_unicode=False).strip()[1:-1]
    return f"!unsafe {shown}" if isinstance(value, str) and "{" in value else shown


def _comment(text: str, indent: str = "") -> list[str]:
    """Return an explanation as lines with two #. A text that comes from the database must not end one by itself."""
    lead = f"{indent}## "
    return textwrap.wrap(_plain(text), _WIDTH, initial_indent=lead, subsequent_indent=lead, break_long_words=False)


def _plain(text: str) -> str:
    return "".join(one if one.isprintable() else "?" for one in " ".join(text.split()))
