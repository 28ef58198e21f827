# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""What 2.17.0 does to users, as a table: what stops its data migration, and who is hurt silently."""

from __future__ import annotations

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.findings import (
    FindingRule,
    blocker,
    of_user,
    rule_table,
)

_MIGRATION = "fractal-server 2.17.0, data_migrations/2_17_0.py"
_ACCESS = "fractal-server 2.17.0, app/routes/auth/__init__.py; upgrade page, preliminary check 1"
_OAUTH = "fractal-server 2.17.0, config/_oauth.py and app/security/__init__.py"

CHAPTERS = {"user": "Users"}
FINDINGS = rule_table(
    # --- the data migration stops, or changes something ---
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
    # --- nothing fails, but somebody is hurt ---
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
    FindingRule(
        "user.names_dropped",
        "info",
        "User names are deleted",
        "{count} users have a username; the schema migration to 2.17.0 drops that column.",
        "Export it before the upgrade if anything else uses it; the backup keeps it too.",
        "fractal-server 2.17.0, migrations/versions (user_oauth.username)",
    ),
)
