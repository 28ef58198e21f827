"""What becomes of every variable, and that nothing else happens."""

from __future__ import annotations

import io
import logging
import os
from typing import Any
from unittest import mock

import dotenv.main
import pytest
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.dotenv import (
    BOM,
    Reader,
    Reference,
    assignments,
    encode,
    join,
    parse,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._env_file.draft import Context
from ansible_collections.fractal_ops.platform.plugins.module_utils._env_file.migration import (
    EnvMigration,
    migrate_server,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.env_steps import ENV_STEPS
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.r2_17_0 import env_rules as rules
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.r2_17_0.env_rules import (
    AFTER,
    BEFORE,
    BETWEEN,
    era,
)
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

logging.getLogger("dotenv.main").disabled = True
many = settings(max_examples=int(os.environ.get("FRACTAL_HYPOTHESIS_EXAMPLES", "2000")), deadline=None)

SLURM = {
    "JWT_SECRET_KEY": "jwt-secret",
    "POSTGRES_DB": "fractal",
    "FRACTAL_RUNNER_BACKEND": "slurm",
    "FRACTAL_TASKS_DIR": "/data/tasks",
    "FRACTAL_RUNNER_WORKING_BASE_DIR": "/data/jobs",
    "FRACTAL_SLURM_CONFIG_FILE": "slurm.json",
    "FRACTAL_SLURM_WORKER_PYTHON": "/venv/bin/python3",
    "FRACTAL_TASKS_PYTHON_DEFAULT_VERSION": "3.11",
    "FRACTAL_TASKS_PYTHON_3_11": "/usr/bin/python3.11",
}
BARE = {"JWT_SECRET_KEY": "jwt-secret", "POSTGRES_DB": "fractal"}
ADDED = {"FRACTAL_DEFAULT_GROUP_NAME": "All", "FRACTAL_API_MAX_JOB_LIST_LENGTH": "50"}
TOKEN = "gAAAAA" + "x" * 94


def lines(values: dict[str, str]) -> str:
    return "".join(f"{name}={encode(value)}\n" for name, value in values.items())


def context(**options: Any) -> Context:
    given = {"worker_python": "/venv/bin/python3", "tasks_python": ("3.11", "/venv/bin/python3"), **options}
    return Context("/srv/fractal", **{"decrypt": lambda token, key: "plain-password", **given})


def migrate(
    values: dict[str, str] | str,
    old: str | None = None,
    to: str | None = None,
    data_migration: bool = True,
    **options: Any,
) -> EnvMigration:
    text = values if isinstance(values, str) else lines(values)
    pending = None if data_migration else frozenset()
    return migrate_server(text, context(data_pending=pending, **options), ENV_STEPS, old, to)


def read(text: str, environ: dict[str, str] | None = None, override: bool = True) -> dict[str, str]:
    """Return the variables that the real python-dotenv finds."""
    with mock.patch.dict(os.environ, environ or {}, clear=True):
        stream = io.StringIO(text, newline=None)
        found = dotenv.main.DotEnv(None, stream=stream, override=override).dict()
    return {name: value for name, value in found.items() if value is not None}


def ids(migration: EnvMigration) -> list[str]:
    return [finding.id.partition(".")[2] for finding in migration.findings]


def action_on(migration: EnvMigration, variable: str) -> list[str]:
    return [change["action"] for change in migration.changes if change["variable"] == variable]


# -- every variable of 2.16.6 --

KEPT = {
    "JWT_SECRET_KEY": "s3cret",
    "JWT_EXPIRE_SECONDS": "84600",
    "COOKIE_EXPIRE_SECONDS": "86400",
    "POSTGRES_USER": "fractal",
    "POSTGRES_PASSWORD": 'it\'s "secret"',
    "POSTGRES_HOST": "/var/run/postgresql",
    "POSTGRES_PORT": "5433",
    "POSTGRES_DB": "fractal_db",
    "FRACTAL_LOGGING_LEVEL": "10",
    "FRACTAL_API_MAX_JOB_LIST_LENGTH": "70",
    "FRACTAL_GRACEFUL_SHUTDOWN_TIME": "60",
    "FRACTAL_EMAIL_SENDER": "fractal@example.org",
    "FRACTAL_EMAIL_SMTP_SERVER": "smtp.example.org",
    "FRACTAL_EMAIL_SMTP_PORT": "587",
    "FRACTAL_EMAIL_INSTANCE_NAME": "Fractal of the lab",
    "FRACTAL_EMAIL_RECIPIENTS": "a@example.org,b@example.org",
    "FRACTAL_EMAIL_USE_STARTTLS": "false",
    "FRACTAL_EMAIL_USE_LOGIN": "false",
}
# variable: (value in 2.16, value in the new file or None, name in the new file if another)
CHANGED = {
    "DB_ECHO": ("Yes", "true", None),
    "FRACTAL_RUNNER_BACKEND": ("slurm", "slurm_sudo", None),
    "FRACTAL_VIEWER_AUTHORIZATION_SCHEME": ("viewer-paths", "viewer-paths", "FRACTAL_DATA_AUTH_SCHEME"),
    "FRACTAL_VIEWER_BASE_FOLDER": ("/data/zarr", "/data/zarr", "FRACTAL_DATA_BASE_FOLDER"),
    "FRACTAL_DEFAULT_ADMIN_EMAIL": ("admin@example.org", None, None),
    "FRACTAL_DEFAULT_ADMIN_PASSWORD": ("1234", None, None),
    "FRACTAL_DEFAULT_ADMIN_USERNAME": ("admin", None, None),
    "FRACTAL_EMAIL_PASSWORD_KEY": ("key", None, None),
    "PROJECT_NAME": ("Fractal", None, None),
    "PROJECT_VERSION": ("2.16.6", None, None),
}
# what the data migration reads: (value in 2.16, value in the .old file)
MIGRATED = {
    "FRACTAL_TASKS_DIR": ("tasks/", "/srv/fractal/tasks"),
    "FRACTAL_RUNNER_WORKING_BASE_DIR": ("/data/jobs/", "/data/jobs"),
    "FRACTAL_LOCAL_CONFIG_FILE": ("local.json", "local.json"),
    "FRACTAL_SLURM_CONFIG_FILE": ("slurm.json", "slurm.json"),
    "FRACTAL_SLURM_WORKER_PYTHON": ("/opt/python", "/opt/python"),
    "FRACTAL_TASKS_PYTHON_DEFAULT_VERSION": ("3.11", "3.11"),
    "FRACTAL_TASKS_PYTHON_3_9": ("/usr/bin/python3.9", "/usr/bin/python3.9"),
    "FRACTAL_TASKS_PYTHON_3_10": ("/usr/bin/python3.10", "/usr/bin/python3.10"),
    "FRACTAL_TASKS_PYTHON_3_11": ("/usr/bin/python3.11", "/usr/bin/python3.11"),
    "FRACTAL_TASKS_PYTHON_3_12": ("/usr/bin/python3.12", "/usr/bin/python3.12"),
    "FRACTAL_TASKS_PYTHON_3_13": ("/usr/bin/python3.13", "/usr/bin/python3.13"),
    "FRACTAL_PIXI_CONFIG_FILE": ("pixi.json", "pixi.json"),
    "FRACTAL_SLURM_POLL_INTERVAL": ("20", "20"),
    "FRACTAL_PIP_CACHE_DIR": ("/cache/pip", "/cache/pip"),
}
ELSEWHERE = {"FRACTAL_EMAIL_PASSWORD"}  # tests of its own below, as OAuth


def test_the_tables_here_name_every_variable_of_the_rules() -> None:
    assert {*KEPT, *CHANGED, *MIGRATED, *ELSEWHERE} == {rule.variable for rule in rules.SERVER}


@pytest.mark.parametrize(("variable", "value"), KEPT.items())
def test_a_kept_variable_stays_as_it_is(variable: str, value: str) -> None:
    line = f"{variable}={encode(value)}  # note\n"
    migration = migrate(lines({**SLURM, variable: value}).replace(f"{variable}={encode(value)}\n", line))
    assert migration.blockers == []
    assert line in migration.text
    assert action_on(migration, variable) == []


@pytest.mark.parametrize(("variable", "case"), CHANGED.items())
def test_a_changed_variable_becomes_what_2_17_reads(variable: str, case: tuple[str, str | None, str | None]) -> None:
    old, new, new_name = case
    migration = migrate({**SLURM, variable: old}, to="2.17.2")
    assert migration.blockers == []
    found = read(migration.text)
    assert found.get(new_name or variable) == new
    assert new_name is None or variable not in found
    assert action_on(migration, variable) == ["drop" if new is None else "rename" if new_name else "change"]


@pytest.mark.parametrize(("variable", "case"), MIGRATED.items())
def test_a_variable_of_the_data_migration_goes_to_the_old_file(variable: str, case: tuple[str, str]) -> None:
    value, expected = case
    migration = migrate({**SLURM, variable: value})
    assert migration.blockers == []
    assert variable not in read(migration.text)
    assert read(migration.old_text or "", {variable: "wrong"}, override=False)[variable] == expected
    assert "drop" in action_on(migration, variable)


def test_with_nothing_set_the_defaults_of_2_16_stay() -> None:
    migration = migrate({**BARE, "FRACTAL_TASKS_DIR": "/t", "FRACTAL_RUNNER_WORKING_BASE_DIR": "/j"})
    assert read(migration.text) == {**BARE, **ADDED}
    old = read(migration.old_text or "")
    assert old["FRACTAL_SLURM_POLL_INTERVAL"] == "5"
    assert old["FRACTAL_TASKS_PYTHON_DEFAULT_VERSION"] == "3.11"
    assert old["FRACTAL_TASKS_PYTHON_3_11"] == "/venv/bin/python3"
    assert (migration.runner_backend, migration.oauth_client_name, migration.handed_on) == ("local", "", {})


def test_without_a_default_version_2_16_knows_no_other_interpreter() -> None:
    values = {**SLURM, "FRACTAL_TASKS_PYTHON_3_9": "/usr/bin/python3.9"}
    del values["FRACTAL_TASKS_PYTHON_DEFAULT_VERSION"]
    old = read(migrate(values).old_text or "")
    pythons = {name: value for name, value in old.items() if name.startswith("FRACTAL_TASKS_PYTHON_3")}
    assert pythons == {"FRACTAL_TASKS_PYTHON_3_11": "/venv/bin/python3"}


# -- values that 2.17 takes differently --


@pytest.mark.parametrize(
    ("variable", "old", "new"),
    [
        ("POSTGRES_USER", "", None),
        ("POSTGRES_PORT", "05432", "5432"),
        ("POSTGRES_PASSWORD", "", ""),
        ("DB_ECHO", "0", "false"),
        ("DB_ECHO", "TRUE", "true"),
        ("DB_ECHO", "off", "false"),
        ("FRACTAL_RUNNER_BACKEND", "slurm_ssh", "slurm_ssh"),
        ("FRACTAL_RUNNER_BACKEND", "local", "local"),
        ("FRACTAL_HELP_URL", "", None),
        ("FRACTAL_HELP_URL", "https://help.example.org", "https://help.example.org"),
        ("FRACTAL_HELP_URL", "HTTPS://help.example.org", "HTTPS://help.example.org"),
        ("FRACTAL_DEFAULT_GROUP_NAME", "", "All"),
    ],
)
def test_a_value_is_mended_where_its_meaning_is_certain(variable: str, old: str, new: str | None) -> None:
    migration = migrate({**SLURM, variable: old}, to="2.17.2")
    assert migration.blockers == []
    assert read(migration.text).get(variable) == new


def test_blanks_around_an_interpreter_do_not_count() -> None:
    old = read(migrate({**SLURM, "FRACTAL_SLURM_WORKER_PYTHON": " /opt/python "}).old_text or "")
    assert old["FRACTAL_SLURM_WORKER_PYTHON"] == "/opt/python"


def test_the_scheme_of_users_folders_needs_its_folder() -> None:
    for scheme in ("FRACTAL_VIEWER_AUTHORIZATION_SCHEME", "FRACTAL_DATA_AUTH_SCHEME"):
        (blocker,) = migrate({**SLURM, scheme: "users-folders"}).blockers
        assert (blocker.id, blocker.subject) == ("environment.variable_missing", "FRACTAL_DATA_BASE_FOLDER")
        assert migrate({**SLURM, scheme: "users-folders", "FRACTAL_VIEWER_BASE_FOLDER": "/data"}).blockers == []


@pytest.mark.parametrize("folder", ["", "zarr"])
def test_an_unused_base_folder_that_2_17_refuses_is_left_out(folder: str) -> None:
    migration = migrate({**SLURM, "FRACTAL_VIEWER_BASE_FOLDER": folder})
    assert not {"FRACTAL_VIEWER_BASE_FOLDER", "FRACTAL_DATA_BASE_FOLDER"} & set(read(migration.text))
    assert action_on(migration, "FRACTAL_VIEWER_BASE_FOLDER") == ["drop"]


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("POSTGRES_HOST", ""),
        ("POSTGRES_PORT", "postgres"),
        ("POSTGRES_DB", ""),
        ("JWT_SECRET_KEY", ""),
        ("DB_ECHO", "perhaps"),
        ("JWT_EXPIRE_SECONDS", ""),
        ("FRACTAL_RUNNER_BACKEND", "pbs"),
        ("FRACTAL_VIEWER_AUTHORIZATION_SCHEME", ""),
        ("FRACTAL_EMAIL_USE_LOGIN", "True"),
        ("FRACTAL_DEFAULT_GROUP_NAME", "Everybody"),
        ("FRACTAL_HELP_URL", "help"),
        ("FRACTAL_TASKS_PYTHON_3_10", "python3.10"),
        ("FRACTAL_SLURM_POLL_INTERVAL", ""),
    ],
)
def test_a_value_of_uncertain_meaning_is_refused_by_name(variable: str, value: str) -> None:
    migration = migrate({**SLURM, variable: value})
    assert [(f.id, f.subject) for f in migration.blockers] == [("environment.value_refused", variable)]


def test_an_empty_host_means_pghost() -> None:
    migration = migrate({**SLURM, "POSTGRES_HOST": "", "PGHOST": "/run/pg"}, can_override=True)
    assert read(migration.text)["POSTGRES_HOST"] == "/run/pg"


@pytest.mark.parametrize(
    "variable",
    "JWT_SECRET_KEY POSTGRES_DB FRACTAL_TASKS_DIR FRACTAL_RUNNER_WORKING_BASE_DIR FRACTAL_SLURM_CONFIG_FILE "
    "FRACTAL_TASKS_PYTHON_3_11".split(),
)
def test_what_is_missing_is_named(variable: str) -> None:
    migration = migrate({name: value for name, value in SLURM.items() if name != variable})
    assert [(f.id, f.subject) for f in migration.blockers] == [("environment.variable_missing", variable)]


def test_all_problems_are_told_at_once() -> None:
    migration = migrate({"FRACTAL_RUNNER_BACKEND": "slurm_ssh", "DB_ECHO": "?"}, tasks_python=None)
    assert {f.subject for f in migration.blockers} == {
        *("JWT_SECRET_KEY", "POSTGRES_DB", "DB_ECHO", "FRACTAL_TASKS_DIR", "FRACTAL_RUNNER_WORKING_BASE_DIR"),
        *("FRACTAL_SLURM_CONFIG_FILE", "FRACTAL_SLURM_WORKER_PYTHON", "FRACTAL_TASKS_PYTHON_DEFAULT_VERSION"),
    }
    assert migration.text == lines({"FRACTAL_RUNNER_BACKEND": "slurm_ssh", "DB_ECHO": "?"})


def test_a_configuration_file_must_be_readable_from_the_working_directory() -> None:
    asked = []
    migration = migrate(
        {**SLURM, "FRACTAL_PIXI_CONFIG_FILE": "/etc/pixi.json"}, readable=lambda path: bool(asked.append(path))
    )
    assert asked == ["/srv/fractal/slurm.json", "/etc/pixi.json"]
    assert [f.id for f in migration.blockers] == ["environment.config_file_missing"] * 2


@pytest.mark.parametrize("name", ["pixi", "email_settings"])
def test_a_setting_as_json_is_refused(name: str) -> None:
    assert ids(migrate({**SLURM, name: "{}"})) == ["setting_as_json"]


# -- Python 3.13 --


def test_a_default_of_3_13_is_handed_on_and_does_not_stop_the_migration() -> None:
    values = {**SLURM, "FRACTAL_TASKS_PYTHON_DEFAULT_VERSION": "3.13", "FRACTAL_TASKS_PYTHON_3_13": "/p13"}
    migration = migrate({**values, "FRACTAL_PIP_CACHE_DIR": "/cache"})
    old = read(migration.old_text or "")
    assert old["FRACTAL_TASKS_PYTHON_DEFAULT_VERSION"] == "3.11"
    assert migration.handed_on == {"tasks_python": {"3.13": "/p13"}, "default_version": "3.13"}
    again = migrate(migration.text, migration.old_text)
    assert again.handed_on == migration.handed_on


def test_an_interpreter_of_3_13_that_is_not_the_default_is_handed_on() -> None:
    migration = migrate({**SLURM, "FRACTAL_TASKS_PYTHON_3_13": "/p13"})
    assert migration.handed_on == {"tasks_python": {"3.13": "/p13"}}
    assert migration.findings == []


@pytest.mark.parametrize(
    ("server", "stand_in"), [(("3.11", "/venv/python"), ("3.11", "/venv/python")), (("3.13", "/p13"), ("3.12", "/p13"))]
)
def test_with_nothing_but_3_13_another_version_stands_in(server: tuple[str, str], stand_in: tuple[str, str]) -> None:
    values = {name: value for name, value in SLURM.items() if "TASKS_PYTHON" not in name}
    values.update({"FRACTAL_TASKS_PYTHON_DEFAULT_VERSION": "3.13", "FRACTAL_TASKS_PYTHON_3_13": "/p13"})
    migration = migrate(values, tasks_python=server)
    old = read(migration.old_text or "")
    version, interpreter = stand_in
    assert old["FRACTAL_TASKS_PYTHON_DEFAULT_VERSION"] == version
    assert old[rules.python_variable(version)] == interpreter
    assert migration.handed_on == {
        **{"tasks_python": {"3.13": "/p13"}, "default_version": "3.13"},
        "stand_ins": {version: interpreter},
    }
    assert ids(migration) == ["interpreter_added"]


# -- OAuth --


def oauth(client: str, **parts: str) -> dict[str, str]:
    return {f"OAUTH_{client}_{part}": value for part, value in parts.items()}


@pytest.mark.parametrize("client", ["GITHUB", "GOOGLE", "My-IdP"])
def test_an_oauth_client_loses_its_name_in_the_variables(client: str) -> None:
    parts = {"CLIENT_ID": "i d", "CLIENT_SECRET": "s", "REDIRECT_URL": "https://w/auth/login/oauth2"}
    if client == "My-IdP":
        parts["OIDC_CONFIGURATION_ENDPOINT"] = "https://idp/.well-known/openid-configuration"
    migration = migrate({**SLURM, **oauth(client, **parts)})
    found = read(migration.text)
    expected = {"OAUTH_CLIENT_NAME": client.lower(), "OAUTH_CLIENT_ID": "i d", "OAUTH_CLIENT_SECRET": "s"}
    expected["OAUTH_REDIRECT_URL"] = "https://w/auth/login/oauth2"
    if client == "My-IdP":
        expected["OAUTH_OIDC_CONFIG_ENDPOINT"] = "https://idp/.well-known/openid-configuration"
    assert {name: value for name, value in found.items() if name.startswith("OAUTH_")} == expected
    assert migration.oauth_client_name == client.lower()


def test_renamed_lines_keep_place_quotes_and_comment() -> None:
    text = (
        lines(SLURM) + "# log-in\nexport OAUTH_GITHUB_CLIENT_ID = \"i\" # id\r\nOAUTH_GITHUB_CLIENT_SECRET='s'\nX=1\n"
    )
    assert (
        "# log-in\nOAUTH_CLIENT_NAME=github\nexport OAUTH_CLIENT_ID = \"i\" # id\r\nOAUTH_CLIENT_SECRET='s'\nX=1\n"
        in migrate(text).text
    )


def test_empty_addresses_are_left_out() -> None:
    parts = {"CLIENT_ID": "i", "CLIENT_SECRET": "s", "REDIRECT_URL": "", "OIDC_CONFIGURATION_ENDPOINT": ""}
    found = read(migrate({**SLURM, **oauth("GITHUB", **parts)}).text)
    assert not {"OAUTH_REDIRECT_URL", "OAUTH_OIDC_CONFIG_ENDPOINT"} & set(found)


TWO = {**oauth("GITHUB", CLIENT_ID="1", CLIENT_SECRET="2"), **oauth("GOOGLE", CLIENT_ID="3", CLIENT_SECRET="4")}


def test_several_clients_need_a_choice() -> None:
    (blocker,) = migrate({**SLURM, **TWO}).blockers
    assert "GITHUB, GOOGLE" in blocker.message and "oauth_client" in blocker.fix
    assert [f.id for f in migrate({**SLURM, **TWO}, oauth_client="okta").blockers] == [blocker.id]
    migration = migrate({**SLURM, **TWO}, oauth_client="google")
    assert ids(migration) == ["oauth_clients_dropped"]
    assert {n: v for n, v in read(migration.text).items() if n.startswith("OAUTH")} == {
        **{"OAUTH_CLIENT_NAME": "google", "OAUTH_CLIENT_ID": "3", "OAUTH_CLIENT_SECRET": "4"}
    }


@pytest.mark.parametrize("part", ["CLIENT_ID", "CLIENT_SECRET", "OIDC_CONFIGURATION_ENDPOINT"])
def test_an_incomplete_client_is_refused(part: str) -> None:
    parts = {"CLIENT_ID": "1", "CLIENT_SECRET": "2", "OIDC_CONFIGURATION_ENDPOINT": "https://x"}
    del parts[part]
    (blocker,) = migrate({**SLURM, **oauth("KC", **parts)}).blockers
    assert f"OAUTH_KC_{part}" in blocker.message


def test_other_oauth_variables_are_dropped_with_a_word() -> None:
    migration = migrate({**SLURM, **oauth("GITHUB", CLIENT_ID="1", CLIENT_SECRET="2", SCOPES="all")})
    assert "OAUTH_GITHUB_SCOPES" not in migration.text
    assert action_on(migration, "OAUTH_GITHUB_SCOPES") == ["drop"]


# -- e-mail --

EMAIL = {
    "FRACTAL_EMAIL_SENDER": "f@example.org",
    "FRACTAL_EMAIL_SMTP_SERVER": "smtp",
    "FRACTAL_EMAIL_SMTP_PORT": "25",
    "FRACTAL_EMAIL_INSTANCE_NAME": "lab",
    "FRACTAL_EMAIL_RECIPIENTS": "a@example.org",
    "FRACTAL_EMAIL_PASSWORD": TOKEN,
    "FRACTAL_EMAIL_PASSWORD_KEY": "key",
}


def no_decryption(token: str, key: str) -> str:
    raise FractalError("it does not fit FRACTAL_EMAIL_PASSWORD_KEY")


@pytest.mark.parametrize("password", ["plain", 'it\'s "${HOME}" #1\\', "", "two\nlines", "cr\r"])
def test_the_email_password_is_decrypted_and_its_key_dropped(password: str) -> None:
    seen = []
    migration = migrate({**SLURM, **EMAIL}, decrypt=lambda *pair: seen.append(pair) or password)
    found = read(migration.text, {"HOME": "/wrong"})
    assert seen == [(TOKEN, "key")]
    assert found["FRACTAL_EMAIL_PASSWORD"] == password
    assert "FRACTAL_EMAIL_PASSWORD_KEY" not in migration.text
    assert password in migration.secrets or not password
    again = migrate(migration.text, migration.old_text, decrypt=None)
    assert again.text == migration.text and not again.changes


@pytest.mark.parametrize("decrypt", [no_decryption, None])
def test_a_password_that_cannot_be_decrypted_is_refused(decrypt: Any) -> None:
    (blocker,) = migrate({**SLURM, **EMAIL}, decrypt=decrypt).blockers
    assert blocker.id == "environment.email_password"
    assert TOKEN not in str(blocker) and "key'" not in str(blocker)


def test_a_password_without_its_key_is_refused() -> None:
    values = {**SLURM, **EMAIL}
    del values["FRACTAL_EMAIL_PASSWORD_KEY"]
    assert ids(migrate(values)) == ["email_password"]


@pytest.mark.parametrize("change", [{"FRACTAL_EMAIL_USE_LOGIN": "false"}, {"FRACTAL_EMAIL_SENDER": None}])
def test_a_password_that_nothing_uses_is_dropped_if_it_cannot_be_decrypted(change: dict[str, str | None]) -> None:
    values = {name: value for name, value in {**SLURM, **EMAIL, **change}.items() if value is not None}
    migration = migrate(values, decrypt=no_decryption)
    assert ids(migration) == ["email_password_unused"]
    assert "FRACTAL_EMAIL_PASSWORD" not in read(migration.text)


# -- the unit's environment, child processes, references --


def test_the_unit_wins_over_the_file_and_what_it_alone_has_is_written_down() -> None:
    process = {
        **{"POSTGRES_PASSWORD": "from the unit", "FRACTAL_SLURM_WORKER_PYTHON": "/unit/python", "PATH": "/bin"},
        **oauth("GITHUB", CLIENT_ID="1", CLIENT_SECRET="2"),
    }
    migration = migrate({**SLURM, "POSTGRES_PASSWORD": "from the file"}, process=process)
    found = read(migration.text)
    assert found["POSTGRES_PASSWORD"] == "from the unit"
    assert found["OAUTH_CLIENT_SECRET"] == "2" and found["OAUTH_CLIENT_NAME"] == "github"
    assert "PATH" not in found
    assert read(migration.old_text or "")["FRACTAL_SLURM_WORKER_PYTHON"] == "/unit/python"
    assert action_on(migration, "POSTGRES_PASSWORD") == ["change"]


@pytest.mark.parametrize(
    ("name", "value"), [("FRACTAL_RUNNER_BACKEND", "slurm"), ("DB_ECHO", "1"), ("POSTGRES_USER", "")]
)
def test_a_value_of_the_unit_that_2_17_refuses_is_hidden_from_it(name: str, value: str) -> None:
    process = {name: value}
    assert [(f.id, f.subject) for f in migrate(SLURM, process=process).blockers] == [
        ("environment.unit_overrides", name)
    ]
    migration = migrate(SLURM, process=process, can_override=True)
    assert migration.hidden == [name] and not migration.blockers


EXPORTED = {
    "HTTPS_PROXY": "http://u:p@proxy:3128",
    "PIP_INDEX_URL": "x y",
    "SLURM_CONF": "/etc/slurm.conf",
    "PGSSLMODE": "r",
}


def test_variables_of_child_processes_move_to_the_drop_in() -> None:
    migration = migrate({**SLURM, **EXPORTED}, can_override=True)
    assert migration.exported == EXPORTED
    assert not set(EXPORTED) & set(read(migration.text))
    assert all(action_on(migration, name) == ["move"] for name in EXPORTED)


def test_without_a_drop_in_they_stay_and_are_told() -> None:
    migration = migrate({**SLURM, **EXPORTED})
    assert migration.exported == {} and read(migration.text).items() >= EXPORTED.items()
    assert [f.message.partition(":")[0] for f in migration.findings] == [", ".join(EXPORTED)]


def test_what_systemd_or_the_unit_set_had_no_effect_on_child_processes() -> None:
    values = {**SLURM, "PATH": "/opt/bin", "HTTPS_PROXY": "file"}
    migration = migrate(values, process={"HTTPS_PROXY": "unit"}, can_override=True)
    assert migration.exported == {}
    assert "PATH" not in read(migration.text)
    assert action_on(migration, "PATH") == ["drop"]


@pytest.mark.parametrize("backend", ["slurm_sudo", "slurm_ssh"])
@pytest.mark.parametrize("group", ["All", ""])
def test_2_18_reads_no_scheme_and_no_folder_and_afterwards_nothing_is_left_to_do(backend: str, group: str) -> None:
    given = {**SLURM, "FRACTAL_RUNNER_BACKEND": backend, "FRACTAL_VIEWER_AUTHORIZATION_SCHEME": "users-folders"}
    given["FRACTAL_VIEWER_BASE_FOLDER"] = "/data/zarr"
    at_2_17 = migrate(given, to="2.17.2", default_group_name=group)
    assert read(at_2_17.text)["FRACTAL_DATA_BASE_FOLDER"] == "/data/zarr"
    at_2_18 = migrate(at_2_17.text, old=at_2_17.old_text, to="2.18.0", data_migration=False, default_group_name=group)
    assert at_2_18.steps == ["2.18.0"] and at_2_18.blockers == []
    assert {"FRACTAL_DATA_AUTH_SCHEME", "FRACTAL_DATA_BASE_FOLDER"}.isdisjoint(read(at_2_18.text))
    for release in ("2.18.0", "2.23.0", "2.26.0"):
        again = migrate(at_2_18.text, old=at_2_17.old_text, to=release, data_migration=False, default_group_name=group)
        assert (again.steps, again.text) == ([], at_2_18.text)


def test_references_keep_their_value() -> None:
    text = (
        "BASE=/data\nFRACTAL_TASKS_DIR=${BASE}/tasks\nFRACTAL_VIEWER_BASE_FOLDER=${BASE}/zarr\n"
        + lines({name: value for name, value in SLURM.items() if name != "FRACTAL_TASKS_DIR"})
        + 'A="${FRACTAL_VIEWER_BASE_FOLDER}/a" # a\nB=${FRACTAL_TASKS_DIR:-x}\n'
        + "C=${HOME}/c${FRACTAL_TASKS_DIR}\nD=${BASE}\n"
    )
    migration = migrate(text, to="2.17.2")
    assert "A=\"/data/zarr/a\" # a\nB=/data/tasks\nC='${HOME}/c/data/tasks'\nD=${BASE}\n" in migration.text
    assert "FRACTAL_DATA_BASE_FOLDER=${BASE}/zarr\n" in migration.text
    # the data migration runs in another environment than the service
    assert read(migration.old_text or "", {"BASE": "wrong"}, override=False)["FRACTAL_TASKS_DIR"] == "/data/tasks"


def test_a_needed_value_that_depends_on_something_unknown_is_refused() -> None:
    migration = migrate(
        {**SLURM, "FRACTAL_TASKS_DIR": "/x"}.__str__() and lines(SLURM) + "FRACTAL_TASKS_DIR=${FOO}/t\n"
    )
    assert [(f.id, f.subject) for f in migration.blockers] == [("environment.reference_unknown", "FRACTAL_TASKS_DIR")]
    assert migrate(lines(SLURM) + "FRACTAL_TASKS_DIR=${FOO}/t\n", process={"FOO": "/f"}).blockers == []
    text = lines(SLURM) + "FRACTAL_TASKS_DIR=/t${FOO:-/u}${FOO}\nLIST=${FOO}\n"
    with_the_unit = migrate(text, process_is_known=True)
    assert with_the_unit.blockers == []
    assert read(with_the_unit.old_text or "")["FRACTAL_TASKS_DIR"] == "/t/u"
    assert "LIST=${FOO}\n" in with_the_unit.text


def test_unknown_variables_of_fractal_stay_with_a_word() -> None:
    migration = migrate({**SLURM, "FRACTAL_API_V1_MODE": "include"})
    assert ids(migration) == ["variable_unknown"]
    assert read(migration.text)["FRACTAL_API_V1_MODE"] == "include"


# -- EnvironmentFile= --


def test_a_file_that_systemd_reads_too_means_the_same_to_both() -> None:
    text = lines(SLURM) + "FRACTAL_LOGGING_LEVEL='10'\nHTTPS_PROXY=p\n"
    migration = migrate(text, read_by_systemd=True)
    assert migration.findings == [] and migration.hidden == []
    assert "HTTPS_PROXY=p\n" in migration.text  # systemd itself hands it to child processes


def test_lines_that_systemd_reads_differently_are_told_with_the_reason() -> None:
    text = lines(SLURM) + "export MORE=1\nA=1 # note\nB=${HOME}\n"
    migration = migrate(text, read_by_systemd=True)
    assert [f.subject for f in migration.findings if f.id == "environment.readers_differ"] == ["MORE", "A", "B"]
    assert "systemd does not see it" in str(migration.findings)


def test_what_systemd_read_is_what_2_16_used() -> None:
    migration = migrate(lines(SLURM) + "FRACTAL_EMAIL_INSTANCE_NAME=lab # one\n", read_by_systemd=True)
    assert migration.text.count("\n# one\nFRACTAL_EMAIL_INSTANCE_NAME='lab # one'\n") == 1
    assert migration.findings == []


# -- half-migrated files --


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", BEFORE),
        ("FRACTAL_RUNNER_BACKEND=slurm\n", BEFORE),
        ("OAUTH_GITHUB_CLIENT_ID=1\n", BEFORE),
        ("FRACTAL_DEFAULT_GROUP_NAME=All\n", AFTER),
        ("FRACTAL_RUNNER_BACKEND=slurm_sudo\n", AFTER),
        ("OAUTH_CLIENT_NAME=github\nOAUTH_CLIENT_ID=1\n", AFTER),
        ("FRACTAL_DEFAULT_GROUP_NAME=All\nFRACTAL_TASKS_DIR=/t\n", BETWEEN),
        (BOM + "FRACTAL_DEFAULT_GROUP_NAME=All\n", AFTER),
        ("# FRACTAL_TASKS_DIR=/t\nFRACTAL_DEFAULT_GROUP_NAME=All\n", AFTER),
    ],
)
def test_the_era_is_told_from_the_variables(text: str, expected: str) -> None:
    assert era(text) == expected


def test_where_nothing_tells_the_rows_do() -> None:
    """Installed as a later release: nothing of 2.16 is to be kept, and what it has not said stays unsaid."""
    values = {"JWT_SECRET_KEY": "k", "POSTGRES_DB": "d", "FRACTAL_RUNNER_BACKEND": "slurm_ssh"}
    fresh = migrate({**values, "MINE": "x"}, data_migration=False, to="2.23.0", can_override=True)
    assert (fresh.steps, fresh.changes, fresh.exported, fresh.findings) == ([], [], {}, [])
    assert era("FRACTAL_TASKS_DIR=/t\n", data_is_over=True) == BEFORE
    of_2_18 = migrate({**values, "FRACTAL_DATA_AUTH_SCHEME": "none"}, data_migration=False, to="2.18.0")
    assert of_2_18.steps == ["2.18.0"] and read(of_2_18.text) == values


def test_a_half_migrated_file_is_completed() -> None:
    values = {**SLURM, "FRACTAL_RUNNER_BACKEND": "slurm_sudo", "OAUTH_CLIENT_NAME": "GitHub"}
    migration = migrate({**values, **oauth("GITHUB", CLIENT_ID="1", CLIENT_SECRET="2")})
    assert migration.steps[0] == "2.17.0" and migration.blockers == []
    assert era(migration.text) == AFTER
    assert read(migration.text).items() >= {**ADDED, "OAUTH_CLIENT_ID": "1", "OAUTH_CLIENT_NAME": "GitHub"}.items()
    assert migration.oauth_client_name == "github"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"FRACTAL_VIEWER_BASE_FOLDER": "/a"}, {"FRACTAL_DATA_BASE_FOLDER": "/b"}),
        ({"FRACTAL_VIEWER_AUTHORIZATION_SCHEME": "none"}, {"FRACTAL_DATA_AUTH_SCHEME": "viewer-paths"}),
        (oauth("GITHUB", CLIENT_ID="1", CLIENT_SECRET="2"), {"OAUTH_CLIENT_ID": "3"}),
        (oauth("GITHUB", CLIENT_ID="1", CLIENT_SECRET="2"), {"OAUTH_CLIENT_NAME": "google"}),
    ],
)
def test_a_file_that_contradicts_itself_is_refused(old: dict[str, str], new: dict[str, str]) -> None:
    (blocker,) = migrate({**SLURM, **old, **new}).blockers
    assert blocker.id == "environment.contradiction"
    assert migrate({**SLURM, **old}, process=new).blockers[0].id == blocker.id
    assert migrate(SLURM, process={**old, **new}).blockers[0].id == blocker.id
    assert {next(iter(old)), next(iter(new))} & set(blocker.message.split())
    assert [f.id for f in migrate({**SLURM, **old, **new}, oauth_client="github").blockers] == [blocker.id]
    same = {name: next(iter(old.values())) for name in new} if "OAUTH_CLIENT_NAME" not in new else {}
    migration = migrate({**SLURM, **old, **same})
    assert migration.blockers == [] and not set(old) & set(read(migration.text))


def test_a_password_decrypted_by_hand_stays_and_its_key_goes() -> None:
    values = {**SLURM, **EMAIL, "FRACTAL_EMAIL_PASSWORD": "plain", "FRACTAL_RUNNER_BACKEND": "slurm_sudo"}
    migration = migrate(values, decrypt=no_decryption)
    assert migration.blockers == []
    assert read(migration.text)["FRACTAL_EMAIL_PASSWORD"] == "plain"
    assert "FRACTAL_EMAIL_PASSWORD_KEY" not in read(migration.text)


def test_a_finished_file_of_2_17_is_left_alone() -> None:
    text = BOM + "FRACTAL_RUNNER_BACKEND=slurm_sudo\nHTTPS_PROXY=p\nPATH=/x\nJWT_SECRET_KEY=k\nPOSTGRES_DB='a\\\\'"
    process = {"DB_ECHO": "1", "OAUTH_GITHUB_CLIENT_ID": "1"}
    migration = migrate(text, to="2.17.1", process=process, can_override=True, data_migration=False)
    assert (migration.text, migration.old_text, migration.changes, migration.findings) == (text, None, [], [])
    assert (migration.exported, migration.hidden) == ({}, [])


def test_a_value_of_2_17_0_that_2_17_2_refuses_is_mended() -> None:
    text = "FRACTAL_RUNNER_BACKEND=slurm_sudo\nJWT_SECRET_KEY=k\nPOSTGRES_DB=d\nDB_ECHO=True\n"
    migration = migrate(text, data_migration=False)
    assert migration.text.endswith("POSTGRES_DB=d\nDB_ECHO=true\n")


# -- the .old file --


def test_the_old_file_begins_with_the_old_text_and_a_sufficient_one_is_nothing_but_that() -> None:
    first = migrate(SLURM)
    assert (first.old_text or "").startswith(lines(SLURM))
    whole = {**SLURM, "FRACTAL_SLURM_POLL_INTERVAL": "5"}
    assert migrate(whole).old_text == lines(whole)


WITHOUT_WORKER = {name: value for name, value in SLURM.items() if name != "FRACTAL_SLURM_WORKER_PYTHON"}


@pytest.mark.parametrize("existing", [lines(WITHOUT_WORKER), migrate(WITHOUT_WORKER).old_text])
def test_an_old_file_that_is_a_copy_or_our_own_is_taken(existing: str) -> None:
    migration = migrate(WITHOUT_WORKER, existing)
    assert migration.old_text == migrate(WITHOUT_WORKER).old_text and migration.old_text.startswith(existing)
    assert migration.blockers == []


@pytest.mark.parametrize(
    "existing",
    [
        *("", "FRACTAL_DEFAULT_GROUP_NAME=All\n", lines({**WITHOUT_WORKER, "POSTGRES_DB": "other"})),
        lines(WITHOUT_WORKER) + "# corrected by hand\nFRACTAL_SLURM_WORKER_PYTHON=/by/hand\n",
        migrate(WITHOUT_WORKER, worker_python="/another").old_text,
        migrate(WITHOUT_WORKER).text,
    ],
)
def test_a_foreign_or_newer_old_file_is_refused_and_kept(existing: str) -> None:
    migration = migrate(WITHOUT_WORKER, existing)
    assert [f.id for f in migration.blockers] == ["environment.old_file_foreign"]
    assert migration.old_text is None


HALF = {**BARE, "FRACTAL_RUNNER_BACKEND": "slurm_sudo", "FRACTAL_VIEWER_BASE_FOLDER": "/zarr"}


def test_the_old_file_of_a_person_who_began_by_hand_is_enough() -> None:
    migration = migrate(HALF, lines(SLURM))
    assert migration.steps[0] == "2.17.0" and migration.blockers == []
    assert migration.old_text is None
    assert migration.handed_on == {"poll_interval": 5}
    assert migrate(HALF).blockers and not migrate(HALF, data_migration=False).blockers


FINISHED = lines({**BARE, **ADDED, "FRACTAL_RUNNER_BACKEND": "slurm_sudo"})


def test_a_file_that_was_finished_by_hand_needs_the_old_one_for_the_data_migration() -> None:
    assert ids(migrate(FINISHED)) == ["old_file_missing"]
    assert ids(migrate(FINISHED, "")) == ["old_file_foreign"]
    assert migrate(FINISHED, lines(SLURM)).findings == [] and migrate(FINISHED, lines(SLURM)).text == FINISHED
    assert migrate(FINISHED, data_migration=False).findings == []


@pytest.mark.parametrize(
    ("old", "word"),
    [
        ({"FRACTAL_TASKS_DIR": None}, "lacks FRACTAL_TASKS_DIR"),
        ({"FRACTAL_SLURM_WORKER_PYTHON": None}, "lacks FRACTAL_SLURM_WORKER_PYTHON"),
        ({"FRACTAL_TASKS_DIR": "tasks"}, "relative paths in FRACTAL_TASKS_DIR"),
        ({"FRACTAL_TASKS_PYTHON_DEFAULT_VERSION": "3.13", "FRACTAL_TASKS_PYTHON_3_13": "/p"}, "Python 3.13"),
    ],
)
def test_an_insufficient_one_is_refused_with_what_it_lacks(old: dict[str, str | None], word: str) -> None:
    values = {name: value for name, value in {**SLURM, **old}.items() if value is not None}
    (blocker,) = migrate(HALF, lines(values)).blockers
    assert word in blocker.message


def test_one_that_contradicts_the_file_is_refused() -> None:
    (blocker,) = migrate({**HALF, "FRACTAL_TASKS_DIR": "/other"}, lines(SLURM)).blockers
    assert "contradicts the file on FRACTAL_TASKS_DIR" in blocker.message


# -- the text --


def test_line_endings_and_a_missing_last_one() -> None:
    text = lines(SLURM).replace("\n", "\r\n") + "A=1"
    migration = migrate(text)
    assert migration.text.endswith(
        "A=1\r\n\r\n# Added by the upgrade to fractal-server 2.17.0\r\n"
        "FRACTAL_API_MAX_JOB_LIST_LENGTH=50\r\nFRACTAL_DEFAULT_GROUP_NAME=All\r\n"
    )
    assert "\n" not in migration.text.replace("\r\n", "")


def test_a_byte_order_mark_before_a_comment_goes_silently() -> None:
    migration = migrate(BOM + "# note\n" + lines(SLURM))
    assert migration.text.startswith("# note\nJWT") and migration.findings == []


def test_a_variable_hidden_by_a_byte_order_mark_does_not_come_back() -> None:
    migration = migrate(BOM + "FRACTAL_PIP_CACHE_DIR=/c\n" + lines(SLURM))
    assert ids(migration) == ["byte_order_mark"]
    for text in (migration.text, migration.old_text or ""):
        assert text.startswith("# FRACTAL_PIP_CACHE_DIR=/c\n")
        assert "FRACTAL_PIP_CACHE_DIR" not in read(text)


@pytest.mark.parametrize("line", ["A='x\\\\'\n", "A= # none\n", 'A="\\\\"\n'])
def test_a_line_that_newer_python_dotenv_reads_differently_is_rewritten(line: str) -> None:
    migration = migrate(lines(SLURM) + line + "B='b'\nC=\"c\"\n")
    old = {"A='x\\\\'\n": None, "A= # none\n": "# none", 'A="\\\\"\n': None}[line]
    if old is None:  # release 1.1 reads on to the next quote, and finds more text after it
        assert set(ids(migration)) == {"line_unreadable"}
    else:
        assert read(migration.text)["A"] == old


def test_unreadable_lines_are_all_named() -> None:
    migration = migrate("A=1\n=x\n" + lines(SLURM) + "C='x' y\n")
    assert [(f.id, f.message.split(":")[0]) for f in migration.blockers] == [
        ("environment.line_unreadable", ".fractal_server.env, line 2"),
        ("environment.line_unreadable", f".fractal_server.env, line {3 + len(SLURM)}"),
    ]


# -- any file --

NAMES = [
    "POSTGRES_PASSWORD",
    "FRACTAL_EMAIL_INSTANCE_NAME",
    "HTTPS_PROXY",
    "MORE",
    "FRACTAL_UNKNOWN",
    "FRACTAL_HELP_URL",
]
OTHERS = [
    "FRACTAL_VIEWER_BASE_FOLDER",
    "FRACTAL_PIP_CACHE_DIR",
    "FRACTAL_DEFAULT_ADMIN_PASSWORD",
    "PATH",
    "POSTGRES_DB",
]
PIECES = [
    *(
        "a",
        "b c",
        "1",
        "/data",
        "'",
        '"',
        "\\",
        "\\'",
        "#",
        " # ",
        " ",
        "$",
        "{",
        "}",
        "\n",
        "\r\n",
        "\t",
        "é",
        "\x85",
        "=",
        "",
    ),
    *(Reference(name, default) for name in [*NAMES, *OTHERS, "HOME", "UNIT"] for default in (None, "d")),
]
texts = st.sampled_from([piece for piece in PIECES if isinstance(piece, str)])
values = st.lists(st.sampled_from(PIECES), max_size=4).map(join)
statements = st.builds(
    lambda indent, name, equals, value, quote, rest: f"{indent}{name}{equals}{encode(value, quote)}{rest}",
    st.sampled_from(["", "", " ", "export ", "\n"]),
    st.sampled_from([*NAMES, *OTHERS]),
    st.sampled_from(["=", " = "]),
    values,
    st.sampled_from(["", "'", '"']),
    st.sampled_from(["\n", "\r\n", " # note\n", "  \n"]),
)
files = st.lists(statements | st.sampled_from(["# note\n", "\n", "MORE\n", "POSTGRES_PASSWORD\n"]), max_size=5)
units = st.dictionaries(st.sampled_from(["UNIT", "POSTGRES_PASSWORD", "MORE", "HTTPS_PROXY"]), texts, max_size=2)


@many
@example(  # systemd begins to see a variable when its line is corrected, so that an earlier reference finds it
    [],
    [
        "POSTGRES_PASSWORD=''\n",
        "FRACTAL_HELP_URL=''\n",
        "export HTTPS_PROXY='${FRACTAL_EMAIL_INSTANCE_NAME:-d}'\n",
        "export FRACTAL_EMAIL_INSTANCE_NAME='${FRACTAL_HELP_URL}'\n",
    ],
    {},
    False,
    True,
)
@given(files, files, units, st.booleans(), st.booleans())
def test_every_kept_variable_has_the_value_it_had_and_nothing_else_changes(
    before: list[str], after: list[str], unit: dict[str, str], can_override: bool, by_systemd: bool
) -> None:
    text = "".join(before) + lines(SLURM) + "".join(after)
    options = {"to": "2.17.2", "process": unit, "can_override": can_override, "read_by_systemd": by_systemd}
    try:
        migration = migrate(text, **options)
    except FractalError as error:  # no notation for both: said so, nothing written
        assert by_systemd and "cannot be written so that systemd" in str(error)
        return
    assume(not migration.blockers)
    ambient = {"HOME": "/root", "PATH": "/bin"}

    def process(file: str) -> dict[str, str]:
        own = assignments(parse(file, Reader.SYSTEMD)) if by_systemd else {}
        return {**ambient, **{name: value for name, value in own.items() if value is not None}, **unit}

    old = {**read(text, process(text), override=False), **process(text)}
    service = {**migration.exported, **process(migration.text)}
    service = {name: value for name, value in service.items() if name not in migration.hidden}
    new = {**read(migration.text, service), **service}
    for name in {*NAMES, "POSTGRES_DB"} - {"FRACTAL_HELP_URL"}:
        assert new.get(name) == old.get(name), name
    if not unit and not by_systemd:
        gone = [*OTHERS, *migration.exported, "FRACTAL_HELP_URL", "${"]
        untouched = [line for line in before + after if not any(word in line for word in gone)]
        rest = migration.text
        for line in untouched:
            assert line in rest
            rest = rest[rest.index(line) + len(line) :]
    folder = old.get("FRACTAL_VIEWER_BASE_FOLDER")
    assert new.get("FRACTAL_DATA_BASE_FOLDER") == (folder if folder and folder.startswith("/") else None)
    assert "FRACTAL_PIP_CACHE_DIR" not in new
    cache = read(migration.old_text or "", {}, False).get("FRACTAL_PIP_CACHE_DIR")
    assert cache == (old["FRACTAL_PIP_CACHE_DIR"].strip() if "FRACTAL_PIP_CACHE_DIR" in old else None)
    again = migrate(migration.text, migration.old_text, **options)
    assert (again.text, again.old_text, again.changes) == (migration.text, None, [])
    # fractalctl alone may see an empty POSTGRES_DB that the service does not: refused, and nothing is changed
    assert again.steps == [] or again.blockers
