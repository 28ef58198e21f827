# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""Running many checks, none of which stops the others."""

from __future__ import annotations

import contextlib
import os
import traceback
from collections.abc import Iterable
from typing import Callable, TypeVar

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.findings import Finding, blocker, rule_table

CHAPTERS = {"check": "Checks that could not be made", "database": "Database"}
FINDINGS = rule_table(
    blocker(
        "check.failed",
        "A check could not be made",
        "The check '{subject}' could not be made: {reason}",
        "Mend what the message names, then run again.",
    ),
    blocker(
        "database.unreachable",
        "The database cannot be reached",
        "The database cannot be reached: {reason}",
        "Start PostgreSQL, or correct the POSTGRES_ variables in the environment file.",
    ),
)

Host = TypeVar("Host")


def run_checks(host: Host, checks: Iterable[tuple[str, Callable[[Host], Iterable[Finding]]]]) -> list[Finding]:
    """Return the findings of ``checks`` (name and function).

    A check that raises becomes a finding; identical causes are reported once.
    """
    found: list[Finding] = []
    causes: set[str] = set()
    for name, check in checks:
        try:
            found.extend(check(host))
        except Exception as error:
            reason = str(error) if isinstance(error, FractalError) else _place_of(error)
            if reason not in causes:
                found.append(FINDINGS["check.failed"].finding(name, reason=reason))
            causes.add(reason)
    return found


def tree_size(folder: str) -> int:
    """Return how many bytes ``folder`` takes on the disk with all that is below it, each file counted once."""
    seen: set[tuple[int, int]] = set()
    size = 0
    for root, _folders, files in os.walk(folder):
        for name in ["", *files]:
            with contextlib.suppress(OSError):
                entry = os.lstat(os.path.join(root, name))
                if (entry.st_dev, entry.st_ino) not in seen:
                    seen.add((entry.st_dev, entry.st_ino))
                    size += entry.st_blocks * 512
    return size


def _place_of(error: Exception) -> str:
    """Return what broke and where, without its text, which may hold a value."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} in {os.path.basename(last.filename)}, line {last.lineno}"
