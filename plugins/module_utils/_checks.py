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

from ansible_collections.fractal_ops.platform.plugins.module_utils._errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._findings import Finding
from ansible_collections.fractal_ops.platform.plugins.module_utils._state import FINDINGS

Host = TypeVar("Host")


def run_checks(host: Host, checks: Iterable[tuple[str, Callable[[Host], Iterable[Finding]]]]) -> list[Finding]:
    """Return the findings of ``checks`` (name and function); one that breaks is a finding too, once for each cause."""
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


def human_size(size: float) -> str:
    """Return a number of bytes for people, such as ``1.5 GB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


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
