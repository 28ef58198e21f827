# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""Whether somebody lost a folder in the viewer by an upgrade."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from ansible_collections.fractal_ops.platform.plugins.module_utils._resources.checks import REVIEW_CHECKS

if TYPE_CHECKING:
    from ansible_collections.fractal_ops.platform.plugins.module_utils._core.verification import Check
    from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.acceptance import Viewer


def viewer_access(
    viewer: Viewer, before: Mapping[str, Iterable[str]] | None, after: Mapping[str, Iterable[str]]
) -> Check:
    """Return the check that nobody lost a folder in the viewer."""
    rule = REVIEW_CHECKS["viewer_access"]
    if before is None:
        return rule.skipped(
            "viewer",
            "nothing is known about the folders before the upgrade: the database does not tell them any more",
            "Compare with the restored backup if in doubt.",
        )
    refused = viewer.why_refused()
    if refused:
        return rule.failed("viewer", refused)
    lost = compare(before, after)
    if lost and viewer.drops_on_purpose:
        return rule.skipped("viewer", f"{'; '.join(lost)}. {viewer.why_lost(before)}")
    if lost:
        why = viewer.why_lost(before)
        return rule.failed(f"scheme {viewer.scheme}", "; ".join(lost) + (f". {why}" if why else ""))
    return rule.passed(f"scheme {viewer.scheme}", f"{len(before)} users compared, nobody lost a folder")


def compare(before: Mapping[str, Iterable[str]], after: Mapping[str, Iterable[str]]) -> list[str]:
    """Return, user by user, the folders seen before the upgrade and not any more; spelling does not count."""
    lost = []
    for email, paths in sorted(before.items()):
        now = {os.path.normpath(path) for path in after.get(email, ())}
        gone = [path for path in paths if not now & _with_parents(os.path.normpath(path))]
        if gone:
            lost.append(f"{email} no longer sees {', '.join(sorted(gone))}")
    return lost


def _with_parents(path: str) -> set[str]:
    found = {path}
    while path not in ("/", ""):
        path = os.path.dirname(path)
        found.add(path)
    return found
