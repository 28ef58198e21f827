# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""The migration of an environment file from 2.16 to 2.17, as a function of texts: nothing is read or written here.

What counts is what 2.16 used in effect: the process environment wins over the file (``load_dotenv(override=False)``),
and defaults are values too. From the effective values and the rules follow the values that the new file must show to
2.17; the file is then edited as little as possible until it shows exactly these.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Callable

from ansible_collections.fractal_ops.platform.plugins.module_utils import _env_rules as rules
from ansible_collections.fractal_ops.platform.plugins.module_utils._dotenv import (
    BOM,
    Reader,
    Reference,
    Statement,
    Value,
    assignments,
    encode,
    interpolate,
    is_robust,
    join,
    line_ending,
    literal,
    parse,
    plain,
    render,
    split,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._findings import Finding

OLD, NEW, MIXED = "2.16", "2.17", "mixed"

ADDED = "# Added by the upgrade to fractal-server 2.17.0"
COMPLETED = "# Added for 'fractalctl update-db-data' of 2.17.0: what 2.16 used in effect"
STAND_IN = "# 'fractalctl update-db-data' knows no Python 3.13; the resource gets the real value right after it"


@dataclass(frozen=True)
class Context:
    """What the migration knows besides the file.

    Attributes:
        directory: Working directory of the service; relative paths count from there.
        process: The process environment of the service, as far as it is known.
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
    read_by_systemd: bool = False
    can_override: bool = False
    worker_python: str | None = None
    tasks_python: tuple[str, str] | None = None
    default_group_name: str = "All"
    oauth_client: str | None = None
    data_migration: bool = True
    decrypt: Callable[[str, str], str] | None = None
    readable: Callable[[str], bool] = lambda path: True


@dataclass(frozen=True)
class EnvMigration:
    """What the migration does to one file.

    Attributes:
        generation: What the file was: ``2.16``, ``2.17`` or ``mixed``.
        text: The new file.
        old_text: The ``.old`` file to write; None where there is none to write.
        changes: Dictionaries with ``variable``, ``action``, ``new_variable``, ``reason``; no values.
        findings: What the operator should know; with a blocker among them nothing is to be written.
        exported: Variables that a drop-in has to set, because 2.17 does not hand them to child processes any more.
        hidden: Variables that a drop-in has to take out of the process environment.
        handed_on: What the resource needs after the data migration: ``tasks_python_config``, ``jobs_poll_interval``.
        oauth_client_name: As the server calls it from now on; empty for none.
        runner_backend: As the server calls it from now on.
        secrets: Secret values seen, to be shown nowhere.
    """

    generation: str
    text: str
    old_text: str | None = None
    changes: list[dict[str, str]] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    exported: dict[str, str] = field(default_factory=dict)
    hidden: list[str] = field(default_factory=list)
    handed_on: dict[str, Any] = field(default_factory=dict)
    oauth_client_name: str = ""
    runner_backend: str = ""
    secrets: frozenset[str] = frozenset()

    @property
    def blockers(self) -> list[Finding]:
        """Findings that forbid the migration."""
        return [finding for finding in self.findings if finding.severity == "blocker"]


def generation(text: str) -> str:
    """Return which release the server's environment file ``text`` is for: ``2.16``, ``2.17``, or ``mixed``.

    A file with nothing that tells is of 2.16.
    """
    values = assignments(parse(text.lstrip(BOM), Reader.DOTENV_1_1))
    names = {name for name, value in values.items() if value is not None}
    gone = {rule.variable for rule in rules.SERVER if rule.target != rule.variable}
    backend = values.get("FRACTAL_RUNNER_BACKEND")
    is_old = bool(names & gone or oauth_clients(names) or backend == "slurm")
    fresh = {rule.variable for rule in rules.NEW} | rules.OAUTH_NEW
    is_new = bool(names & fresh or backend == "slurm_sudo")
    return MIXED if is_old and is_new else NEW if is_new else OLD


def oauth_clients(names: Iterable[str]) -> list[str]:
    """Return the OAuth clients that 2.16 would find in these variables (2.16.6, config.py)."""
    return sorted({n.split("_")[1] for n in names if n.startswith("OAUTH_") and n not in rules.OAUTH_NEW})


def migrate_server(text: str, context: Context, existing_old: str | None = None) -> EnvMigration:
    """Return the migration of the server's file ``text``.

    Args:
        text: The file.
        context: What else is known.
        existing_old: The ``.old`` file that lies there, if any.
    """
    return _ServerMigration(text, context, existing_old).run()


class _ServerMigration:
    """The state of one migration while it is worked out."""

    def __init__(self, text: str, context: Context, existing_old: str | None) -> None:
        self.text, self.context, self.existing_old = text, context, existing_old
        self.generation = generation(text)
        self.completes = self.generation != NEW
        self.statements = parse(text, Reader.DOTENV_1_1 if self.completes else Reader.DOTENV_1_2)
        self.process = self._process()
        ignored = rules.SET_BY_SYSTEMD if self.completes else ()
        effective = [s for s in self.statements if s.key not in ignored]
        self.file = self._close(interpolate(effective, self.process, file_wins=False))
        self.targets: dict[str, Value | None] = {}
        self.new_names: dict[str, str] = {}
        self.dropped: set[str] = set()
        self.exported: dict[str, str] = {}
        self.changes: list[dict[str, str]] = []
        self.findings: list[Finding] = []
        self.secrets: set[str] = set()

    def _process(self) -> dict[str, str]:
        """Return the process environment that counts; a file of 2.17 is mended by itself."""
        if not self.completes:
            return {}
        own = assignments(parse(self.text, Reader.SYSTEMD)) if self.context.read_by_systemd else {}
        return {**{name: value for name, value in own.items() if value is not None}, **self.context.process}

    def _close(self, values: dict[str, Value | None]) -> dict[str, Value | None]:
        """Take references to what the drop-in is going to set as 2.16 took them: it did not know these yet."""
        if not (self.completes and self.context.can_override):
            return values
        movable = {name for name in values if name not in self.process and _is_movable(name)}

        def closed(piece: str | Reference) -> str | Reference:
            return piece if isinstance(piece, str) or piece.name not in movable else piece.default or ""

        return {n: None if value is None else join(map(closed, value)) for n, value in values.items()}

    def _elsewhere(self) -> dict[str, str]:
        """Return what the process environment has from other places than this file."""
        own = assignments(parse(self.text, Reader.SYSTEMD)) if self.context.read_by_systemd else {}
        return {name: value for name, value in self.process.items() if own.get(name) != value}

    def run(self) -> EnvMigration:
        """Work it all out."""
        for statement in self.statements:
            if statement.error:
                self._find(
                    "environment.line_unreadable", ".fractal_server.env", line=statement.line, problem=statement.error
                )
        if self.findings:
            return EnvMigration(self.generation, self.text, findings=self.findings)
        self.settings = {name: text for name in [*self.file, *self.process] if (text := self._text(name)) is not None}
        for rule in (*rules.SERVER, *rules.NEW):
            self._apply(rule)
        self._email()
        client = self._oauth()
        if self.completes:
            self._group_name()
            self._others()
        for name, value in self.file.items():
            if name not in self.dropped and name not in self.new_names:
                self.targets.setdefault(name, value)
        hidden = self._hidden()
        old_text, handed_on = self._old_file()
        text = self._new_text() if not any(f.severity == "blocker" for f in self.findings) else self.text
        self._compare_readers(text)
        backend = plain(self.targets.get("FRACTAL_RUNNER_BACKEND")) or "local"
        return EnvMigration(
            generation=self.generation,
            text=text,
            old_text=old_text,
            changes=self.changes,
            findings=self.findings,
            exported=self.exported,
            hidden=hidden,
            handed_on=handed_on,
            oauth_client_name=client,
            runner_backend=backend,
            secrets=frozenset(self.secrets | {v for n, v in self.settings.items() if rules.is_secret(n)}),
        )

    # -- what 2.16 used ------------------------------------------------------------------------------------------

    def _effective(self, name: str) -> Value | None:
        return literal(self.process[name]) if name in self.process else self.file.get(name)

    def _text(self, name: str) -> str | None:
        return plain(self._effective(name))

    def _known_text(self, name: str) -> str | None:
        """Return the effective value as text; one that depends on something unknown is a finding."""
        value = self._effective(name)
        if value is not None and plain(value) is None:
            names = sorted({f"${{{piece.name}}}" for piece in value if isinstance(piece, Reference)})
            self._find("environment.reference_unknown", name, references=", ".join(names))
            return None
        return plain(value)

    # -- the rules -----------------------------------------------------------------------------------------------

    def _apply(self, rule: rules.Rule) -> None:
        value = self._effective(rule.variable)
        if rule.action == "drop":
            self._drop(rule.variable, rule.reason)
        elif rule.action == "decrypt":
            pass  # _email() does it, which knows the key
        elif value is None:
            self._unset(rule)
        else:
            self._carry(rule, value)

    def _unset(self, rule: rules.Rule) -> None:
        if rule.variable in self.file and rule.action == "rename":
            self.dropped.add(rule.variable)  # a bare name without "="
        elif rule.variable in self.file:
            self.targets.setdefault(rule.variable, None)
        if rule.required:
            why, how = "2.17 does not start without it", f"Set {rule.variable} in the environment file."
            self._find("environment.variable_missing", rule.variable, why=why, how=how)
        elif rule.when_unset is not None and self.completes:
            self.targets[rule.variable] = (rule.when_unset,)
            self._change(rule.variable, "add", rule.reason)

    def _carry(self, rule: rules.Rule, value: Value) -> None:
        name = rule.new_name or rule.variable
        new = self._mend(rule, value)
        if rule.action == "rename" and rule.variable in self.file:
            self._rename(rule.variable, name, new)
        if new is None:
            self._change(rule.variable, "drop", rule.reason)
            if rule.action == "rename":
                self.dropped.add(rule.variable)
            self.targets.setdefault(name, None)
            return
        self.targets[name] = new
        if rule.action == "rename":
            self._change(rule.variable, "rename", rule.reason, name)
        elif new != value:
            self._change(rule.variable, "change", rule.reason)
        elif rule.variable not in self.file:
            self._change(name, "add", "so far only the unit set it; fractalctl reads the file")
        elif self.file[rule.variable] != value:
            self._change(name, "change", "the unit sets another value, which wins; now the file says the same")

    def _rename(self, name: str, new_name: str, value: Value | None) -> None:
        """Put the value of ``name`` into the same place under ``new_name``, unless the file has that already."""
        existing = self.file.get(new_name)
        if existing is not None:
            if value is not None and existing != value:
                self._find("environment.contradiction", name, other=new_name)
            self.dropped.add(name)
        else:
            self.new_names[name] = new_name

    def _mend(self, rule: rules.Rule, value: Value) -> Value | None:
        if rule.mend is None:
            return value
        text = self._known_text(rule.variable)
        if text is None:
            return value
        try:
            mended = rule.mend(text, self.settings)
        except rules.Refused as problem:
            self._find("environment.value_refused", rule.variable, problem=problem)
            return value
        return None if mended is None else literal(mended)

    def _drop(self, name: str, reason: str) -> None:
        if name in self.file:
            self.dropped.add(name)
            self._change(name, "drop", reason)

    def _group_name(self) -> None:
        rule = rules.NEW[0]
        wanted = self.context.default_group_name
        if self.targets.get(rule.variable) is None and wanted:
            self.targets[rule.variable] = (wanted,)
            self._change(rule.variable, "add", rule.reason)

    def _others(self) -> None:
        """Decide about the variables that are not Fractal's, and about those of Fractal's that nobody reads."""
        for name in rules.NEVER_SET:
            if self._effective(name) is not None:
                self._find("environment.setting_as_json", name)
        lost = []
        for name in {s.key: None for s in self.statements if s.key is not None}:
            value = self.file.get(name)
            if name in _FRACTALS or name.startswith("OAUTH_"):
                continue
            if name.startswith(BOM):
                self.dropped.add(name)
                if value is not None:
                    self._change(name.lstrip(BOM), "drop", "a byte order mark before it hid it from 2.16")
                    self._find("environment.byte_order_mark", name.lstrip(BOM))
            elif name in rules.SET_BY_SYSTEMD:
                self._drop_set_by_systemd(name)
            elif name.startswith("FRACTAL_"):
                self.targets[name] = value
                self._find("environment.variable_unknown", name)
            elif value is None or name in self.process:
                self.targets[name] = value
            elif self.context.can_override and plain(value) is not None and _is_movable(name):
                self.exported[name] = plain(value) or ""
                self.dropped.add(name)
                reason = "2.16 handed it to every process it started, 2.17 does not; the unit's drop-in does it now"
                self._change(name, "move", reason)
            else:
                self.targets[name] = value
                lost.append(name)
        if lost:
            self._find("environment.variables_not_exported", ", ".join(lost), variables=", ".join(lost))

    def _drop_set_by_systemd(self, name: str) -> None:
        self.dropped.add(name)
        self._change(name, "drop", "systemd sets it before the file is read, and 2.16 did not override it: no effect")

    def _hidden(self) -> list[str]:
        """Return the variables that the unit itself sets to what 2.17 must not see."""
        elsewhere = self._elsewhere()
        read = {rule.target or "" for rule in (*rules.SERVER, *rules.NEW)} | rules.OAUTH_NEW
        names = sorted(n for n in read & set(elsewhere) & set(self.targets) if plain(self.targets[n]) != elsewhere[n])
        if not self.context.can_override:
            for name in names:
                self._find("environment.unit_overrides", name)
        return names

    # -- e-mail --------------------------------------------------------------------------------------------------

    def _email(self) -> None:
        name = "FRACTAL_EMAIL_PASSWORD"
        rule = next(rule for rule in rules.SERVER if rule.variable == name)
        token, key = self._known_text(name), self._known_text("FRACTAL_EMAIL_PASSWORD_KEY")
        if token is None:
            if name in self.file:
                self.targets[name] = None
            return
        if key is None:
            if self.completes and _is_encrypted(token):
                self._find("environment.email_password", name, problem="FRACTAL_EMAIL_PASSWORD_KEY is not set")
            self._carry(rule, literal(token))
            return
        self.secrets |= {token, key}
        try:
            password = self._decrypt(token, key)
        except FractalError as problem:
            self._email_trouble(rule, token, str(problem))
            return
        self.secrets.add(password)
        self.targets[name] = literal(password)
        self._change(name, "change", rule.reason)

    def _decrypt(self, token: str, key: str) -> str:
        if self.context.decrypt is None:
            raise FractalError("the Python of fractal-server, which can decrypt it, is not known (server_python)")
        return self.context.decrypt(token, key)

    def _email_trouble(self, rule: rules.Rule, token: str, problem: str) -> None:
        """The pair does not decrypt: 2.16 noticed only if it needed the password (2.16.6, config.py)."""
        needed = ("SENDER", "SMTP_SERVER", "SMTP_PORT", "INSTANCE_NAME", "RECIPIENTS")
        used = all(self.settings.get(f"FRACTAL_EMAIL_{part}") is not None for part in needed)
        if self.generation == MIXED and not _is_encrypted(token):
            self._carry(rule, literal(token))  # somebody has decrypted it already and left the key
        elif used and self.settings.get("FRACTAL_EMAIL_USE_LOGIN", "true") == "true":
            self._find("environment.email_password", rule.variable, problem=problem)
        else:
            self.targets[rule.variable] = None
            self._change(rule.variable, "drop", "it cannot be decrypted, and nothing uses it")
            self._find("environment.email_password_unused", rule.variable, problem=problem)

    # -- OAuth ---------------------------------------------------------------------------------------------------

    def _oauth(self) -> str:
        """Turn the variables of one client into those without its name; return the client's name in 2.17."""
        for name in sorted(rules.OAUTH_NEW):
            value = self.file.get(name)
            if name in self.file:
                self.targets[name] = value
        if plain(self.targets.get("OAUTH_REDIRECT_URL")) == "":
            self.targets["OAUTH_REDIRECT_URL"] = None
            self._change("OAUTH_REDIRECT_URL", "drop", "2.17 would use the empty text as an address")
        names = [n for n in {**self.file, **self.process} if self._effective(n) is not None]
        client = self._choose(oauth_clients(names))
        if client is not None:
            self._take_client(client)
            for name in sorted(set(names) - rules.OAUTH_NEW - set(self.new_names) - self.dropped):
                if name.startswith("OAUTH_"):
                    own = name.startswith(f"OAUTH_{client}_")
                    self._drop(name, "2.17 has no such setting" if own else "2.17 knows one OAuth client")
        complete = all(self.targets.get(n) for n in (rules.OAUTH_NAME, "OAUTH_CLIENT_ID", "OAUTH_CLIENT_SECRET"))
        return (plain(self.targets[rules.OAUTH_NAME]) or "").strip().lower() if complete else ""

    def _choose(self, clients: list[str]) -> str | None:
        wanted = self.context.oauth_client or plain(self.file.get(rules.OAUTH_NAME))
        matching = [c for c in clients if wanted is not None and c.lower() == wanted.lower()]
        exact = [c for c in matching if c == wanted]
        chosen = (exact or matching) if wanted is not None else clients
        if len(chosen) != 1 and clients:
            if wanted is not None and not self.context.oauth_client and len(clients) == 1:
                self._find("environment.contradiction", rules.OAUTH_NAME, other=f"OAUTH_{clients[0]}_...")
            else:
                self._find("environment.oauth_several_clients", "OAUTH", clients=", ".join(clients))
            return None
        others = [c for c in clients if c not in chosen]
        if others:
            self._find("environment.oauth_clients_dropped", chosen[0], clients=", ".join(others))
        return chosen[0] if chosen else None

    def _take_client(self, client: str) -> None:
        missing = []
        for part, new_name in rules.OAUTH.items():
            name = f"OAUTH_{client}_{part}"
            value = self._effective(name)
            if value is not None and plain(value) == "" and part in rules.OAUTH_ADDRESSES:
                self._drop(name, "2.17 would take the empty text for an address")
                value = None
            if value is not None:
                if name in self.file:
                    self._rename(name, new_name, value)
                self.targets[new_name] = value
                self._change(name, "rename", "2.17 has one OAuth client, without its name in the variables", new_name)
            elif self.targets.get(new_name) is None and not _is_optional(part, client):
                missing.append(name)
        if missing:
            self._find("environment.oauth_incomplete", client, missing=", ".join(missing))
        given = plain(self.targets.get(rules.OAUTH_NAME))
        if given is None:
            self.targets[rules.OAUTH_NAME] = (client.lower(),)
            reason = "2.16 took the client's name from the names of the variables"
            self._change(rules.OAUTH_NAME, "add", reason)
        elif given.lower() != client.lower():
            self._find("environment.contradiction", rules.OAUTH_NAME, other=f"OAUTH_{client}_...")

    # -- the new file --------------------------------------------------------------------------------------------

    def _new_text(self) -> str:
        if not self.completes and not self.changes:
            return self.text
        pieces = []
        named = self.targets.get(rules.OAUTH_NAME) if rules.OAUTH_NAME not in self.file else None
        for statement in self.statements:
            key = statement.key
            if key is not None and key.startswith(BOM):
                pieces.append(_without_mark(statement).text)
            elif key is None or (key not in self.dropped and key not in self.new_names):
                pieces.append(_robust(statement))
            elif key in self.new_names:
                if named and key.startswith("OAUTH_"):
                    pieces.append(f"{rules.OAUTH_NAME}={encode(named)}{line_ending(self.text)}")
                    named = None
                pieces.append(_robust(statement.renamed(self.new_names[key])))
        return settle("".join(pieces), self.targets, ADDED, for_systemd=self.context.read_by_systemd)

    def _compare_readers(self, text: str) -> None:
        """Warn about lines that mean something else to systemd, if it reads the file too."""
        if not self.context.read_by_systemd:
            return
        seen = assignments(parse(text, Reader.SYSTEMD))
        statements = parse(text, Reader.DOTENV_1_1)
        for name, value in interpolate(statements, {}, file_wins=True).items():
            line = max(s.line for s in statements if s.key == name)
            if seen.get(name) is None and value is not None:
                self._find("environment.readers_differ", name, line=line, problem="systemd does not see it")
            elif value is not None and seen[name] != plain(value):
                problem = "the values differ (comment after the value, escapes, or ${...})"
                self._find("environment.readers_differ", name, line=line, problem=problem)

    # -- the .old file -------------------------------------------------------------------------------------------

    def _old_file(self) -> tuple[str | None, dict[str, Any]]:
        """Return the ``.old`` file to write, and what the resource needs after the data migration."""
        if not self.completes or not self.context.data_migration:
            return None, handed_on(self.existing_old)
        findings, changes = list(self.findings), list(self.changes)
        text = self._complete_old()
        existing = self.existing_old
        own = text.partition(COMPLETED)[0]
        if existing in (None, text, self.text) or str(existing).partition(COMPLETED)[0] == own != existing:
            return text, handed_on(text)
        if self.generation == MIXED:
            self.findings, self.changes = findings, changes  # what is missing here may be there
            self._check_foreign_old(existing)
        else:
            problem = "it is neither a copy of this file nor what an earlier run made of it"
            self._find("environment.old_file_foreign", ".fractal_server.env.old", problem=problem)
        return None, handed_on(existing)

    def _check_foreign_old(self, existing: str) -> None:
        """A file migrated half-way by hand has its ``.old`` already: it must be enough, and not contradict."""
        values = {n: plain(v) for n, v in interpolate(parse(existing, Reader.DOTENV_1_1), {}, False).items()}
        needed = {rules.DEFAULT_PYTHON, *rules.FOLDERS}
        backend = rules.BACKENDS.get(self.settings.get("FRACTAL_RUNNER_BACKEND", "local"))
        needed |= set() if backend == "local" else {rules.WORKER_PYTHON, rules.SLURM_CONFIG}
        default = values.get(rules.DEFAULT_PYTHON) or ""
        needed |= {rules.python_variable(default)} if default else set()
        missing = sorted(name for name in needed if not values.get(name))
        differing = sorted(
            n for n, v in self.settings.items() if n in _DATA and n in self.dropped and values.get(n) != v
        )
        relative = sorted(n for n in rules.FOLDERS if not (values.get(n) or "/").startswith("/"))
        problems = {"it lacks": missing, "it contradicts the file on": differing, "relative paths in": relative}
        if default == "3.13":
            problems["the data migration takes no Python 3.13 in"] = [rules.DEFAULT_PYTHON]
        text = "; ".join(f"{what} {', '.join(names)}" for what, names in problems.items() if names)
        if text:
            self._find("environment.old_file_foreign", ".fractal_server.env.old", problem=text)

    def _complete_old(self) -> str:
        truth = self._resource_values()
        script = _for_script(truth)
        body = "".join(_robust(_without_mark(statement)) for statement in self.statements)
        # the interpreters that the script cannot take are written down too: handed_on() finds them there
        body = settle(body, truth, COMPLETED, in_place=False)
        for name, value in truth.items():
            if name in self.file or value is not None:
                self._note_completion(name, value)
        return body if script == truth else settle(body, script, STAND_IN, in_place=False)

    def _note_completion(self, name: str, value: Value | None) -> None:
        if self.file.get(name) != value:
            self._change(name, "complete", "the .old file gets the value that 2.16 used in effect")

    def _resource_values(self) -> dict[str, Value | None]:
        """Return what the data migration has to read: the values of 2.16, its defaults included."""
        backend = rules.BACKENDS.get(self.settings.get("FRACTAL_RUNNER_BACKEND", "local"), "slurm_sudo")
        if self.settings.get("FRACTAL_RUNNER_BACKEND") == "slurm_sudo":
            backend = "slurm_sudo"
        found: dict[str, str | None] = {name: self._folder(name) for name in rules.FOLDERS}
        found.update(self._interpreters())
        found[rules.POLL_INTERVAL] = self._poll_interval()
        found["FRACTAL_PIP_CACHE_DIR"] = self._known_text("FRACTAL_PIP_CACHE_DIR")
        for name, what in rules.CONFIG_FILES.items():
            found[name] = self._config_file(name, what, backend)
        found[rules.WORKER_PYTHON] = self._worker_python(backend)
        return {name: None if text is None else literal(text) for name, text in found.items()}

    def _folder(self, name: str) -> str | None:
        text = self._known_text(name)
        if text is None:
            if self._effective(name) is None:
                self._missing(name, "2.16 does not start without it", f"Set {name} in the environment file.")
            return None
        if PurePosixPath(text).is_absolute():
            return str(PurePosixPath(text))
        return os.path.realpath(os.path.join(self.context.directory, text))

    def _interpreters(self) -> dict[str, str | None]:
        default = self._known_text(rules.DEFAULT_PYTHON)
        versions = {version: self._known_text(rules.python_variable(version)) for version in rules.PYTHON_VERSIONS}
        if default is None:
            # 2.16 then uses its own interpreter, and no other (2.16.6, config.py, check_tasks_python)
            default, interpreter = self.context.tasks_python or ("", "")
            versions = {**dict.fromkeys(versions), default: interpreter} if default else {}
            if not default:
                how = "Set it and the interpreter's variable, or give server_python or tasks_python."
                self._missing(rules.DEFAULT_PYTHON, "2.16 uses the server's own interpreter, which is not known", how)
        elif versions.get(default) is None:
            wanted, why = rules.python_variable(default), f"Python {default} is the default for tasks"
            self._missing(wanted, why, f"Set {wanted} in the environment file.")
        for version, path in versions.items():
            if path is not None and not path.startswith("/"):
                self._find(
                    "environment.value_refused", rules.python_variable(version), problem="it takes an absolute path"
                )
        named = {rules.python_variable(version): path for version, path in versions.items()}
        return {rules.DEFAULT_PYTHON: default or None, **named}

    def _poll_interval(self) -> str:
        text = self._known_text(rules.POLL_INTERVAL)
        if text is None:
            return rules.OLD_POLL_INTERVAL
        match = re.match(r"\s*([+-]?\d+)(\.0*)?\s*\Z", text)
        if not match:
            self._find("environment.value_refused", rules.POLL_INTERVAL, problem="it takes a whole number of seconds")
            return rules.OLD_POLL_INTERVAL
        return str(int(match.group(1)))

    def _config_file(self, name: str, what: str, backend: str) -> str | None:
        needed = name == rules.SLURM_CONFIG and backend != "local"
        text = self._known_text(name)
        if text is None:
            if needed and self._effective(name) is None:
                self._missing(name, "SLURM jobs need it", f"Set {name} in the environment file.")
            return None
        read = needed or name == "FRACTAL_PIXI_CONFIG_FILE" or (what == "local" and backend == "local")
        if read and not self.context.readable(os.path.join(self.context.directory, text)):
            self._find("environment.config_file_missing", name, path=text, directory=self.context.directory, what=what)
        return text

    def _worker_python(self, backend: str) -> str | None:
        text = self._known_text(rules.WORKER_PYTHON)
        if text is not None or backend == "local" or self._effective(rules.WORKER_PYTHON) is not None:
            return text
        if backend == "slurm_sudo" and self.context.worker_python:
            return self.context.worker_python
        why = "the data migration needs the interpreter that runs the tasks on the SLURM nodes"
        self._missing(rules.WORKER_PYTHON, why, "Set it in the environment file, or give worker_python.")
        return None

    # -- notes ---------------------------------------------------------------------------------------------------

    def _change(self, variable: str, action: str, reason: str, new_variable: str = "") -> None:
        entry = {"variable": variable, "action": action, "new_variable": new_variable, "reason": reason}
        self.changes.append(entry)

    def _find(self, rule: str, subject: str, **values: Any) -> None:
        finding = rules.FINDINGS[rule].finding(subject, **values)
        if finding not in self.findings:
            self.findings.append(finding)

    def _missing(self, name: str, why: str, how: str) -> None:
        self._find("environment.variable_missing", name, why=why, how=how)


_FRACTALS = frozenset({rule.variable for rule in (*rules.SERVER, *rules.NEW)} | {*rules.NEVER_SET})


def _is_movable(name: str) -> bool:
    """Return whether a variable is none of Fractal's, and one that systemd can set."""
    fractals = name in _FRACTALS or name.startswith(("FRACTAL_", "OAUTH_"))
    return not fractals and name not in rules.SET_BY_SYSTEMD and bool(re.match(r"[A-Za-z_]\w*\Z", name, re.A))


_DATA = frozenset(
    {rules.DEFAULT_PYTHON, rules.POLL_INTERVAL, rules.WORKER_PYTHON, "FRACTAL_PIP_CACHE_DIR"}
    | {rules.python_variable(version) for version in rules.PYTHON_VERSIONS}
    | set(rules.FOLDERS)
    | set(rules.CONFIG_FILES)
)


def _without_mark(statement: Statement) -> Statement:
    """Return a statement that newer releases of python-dotenv read like 2.16, which saw a byte order mark in it."""
    if statement.key is None or not statement.key.startswith(BOM):
        return statement
    text = statement.text.replace(BOM, "", 1)
    if statement.value is not None:
        text = "".join(f"# {line}" for line in text.splitlines(keepends=True))
    return Statement(text, statement.line)


def _robust(statement: Statement) -> str:
    """Return the statement in a notation that no reader can misunderstand; nearly always it is already."""
    if statement.key is None or is_robust(statement):
        return statement.text
    return statement.with_value(encode(split(statement.value or ""), statement.quote))


def settle(
    text: str, targets: Mapping[str, Value | None], header: str, in_place: bool = True, for_systemd: bool = False
) -> str:
    """Edit ``text`` until both releases of python-dotenv read ``targets`` from it, whatever the process has set.

    Args:
        text: The file, of statements that are `is_robust`.
        targets: What to read; with ``in_place`` exactly this, else at least this.
        header: Comment before lines that are added at the end.
        in_place: Whether to correct values where they stand, or to leave all lines alone and add new ones.
        for_systemd: Whether a corrected line must mean the same to systemd.

    Raises:
        FractalError: It cannot be done; better than a wrong file.
    """
    for _attempt in range(2 + len(targets)):
        statements = parse(text, Reader.DOTENV_1_1)
        wrong = _wrong(statements, targets, in_place)
        if not wrong:
            break
        places = {s.key: number for number, s in enumerate(statements)} if in_place else {}
        present = sorted((name for name in wrong if name in places), key=lambda name: places[name])
        if present:  # one at a time: a value that refers to it may be right afterwards
            text = _correct(statements, present[0], targets[present[0]], for_systemd)
        else:
            text = _append(text, {name: targets[name] for name in wrong}, header)
    for reader in (Reader.DOTENV_1_1, Reader.DOTENV_1_2):
        wrong = _wrong(parse(text, reader), targets, in_place)
        if wrong:
            raise FractalError(
                f"The migrated environment file would not mean the same to {reader.value}: {', '.join(wrong)}. "
                "Nothing was written. Simplify these lines (quotes, escapes, ${...}) and run again."
            )
    return text


def _wrong(statements: list[Statement], targets: Mapping[str, Value | None], exactly: bool) -> list[str]:
    """Return the variables that do not read as wanted; without ``exactly`` a reference is not good enough either."""
    values = interpolate(statements, {}, file_wins=True)
    wrong = [name for name, value in targets.items() if values.get(name) != value]
    if exactly:
        return wrong + [name for name, value in values.items() if name not in targets and value is not None]
    written = {s.key: split(s.value or "") for s in statements if s.key is not None}
    return wrong + [n for n in targets if n not in wrong and plain(written.get(n, ())) is None]


def _correct(statements: list[Statement], name: str, value: Value | None, for_systemd: bool = False) -> str:
    """Write ``value`` where the variable is assigned last; leave it out where it is to be unset."""
    last = [statement for statement in statements if statement.key == name][-1]
    if value is None:
        return render(s for s in statements if s.key != name)
    if last.value is None:  # a name without "=" unsets what stands before it
        return render(s for s in statements if s is not last)
    text = last.with_value(encode(value, last.quote))
    if for_systemd and assignments(parse(text, Reader.SYSTEMD)) != {name: plain(value)}:
        comment, newline = last.text[last.value_span[1] :].strip(), line_ending(last.text)
        text = (comment + newline if comment else "") + f"{name}={encode(value)}{newline}"
    return "".join(text if s is last else s.text for s in statements)


def _append(text: str, values: Mapping[str, Value | None], header: str) -> str:
    newline = line_ending(text)
    lines = [name if value is None else f"{name}={encode(value)}" for name, value in values.items()]
    start = text if not text or text.endswith(("\n", "\r")) else text + newline
    blank = newline if start else ""
    return start + blank + newline.join([header, *lines]) + newline


def handed_on(old_text: str | None) -> dict[str, Any]:
    """Return what the resource needs after ``update-db-data`` has read the ``.old`` file, and the script left out.

    Returns:
        ``tasks_python_config`` (the whole of it) if the script drops an interpreter, ``jobs_poll_interval`` in seconds
        if the script would replace 2.16's default by its own (2.17.0, data_migrations/2_17_0.py).
    """
    if old_text is None:
        return {}
    script, truth = _texts(old_text), _texts(old_text.partition(STAND_IN)[0])
    migrated = {v: script[name] for v in rules.MIGRATED_PYTHON_VERSIONS if (name := rules.python_variable(v)) in script}
    versions = {v: truth[name] for v in rules.PYTHON_VERSIONS if (name := rules.python_variable(v)) in truth}
    default = truth.get(rules.DEFAULT_PYTHON)
    result: dict[str, Any] = {}
    if default in versions and (versions != migrated or default != script.get(rules.DEFAULT_PYTHON)):
        cache = truth.get("FRACTAL_PIP_CACHE_DIR")
        result["tasks_python_config"] = {"default_version": default, "versions": versions, "pip_cache_dir": cache}
    if rules.POLL_INTERVAL not in script:
        result["jobs_poll_interval"] = int(rules.OLD_POLL_INTERVAL)
    return result


def _texts(text: str) -> dict[str, str]:
    values = interpolate(parse(text, Reader.DOTENV_1_2), {}, file_wins=True)
    return {name: found for name, value in values.items() if (found := plain(value)) is not None}


def _for_script(truth: Mapping[str, Value | None]) -> dict[str, Value | None]:
    """Return what ``update-db-data`` is to read: it stops if the default is a Python that it does not know."""
    default = plain(truth[rules.DEFAULT_PYTHON])
    if default is None or default in rules.MIGRATED_PYTHON_VERSIONS:
        return dict(truth)
    known = [v for v in rules.MIGRATED_PYTHON_VERSIONS if truth.get(rules.python_variable(v))]
    stand_in = known[-1] if known else rules.MIGRATED_PYTHON_VERSIONS[-1]
    name = rules.python_variable(stand_in)
    interpreter = truth.get(name) or truth.get(rules.python_variable(default))
    return {**truth, rules.DEFAULT_PYTHON: (stand_in,), name: interpreter}


def _is_optional(part: str, client: str) -> bool:
    """Return whether an OAuth client may go without this (2.16.6, config.py, OAuthClientConfig)."""
    known = client.upper() in rules.OAUTH_WITHOUT_ENDPOINT
    return part == "REDIRECT_URL" or (part == "OIDC_CONFIGURATION_ENDPOINT" and known)


def _is_encrypted(password: str) -> bool:
    """Return whether this looks like a Fernet token: version 0x80, then a time stamp, in base 64."""
    return bool(re.match(r"gAAAA[A-Za-z0-9_-]{95,}=*\Z", password))


# -- web --------------------------------------------------------------------------------------------------------------


def migrate_web(
    text: str, default_group_name: str, runner_backend: str | None, oauth_client_name: str | None
) -> EnvMigration:
    """Return the migration of fractal-web's file, which systemd reads, not python-dotenv.

    Args:
        text: The file.
        default_group_name: ``All``, or empty to leave it as it is.
        runner_backend: As the server calls it; None to translate what the file says.
        oauth_client_name: As the server calls it; empty if it has none, None if it is not known.
    """
    statements = parse(text, Reader.SYSTEMD)
    found = assignments(statements)
    problems = [
        rules.FINDINGS["environment.line_unreadable"].finding("fractal-web's file", line=s.line, problem=s.error)
        for s in statements
        if s.error
    ]
    backend = found.get(rules.WEB_BACKEND)
    is_new = rules.WEB_GROUP in found or backend == "slurm_sudo"
    was = (MIXED if is_new else OLD) if backend == "slurm" or not is_new else NEW
    if problems:
        return EnvMigration(was, text, findings=problems)
    wanted: dict[str, str | None] = {}
    if default_group_name:
        wanted[rules.WEB_GROUP] = default_group_name
    if runner_backend or backend is not None:
        wanted[rules.WEB_BACKEND] = runner_backend or rules.BACKENDS.get(backend or "", backend)
    findings = []
    if found.get(rules.WEB_OAUTH):
        client = found[rules.WEB_OAUTH] if oauth_client_name is None else oauth_client_name
        wanted[rules.WEB_OAUTH] = (client or "").lower() or None
    elif oauth_client_name:
        findings.append(
            rules.FINDINGS["environment.web_oauth_absent"].finding(rules.WEB_OAUTH, client=oauth_client_name)
        )
    changes = []
    for name, value in wanted.items():
        if found.get(name) != value:
            action = "drop" if value is None else "change" if found.get(name) is not None else "add"
            reason = rules.WEB_REASONS[name] if value is not None else "the server has no OAuth client"
            changes.append({"variable": name, "action": action, "new_variable": "", "reason": reason})
            statements = parse(_set_for_systemd(statements, name, value), Reader.SYSTEMD)
    return EnvMigration(
        was,
        render(statements),
        changes=changes,
        findings=findings,
        oauth_client_name=wanted.get(rules.WEB_OAUTH) or "",
        runner_backend=wanted.get(rules.WEB_BACKEND) or "",
        secrets=frozenset(value for name, value in found.items() if value and rules.is_secret(name)),
    )


def _set_for_systemd(statements: list[Statement], name: str, value: str | None) -> str:
    if any(statement.key == name for statement in statements):
        return _correct(statements, name, None if value is None else literal(value))
    return _append(
        render(statements), {name: literal(value or "")}, ADDED.replace("fractal-server 2.17.0", "fractal-web 1.21")
    )
