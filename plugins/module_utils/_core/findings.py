# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""Findings: what a check says when something is, or will be, wrong.

Each check file holds its own table of rules (``FINDINGS``), one row for each thing that it can find. A check makes
findings out of rows; it never writes severities or fixes in passing, so that ``docs/findings.md`` can be generated
from the same tables.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

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

    def as_dict(self) -> dict[str, Any]:
        """Return the finding as plain data."""
        return dict(vars(self))


@dataclass(frozen=True)
class FindingRule:
    """One thing that a check can find.

    ``message`` and ``fix`` are ``str.format`` templates. ``reference`` names the source of the rule (release and file
    of Fractal, or the part of the official upgrade page). A blocker that would break the migration is not
    ``acceptable``: the operator cannot wave it through.
    """

    id: str
    severity: str
    title: str
    message: str
    fix: str
    reference: str = ""
    acceptable: bool = True

    def __post_init__(self) -> None:
        """Refuse a severity that nothing knows how to show."""
        if self.severity not in SEVERITIES:
            raise ValueError(f"{self.id}: severity must be one of {', '.join(SEVERITIES)}, not {self.severity!r}")

    def finding(self, subject: str, **values: Any) -> Finding:
        """Return the finding about ``subject`` (a user's e-mail, a path, a unit), its templates filled in."""
        return Finding(
            id=self.id,
            severity=self.severity,
            subject=subject,
            message=self.message.format(subject=subject, **values),
            fix=self.fix.format(subject=subject, **values),
            reference=self.reference,
            acceptable=self.acceptable,
        )


def blocker(rule_id: str, title: str, message: str, fix: str, reference: str = "") -> FindingRule:
    """Return the rule for what would break the upgrade; no operator can accept it."""
    return FindingRule(rule_id, "blocker", title, message, fix, reference, acceptable=False)


def rule_table(*rules: FindingRule) -> dict[str, FindingRule]:
    """Return the rules by id, refusing an id used twice."""
    table = {rule.id: rule for rule in rules}
    if len(table) != len(rules):
        raise ValueError("a finding id is used twice")
    return table
