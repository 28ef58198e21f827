# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""The migration of fractal-web's environment file, which systemd reads, not python-dotenv."""

from __future__ import annotations

from collections.abc import Mapping

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.dotenv import (
    Reader,
    Statement,
    assignments,
    literal,
    parse,
    render,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.dotenv_editing import append, correct
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.masking import secret_values
from ansible_collections.fractal_ops.platform.plugins.module_utils._env_file.migration import EnvMigration
from ansible_collections.fractal_ops.platform.plugins.module_utils._env_file.rules import FINDINGS
from ansible_collections.fractal_ops.platform.plugins.module_utils._releases.backends import BACKENDS
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.r2_17_0 import env_rules as rules

RELEASE = "2.17.0"  # of the server that this fractal-web belongs to
ADDED = "# Added by the upgrade to fractal-web 1.21"


def migrate_web(
    text: str,
    default_group_name: str,
    runner_backend: str | None,
    oauth_client_name: str | None,
    unit: Mapping[str, str] | None = None,
    unit_wins: bool = False,
) -> EnvMigration:
    """Return the migration of fractal-web's file.

    Args:
        text: The file.
        default_group_name: ``All``, or empty to leave it as it is.
        runner_backend: As the server calls it; None to translate what the file says.
        oauth_client_name: As the server calls it; empty if it has none, None if it is not known.
        unit: What the unit sets besides.
        unit_wins: Whether that wins over the file.
    """
    statements = parse(text, Reader.SYSTEMD)
    own = {name: value for name, value in assignments(statements).items() if value is not None}
    found = {**own, **(unit or {})} if unit_wins else {**(unit or {}), **own}
    unreadable = FINDINGS["environment.line_unreadable"]
    problems = [unreadable.finding("fractal-web's file", line=s.line, problem=s.error) for s in statements if s.error]
    if problems:
        return EnvMigration(text, findings=problems, steps=[RELEASE])
    wanted = _wanted(found, default_group_name, runner_backend, oauth_client_name)
    changes, findings = [], []
    for name, value in wanted.items():
        if found.get(name) == value:
            continue
        if unit_wins and name in (unit or {}):
            findings.append(FINDINGS["environment.unit_overrides"].finding(name))
        else:
            action = "drop" if value is None else "change" if found.get(name) is not None else "add"
            reason = rules.WEB_REASONS[name] if value is not None else "the server has no OAuth client"
            changes.append({"variable": name, "action": action, "new_variable": "", "reason": reason})
            statements = parse(_set(statements, name, value), Reader.SYSTEMD)
    if oauth_client_name and not found.get(rules.WEB_OAUTH):
        absent = rules.FINDINGS["environment.web_oauth_absent"]
        findings.append(absent.finding(rules.WEB_OAUTH, client=oauth_client_name))
    return EnvMigration(
        render(statements),
        steps=[RELEASE] if changes or any(one.severity == "blocker" for one in findings) else [],
        changes=changes,
        findings=findings,
        oauth_client_name=wanted.get(rules.WEB_OAUTH) or "",
        runner_backend=wanted.get(rules.WEB_BACKEND) or "",
        secrets=frozenset(secret_values(found)),
    )


def _wanted(
    found: dict[str, str], default_group_name: str, runner_backend: str | None, oauth_client_name: str | None
) -> dict[str, str | None]:
    wanted: dict[str, str | None] = {}
    if default_group_name:
        wanted[rules.WEB_GROUP] = default_group_name
    backend = found.get(rules.WEB_BACKEND)
    if runner_backend or backend is not None:
        wanted[rules.WEB_BACKEND] = runner_backend or BACKENDS.get(backend or "", backend)
    if found.get(rules.WEB_OAUTH):
        client = found[rules.WEB_OAUTH] if oauth_client_name is None else oauth_client_name
        wanted[rules.WEB_OAUTH] = (client or "").lower() or None
    return wanted


def _set(statements: list[Statement], name: str, value: str | None) -> str:
    if any(statement.key == name for statement in statements):
        return correct(statements, name, None if value is None else literal(value))
    return append(render(statements), {name: literal(value or "")}, ADDED)
