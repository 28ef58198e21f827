# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""A migration while it is worked out: what 2.16 used in effect, what was decided so far, and what is to be told."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Callable

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.dotenv import (
    BOM,
    Reader,
    Reference,
    Value,
    assignments,
    interpolate,
    join,
    literal,
    parse,
    plain,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.findings import Finding
from ansible_collections.fractal_ops.platform.plugins.module_utils._env_file import rules

OLD, NEW, MIXED = "2.16", "2.17", "mixed"


@dataclass(frozen=True)
class Context:
    """What the migration knows besides the file.

    Attributes:
        directory: Working directory of the service; relative paths count from there.
        process: The process environment of the service, as far as it is known.
        process_is_known: Whether nothing else is in it but what systemd sets for every service.
        read_by_systemd: Whether the unit names the file in ``EnvironmentFile=``.
        can_override: Whether a drop-in can be written.
        worker_python: Worker interpreter where 2.16 used the server's own.
        tasks_python: Version and interpreter of the server, which 2.16 used for tasks where nothing else was set.
        default_group_name: ``All``, or empty to leave it unset.
        oauth_client: Which client to keep.
        data_migration: Whether the data migration is still to come and needs the ``.old`` file.
        decrypt: From encrypted password and key to the password; raises `FractalError`.
        readable: Whether a file can be read, given its path from the working directory.
    """

    directory: str
    process: Mapping[str, str] = field(default_factory=dict)
    process_is_known: bool = False
    read_by_systemd: bool = False
    can_override: bool = False
    worker_python: str | None = None
    tasks_python: tuple[str, str] | None = None
    default_group_name: str = "All"
    oauth_client: str | None = None
    data_migration: bool = True
    decrypt: Callable[[str, str], str] | None = None
    readable: Callable[[str], bool] = lambda path: True


def generation(text: str) -> str:
    """Return which release the server's environment file ``text`` is for: ``2.16``, ``2.17``, or ``mixed``.

    A file with nothing that tells is of 2.16.
    """
    values = assignments(parse(text.lstrip(BOM), Reader.DOTENV_1_1))
    names = {name for name, value in values.items() if value is not None}
    gone = {rule.variable for rule in rules.SERVER if rule.target != rule.variable}
    backend = values.get("FRACTAL_RUNNER_BACKEND")
    is_old = bool(names & gone or rules.oauth_clients(names) or backend == "slurm")
    is_new = bool(names & ({rule.variable for rule in rules.NEW} | rules.OAUTH_NEW) or backend == "slurm_sudo")
    return MIXED if is_old and is_new else NEW if is_new else OLD


class Draft:
    """One migration of a server's file.

    Attributes:
        generation: Which release the file is for.
        completes: Whether it is to be completed; one of 2.17 is only mended.
        statements: The file as python-dotenv reads it.
        process: The process environment that wins over the file.
        ignored: Variables of the file without effect, since systemd sets them for every service.
        file: Values of the file, references filled in as 2.16 did.
        targets: What the new file is to say, by name; None for not set.
        new_names: Variables that keep their place under another name.
        dropped: Variables of the file that the new file has not.
        without_effect: Variables that neither release takes from the file; their lines stay whatever they say.
        exported: Variables that go to the drop-in.
        secrets: Secret values seen.
        changes: What is told about the changes.
        findings: What else is told.
    """

    def __init__(self, text: str, context: Context) -> None:
        """Read the file and work out what 2.16 used."""
        self.text, self.context = text, context
        self.generation = generation(text)
        self.completes = self.generation != NEW
        self.statements = parse(text, Reader.DOTENV_1_1 if self.completes else Reader.DOTENV_1_2)
        own = assignments(parse(text, Reader.SYSTEMD)) if context.read_by_systemd else {}
        self._read_by_systemd = {name: value for name, value in own.items() if value is not None}
        self.process = {**self._read_by_systemd, **context.process} if self.completes else {}
        self.ignored = rules.SET_BY_SYSTEMD - set(self.process) if self.completes else frozenset()
        effective = [statement for statement in self.statements if statement.key not in self.ignored]
        self.file = interpolate(effective, self.process, file_wins=False)
        self.targets: dict[str, Value | None] = {}
        self.new_names: dict[str, str] = {}
        self.dropped: set[str] = set()
        self.without_effect: set[str] = set()
        self.exported: dict[str, str] = {}
        self.secrets: set[str] = set()
        self.changes: list[dict[str, str]] = []
        self.findings: list[Finding] = []
        texts = {name: self.plain(name) for name in {**self.file, **self.process}}
        self.settings = {name: text for name, text in texts.items() if text is not None}

    # -- what 2.16 used ------------------------------------------------------------------------------------------

    def value(self, name: str) -> Value | None:
        """Return what 2.16 used in effect: the process environment wins over the file."""
        return literal(self.process[name]) if name in self.process else self.file.get(name)

    def plain(self, name: str) -> str | None:
        """Return the same as text, None also if it depends on something unknown."""
        return plain(self.value(name))

    def known(self, name: str) -> str | None:
        """Return the same as text; it is a finding if it depends on something unknown."""
        value = self.value(name)
        if value is not None and self.context.process_is_known:
            value = join(p if isinstance(p, str) or p.name in rules.SET_BY_SYSTEMD else p.default or "" for p in value)
        if value is not None and plain(value) is None:
            names = sorted({f"${{{piece.name}}}" for piece in value if isinstance(piece, Reference)})
            self.find("environment.reference_unknown", name, references=", ".join(names))
        return plain(value)

    def elsewhere(self) -> dict[str, str]:
        """Return what the process environment has from other places than this file."""
        return {name: value for name, value in self.process.items() if self._read_by_systemd.get(name) != value}

    # -- deciding ------------------------------------------------------------------------------------------------

    def drop(self, name: str, reason: str) -> None:
        """Leave a variable out of the new file."""
        if name in self.file:
            self.dropped.add(name)
            self.change(name, "drop", reason)

    def rename(self, name: str, new_name: str, value: Value | None) -> None:
        """Give a variable's place to ``new_name``, unless the file has that already. Where both are set, they agree."""
        existing = self.value(new_name)
        if None not in (existing, value) and existing != value:
            self.find("environment.contradiction", name, other=new_name)
        if self.file.get(new_name) is not None:
            self.dropped.add(name)
        elif name in self.file:
            self.new_names[name] = new_name

    # -- telling -------------------------------------------------------------------------------------------------

    def change(self, variable: str, action: str, reason: str, new_variable: str = "") -> None:
        """Note a change; no values."""
        entry = {"variable": variable, "action": action, "new_variable": new_variable, "reason": reason}
        self.changes.append(entry)

    def find(self, rule: str, subject: str, **values: Any) -> None:
        """Note a finding, once, with the line of the variable that it is about."""
        finding = rules.FINDINGS[rule].finding(subject, **values)
        line = {statement.key: statement.line for statement in self.statements}.get(subject)
        if line is not None and "line" not in values:
            finding = replace(finding, message=f"{finding.message} It is in line {line}.")
        if finding not in self.findings:
            self.findings.append(finding)

    def missing(self, name: str, why: str, how: str = "") -> None:
        """Note that a variable is needed."""
        how = how or f"Set {name} in the environment file."
        self.find("environment.variable_missing", name, why=why, how=how)

    @property
    def is_blocked(self) -> bool:
        """Whether a finding forbids the migration."""
        return any(finding.severity == "blocker" for finding in self.findings)


def is_movable(name: str) -> bool:
    """Return whether a variable is none of Fractal's, and one that a drop-in can set."""
    is_fractals = name in rules.FRACTALS or name.startswith(("FRACTAL_", "OAUTH_"))
    return not is_fractals and name not in rules.SET_BY_SYSTEMD and bool(re.match(r"[A-Za-z_]\w*\Z", name, re.ASCII))
