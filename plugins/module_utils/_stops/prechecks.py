# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""What the stops on the way ask of a server before the upgrade."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.findings import blocker, rule_table
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.data_migrations import why_not_implemented

if TYPE_CHECKING:
    from ansible_collections.fractal_ops.platform.plugins.module_utils._core.findings import Finding
    from ansible_collections.fractal_ops.platform.plugins.module_utils._precheck.server import Check
    from ansible_collections.fractal_ops.platform.plugins.module_utils._precheck.server_host import ServerHost

FINDINGS = rule_table(
    blocker(
        "release.not_implemented",
        "A data migration that this collection does not implement",
        "{reason}",
        "Set fractal_target_version to an earlier release, or use a newer version of this collection.",
    ),
)


def check_implemented(host: ServerHost) -> Iterator[Finding]:
    """Every release on the way that has a data migration is known here, with what it takes to prove it."""
    reason = why_not_implemented(host.hops)
    if reason:
        yield FINDINGS["release.not_implemented"].finding(host.params["target_version"], reason=reason)


CHECKS: tuple[tuple[str, Check], ...] = (("stops", check_implemented),)
