# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""The migration of an environment file from 2.16 to 2.17, as a function of texts: nothing is read or written here.

What counts is what 2.16 used in effect: the process environment wins over the file (``load_dotenv(override=False)``),
and defaults are values too. From the effective values and the rules follow the values that the new file must show to
2.17; the file is then edited as little as possible until it shows exactly these.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.dotenv import (
    BOM,
    Reader,
    Value,
    assignments,
    encode,
    interpolate,
    line_ending,
    literal,
    parse,
    plain,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.dotenv_editing import (
    robust,
    settle,
    without_mark,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.findings import Finding
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.masking import secret_values
from ansible_collections.fractal_ops.platform.plugins.module_utils._env_file import rules
from ansible_collections.fractal_ops.platform.plugins.module_utils._env_file.draft import (
    MIXED,
    NEW,
    OLD,
    Context,
    Draft,
    generation,
    is_movable,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._env_file.email import decide_email
from ansible_collections.fractal_ops.platform.plugins.module_utils._env_file.oauth import decide_oauth
from ansible_collections.fractal_ops.platform.plugins.module_utils._env_file.old_file import handed_on, old_file

__all__ = ["MIXED", "NEW", "OLD", "Context", "EnvMigration", "generation", "migrate_server"]

ADDED = "# Added by the upgrade to fractal-server 2.17.0"


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
        handed_on: What the resource needs after the data migration, see `_env_old_file.handed_on`.
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


def migrate_server(text: str, context: Context, existing_old: str | None = None) -> EnvMigration:
    """Return the migration of the server's file ``text``.

    Args:
        text: The file.
        context: What else is known.
        existing_old: The ``.old`` file that lies there, if any.

    Raises:
        FractalError: The file cannot be written so that it means the same (never seen).
    """
    draft = Draft(text, context)
    for statement in draft.statements:
        if statement.error:
            where, problem = ".fractal_server.env", statement.error
            draft.find("environment.line_unreadable", where, line=statement.line, problem=problem)
    if draft.findings:
        return EnvMigration(draft.generation, text, findings=draft.findings)
    for rule in (*rules.SERVER, *rules.NEW):
        _apply(draft, rule)
    if draft.targets.get(rules.AUTH_SCHEME) == literal(rules.USERS_FOLDERS) and not draft.targets.get(
        rules.BASE_FOLDER
    ):
        draft.missing(rules.BASE_FOLDER, f"{rules.AUTH_SCHEME}={rules.USERS_FOLDERS} needs it")
    client = decide_oauth(draft)
    if draft.completes:
        _name_group(draft)
        _decide_others(draft)
    for name, value in draft.file.items():
        if name not in draft.dropped and name not in draft.new_names and name not in draft.without_effect:
            draft.targets.setdefault(name, value)
    hidden = _hidden(draft)
    old_text = old_file(draft, existing_old)
    new_text = text if draft.is_blocked else _new_text(draft)
    _compare_readers(draft, new_text)
    return EnvMigration(
        generation=draft.generation,
        text=new_text,
        old_text=old_text,
        changes=draft.changes,
        findings=draft.findings,
        exported=draft.exported,
        hidden=hidden,
        handed_on=handed_on(existing_old if old_text is None else old_text),
        oauth_client_name=client,
        runner_backend=plain(draft.targets.get("FRACTAL_RUNNER_BACKEND")) or "local",
        secrets=frozenset(draft.secrets | secret_values(draft.settings)),
    )


# -- the rules --------------------------------------------------------------------------------------------------------


def _apply(draft: Draft, rule: rules.Rule) -> None:
    value = draft.value(rule.variable)
    if rule.action == "drop":
        draft.drop(rule.variable, rule.reason)
    elif rule.action == "decrypt":
        decide_email(draft, rule.reason)
    elif value is None:
        _apply_unset(draft, rule)
    else:
        _carry(draft, rule, value)


def _apply_unset(draft: Draft, rule: rules.Rule) -> None:
    if rule.variable in draft.file:  # a name without "="
        if rule.action == "rename":
            draft.dropped.add(rule.variable)
        else:
            draft.targets.setdefault(rule.variable, None)
    if rule.required and draft.completes:
        draft.missing(rule.variable, "2.17 does not start without it")
    elif rule.when_unset is not None and draft.completes:
        draft.targets[rule.variable] = literal(rule.when_unset)
        draft.change(rule.variable, "add", rule.reason)


def _carry(draft: Draft, rule: rules.Rule, value: Value) -> None:
    """Give a variable its name and value in the new file."""
    name = rule.new_name or rule.variable
    new = _mend(draft, rule, value)
    if rule.action == "rename":
        draft.rename(rule.variable, name, new)
    if new is None:
        draft.change(rule.variable, "drop", rule.reason)
        if rule.action == "rename":
            draft.dropped.add(rule.variable)
        draft.targets.setdefault(name, None)
        return
    draft.targets[name] = new
    if rule.action == "rename":
        draft.change(rule.variable, "rename", rule.reason, name)
    elif new != value:
        draft.change(name, "change", rule.reason)
    elif name not in draft.file:
        draft.change(name, "add", "so far only the unit set it; fractalctl reads the file")
    elif draft.file[name] != value:
        draft.change(name, "change", "the unit sets another value, which wins; now the file says the same")


def _mend(draft: Draft, rule: rules.Rule, value: Value) -> Value | None:
    text = draft.known(rule.variable) if rule.mend is not None else None
    if rule.mend is None or text is None:
        return value
    try:
        mended = rule.mend(text, draft.settings)
    except rules.Refused as problem:
        draft.find("environment.value_refused", rule.variable, problem=problem)
        return value
    return value if mended == text else None if mended is None else literal(mended)


def _name_group(draft: Draft) -> None:
    rule, wanted = rules.NEW[0], draft.context.default_group_name
    if draft.targets.get(rule.variable) is None and wanted:
        draft.targets[rule.variable] = literal(wanted)
        draft.change(rule.variable, "add", rule.reason)


def _decide_others(draft: Draft) -> None:
    """Decide about variables that are not Fractal's, and about those of Fractal's that neither release reads."""
    for name in rules.NEVER_SET:
        if draft.value(name) is not None:
            draft.find("environment.setting_as_json", name)
    lost = []
    for name in {statement.key: None for statement in draft.statements if statement.key is not None}:
        value = draft.file.get(name)
        if name.startswith(BOM):
            _drop_marked(draft, name)
        elif name in draft.ignored:
            draft.dropped.add(name)
            reason = "systemd sets it before the file is read, and 2.16 did not override it: no effect"
            draft.change(name, "drop", reason)
        elif name not in rules.FRACTALS and name.startswith("FRACTAL_"):
            draft.find("environment.variable_unknown", name)
            draft.without_effect |= {name} & set(draft.process)
        elif name in rules.FRACTALS or name.startswith("OAUTH_") or value is None:
            pass
        elif name in draft.process:
            draft.without_effect.add(name)
        elif draft.context.can_override and plain(value) is not None and is_movable(name):
            draft.exported[name] = plain(value) or ""
            draft.dropped.add(name)
            reason = "2.16 handed it to every process it started, 2.17 does not; the unit's drop-in does it now"
            draft.change(name, "move", reason)
        else:
            lost.append(name)
    if lost:
        draft.find("environment.variables_not_exported", ", ".join(lost), variables=", ".join(lost))


def _drop_marked(draft: Draft, name: str) -> None:
    draft.dropped.add(name)
    if draft.file.get(name) is not None:
        draft.change(name.lstrip(BOM), "drop", "a byte order mark before it hid it from 2.16")
        draft.find("environment.byte_order_mark", name.lstrip(BOM))


def _hidden(draft: Draft) -> list[str]:
    """Return the variables that the unit itself sets to what 2.17 must not see."""
    elsewhere = draft.elsewhere()
    read = {rule.target for rule in (*rules.SERVER, *rules.NEW)} | rules.OAUTH_NEW
    names = sorted(name for name in set(elsewhere) & set(draft.targets) & read)
    names = [name for name in names if plain(draft.targets[name]) != elsewhere[name]]
    if not draft.context.can_override:
        for name in names:
            draft.find("environment.unit_overrides", name)
    return names


# -- the new file -----------------------------------------------------------------------------------------------------


def _new_text(draft: Draft) -> str:
    if not draft.completes and not draft.changes:
        return draft.text
    pieces = []
    client = draft.targets.get(rules.OAUTH_NAME) if rules.OAUTH_NAME not in draft.file else None
    for statement in draft.statements:
        key = statement.key
        if key is not None and key in draft.new_names:
            if client and key.startswith("OAUTH_"):
                pieces.append(f"{rules.OAUTH_NAME}={encode(client)}{line_ending(draft.text)}")
                client = None
            pieces.append(robust(statement.renamed(draft.new_names[key])))
        elif key is not None and key.startswith(BOM):
            pieces.append(without_mark(statement).text)
        elif key is None or key not in draft.dropped:
            pieces.append(robust(statement))
    for_systemd = draft.context.read_by_systemd
    return settle("".join(pieces), draft.targets, ADDED, draft.without_effect, for_systemd)


def _compare_readers(draft: Draft, text: str) -> None:
    """Warn about lines that mean something else to systemd, if it reads the file too."""
    if not draft.context.read_by_systemd:
        return
    seen = assignments(parse(text, Reader.SYSTEMD))
    statements = parse(text, Reader.DOTENV_1_1)
    lines = {statement.key: statement.line for statement in statements}
    for name, value in interpolate(statements, {}, file_wins=True).items():
        if value is not None and seen.get(name) != plain(value):
            problem = "the values differ (comment after the value, escapes, or ${...})"
            problem = problem if seen.get(name) is not None else "systemd does not see it"
            draft.find("environment.readers_differ", name, line=lines[name], problem=problem)
