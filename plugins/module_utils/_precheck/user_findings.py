# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""What can be wrong with users whatever the way. What a stop does to them is in its folder of ``_stops``."""

from __future__ import annotations

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.findings import FindingRule, rule_table

CHAPTERS = {"user": "Users"}
FINDINGS = rule_table(
    FindingRule(
        "user.no_superuser",
        "warning",
        "No active superuser",
        "No active user is superuser, so nobody can review resources and profiles after the upgrade.",
        "Make an administrator before the upgrade (is_superuser: true with fractal_users).",
        "fractal-server 2.17.0, app/routes/auth/__init__.py; upgrade page, preliminary check 1",
    ),
    FindingRule(
        "user.idle_without_access",
        "info",
        "Others without access",
        "{count} more users will have no access; they own nothing and were not active lately: {examples}.",
        "Nothing, unless one of them is meant to use Fractal (then set is_active and is_verified with fractal_users).",
        "fractal-server 2.17.0, app/routes/auth/__init__.py; upgrade page, preliminary check 1",
    ),
    FindingRule(
        "user.no_login",
        "warning",
        "User who can't log in",
        "{subject} has neither a usable password nor an account with the OAuth provider that stays.",
        "Set a password for {subject} (PATCH /auth/users/…/), or make their address at the provider equal to "
        "{subject}.",
        "fractal-server 2.16.6, app/security/__init__.py",
    ),
    FindingRule(
        "user.no_profile",
        "warning",
        "User without a profile",
        "{subject} is active and verified but has no profile, so everything under /api/v2/ is refused.",
        "Give {subject} a profile with fractal_resource_profile.",
        "fractal-server 2.17.0, app/routes/auth/__init__.py",
    ),
)
