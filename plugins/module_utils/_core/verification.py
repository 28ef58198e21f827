# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""The records of verification: a check's rule, and what the check found."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"


@dataclass(frozen=True)
class Check:
    """What one check found: ``status`` is ``passed``, ``failed`` or ``skipped``; ``fix`` is empty when it passed."""

    id: str
    status: str
    subject: str
    message: str
    fix: str = ""
    title: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return the record as plain data."""
        return asdict(self)


@dataclass(frozen=True)
class CheckRule:
    """One check: what it is called, which point of the upgrade page it settles, and how to mend what it finds."""

    id: str
    title: str
    fix: str
    point: str = ""

    def passed(self, subject: str, message: str) -> Check:
        """Return the record of a check that found nothing wrong."""
        return Check(self.id, PASSED, subject, message, "", self.title)

    def failed(self, subject: str, message: str, fix: str = "") -> Check:
        """Return the record of a check that found something wrong; ``fix`` replaces the rule's own."""
        return Check(self.id, FAILED, subject, message, fix or self.fix, self.title)

    def skipped(self, subject: str, why: str, fix: str = "") -> Check:
        """Return the record of a check that could not be made; it never counts as passed."""
        return Check(self.id, SKIPPED, subject, why, fix, self.title)


def failed(checks: list[Check]) -> list[Check]:
    """Return the checks that failed."""
    return [check for check in checks if check.status == FAILED]
