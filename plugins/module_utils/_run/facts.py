# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""The facts that roles leave for each other and for the report: one table, bound to the YAML by a test.

The first word of a name says who owns it: ``__server_…`` and ``__web_…`` the whole run, the rest a role.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

# set by the role fractal and by precheck, about the host
SERVER_STATE, SERVER_FAILURE = "__server_state", "__server_failure"
WEB_STATE, WEB_FAILURE = "__web_state", "__web_failure"
# registered by every playbook, on each host of the run
BEGIN = "__begin"
# set by the playbook upgrade, and by web_upgrade: why the wave of an instance was not begun
NOT_BEGUN = "__not_begun"
# set by fractal: the hooks that ran, each with why it failed
HOOKS_RAN = "__fractal_hooks"
# registered by server_upgrade
UPGRADE_STAGE, UPGRADE_BEFORE = "__server_upgrade_stage", "__server_upgrade_before"
UPGRADE_WINDOW, UPGRADE_WORKERS = "__server_upgrade_window", "__server_upgrade_workers"
# registered by rehearse
REHEARSE_DONE = "__rehearse_done"
# registered by fractal, for the playbook status
STATUS_BACKUP = "__fractal_backup"
# registered by fractal, for the playbook review
REVIEWED = "__fractal_reviewed"
# registered by tidy
TIDY_SERVER, TIDY_WEB = "__tidy_server", "__tidy_web"
# registered by backup
BACKUP_MADE, BACKUP_COPY = "__backup_made", "__backup_copy"
BACKUP_ARCHIVED = "__backup_archived"
# registered by web_upgrade
WEB_RUN = "__web_upgrade_run"
# registered by verify
VERIFY_SERVER, VERIFY_WEB = "__verify_server", "__verify_web"
# set by rollback
ROLLBACK_DONE, ROLLBACK_WAY, ROLLBACK_LEFT = "__rollback_done", "__rollback_way", "__rollback_left"
ROLLBACK_DATABASE, ROLLBACK_FOUND = "__rollback_database", "__rollback_found"
ROLLBACK_WEB, ROLLBACK_WEB_RUN = "__rollback_web", "__rollback_web_run"


def failed_workers(results: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the answers of those workers' hosts that did not do what was asked."""
    return [result for result in results if "worker" not in result]
