# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""What becomes of every environment variable between releases 2.16 and 2.17: the rules, one row each.

Sources: fractal-server 2.16.6, config.py; 2.17.0, config/*.py and data_migrations/2_17_0.py; fractal-web 1.20.1 and
1.21.1, docs/environment-variables.md. Where the official upgrade page and the code differ, the code wins and the row
says why.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.dotenv import BOM, Reader, assignments, parse
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.findings import FindingRule, rule_table
from ansible_collections.fractal_ops.platform.plugins.module_utils._env_file.rules import (
    Refused,
    Rule,
    integer,
    leave_out_if_blank,
    not_blank,
    one_of,
    web_address,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._releases.backends import BACKENDS
from ansible_collections.fractal_ops.platform.plugins.module_utils._releases.oauth import NEW_NAMES, names_in_variables

# -- mending ----------------------------------------------------------------------------------------------------------


def _host(value: str, settings: Mapping[str, str]) -> str:
    # an empty host left the choice to libpq: PGHOST, else the socket directory it was built with
    host = value.strip() or settings.get("PGHOST", "").strip()
    if not host:
        raise Refused("it must not be empty; name the host, or the socket's directory such as /var/run/postgresql")
    return host


def _port(value: str, _settings: Mapping[str, str]) -> str:
    try:
        number = int(value)  # as sqlalchemy does with it in 2.16
    except ValueError:
        number = -1
    if number < 0:
        raise Refused("it takes a port number")
    return value if value == str(number) else str(number)


def _backend(value: str, _settings: Mapping[str, str]) -> str:
    if value not in BACKENDS:
        raise Refused("it takes slurm_sudo, slurm_ssh or local")
    return BACKENDS[value]


def _base_folder(value: str, settings: Mapping[str, str]) -> str | None:
    if PurePosixPath(value).is_absolute():
        return value
    if USERS_FOLDERS in (settings.get("FRACTAL_VIEWER_AUTHORIZATION_SCHEME"), settings.get(AUTH_SCHEME)):
        raise Refused("it takes an absolute path")
    return None  # nothing used it


def _group_name(value: str, _settings: Mapping[str, str]) -> str | None:
    if value not in ("", "All"):
        raise Refused("it takes All, or must be left out")
    return value or None


# -- the server's file ------------------------------------------------------------------------------------------------

EMAIL_PASSWORD, EMAIL_KEY = "FRACTAL_EMAIL_PASSWORD", "FRACTAL_EMAIL_PASSWORD_KEY"
AUTH_SCHEME, BASE_FOLDER = "FRACTAL_DATA_AUTH_SCHEME", "FRACTAL_DATA_BASE_FOLDER"
USERS_FOLDERS = "users-folders"
_SCHEMES = ("viewer-paths", USERS_FOLDERS, "none")
_RESOURCE = "is a property of the computational resource now ({}); the data migration reads it from the .old file"
_ADMIN = "the first superuser is made by 'fractalctl init-db-data' now"
_EMPTY = "2.17 refuses an empty value; leaving the variable out means the same"


def _to_resource(variable: str, resource_field: str) -> Rule:
    return Rule(variable, "drop", _RESOURCE.format(resource_field))


SERVER: tuple[Rule, ...] = (
    # The upgrade page, step 5, in its order.
    Rule("FRACTAL_RUNNER_BACKEND", "keep", "2.17 calls the backend 'slurm' 'slurm_sudo'", mend=_backend),
    Rule(
        "FRACTAL_VIEWER_AUTHORIZATION_SCHEME",
        "rename",
        "renamed in 2.17, and without it 2.17 would show no viewer paths at all",
        new_name=AUTH_SCHEME,
        mend=one_of(*_SCHEMES),
    ),
    Rule(
        "FRACTAL_VIEWER_BASE_FOLDER",
        "rename",
        "renamed in 2.17, which refuses an empty or relative folder even where nothing uses it",
        new_name=BASE_FOLDER,
        mend=_base_folder,
    ),
    Rule("FRACTAL_DEFAULT_ADMIN_EMAIL", "drop", _ADMIN),
    Rule("FRACTAL_DEFAULT_ADMIN_PASSWORD", "drop", _ADMIN),
    Rule("FRACTAL_DEFAULT_ADMIN_USERNAME", "drop", _ADMIN),
    _to_resource("FRACTAL_TASKS_DIR", "tasks_local_dir"),
    _to_resource("FRACTAL_RUNNER_WORKING_BASE_DIR", "jobs_local_dir"),
    _to_resource("FRACTAL_LOCAL_CONFIG_FILE", "jobs_runner_config"),
    _to_resource("FRACTAL_SLURM_CONFIG_FILE", "jobs_runner_config"),
    _to_resource("FRACTAL_SLURM_WORKER_PYTHON", "jobs_slurm_python_worker"),
    _to_resource("FRACTAL_TASKS_PYTHON_DEFAULT_VERSION", "tasks_python_config"),
    _to_resource("FRACTAL_TASKS_PYTHON_3_9", "tasks_python_config"),
    _to_resource("FRACTAL_TASKS_PYTHON_3_10", "tasks_python_config"),
    _to_resource("FRACTAL_TASKS_PYTHON_3_11", "tasks_python_config"),
    _to_resource("FRACTAL_TASKS_PYTHON_3_12", "tasks_python_config"),
    Rule(
        "FRACTAL_TASKS_PYTHON_3_13",
        "drop",
        "is a property of the computational resource now (tasks_python_config); the data migration of 2.17.0 knows no "
        "Python 3.13, so the resource gets it right after the migration",
    ),
    _to_resource("FRACTAL_PIXI_CONFIG_FILE", "tasks_pixi_config"),
    _to_resource("FRACTAL_SLURM_POLL_INTERVAL", "jobs_poll_interval"),
    _to_resource("FRACTAL_PIP_CACHE_DIR", "tasks_python_config.pip_cache_dir"),
    # What the upgrade page does not mention.
    Rule(
        EMAIL_PASSWORD,
        "decrypt",
        "2.17 takes the password in plain text and would send the encrypted one to the mail server (_email.py)",
    ),
    Rule(EMAIL_KEY, "drop", "2.17 does not decrypt the password any more (_email.py)"),
    Rule("FRACTAL_EMAIL_SENDER", "keep"),
    Rule("FRACTAL_EMAIL_SMTP_SERVER", "keep"),
    Rule("FRACTAL_EMAIL_SMTP_PORT", "keep", mend=integer),
    Rule("FRACTAL_EMAIL_INSTANCE_NAME", "keep"),
    Rule("FRACTAL_EMAIL_RECIPIENTS", "keep"),
    Rule("FRACTAL_EMAIL_USE_STARTTLS", "keep", mend=one_of("true", "false")),
    Rule("FRACTAL_EMAIL_USE_LOGIN", "keep", mend=one_of("true", "false")),
    Rule("JWT_SECRET_KEY", "keep", "the same key keeps sessions valid", mend=not_blank, required=True),
    Rule("JWT_EXPIRE_SECONDS", "keep", mend=integer),
    Rule("COOKIE_EXPIRE_SECONDS", "keep", mend=integer),
    Rule("DB_ECHO", "keep"),
    Rule("POSTGRES_USER", "keep", _EMPTY + " (the service user's name)", mend=leave_out_if_blank),
    Rule("POSTGRES_PASSWORD", "keep"),
    Rule("POSTGRES_HOST", "keep", "2.17 refuses an empty host; libpq took it from PGHOST", mend=_host),
    Rule("POSTGRES_PORT", "keep", "2.17 takes a whole number only (_database.py)", mend=_port),
    Rule("POSTGRES_DB", "keep", mend=not_blank, required=True),
    Rule("FRACTAL_LOGGING_LEVEL", "keep", mend=integer),
    Rule(
        "FRACTAL_API_MAX_JOB_LIST_LENGTH",
        "keep",
        "the default fell from 50 to 25 in 2.17 (_main.py); this keeps the 50 that 2.16 used",
        mend=integer,
        when_unset="50",
    ),
    Rule("FRACTAL_GRACEFUL_SHUTDOWN_TIME", "keep", mend=integer),
    Rule("PROJECT_NAME", "drop", "2.17 has no such setting"),
    Rule("PROJECT_VERSION", "drop", "2.17 has no such setting and always reports its own version"),
)

# New in 2.17; a 2.16 file has them only if somebody prepared it by hand.
NEW: tuple[Rule, ...] = (
    Rule(
        "FRACTAL_DEFAULT_GROUP_NAME",
        "keep",
        "2.16 treated the group 'All' specially without being told; 2.17 does so only with this variable",
        mend=_group_name,
    ),
    Rule("FRACTAL_HELP_URL", "keep", _EMPTY, mend=web_address),
    Rule(AUTH_SCHEME, "keep", mend=one_of(*_SCHEMES)),
    Rule(BASE_FOLDER, "keep", _EMPTY, mend=_base_folder),
)

# The upgrade page says to take the client's name out of the variables' names, which is not enough for the endpoint: its
# last words changed too (`_releases/oauth.py`).
OAUTH_ADDRESSES = ("OIDC_CONFIGURATION_ENDPOINT", "REDIRECT_URL")

# Fields of 2.16's settings class that were never meant to be set from the environment, but can be.
NEVER_SET = ("pixi", "email_settings")
FRACTALS = frozenset({rule.variable for rule in (*SERVER, *NEW)} | {*NEVER_SET})

# What the data migration of 2.17.0 reads from the .old file (data_migrations/2_17_0.py).
PYTHONS = ("3.9", "3.10", "3.11", "3.12", "3.13")
MIGRATED_PYTHONS = PYTHONS[:-1]
DEFAULT_PYTHON = "FRACTAL_TASKS_PYTHON_DEFAULT_VERSION"
POLL_INTERVAL, OLD_POLL_INTERVAL = "FRACTAL_SLURM_POLL_INTERVAL", "5"  # the script would take 15 if it is unset
FOLDERS = ("FRACTAL_TASKS_DIR", "FRACTAL_RUNNER_WORKING_BASE_DIR")
WORKER_PYTHON = "FRACTAL_SLURM_WORKER_PYTHON"
SLURM_CONFIG = "FRACTAL_SLURM_CONFIG_FILE"
PIP_CACHE = "FRACTAL_PIP_CACHE_DIR"
_ON_SLURM = ("slurm", "slurm_sudo", "slurm_ssh")


@dataclass(frozen=True)
class ConfigFile:
    """A configuration file named by a variable, and with which backends the data migration reads it."""

    what: str
    backends: tuple[str, ...]


CONFIG_FILES: Mapping[str, ConfigFile] = {
    SLURM_CONFIG: ConfigFile("SLURM", _ON_SLURM),
    "FRACTAL_PIXI_CONFIG_FILE": ConfigFile("pixi", (*_ON_SLURM, "local")),
    "FRACTAL_LOCAL_CONFIG_FILE": ConfigFile("local", ("local",)),
}


def python_variable(version: str) -> str:
    """Return the name of the variable with the interpreter of a Python version such as ``3.11``."""
    return "FRACTAL_TASKS_PYTHON_" + version.replace(".", "_")


MIGRATED = frozenset(
    {DEFAULT_PYTHON, POLL_INTERVAL, WORKER_PYTHON, PIP_CACHE, *FOLDERS, *CONFIG_FILES, *map(python_variable, PYTHONS)}
)

RULES = (*SERVER, *NEW)

BEFORE, AFTER, BETWEEN = "of 2.16", "of 2.17", "half-migrated"


def era(text: str, data_is_over: bool = False) -> str:
    """Return whether the server's environment file ``text`` is of 2.16, of 2.17, or half-migrated.

    Where nothing in the file tells, the database does: after the data migration of 2.17.0 no 2.16 reads the file. So an
    instance that was installed as a later release keeps the defaults that it was installed with.
    """
    values = assignments(parse(text.lstrip(BOM), Reader.DOTENV_1_1))
    names = {name for name, value in values.items() if value is not None}
    gone = {rule.variable for rule in SERVER if rule.target != rule.variable}
    backend = values.get("FRACTAL_RUNNER_BACKEND")
    is_old = bool(names & gone or names_in_variables(names) or backend == "slurm")
    is_new = bool(names & ({rule.variable for rule in NEW} | NEW_NAMES) or backend == "slurm_sudo")
    if is_old and is_new:
        return BETWEEN
    return AFTER if is_new or (data_is_over and not is_old) else BEFORE


# -- the web's file ---------------------------------------------------------------------------------------------------

WEB_GROUP = "FRACTAL_DEFAULT_GROUP_NAME"
WEB_BACKEND = "FRACTAL_RUNNER_BACKEND"
WEB_OAUTH = "PUBLIC_OAUTH_CLIENT_NAME"
WEB_REASONS: Mapping[str, str] = {
    WEB_GROUP: "fractal-web 1.21 protects and pre-selects the group of this name; the same as on the server",
    WEB_BACKEND: "the same name as on the server; with the old one the SLURM accounting page disappears",
    WEB_OAUTH: "fractal-web puts it into /api/auth/<name>/ as it is, and the server knows only the lower-case name",
}

# -- findings ---------------------------------------------------------------------------------------------------------

CHAPTERS = {"environment": "Environment file"}
FINDINGS: Mapping[str, FindingRule] = rule_table(
    FindingRule(
        "environment.contradiction",
        "blocker",
        "The half-migrated file contradicts itself",
        "{subject} and {other} say different things.",
        "Remove the wrong one of the two.",
        "fractal-server 2.17.0, config/*.py",
        acceptable=False,
    ),
    FindingRule(
        "environment.oauth_several_clients",
        "blocker",
        "Several OAuth clients are configured",
        "2.17 knows one OAuth client, and these are configured: {clients}.",
        "Set oauth_client (fractal_oauth_client) to the one to keep. Users of the others can log in if their identity "
        "at the kept provider has the same e-mail address.",
        "fractal-server 2.17.0, config/_oauth.py",
        acceptable=False,
        settles={"fractal_oauth_client": None},
    ),
    FindingRule(
        "environment.oauth_incomplete",
        "blocker",
        "An OAuth client is incomplete",
        "The OAuth client {subject} lacks {missing}; 2.16 refuses to start with it.",
        "Complete the variables, or remove all that begin with OAUTH_{subject}_.",
        "fractal-server 2.16.6, config.py, OAuthClientConfig",
        acceptable=False,
    ),
    FindingRule(
        "environment.oauth_clients_dropped",
        "warning",
        "OAuth clients are dropped",
        "The OAuth clients {clients} are dropped; 2.17 keeps {subject} only.",
        "Tell their users to log in with {subject} (same e-mail address) or with a password.",
        "fractal-server 2.17.0, config/_oauth.py",
    ),
    FindingRule(
        "environment.email_password",
        "blocker",
        "The e-mail password cannot be decrypted",
        "FRACTAL_EMAIL_PASSWORD cannot be decrypted: {problem}.",
        "Encrypt the password anew with 'fractalctl encrypt-email-password' of 2.16 and set both variables.",
        "fractal-server 2.16.6, config.py, validate_email_settings",
        acceptable=False,
    ),
    FindingRule(
        "environment.email_password_unused",
        "warning",
        "An unused e-mail password is dropped",
        "FRACTAL_EMAIL_PASSWORD is dropped: {problem}, and nothing uses it.",
        "Nothing, or set it in plain text after the upgrade.",
        "fractal-server 2.16.6, config.py, validate_email_settings",
    ),
    FindingRule(
        "environment.config_file_missing",
        "blocker",
        "A configuration file is not there",
        "{subject} names {path}, which cannot be read from {directory}.",
        "Put the {what} configuration there, or correct {subject}.",
        "fractal-server 2.17.0, data_migrations/2_17_0.py",
        acceptable=False,
    ),
    FindingRule(
        "environment.setting_as_json",
        "blocker",
        "A setting is given in a way that cannot be migrated",
        "{subject} is set from the environment, as JSON.",
        "Use the documented variables instead (FRACTAL_PIXI_CONFIG_FILE, FRACTAL_EMAIL_...).",
        "fractal-server 2.16.6, config.py, Settings",
        acceptable=False,
    ),
    FindingRule(
        "environment.old_file_foreign",
        "blocker",
        "The place of the old file is taken",
        "{subject} exists and is not the copy of this environment file: {problem}.",
        "Compare the two, then move {subject} elsewhere and run again.",
        "fractal-server 2.17.0, data_migrations/2_17_0.py",
        acceptable=False,
    ),
    FindingRule(
        "environment.old_file_missing",
        "blocker",
        "The old environment file is not there",
        "The environment file is one of 2.17 already, and there is no {subject}, which the data migration reads.",
        "Put the environment file of 2.16 there under this name. If the data has been migrated: data_migration=false.",
        "fractal-server 2.17.0, data_migrations/2_17_0.py",
        acceptable=False,
    ),
    FindingRule(
        "environment.variables_not_exported",
        "warning",
        "Variables lose their effect on child processes",
        "{variables}: 2.16 exported these to every process it started (pip, ssh, sbatch, libpq), 2.17 does not.",
        "Give drop_in_path so that they move to a systemd drop-in, or set them in the unit.",
        "fractal-server 2.16.6, config.py, load_dotenv; 2.17.0, config/_settings_config.py",
    ),
    FindingRule(
        "environment.byte_order_mark",
        "warning",
        "A byte order mark hid a variable from 2.16",
        "The file begins with a byte order mark, so that 2.16 did not see {subject}. It is left out, because newer "
        "releases of python-dotenv would suddenly see it.",
        "Set {subject} again after the upgrade if it is wanted.",
        "python-dotenv 1.1.1 and 1.2.4, parser.py",
    ),
    FindingRule(
        "environment.interpreter_added",
        "info",
        "An interpreter is added for the data migration",
        "The data migration of 2.17.0 needs an interpreter of Python 3.9 to 3.12, and there is none: it gets {subject} "
        "as Python {version}, which is taken out of the resource right after it.",
        "Nothing.",
        "fractal-server 2.17.0, data_migrations/2_17_0.py",
    ),
    FindingRule(
        "environment.web_oauth_absent",
        "info",
        "fractal-web offers no OAuth log-in",
        "The server has the OAuth client {client}, and the web file sets no {subject}. It is left so.",
        "Set {subject}={client} if fractal-web shall offer this log-in.",
        "fractal-web 1.21.1, docs/environment-variables.md",
    ),
)
