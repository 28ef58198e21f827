# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""All checks of users: rows in, findings and access lists out, in one pass.

What a data migration would do with a user is in the folder of its stop; who has access and how they log in is here. The
table of findings is ``_precheck/user_findings.py``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Callable, Protocol

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.findings import Finding
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.wording import examples
from ansible_collections.fractal_ops.platform.plugins.module_utils._precheck.user_findings import FINDINGS
from ansible_collections.fractal_ops.platform.plugins.module_utils._precheck.user_rows import UserRow
from ansible_collections.fractal_ops.platform.plugins.module_utils._releases.backends import backend_of


@dataclass(frozen=True)
class UserContext:
    """What the instance says about all users.

    Attributes:
        backend: ``local``, ``slurm_sudo`` or ``slurm_ssh`` (see ``backend_of``).
        has_settings: Whether the database still has the table ``user_settings`` (up to 2.17.0).
        migrated: Whether the data migration has made its resource already.
        ssh_hosts: How many settings rows (of anybody, as the migration counts) have each ``ssh_host`` that is not NULL.
        oauth_clients: Names of the OAuth clients configured in 2.16.
        kept_oauth_client: The one that stays, or None if none does.
        viewer_scheme: ``FRACTAL_VIEWER_AUTHORIZATION_SCHEME`` of 2.16.
    """

    backend: str
    has_settings: bool = True
    migrated: bool = False
    ssh_hosts: Mapping[str, int] = field(default_factory=dict)
    oauth_clients: Sequence[str] = ()
    kept_oauth_client: str | None = None
    viewer_scheme: str = "none"


@dataclass
class UserReport:
    """All findings about users, and who will have access to 2.17 once the blockers are settled."""

    backend: str
    findings: list[Finding] = field(default_factory=list)
    with_access: list[str] = field(default_factory=list)
    without_access: list[dict[str, Any]] = field(default_factory=list)

    def add(self, rule: str, subject: str, **values: Any) -> None:
        """Add the finding of ``rule`` about ``subject``."""
        self.findings.append(FINDINGS[rule].finding(subject, **values))

    def access(self) -> dict[str, Any]:
        """Return the access lists as plain data."""
        return {"with_access": self.with_access, "without_access": self.without_access}


def oauth_clients(values: Mapping[str, str]) -> list[str]:
    """Return the names of the configured OAuth clients, of 2.16 (config.py: second word of the variable) or 2.17."""
    if values.get("OAUTH_CLIENT_NAME"):
        return [values["OAUTH_CLIENT_NAME"]]
    words = (name.split("_") for name in values if name.startswith("OAUTH_"))
    return sorted({parts[1] for parts in words if len(parts) > 2})


def user_context(values: Mapping[str, str], backend: str | None, oauth_client: str | None, **facts: Any) -> UserContext:
    """Return the context of an instance.

    Args:
        values: fractal-server's variables, of 2.16 or 2.17.
        backend: Overrides ``FRACTAL_RUNNER_BACKEND``.
        oauth_client: The client that stays, where there are several.
        facts: What the database says (``has_settings``, ``migrated``, ``ssh_hosts``).
    """
    clients = oauth_clients(values)
    return UserContext(
        backend=backend_of(backend or values.get("FRACTAL_RUNNER_BACKEND") or "local"),
        oauth_clients=clients,
        kept_oauth_client=oauth_client or (clients[0] if len(clients) == 1 else None),
        viewer_scheme=values.get("FRACTAL_VIEWER_AUTHORIZATION_SCHEME", "none"),
        **facts,
    )


def oauth_provider(client: str) -> str:
    """Return how the database calls the provider of an OAuth client: every OpenID client is ``openid``."""
    return client.lower() if client.lower() in ("google", "github") else "openid"


class MoreAboutUsers(Protocol):
    """A further check of users, which adds what it finds to the report."""

    def user(self, row: UserRow, enabled: bool) -> None:
        """Check one user; ``enabled``: active and verified."""

    def finish(self) -> None:
        """Add the findings that only the whole tells."""


MakeMore = Callable[[UserContext, Callable[..., None]], MoreAboutUsers]
"""From the context, and what takes a rule's id, its subject and values, to the check."""


def check_users(rows: Iterable[UserRow], context: UserContext, also: Iterable[MakeMore] = ()) -> UserReport:
    """Return all findings about the users, those of ``also`` among them; one pass, whatever their number."""
    check = _UserCheck(context, also)
    for row in rows:
        check.user(row)
    check.finish()
    return check.report


class _UserCheck:
    """Access and log-in of every user."""

    def __init__(self, context: UserContext, also: Iterable[MakeMore]) -> None:
        self.report = UserReport(context.backend)
        self._context = context
        self._also = [make(context, self.report.add) for make in also]
        self._kept = context.kept_oauth_client
        self._kept_provider = oauth_provider(context.kept_oauth_client) if context.kept_oauth_client else None
        self._idle: list[str] = []
        self._same_address: list[str] = []
        self._openid_users = 0
        self._usernames = 0
        self._enabled = 0
        self._superusers = 0

    def user(self, row: UserRow) -> None:
        """Check one user."""
        enabled = row.is_active and row.is_verified
        self._enabled += enabled
        self._superusers += row.is_active and row.is_superuser
        self._usernames += row.has_username
        if enabled and (self._context.has_settings or row.profile_id is not None):
            self.report.with_access.append(row.email)
        else:
            self._no_access(row, enabled)
        for check in self._also:
            check.user(row, enabled)
        if row.is_active:
            self._login(row)

    def finish(self) -> None:
        """Add the findings that only the whole tells."""
        add = self.report.add
        for check in self._also:
            check.finish()
        if not self._enabled:
            add("user.nobody_has_access", "users")
        if not self._superusers:
            add("user.no_superuser", "users")
        if self._idle:
            add("user.idle_without_access", "users", count=len(self._idle), examples=examples(self._idle))
        if self._same_address:
            who = examples(self._same_address)
            add("user.oauth_provider_changes", "users", count=len(self._same_address), examples=who, kept=self._kept)
        openid = [client for client in self._context.oauth_clients if oauth_provider(client) == "openid"]
        if len(openid) > 1 and self._openid_users:
            add("user.oauth_origin_unknown", "OAuth", clients=", ".join(openid), count=self._openid_users)
        if self._usernames:
            add("user.names_dropped", "users", count=self._usernames)

    def _no_access(self, row: UserRow, enabled: bool) -> None:
        stake = _stake(row)
        flags = ((row.is_active, "not active"), (row.is_verified, "not verified"))
        self.report.without_access.append(
            {
                "email": row.email,
                "reasons": ["no profile"] if enabled else [text for good, text in flags if not good],
                "is_superuser": row.is_superuser,
                "projects": row.projects,
                "running_jobs": row.running_jobs,
                "last_activity": row.last_activity,
                "hurt": bool(stake),
            }
        )
        if not row.is_active and not stake:
            self._idle.append(row.email)
        else:
            self.report.add(_access_rule(row, enabled), row.email, stake=stake)

    def _login(self, row: UserRow) -> None:
        accounts = row.oauth or ()
        providers = {provider for provider, _unused in accounts}
        self._openid_users += "openid" in providers
        if self._kept_provider in providers:
            return
        if not row.has_password:
            self.report.add("user.no_login", row.email)
        elif accounts and self._kept:
            if all(address.lower() == row.email.lower() for _unused, address in accounts):
                self._same_address.append(row.email)
            else:
                self.report.add(
                    "user.oauth_provider_dropped",
                    row.email,
                    kept=self._kept,
                    providers=", ".join(sorted(providers)),
                    addresses=", ".join(address for _unused, address in accounts),
                )


def _access_rule(row: UserRow, enabled: bool) -> str:
    if enabled:
        return "user.no_profile"
    if not row.is_active:
        return "user.not_active" if row.is_verified else "user.off_with_stake"
    if row.is_superuser:
        return "user.superuser_not_verified"
    return "user.oauth_never_verified" if row.oauth else "user.not_verified"


def _stake(row: UserRow) -> str:
    """Return what a user has to lose, in brackets, or an empty text."""
    parts = []
    if row.projects:
        parts.append(f"owns {row.projects} project(s)")
    if row.running_jobs:
        parts.append(f"has {row.running_jobs} running job(s)")
    if row.recent:
        parts.append(f"was active on {row.last_activity}")
    return f" ({', '.join(parts)})" if parts else ""
