# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""The migration of the server's environment file, as a function of texts: nothing is read or written here.

What counts is what was used in effect: the process environment may win over the file, and defaults are values too. From
the effective values and a step's rules follow the values that the new file must show to the step's release; the file is
then edited as little as possible until it shows exactly these. Steps follow one another, each on what the one before
has left.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
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
from ansible_collections.fractal_ops.platform.plugins.module_utils._env_file.draft import Context, Draft
from ansible_collections.fractal_ops.platform.plugins.module_utils._releases.path import version_key

ADDED = "# Added by the upgrade to fractal-server {}"


@dataclass(frozen=True)
class EnvMigration:
    """What the migration does to one file.

    Attributes:
        text: The new file.
        old_text: The ``.old`` file to write; None where there is none to write.
        changes: Dictionaries with ``variable``, ``action``, ``new_variable``, ``reason``; no values.
        findings: What the operator should know; with a blocker among them nothing is to be written.
        steps: The releases whose step is not done yet: it changes something, or is refused.
        exported: Variables that a drop-in has to set, because fractal-server does not hand them to child processes any
            more.
        hidden: Variables that a drop-in has to take out of the process environment.
        handed_on: What the resource needs after the data migration, by the step's own names.
        oauth_client_name: As the server calls it from now on; empty for none.
        runner_backend: As the server calls it from now on.
        whole_drop_in: Whether ``exported`` and ``hidden`` are all that the drop-in is to have; else it keeps the rest.
        secrets: Secret values seen, to be shown nowhere.
    """

    text: str
    old_text: str | None = None
    changes: list[dict[str, str]] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)
    exported: dict[str, str] = field(default_factory=dict)
    hidden: list[str] = field(default_factory=list)
    handed_on: dict[str, Any] = field(default_factory=dict)
    oauth_client_name: str = ""
    runner_backend: str = ""
    whole_drop_in: bool = False
    secrets: frozenset[str] = frozenset()

    @property
    def blockers(self) -> list[Finding]:
        """Findings that forbid the migration."""
        return [finding for finding in self.findings if finding.severity == "blocker"]


def migrate_server(
    text: str,
    context: Context,
    steps: Iterable[rules.EnvStep],
    existing_old: str | None = None,
    to: str | None = None,
) -> EnvMigration:
    """Return the migration of the server's file ``text``.

    Args:
        text: The file.
        context: What else is known.
        steps: All steps, in the order of their releases.
        existing_old: The ``.old`` file that lies there, if any.
        to: The release that is to read the file; None for the newest step's.

    Raises:
        FractalError: The file cannot be written so that it means the same (never seen).
    """
    result = EnvMigration(text)
    for step in steps:
        if to is not None and version_key(step.release) > version_key(to):
            continue
        done = _take(step, result.text, context, existing_old)
        result = _joined(result, done)
        context = replace(context, hidden=context.hidden | {*done.hidden})
    if result.blockers:
        result = replace(result, text=text)
    unreadable = any(finding.id == "environment.line_unreadable" for finding in result.findings)
    told = [] if unreadable else _compare_readers(context, result.text)
    return replace(result, findings=[*result.findings, *told])


def _joined(before: EnvMigration, after: EnvMigration) -> EnvMigration:
    """Return both steps as one."""
    return replace(
        after,
        old_text=before.old_text if after.old_text is None else after.old_text,
        changes=before.changes + after.changes,
        findings=before.findings + [one for one in after.findings if one not in before.findings],
        steps=before.steps + after.steps,
        exported={**before.exported, **after.exported},
        hidden=sorted({*before.hidden, *after.hidden}),
        handed_on={**before.handed_on, **after.handed_on},
        oauth_client_name=after.oauth_client_name or before.oauth_client_name,
        whole_drop_in=before.whole_drop_in or after.whole_drop_in,
        secrets=before.secrets | after.secrets,
    )


def _take(step: rules.EnvStep, text: str, context: Context, existing_old: str | None) -> EnvMigration:
    """Return what one step makes of ``text``."""
    draft = Draft(text, context, step, existing_old)
    for statement in draft.statements:
        if statement.error:
            where, problem = ".fractal_server.env", statement.error
            draft.find("environment.line_unreadable", where, line=statement.line, problem=problem)
    if draft.findings:
        return EnvMigration(text, findings=draft.findings, steps=[step.release])
    for rule in step.rules:
        _apply(draft, rule)
    for decide in step.decide:
        decide(draft)
    for name, value in draft.file.items():
        if name not in draft.dropped and name not in draft.new_names and name not in draft.without_effect:
            draft.targets.setdefault(name, value)
    hidden = _hidden(draft)
    new_text = text if draft.is_blocked else _new_text(draft)
    writes_old = draft.old_text is not None and draft.old_text != existing_old
    is_open = new_text != text or draft.changes or hidden or writes_old or draft.is_blocked
    return EnvMigration(
        text=new_text,
        old_text=draft.old_text,
        changes=draft.changes,
        findings=draft.findings,
        steps=[step.release] if is_open else [],
        exported=draft.exported,
        hidden=hidden,
        handed_on=draft.handed_on,
        oauth_client_name=draft.oauth_client_name,
        runner_backend=plain(draft.targets.get("FRACTAL_RUNNER_BACKEND")) or "local",
        whole_drop_in=draft.loads,
        secrets=frozenset(draft.secrets | secret_values(draft.settings)),
    )


# -- the rules --------------------------------------------------------------------------------------------------------


def _apply(draft: Draft, rule: rules.Rule) -> None:
    value = draft.value(rule.variable)
    if rule.action == "drop":
        draft.drop(rule.variable, rule.reason)
    elif rule.action == "decrypt":
        pass  # a function of the step does it
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
        draft.missing(rule.variable, f"fractal-server {draft.step.release} does not start without it")
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


def _hidden(draft: Draft) -> list[str]:
    """Return the variables that the unit itself sets to what the release must not see."""
    elsewhere = draft.elsewhere()
    read = {rule.target for rule in draft.step.rules} | draft.step.reads
    names = sorted(name for name in set(elsewhere) & set(draft.targets) & read)
    names = [name for name in names if plain(draft.targets[name]) != elsewhere[name]]
    if not draft.context.can_override:
        for name in names:
            draft.find("environment.unit_overrides", name)
    return names


# -- the new file -----------------------------------------------------------------------------------------------------


def _new_text(draft: Draft) -> str:
    if not draft.loads and not draft.changes:
        return draft.text
    pieces = []
    for statement in draft.statements:
        key = statement.key
        if key is not None and key in draft.new_names:
            for name, beside in draft.companions.items():
                if beside == key:
                    pieces.append(f"{name}={encode(draft.targets[name] or '')}{line_ending(draft.text)}")
            pieces.append(robust(statement.renamed(draft.new_names[key])))
        elif key is not None and key.startswith(BOM):
            pieces.append(without_mark(statement).text)
        elif key is None or key not in draft.dropped:
            pieces.append(robust(statement))
    added, for_systemd = ADDED.format(draft.step.release), draft.context.read_by_systemd
    return settle("".join(pieces), draft.targets, added, draft.without_effect, for_systemd)


def _compare_readers(context: Context, text: str) -> list[Finding]:
    """Return warnings about lines that mean something else to systemd, if it reads the file too."""
    if not context.read_by_systemd:
        return []
    seen = assignments(parse(text, Reader.SYSTEMD))
    statements = parse(text, Reader.DOTENV_1_1)
    lines = {statement.key: statement.line for statement in statements}
    found = []
    for name, value in interpolate(statements, {}, file_wins=True).items():
        if value is not None and seen.get(name) != plain(value):
            problem = "the values differ (comment after the value, escapes, or ${...})"
            problem = problem if seen.get(name) is not None else "systemd does not see it"
            found.append(rules.FINDINGS["environment.readers_differ"].finding(name, line=lines[name], problem=problem))
    return found
