# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""Whom 2.17.0 hurts without any error: who loses access, their provider of log-in, or a name.

As long as the old settings are there, nothing of that has become final.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.wording import examples
from ansible_collections.fractal_ops.platform.plugins.module_utils._releases.oauth import provider
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.r2_17_0.user_findings import FINDINGS

if TYPE_CHECKING:
    from ansible_collections.fractal_ops.platform.plugins.module_utils._precheck.user_rows import UserRow
    from ansible_collections.fractal_ops.platform.plugins.module_utils._precheck.users import UserContext


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
