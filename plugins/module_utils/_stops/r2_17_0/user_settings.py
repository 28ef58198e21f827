# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""What the data migration of 2.17.0 would do with the settings of the users that it takes (active and verified).

The migration stops at the first problem; here every field of every user is looked at, with models that have the
migration's own constraints. Source: fractal-server 2.17.0, data_migrations/2_17_0.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Callable

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.findings import (
    FindingRule,
    blocker,
    of_user,
    rule_table,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.pydantic_or_stand_ins import ValidationError
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.acceptance import plain_message
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.r2_17_0.models import (
    MIGRATIONS,
    NOT_ALLOWED_IN_COMMANDS,
    normalize_url,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.r2_17_0.placeholders import (
    PROFILE_NAME,
    PROJECT_DIR,
)

if TYPE_CHECKING:
    from ansible_collections.fractal_ops.platform.plugins.module_utils._precheck.user_rows import UserRow
    from ansible_collections.fractal_ops.platform.plugins.module_utils._precheck.users import UserContext

_MIGRATION = "fractal-server 2.17.0, data_migrations/2_17_0.py"
CHAPTERS = {"user": "Users"}
FINDINGS = rule_table(
    blocker(
        "user.settings_missing",
        "User without settings",
        "{subject} is active and verified but has no settings (user_settings_id is NULL); the data migration stops "
        "here.",
        "Give {subject} settings with fractal_users ({setting}), or set is_verified: false if they are not to use "
        "Fractal.",
        _MIGRATION,
        settles=of_user(**{"{setting}": None}),
    ),
    blocker(
        "user.setting_unset",
        "User without a setting that the migration needs",
        "{subject} is active and verified but has no {setting}; the data migration stops here.",
        "Set {setting} of {subject} with fractal_users, or set is_verified: false if they are not to use Fractal.",
        _MIGRATION + "; upgrade page, preliminary check 2",
        settles=of_user(**{"{setting}": None}),
    ),
    blocker(
        "user.superuser_without_settings",
        "Administrator whom the migration takes for a user",
        "{subject} is an active and verified superuser without {setting} (as set-db makes the first one); the data "
        "migration stops here.",
        "Set is_verified: false for {subject} with fractal_users: the account stays administrator, without jobs of "
        "its own. Or set {setting}.",
        _MIGRATION,
        settles=of_user(is_verified=False),
    ),
    blocker(
        "user.setting_invalid",
        "Setting that the migration refuses",
        "The {setting} of {subject}, {value!r}, {problem}; the data migration fails on it.",
        "Set {setting} of {subject} with fractal_users to {expected}.",
        "fractal-server 2.17.0, app/schemas/v2/profile.py, urls.py and data_migrations/2_17_0.py",
        settles=of_user(**{"{setting}": None}),
    ),
    blocker(
        "user.ssh_profile_conflict",
        "One SSH user, different settings",
        "{subject} and {other} both have ssh_username {username!r} but differ in {settings}; they would share one "
        "profile, so the data migration stops here.",
        "Give both the same {settings} with fractal_users, or different ssh_username.",
        _MIGRATION,
        settles=of_user(**{"{settings}": None}),
    ),
    blocker(
        "user.ssh_host_missing",
        "No SSH host",
        "The backend is slurm_ssh but no user has an ssh_host; the data migration fails.",
        "Set ssh_host with fractal_users (one rule for all users will do).",
        _MIGRATION,
        settles={"fractal_user_rules": [{"match": {}, "set": {"ssh_host": None}}]},
    ),
    blocker(
        "user.ssh_host_empty",
        "Empty SSH host",
        "The ssh_host that most settings have (or one of several equally frequent) is empty or blank; the data "
        "migration fails on it.",
        "Set ssh_host of {users} with fractal_users to the host of the SLURM cluster.",
        _MIGRATION,
        settles={"fractal_user_rules": [{"match": {}, "set": {"ssh_host": None}}]},
    ),
    FindingRule(
        "user.ssh_hosts_tied",
        "blocker",
        "Several SSH hosts, none most frequent",
        "The SSH hosts {hosts} are equally frequent; the data migration would take any of them for everybody.",
        "Set the one ssh_host with fractal_users; a resource has one host.",
        _MIGRATION,
        settles={"fractal_user_rules": [{"match": {}, "set": {"ssh_host": None}}]},
    ),
    FindingRule(
        "user.ssh_host_lost",
        "blocker",
        "User of another SSH host",
        "{subject} works on SSH host {value!r}, but the data migration moves everybody to {host!r}, the most "
        "frequent one.",
        "Set ssh_host of {subject} to {host} with fractal_users if that is right; otherwise accept this and create "
        "a second resource and profile for them after the upgrade.",
        _MIGRATION,
        settles=of_user(ssh_host="{host}"),
        asks=True,
    ),
    FindingRule(
        "user.setting_padded",
        "warning",
        "Setting with blanks around it",
        "The {setting} of {subject}, {value!r}, has blanks around it; the migration keeps them in the profile.",
        "Set {setting} of {subject} without them with fractal_users.",
        _MIGRATION,
        settles=of_user(**{"{setting}": "{bare}"}),
    ),
    FindingRule(
        "user.profile_shared",
        "info",
        "Users who will share a profile",
        "{count} users have the user name {subject!r} and will share one profile: {examples}.",
        "Nothing, if that is meant.",
        _MIGRATION,
    ),
    FindingRule(
        "user.project_dir_characters",
        "warning",
        "project_dir with characters that Fractal refuses",
        "The project_dir of {subject}, {value!r}, has characters that 2.17 accepts from nobody; the migration "
        "takes it, but later changes will be refused.",
        "Move the folder and set project_dir of {subject} with fractal_users.",
        "fractal-server 2.17.0, app/schemas/user.py and string_tools.py",
        settles=of_user(project_dir=None),
    ),
    FindingRule(
        "user.folder_rewritten",
        "info",
        "Folder stored in another form",
        "The {setting} of {subject} is stored as {new!r} (now {value!r}).",
        "Nothing, if both are the same folder (check symbolic links before a '..').",
        "fractal-server 2.17.0, urls.py",
    ),
    FindingRule(
        "user.viewer_folder_changes",
        "warning",
        "Viewer folder changes",
        "The viewer showed {subject} the folder of slurm_user {value!r}; in 2.17 it is the folder of ssh_username "
        "{username!r}.",
        "Rename the folder under FRACTAL_DATA_BASE_FOLDER, or make both names equal with fractal_users.",
        "fractal-server 2.16.6 and 2.17.0, app/routes/auth/current_user.py",
        settles=of_user(slurm_user="{username}"),
        asks=True,
    ),
)

# 2.17's name of each profile field -> the 2.16 setting that it comes from
PROFILE_SETTINGS: Mapping[str, Mapping[str, str]] = {
    "local": {},
    "slurm_sudo": {"username": "slurm_user"},
    "slurm_ssh": {
        "username": "ssh_username",
        "ssh_key_path": "ssh_private_key_path",
        "tasks_remote_dir": "ssh_tasks_dir",
        "jobs_remote_dir": "ssh_jobs_dir",
    },
}
_EXPECTED = {
    "slurm_user": "the name of a user of the cluster",
    "ssh_username": "the name of a user of the cluster",
    "slurm_accounts": "a list of different, non-empty names",
}
_NAMES = ("slurm_user", "ssh_username", "ssh_private_key_path")  # the migration copies these unchanged
_FOLDERS = ("project_dir", "ssh_tasks_dir", "ssh_jobs_dir")  # the migration passes them through normalize_url


class SettingsCheck:
    """Checks the settings of one user after another; ``add`` takes a rule's id, its subject and values."""

    def __init__(
        self, backend: str, ssh_hosts: Mapping[str, int], viewer_scheme: str, add: Callable[..., None]
    ) -> None:
        """Prepare for users of one instance; ``ssh_hosts`` counts the ``ssh_host`` of all settings rows."""
        self._backend = backend
        self._hosts = most_frequent(ssh_hosts) if backend == "slurm_ssh" else []
        self._host = self._hosts[0] if len(self._hosts) == 1 else None
        self._viewer_folders = viewer_scheme == "users-folders" and backend == "slurm_ssh"
        self._add = add
        self._settings = PROFILE_SETTINGS[backend]
        self._needed = ("project_dir", *self._settings.values())
        self._folder_settings = [setting for setting in _FOLDERS if setting in self._needed]
        self._padded = [setting for setting in _NAMES if setting in self._needed]
        self._model = MIGRATIONS[backend]
        self._profiles: dict[str, tuple[str, tuple[str, ...]]] = {}  # user name -> first user's e-mail, profile data
        self._shared: dict[str, list[str]] = {}  # user name -> e-mails, where there are several
        self._empty_host: list[str] = []

    def user(self, row: UserRow, enabled: bool) -> None:
        """Check one user; ``enabled``: active and verified, so that the migration takes them."""
        if row.ssh_host is not None and not row.ssh_host.strip():
            self._empty_host.append(row.email)
        if not enabled:
            return
        if row.settings_id is None:
            rule = "user.superuser_without_settings" if row.is_superuser else "user.settings_missing"
            self._add(rule, row.email, setting=", ".join(self._needed))
            return
        values = {setting: getattr(row, setting) for setting in self._needed}
        unset = [setting for setting, value in values.items() if value is None]
        self._unset(row, unset)
        bad = {*unset, *self._folders(row, values)}
        profile = {name: values[setting] for name, setting in self._settings.items()}
        bad |= self._migrate(row, profile, "/" if "project_dir" in bad else values["project_dir"], bad)
        if self._settings and bad.isdisjoint(self._settings.values()):
            self._same_profile(row, profile)
        self._oddities(row)

    def finish(self) -> None:
        """Add the findings that only the whole tells."""
        if self._backend == "slurm_ssh":
            if not self._hosts:
                self._add("user.ssh_host_missing", "ssh_host")
            elif not all(host.strip() for host in self._hosts):
                self._add("user.ssh_host_empty", "ssh_host", users=", ".join(self._empty_host[:10]))
            elif len(self._hosts) > 1:
                self._add("user.ssh_hosts_tied", "ssh_host", hosts=", ".join(self._hosts))
        for username, emails in self._shared.items():
            self._add("user.profile_shared", username, count=len(emails), examples=", ".join(emails[:10]))

    def _unset(self, row: UserRow, unset: list[str]) -> None:
        if row.is_superuser and len(unset) == len(self._needed):
            self._add("user.superuser_without_settings", row.email, setting=", ".join(unset))
            return
        for setting in unset:
            self._add("user.setting_unset", row.email, setting=setting)

    def _folders(self, row: UserRow, values: dict[str, Any]) -> set[str]:
        """Put the folders into the form that is stored, and return the settings that have none."""
        bad = set()
        for setting in self._folder_settings:
            value = values[setting]
            if value is None:
                continue
            try:
                values[setting] = normalize_url(value)
            except ValueError as error:
                bad.add(setting)
                self._invalid(row, setting, str(error))
                continue
            if values[setting] != value:
                self._add("user.folder_rewritten", row.email, setting=setting, value=value, new=values[setting])
        if values["project_dir"] == PROJECT_DIR:
            bad.add("project_dir")
            self._invalid(row, "project_dir", "is what 2.17 gives to users who were not migrated")
        return bad

    def _migrate(self, row: UserRow, profile: Mapping[str, Any], project_dir: str, reported: set[str]) -> set[str]:
        """Do what the migration does with the user, and return the settings, not yet reported, that are refused."""
        try:
            self._model(
                name=PROFILE_NAME.format(username=profile.get("username")),
                resource_type=self._backend,
                user_id=row.id,
                project_dir=project_dir,
                slurm_accounts=row.slurm_accounts or [],
                **profile,
            )
        except ValidationError as error:
            bad: set[str] = set()
            for item in error.errors(include_url=False, include_input=False):
                field = str(item["loc"][0])
                setting = self._settings.get(field, field)
                if setting not in reported | bad:
                    bad.add(setting)
                    self._invalid(row, setting, plain_message(item))
            return bad
        return set()

    def _invalid(self, row: UserRow, setting: str, problem: str) -> None:
        self._add(
            "user.setting_invalid",
            row.email,
            setting=setting,
            value=getattr(row, setting),
            problem=problem,
            expected=_EXPECTED.get(setting, "an absolute path"),
        )

    def _same_profile(self, row: UserRow, profile: Mapping[str, Any]) -> None:
        data = tuple(profile.values())  # the user name comes first
        email, first = self._profiles.setdefault(data[0], (row.email, data))
        if first is data:
            return
        self._shared.setdefault(data[0], [email]).append(row.email)
        if first != data:
            differ = [name for name, mine, theirs in zip(self._settings.values(), data, first) if mine != theirs]
            self._add("user.ssh_profile_conflict", row.email, other=email, username=data[0], settings=", ".join(differ))

    def _oddities(self, row: UserRow) -> None:
        """Add what the migration takes as it is and 2.17 stumbles over later."""
        for setting in self._padded:
            value = getattr(row, setting)
            if value and value.strip() not in ("", value):
                self._add("user.setting_padded", row.email, setting=setting, value=value, bare=value.strip())
        if row.project_dir and not NOT_ALLOWED_IN_COMMANDS.isdisjoint(row.project_dir):
            self._add("user.project_dir_characters", row.email, value=row.project_dir)
        host = row.ssh_host
        if self._host and host and host != self._host and host.strip() != self._host.strip():
            self._add("user.ssh_host_lost", row.email, value=host, host=self._host)
        if self._viewer_folders and row.slurm_user and row.ssh_username and row.slurm_user != row.ssh_username:
            self._add("user.viewer_folder_changes", row.email, value=row.slurm_user, username=row.ssh_username)


class SettingsOfTheUnmigrated:
    """The same, for users whom the data migration has not taken yet, as long as there are old settings."""

    def __init__(self, context: UserContext, add: Callable[..., None]) -> None:
        """See `MoreAboutUsers`."""
        self._context = context
        self._check = SettingsCheck(
            context.backend,
            context.ssh_hosts,
            context.viewer_scheme,
            lambda rule, subject, **values: add(FINDINGS[rule], subject, **values),
        )

    def user(self, row: UserRow, enabled: bool) -> None:
        """Check one user; ``enabled``: active and verified, so that the migration takes them."""
        if self._context.has_settings and row.profile_id is None:
            self._check.user(row, enabled)

    def finish(self) -> None:
        """Add the findings that only the whole tells."""
        if self._context.has_settings and not self._context.migrated:
            self._check.finish()


def most_frequent(counts: Mapping[str, int]) -> list[str]:
    """Return the keys with the highest count, sorted."""
    highest = max(counts.values(), default=0)
    return sorted(key for key, count in counts.items() if count == highest)
