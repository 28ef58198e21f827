# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""What a rehearsal can find, as a table."""

from __future__ import annotations

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.findings import (
    FindingRule,
    blocker,
    rule_table,
)

CHAPTERS = {"rehearsal": "Rehearsal"}

_UNTOUCHED = "The rehearsal worked on a copy: database, files and service of the instance are as they were."

FINDINGS = rule_table(
    blocker(
        "rehearsal.backup_refused",
        "The database cannot be dumped and restored",
        "The database of {subject} cannot be dumped, restored and compared: {reason}",
        f"Mend what the message names, then run again. {_UNTOUCHED}",
    ),
    blocker(
        "rehearsal.environment_refused",
        "The environment file cannot be migrated",
        "The environment file for fractal-server {subject} cannot be made: {reason}",
        f"Mend what the message names in the environment file, then run again. {_UNTOUCHED}",
    ),
    blocker(
        "rehearsal.migration_refused",
        "A migration fails on a copy of the database",
        "The migration to fractal-server {subject} fails on a copy of the database: {reason}",
        f"Mend in the instance's own database what its last words name, then run again. {_UNTOUCHED}",
    ),
    FindingRule(
        "rehearsal.start_refused",
        "blocker",
        "The new release does not come up",
        "fractal-server {subject}, started on a copy of the migrated database, does not come up: {reason}",
        f"Mend what its last words name, then run again. {_UNTOUCHED}",
    ),
    FindingRule(
        "rehearsal.log_in_refused",
        "blocker",
        "Nobody can log in to the new release",
        "fractal-server {release}, started on a copy of the migrated database, refuses {subject}: {reason}",
        "Check fractal_verify_email and fractal_verify_password, if they are set, and what its words name; then run "
        f"again. {_UNTOUCHED}",
    ),
    FindingRule(
        "rehearsal.not_possible",
        "warning",
        "No rehearsal can be made",
        "The upgrade of {subject} cannot be rehearsed: {reason}",
        "Nothing, if you can do without: whether the migrations succeed, and how long they take, is then seen in the "
        "downtime.",
    ),
    FindingRule(
        "rehearsal.in_part",
        "warning",
        "Not everything could be rehearsed",
        "Of the upgrade of {subject} this was not rehearsed: {reason}",
        "Nothing, if you can do without.",
    ),
)
