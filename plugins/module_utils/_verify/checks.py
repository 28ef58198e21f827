# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""Verification: every check of an upgraded instance, as a table. A new one is a row here, and a step where it is made.

``point`` quotes what Fractal's upgrade page has under "Post-upgrade cleanup", where a check settles something of it.
"""

from __future__ import annotations

from typing import Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.verification import CheckRule
from ansible_collections.fractal_ops.platform.plugins.module_utils._resources.checks import (
    JOB,
    NAMES,
    REVIEW_RULES,
    USERS,
    VIEWER,
)

VERIFICATION_ARGUMENTS: dict[str, dict[str, Any]] = {
    "url": {"type": "str"},
    "version": {"type": "str"},
    "validate_certs": {"type": "bool", "default": True},
}
"""Argument spec of the options described in the documentation fragment ``verification``."""


_WEB = "Upgrade fractal-web to version 1.21, add FRACTAL_DEFAULT_GROUP_NAME=All, and restart"
_LOG_IN = "Verify that log-in still works"
_OAUTH = "Verify that log-in still works (including via OAuth)"
_COLLECTION = "Verify that task collection works as expected"
POINTS = (_WEB, _LOG_IN, _OAUTH, NAMES, USERS, JOB, _COLLECTION, VIEWER)

_RULES = (
    # fractal-server, through its API
    CheckRule(
        "service",
        "The service runs, and starts again with the machine",
        "Look at 'systemctl status' and the journal of the unit.",
    ),
    CheckRule(
        "api_version",
        "The API answers with the expected release",
        "Look at 'systemctl status' and the journal of the unit; run the upgrade playbook again.",
    ),
    CheckRule(
        "login_password",
        "Log-in with e-mail and password",
        "Check fractal_verify_email and fractal_verify_password. If the account is right, JWT_SECRET_KEY or the users' "
        "table was changed: compare with the backup.",
        _LOG_IN,
        needs=("api_version",),
    ),
    CheckRule(
        "current_user",
        "The account may use Fractal",
        "An account must be active and verified, and have a profile: attach it with fractal_resource_profile.",
        USERS,
        needs=("login_password",),
    ),
    CheckRule(
        "profile_information",
        "The account's resource and profile",
        "Attach the account to a profile with fractal_resource_profile.",
        USERS,
        needs=("login_password",),
    ),
    CheckRule(
        "settings",
        "The settings pages of an administrator",
        "Read the server's journal: a setting in .fractal_server.env is not what the installed release expects.",
        needs=("login_password",),
    ),
    CheckRule(
        "login_oauth",
        "Log-in through the OpenID provider",
        "Compare the OAUTH_* variables of .fractal_server.env with those of .fractal_server.env.old.",
        _OAUTH,
        needs=("api_version",),
    ),
    CheckRule(
        "task_collection",
        "A task package can be collected",
        "Read the log above; check tasks_local_dir and the interpreters of the resource.",
        _COLLECTION,
        needs=("login_password",),
    ),
    CheckRule(
        "job_execution",
        "A job runs on the resource, as the profile's user",
        "Read the log above; check jobs_slurm_python_worker, sudo rules and SLURM ('sinfo', 'squeue').",
        JOB,
        needs=("login_password",),
    ),
    CheckRule(
        "probe_removed",
        "Everything that the probe made is removed again",
        "Delete what is named here by hand, through fractal-web or the API.",
        needs=("login_password",),
    ),
    CheckRule(
        "viewer_paths",
        "The folders that the viewer may show",
        "Compare FRACTAL_DATA_AUTH_SCHEME and FRACTAL_DATA_BASE_FOLDER with the FRACTAL_VIEWER_* of "
        ".fractal_server.env.old, and the viewer paths of the user groups.",
        VIEWER,
        needs=("login_password",),
    ),
    CheckRule(
        "email",
        "Log-in to the mail server",
        "Check FRACTAL_EMAIL_*: FRACTAL_EMAIL_PASSWORD holds the password itself, not its encrypted form any more.",
    ),
    *REVIEW_RULES,
    # fractal-web
    CheckRule(
        "web_release",
        "Release and settings of fractal-web",
        "Run the upgrade playbook for this web host again.",
        _WEB,
    ),
    CheckRule(
        "web_alive",
        "fractal-web answers and reaches its fractal-server",
        "Check FRACTAL_SERVER_HOST in fractal-web's environment file, and the firewall between the hosts.",
        _WEB,
    ),
    CheckRule(
        "web_login_page",
        "The log-in page, with the OAuth button where OAuth is configured",
        "Set PUBLIC_OAUTH_CLIENT_NAME of fractal-web to the server's OAUTH_CLIENT_NAME, in lower case.",
        _OAUTH,
    ),
    CheckRule(
        "viewer_urls",
        "The data and viewer services named to fractal-web answer",
        "Check PUBLIC_FRACTAL_DATA_URL and PUBLIC_FRACTAL_VIZARR_VIEWER_URL, and the service behind them.",
        VIEWER,
    ),
)

CHECKS = {rule.id: rule for rule in _RULES}
