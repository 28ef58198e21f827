# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""All checks of users: rows in, findings and access lists out, in one pass.

What a release on the way does to a user is in the folder of its stop; who has access and can log in is here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Callable, Protocol

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.findings import (
    Finding,
    FindingRule,
    rule_table,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.wording import examples
from ansible_collections.fractal_ops.platform.plugins.module_utils._precheck.user_rows import UserRow
from ansible_collections.fractal_ops.platform.plugins.module_utils._releases.backends import backend_of
from ansible_collections.fractal_ops.platform.plugins.module_utils._releases.oauth import clients, provider

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


@dataclass(frozen=True)
class UserContext:
    """What the instance says about all users.

    Attributes:
        backend: ``local``, ``slurm_sudo`` or ``slurm_ssh`` (see ``backend_of``).
        has_settings: Whether the database still has the table ``user_settings``, of which profiles will be made.
        migrated: Whether the data migration that does it has made its resource already.
        ssh_hosts: How many settings rows (of anybody, as the migration counts) have each ``ssh_host`` that is not NULL.
        oauth_clients: Names of the OAuth clients configured.
        kept_oauth_client: The one that stays, or None if none does.
        viewer_scheme: ``FRACTAL_VIEWER_AUTHORIZATION_SCHEME``.
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
    """All findings about users, and who will have access once the blockers are settled."""

    backend: str
    findings: list[Finding] = field(default_factory=list)
    with_access: list[str] = field(default_factory=list)
    without_access: list[dict[str, Any]] = field(default_factory=list)

    def add(self, rule: FindingRule, subject: str, **values: Any) -> None:
        """Add the finding of ``rule`` about ``subject``."""
        self.findings.append(rule.finding(subject, **values))

    def access(self) -> dict[str, Any]:
        """Return the access lists as plain data."""
        return {"with_access": self.with_access, "without_access": self.without_access}


def user_context(values: Mapping[str, str], backend: str | None, oauth_client: str | None, **facts: Any) -> UserContext:
    """Return the context of an instance.

    Args:
        values: fractal-server's variables.
        backend: Overrides ``FRACTAL_RUNNER_BACKEND``.
        oauth_client: The client that stays, where there are several.
        facts: What the database says (``has_settings``, ``migrated``, ``ssh_hosts``).
    """
    configured = [client.name for client in clients(values)]
    return UserContext(
        backend=backend_of(backend or values.get("FRACTAL_RUNNER_BACKEND") or "local"),
        oauth_clients=configured,
        kept_oauth_client=oauth_client or (configured[0] if len(configured) == 1 else None),
        viewer_scheme=values.get("FRACTAL_VIEWER_AUTHORIZATION_SCHEME", "none"),
        **facts,
    )


class MoreAboutUsers(Protocol):
    """A further check of users, which adds what it finds to the report."""

    def user(self, row: UserRow, enabled: bool) -> None:
        """Check one user; ``enabled``: active and verified."""

    def finish(self) -> None:
        """Add the findings that only the whole tells."""


MakeMore = Callable[[UserContext, Callable[..., None]], MoreAboutUsers]
"""From the context, and what takes a rule, its subject and values, to the check."""


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
        self._kept_provider = provider(context.kept_oauth_client) if context.kept_oauth_client else None
        self._idle: list[str] = []
        self._superusers = 0

    def user(self, row: UserRow) -> None:
        """Check one user."""
        enabled = row.is_active and row.is_verified
        self._superusers += row.is_active and row.is_superuser
        if enabled and (self._context.has_settings or row.profile_id is not None):
            self.report.with_access.append(row.email)
        else:
            self._no_access(row, enabled)
        for check in self._also:
            check.user(row, enabled)
        if row.is_active and not row.has_password and self._kept_provider not in row.providers:
            self.report.add(FINDINGS["user.no_login"], row.email)

    def finish(self) -> None:
        """Add the findings that only the whole tells."""
        for check in self._also:
            check.finish()
        if not self._superusers:
            self.report.add(FINDINGS["user.no_superuser"], "users")
        if self._idle:
            who = examples(self._idle)
            self.report.add(FINDINGS["user.idle_without_access"], "users", count=len(self._idle), examples=who)

    def _no_access(self, row: UserRow, enabled: bool) -> None:
        flags = ((row.is_active, "not active"), (row.is_verified, "not verified"))
        self.report.without_access.append(
            {
                "email": row.email,
                "reasons": ["no profile"] if enabled else [text for good, text in flags if not good],
                "is_superuser": row.is_superuser,
                "projects": row.projects,
                "running_jobs": row.running_jobs,
                "last_activity": row.last_activity,
                "hurt": bool(row.stake()),
            }
        )
        if not row.is_active and not row.stake():
            self._idle.append(row.email)
        elif enabled:
            self.report.add(FINDINGS["user.no_profile"], row.email)
