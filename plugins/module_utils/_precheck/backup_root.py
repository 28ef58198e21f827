# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""Whether the folder for backups is one that only root can change: they bring files back with root's rights."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ansible_collections.fractal_ops.platform.plugins.module_utils._backup.store import refuse_unsafe_root
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.findings import Finding, blocker, rule_table

if TYPE_CHECKING:
    from ansible_collections.fractal_ops.platform.plugins.module_utils._precheck.server_host import ServerHost

CHAPTERS = {"host": "Hosts"}
FINDINGS = rule_table(
    blocker(
        "host.backup_root_unsafe",
        "A folder for backups that others can change",
        "{reason}",
        "Set fractal_backup_root to a folder that only root can change.",
        settles={"fractal_backup_root": None},
    ),
)


def check_backup_root(host: ServerHost) -> Iterator[Finding]:
    """Nobody but root can change what a rollback would bring back."""
    root = host.params["backup_root"]
    try:
        refuse_unsafe_root(root)
    except FractalError as error:
        yield FINDINGS["host.backup_root_unsafe"].finding(root, reason=str(error))
