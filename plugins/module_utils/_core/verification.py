# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""The records of verification: a check's rule, and what the check found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Callable

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError

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
    """One check: what it is called, which point of the upgrade page it settles, and how to mend what it finds.

    ``needs`` names the checks without which this one cannot be made.
    """

    id: str
    title: str
    fix: str
    point: str = ""
    needs: tuple[str, ...] = ()

    def passed(self, subject: str, message: str) -> Check:
        """Return the record of a check that found nothing wrong."""
        return Check(self.id, PASSED, subject, message, "", self.title)

    def failed(self, subject: str, message: str, fix: str = "") -> Check:
        """Return the record of a check that found something wrong; ``fix`` replaces the rule's own."""
        return Check(self.id, FAILED, subject, message, fix or self.fix, self.title)

    def skipped(self, subject: str, why: str, fix: str = "") -> Check:
        """Return the record of a check that could not be made; it never counts as passed."""
        return Check(self.id, SKIPPED, subject, why, fix, self.title)


@dataclass(frozen=True)
class Step:
    """What makes one check, or several that belong together: all ids of ``makes`` end in the report."""

    makes: tuple[str, ...]
    make: Callable[[], Iterable[Check]]


def run_steps(rules: Mapping[str, CheckRule], steps: Iterable[Step], subject: str) -> list[Check]:
    """Return a record of each check of the steps, in their order: nothing vanishes because of what another one found.

    What needs a check that did not pass is skipped with the reason; an error on the way is what the check found.
    """
    done: dict[str, Check] = {}
    for step in steps:
        missing = [done[need] for name in step.makes for need in rules[name].needs if done[need].status != PASSED]
        found: dict[str, Check] = {}
        if not missing:
            try:
                found = {check.id: check for check in step.make()}
            except FractalError as error:
                found = {step.makes[0]: rules[step.makes[0]].failed(subject, str(error))}
        for name in step.makes:
            done[name] = found.get(name) or _not_made(rules[name], subject, missing or [*found.values()])
    return list(done.values())


def _not_made(rule: CheckRule, subject: str, causes: Sequence[Check]) -> Check:
    cause = causes[0] if causes else None
    if cause is None:
        return rule.skipped(subject, "there was nothing to check")
    if cause.status == SKIPPED:
        return rule.skipped(cause.subject, cause.message, cause.fix)
    return rule.skipped(subject, f"not made, as '{cause.title}' did not pass")


def failed(checks: list[Check]) -> list[Check]:
    """Return the checks that failed."""
    return [check for check in checks if check.status == FAILED]
