# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""A step while it is worked out: what was used in effect, what was decided so far, and what is to be told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Callable

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.dotenv import (
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


@dataclass(frozen=True)
class Context:
    """What the migration knows besides the file.

    Attributes:
        directory: Working directory of the service; relative paths count from there.
        process: The process environment of the service, as far as it is known.
        process_is_known: Whether nothing else is in it but what systemd sets for every service.
        read_by_systemd: Whether the unit names the file in ``EnvironmentFile=``.
        can_override: Whether a drop-in can be written.
        worker_python: Worker interpreter where the server's own was used.
        tasks_python: Version and interpreter of the server, which was used for tasks where nothing else was set.
        default_group_name: ``All``, or empty to leave it unset.
        oauth_client: Which client to keep.
        data_pending: The releases whose data migration is still to come; None for all.
        hidden: Variables that the drop-in has taken out of the process environment already.
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
    data_pending: frozenset[str] | None = None
    hidden: frozenset[str] = frozenset()
    decrypt: Callable[[str, str], str] | None = None
    readable: Callable[[str], bool] = lambda path: True


class Draft:
    """One step of the migration of a server's file.

    Attributes:
        step: Which one.
        existing_old: The ``.old`` file that is there already, if any.
        data_is_over: Whether the release's data migration is.
        loads: Whether the release before loads the file into its process environment. See `EnvStep`.
        completes: Whether missing variables are added; a file that is past a step is only mended by it.
        statements: The file as python-dotenv reads it.
        process: The process environment that wins over the file.
        ignored: Variables of the file without effect, since systemd sets them for every service.
        file: Values of the file, references filled in as that release does.
        targets: What the new file is to say, by name; None for not set.
        new_names: Variables that keep their place under another name.
        dropped: Variables of the file that the new file has not.
        without_effect: Variables that the unit sets anyway; their lines are left unchanged.
        exported: Variables that go to the drop-in.
        secrets: Secret values seen.
        companions: New variables by the renamed one before whose line they are to stand.
        old_text: The ``.old`` file to write; None for none.
        handed_on: What the resource needs after the data migration.
        oauth_client_name: As the server calls it from now on; empty for none.
        changes: What is told about the changes.
        findings: What else is told.
    """

    def __init__(self, text: str, context: Context, step: rules.EnvStep, existing_old: str | None = None) -> None:
        """Read the file and work out what was used so far."""
        self.text, self.context, self.step, self.existing_old = text, context, step, existing_old
        self.data_is_over = context.data_pending is not None and step.release not in context.data_pending
        self.loads = step.loads(text, self.data_is_over)
        self.completes = self.loads or step.loads is rules.never
        self.statements = parse(text, Reader.DOTENV_1_1 if self.loads else Reader.DOTENV_1_2)
        own = assignments(parse(text, Reader.SYSTEMD)) if context.read_by_systemd else {}
        self._read_by_systemd = {name: value for name, value in own.items() if value is not None}
        self.process = {**self._read_by_systemd, **context.process}
        if not self.loads:  # nothing goes from the file to the process, so only its own settings matter
            seen = {rule.variable for rule in step.rules if self.completes} - context.hidden
            self.process = {name: value for name, value in self.process.items() if name in seen}
        self.ignored = rules.SET_BY_SYSTEMD - set(self.process) if self.loads else frozenset()
        effective = [statement for statement in self.statements if statement.key not in self.ignored]
        self.file = interpolate(effective, self.process if self.loads else {}, file_wins=not self.loads)
        self.targets: dict[str, Value | None] = {}
        self.new_names: dict[str, str] = {}
        self.dropped: set[str] = set()
        self.without_effect: set[str] = set()
        self.exported: dict[str, str] = {}
        self.secrets: set[str] = set()
        self.companions: dict[str, str] = {}
        self.old_text: str | None = None
        self.handed_on: dict[str, Any] = {}
        self.oauth_client_name = ""
        self.changes: list[dict[str, str]] = []
        self.findings: list[Finding] = []
        texts = {name: self.plain(name) for name in {**self.file, **self.process}}
        self.settings = {name: text for name, text in texts.items() if text is not None}

    # -- what was used ------------------------------------------------------------------------------------------

    def value(self, name: str) -> Value | None:
        """Return what was used in effect: the process environment wins over the file."""
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
        finding = {**rules.FINDINGS, **self.step.findings}[rule].finding(subject, **values)
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
