# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""Whom 2.17.0 hurts without any error: who loses access, their provider of log-in, or a name.

As long as the old settings are there, nothing of that has become final.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.findings import (
    FindingRule,
    of_user,
    rule_table,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.wording import examples
from ansible_collections.fractal_ops.platform.plugins.module_utils._releases.oauth import provider

if TYPE_CHECKING:
    from ansible_collections.fractal_ops.platform.plugins.module_utils._precheck.user_rows import UserRow
    from ansible_collections.fractal_ops.platform.plugins.module_utils._precheck.users import UserContext

_ACCESS = "fractal-server 2.17.0, app/routes/auth/__init__.py; upgrade page, preliminary check 1"
_OAUTH = "fractal-server 2.17.0, config/_oauth.py and app/security/__init__.py"
CHAPTERS = {"user": "Users"}
FINDINGS = rule_table(
    FindingRule(
        "user.nobody_has_access",
        "blocker",
        "Nobody will have access",
        "No user is both active and verified, so nobody could use Fractal 2.17 and 2.17.1 deletes all user settings.",
        "Verify with fractal_users those who are to use Fractal.",
        _ACCESS,
    ),
    FindingRule(
        "user.not_verified",
        "warning",
        "Active user who loses access: not verified",
        "{subject} is active but not verified{stake}. Today they can read; in 2.17 they can't use Fractal at all, "
        "and 2.17.1 deletes their settings.",
        "Set is_verified: true for {subject} with fractal_users if they are to keep using Fractal.",
        _ACCESS,
        settles=of_user(is_verified=True),
        asks=True,
    ),
    FindingRule(
        "user.oauth_never_verified",
        "warning",
        "Signed up by OAuth, never verified",
        "{subject} has an OAuth account, is active but was never verified{stake}. Read access ends with 2.17, and "
        "2.17 has no self-registration.",
        "Set is_verified: true for {subject} with fractal_users (and their settings) if they are to use Fractal.",
        _ACCESS,
        settles=of_user(is_verified=True),
        asks=True,
    ),
    FindingRule(
        "user.not_active",
        "warning",
        "Verified user who loses their settings: not active",
        "{subject} is verified but not active{stake}. The data migration leaves them out, and 2.17.1 deletes their "
        "settings.",
        "Set is_active: true for {subject} with fractal_users if they are to come back; otherwise nothing.",
        _ACCESS,
        settles=of_user(is_active=True),
        asks=True,
    ),
    FindingRule(
        "user.off_with_stake",
        "warning",
        "Neither active nor verified, but not idle",
        "{subject} is neither active nor verified{stake}. 2.17.1 deletes their settings.",
        "Set is_active and is_verified for {subject} with fractal_users if they are to come back; otherwise nothing.",
        _ACCESS,
        settles=of_user(is_active=True, is_verified=True),
        asks=True,
    ),
    FindingRule(
        "user.superuser_not_verified",
        "warning",
        "Administrator who loses access to projects",
        "{subject} is an active superuser but not verified{stake}: administration stays, everything under /api/v2/ "
        "is refused in 2.17.",
        "Set is_verified: true and the settings of {subject} with fractal_users if they also run jobs; otherwise "
        "nothing.",
        _ACCESS,
        settles=of_user(is_verified=True),
        asks=True,
    ),
    FindingRule(
        "user.oauth_provider_dropped",
        "warning",
        "User of an OAuth provider that will be dropped",
        "{subject} logs in with {providers} under another e-mail address ({addresses}); only {kept} stays, so they "
        "will need their password.",
        "Give them a password, or make their address at {kept} equal to {subject}.",
        _OAUTH,
    ),
    FindingRule(
        "user.oauth_provider_changes",
        "info",
        "Users who change to the OAuth provider that stays",
        "{count} users log in only with a provider that will be dropped; they keep access if their address at "
        "{kept} is the one known to Fractal: {examples}.",
        "Tell them to log in with {kept}.",
        _OAUTH,
    ),
    FindingRule(
        "user.oauth_origin_unknown",
        "warning",
        "Provider of OAuth users not known",
        "Several OpenID providers are configured ({clients}). The database calls each of them 'openid', so it "
        "can't be said who used a provider that will be dropped ({count} users have such accounts).",
        "Tell the users which provider stays; their address there must be the one known to Fractal.",
        _OAUTH,
    ),
    FindingRule(
        "user.names_dropped",
        "info",
        "User names are deleted",
        "{count} users have a username; the schema migration to 2.17.0 drops that column.",
        "Export it before the upgrade if anything else uses it; the backup keeps it too.",
        "fractal-server 2.17.0, migrations/versions (user_oauth.username)",
    ),
)


class LossesOfTheUnmigrated:
    """Checks one user after another; see `MoreAboutUsers`."""

    def __init__(self, context: UserContext, add: Callable[..., None]) -> None:
        """Prepare for the users of one instance."""
        self._context = context
        self._add = add
        self._kept = context.kept_oauth_client
        self._kept_provider = provider(self._kept) if self._kept else None
        self._same_address: list[str] = []
        self._openid_users = 0
        self._usernames = 0
        self._enabled = 0

    def user(self, row: UserRow, enabled: bool) -> None:
        """Check one user; ``enabled``: active and verified."""
        self._enabled += enabled
        self._usernames += row.has_username
        if not self._context.has_settings:
            return
        if not enabled and (row.is_active or row.stake()):
            self._add(FINDINGS[_access_rule(row)], row.email, stake=row.stake())
        if row.is_active:
            self._openid_users += "openid" in row.providers
            self._provider(row)

    def finish(self) -> None:
        """Add the findings that only the whole tells."""
        if not self._context.has_settings:
            return
        if not self._enabled:
            self._add(FINDINGS["user.nobody_has_access"], "users")
        if self._same_address:
            who = examples(self._same_address)
            rule = FINDINGS["user.oauth_provider_changes"]
            self._add(rule, "users", count=len(self._same_address), examples=who, kept=self._kept)
        openid = [client for client in self._context.oauth_clients if provider(client) == "openid"]
        if len(openid) > 1 and self._openid_users:
            rule = FINDINGS["user.oauth_origin_unknown"]
            self._add(rule, "OAuth", clients=", ".join(openid), count=self._openid_users)
        if self._usernames:
            self._add(FINDINGS["user.names_dropped"], "users", count=self._usernames)

    def _provider(self, row: UserRow) -> None:
        accounts = row.oauth or ()
        if not accounts or not self._kept or not row.has_password or self._kept_provider in row.providers:
            return
        if all(address.lower() == row.email.lower() for _unused, address in accounts):
            self._same_address.append(row.email)
        else:
            self._add(
                FINDINGS["user.oauth_provider_dropped"],
                row.email,
                kept=self._kept,
                providers=", ".join(sorted(row.providers)),
                addresses=", ".join(address for _unused, address in accounts),
            )


def _access_rule(row: UserRow) -> str:
    if not row.is_active:
        return "user.not_active" if row.is_verified else "user.off_with_stake"
    if row.is_superuser:
        return "user.superuser_not_verified"
    return "user.oauth_never_verified" if row.oauth else "user.not_verified"
