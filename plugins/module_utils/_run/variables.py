# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""The operator's variables: a mistyped one would be silence, and its default would do something else than was meant."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.findings import (
    Finding,
    FindingRule,
    rule_table,
)

PREFIX = "fractal_"

CHAPTERS = {"variable": "Variables"}
FINDINGS = rule_table(
    FindingRule(
        id="variable.unknown",
        severity="blocker",
        title="A variable that does not exist",
        message="The variable {subject} does not exist.{hint}",
        fix="Correct its name or remove it. If it is another role's, put variable.unknown into fractal_accept.",
        reference="docs/variables.md",
    ),
)


def unknown_variables(names: Iterable[str], known: Collection[str]) -> list[Finding]:
    """Return a finding for each of ``names`` that looks like an operator's variable and is not ``known``."""
    endings = {name[len(PREFIX) :]: name for name in known}
    found = []
    for name in sorted(set(names)):
        if name.startswith(PREFIX) and name not in known:
            nearest = difflib.get_close_matches(name[len(PREFIX) :], endings, n=1)
            hint = f" Did you mean {endings[nearest[0]]}?" if nearest else ""
            found.append(FINDINGS["variable.unknown"].finding(name, hint=hint))
    return found
