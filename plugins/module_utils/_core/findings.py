# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""Findings: what a check says when something is, or will be, wrong.

Each check file holds its own table of rules (``FINDINGS``), one row for each thing that it can find. A check makes
findings out of rows; it never writes severities or fixes in passing, so that ``docs/findings.md`` can be generated
from the same tables.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# The operator's variables that a row may name, and whether its value may be in force before a person has decided. What
# a child of another trust zone answers is a finding, too: it must not set what runs on the controller or leads to it.
SETTLING = {
    **dict.fromkeys(("fractal_users", "fractal_user_rules", "fractal_install_strategy", "fractal_web_version"), True),
    **dict.fromkeys(("fractal_backup_method", "fractal_backup_proof", "fractal_backup_root"), False),
    **dict.fromkeys(("fractal_environment", "fractal_pip_extra_args", "fractal_pythons", "fractal_wheelhouse"), False),
    **dict.fromkeys(("fractal_server_service", "fractal_server_url", "fractal_web_service", "fractal_web_url"), False),
    **dict.fromkeys(("fractal_web_archive", "fractal_web_archive_checksum", "fractal_worker_python"), False),
    **dict.fromkeys(("fractal_jobs_in_flight", "fractal_oauth_client"), False),
}
SEVERITIES = ("blocker", "warning", "info")


@dataclass(frozen=True)
class Finding:
    """One result of a check, ready for people and for JSON."""

    id: str
    severity: str
    subject: str
    message: str
    fix: str
    reference: str
    acceptable: bool
    settles: str = ""  # as JSON, because a finding is hashed

    def as_dict(self) -> dict[str, Any]:
        """Return the finding as plain data; ``settles`` only if a variable of the operator's settles it."""
        told = dict(vars(self))
        settles = told.pop("settles")
        return {**told, "settles": json.loads(settles)} if settles else told

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Finding:
        """Return the finding that plain data tells, which `as_dict` has made."""
        settles = told.get("settles")
        return cls(**{**told, "settles": json.dumps(settles) if settles else ""})


@dataclass(frozen=True)
class FindingRule:
    """One thing that a check can find.

    ``message`` and ``fix`` are ``str.format`` templates. ``reference`` names the source of the rule (release and file
    of Fractal, or the part of the official upgrade page). A blocker that would break the migration is not
    ``acceptable``: the operator cannot wave it through.

    ``settles`` names the operator's variables that settle it, with values whose texts are templates, too. None stands
    for what only a person knows. A key that comes to several names, such as ``a, b``, stands for each. ``asks`` says
    that a person has to decide whether that is meant; it is offered then, not proposed.
    """

    id: str
    severity: str
    title: str
    message: str
    fix: str
    reference: str = ""
    acceptable: bool = True
    settles: Mapping[str, Any] = field(default_factory=dict)
    asks: bool = False

    def __post_init__(self) -> None:
        """Refuse a severity that nothing knows how to show, and a variable that no file may propose."""
        if self.severity not in SEVERITIES:
            raise ValueError(f"{self.id}: severity must be one of {', '.join(SEVERITIES)}, not {self.severity!r}")
        if not set(self.settles) <= set(SETTLING):
            raise ValueError(f"{self.id}: {', '.join(set(self.settles) - set(SETTLING))} settles nothing")

    def finding(self, subject: str, **values: Any) -> Finding:
        """Return the finding about ``subject`` (a user's e-mail, a path, a unit), its templates filled in."""
        settles = ""
        if self.settles:
            settles = json.dumps({"values": _filled(self.settles, {"subject": subject, **values}), "asks": self.asks})
        return Finding(
            id=self.id,
            severity=self.severity,
            subject=subject,
            message=self.message.format(subject=subject, **values),
            fix=self.fix.format(subject=subject, **values),
            reference=self.reference,
            acceptable=self.acceptable,
            settles=settles,
        )


def _filled(template: Any, values: Mapping[str, Any]) -> Any:
    """Return the variables of a row with what a finding knows."""
    if isinstance(template, str):
        return template.format(**values)
    if isinstance(template, Mapping):
        return {
            name: _filled(value, values)
            for names, value in template.items()
            for name in names.format(**values).split(", ")
        }
    return [_filled(one, values) for one in template] if isinstance(template, (list, tuple)) else template


def blocker(rule_id: str, title: str, message: str, fix: str, reference: str = "", **settling: Any) -> FindingRule:
    """Return the rule for what would break the upgrade; no operator can accept it.

    Args:
        rule_id: Its id.
        title: Its title.
        message: See `FindingRule`.
        fix: See `FindingRule`.
        reference: See `FindingRule`.
        settling: ``settles`` and ``asks``, see `FindingRule`.
    """
    return FindingRule(rule_id, "blocker", title, message, fix, reference, acceptable=False, **settling)


def of_user(**columns: Any) -> dict[str, Any]:
    """Return as ``settles`` what the playbook users sets for the user whom a finding is about."""
    return {"fractal_users": [{"email": "{subject}", **columns}]}


def rule_table(*rules: FindingRule) -> dict[str, FindingRule]:
    """Return the rules by id, refusing an id used twice."""
    table = {rule.id: rule for rule in rules}
    if len(table) != len(rules):
        raise ValueError("a finding id is used twice")
    return table
