"""Migrated environment files before the real releases: 2.16.6's settings, 2.17's settings, the real data migration."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any, Callable

import pytest
from cryptography.fernet import Fernet
from env_instances import INSTANCES, LOCAL_CONFIG, PIXI_CONFIG
from postgres_cluster import Database
from postgres_seed import add_project, add_user
from releases_environments import FractalFolder

Run = Callable[..., dict[str, Any]]
PASSWORD = 'it\'s ${HOME} "mail" #1\\'
KEY = Fernet.generate_key()
TOKEN = Fernet(KEY).encrypt(PASSWORD.encode())

_OLD_SETTINGS = """
import json, sys
from cryptography.fernet import Fernet
from pydantic import SecretStr
from fractal_server.config import get_settings
settings = get_settings()
settings.check()
values = {n: v.get_secret_value() if isinstance(v, SecretStr) else v for n, v in settings}
values["clients"] = [{n: v.get_secret_value() if isinstance(v, SecretStr) else v for n, v in client}
                     for client in settings.OAUTH_CLIENTS_CONFIG]
mail = settings.email_settings
values["mail"] = mail and mail.encrypted_password and Fernet(mail.encryption_key.get_secret_value()).decrypt(
    mail.encrypted_password.get_secret_value()).decode()
values["executable"] = sys.executable
values["fields"] = sorted(type(settings).model_fields)
print(json.dumps(values, default=str))
"""
_NEW_SETTINGS = """
import json
from pydantic import SecretStr
from fractal_server.config import (get_data_settings, get_db_settings, get_email_settings, get_oauth_settings,
                                   get_settings)
values = {}
for settings in (get_db_settings(), get_settings(), get_email_settings(), get_oauth_settings(), get_data_settings()):
    values.update({n: v.get_secret_value() if isinstance(v, SecretStr) else v for n, v in settings})
values["oauth"] = get_oauth_settings().is_set
values["mail"] = values["public"] and values["public"].use_login and values["public"].password.get_secret_value()
print(json.dumps(values, default=str))
"""


def run_python(python: str, code: str, folder: Path, environ: dict[str, str]) -> dict[str, Any]:
    done = subprocess.run([python, "-c", code], cwd=folder, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.fixture
def instance(
    new_database: Callable[..., Database], fractal_folder: Callable[..., FractalFolder], request: pytest.FixtureRequest
) -> FractalFolder:
    """A working directory with the environment file of the parameter's name, on a database with two users."""
    folder = fractal_folder(new_database())
    text = INSTANCES[request.param].replace("@DIR@", str(folder.path))
    text = text.replace("@TOKEN@", TOKEN.decode()).replace("@KEY@", KEY.decode())
    newline = "\r\n" if "\r\n" in text else "\n"
    database_lines = folder.database.env_lines().replace("\n", newline)
    folder.env_file.write_bytes((text + ("" if text.endswith("\n") else newline) + database_lines).encode())
    (folder.path / "pixi_config.json").write_text(json.dumps(PIXI_CONFIG))
    (folder.path / "local.json").write_text(json.dumps(LOCAL_CONFIG))
    ssh = {"ssh_host": "cluster", "ssh_private_key_path": "/k", "ssh_tasks_dir": "/t", "ssh_jobs_dir": "/j"}
    for name in ("ann", "bob"):
        user = add_user(
            folder.database,
            f"{name}@example.org",
            slurm_user=name,
            project_dir=f"/data/{name}",
            slurm_accounts=[],
            ssh_username=name,
            **ssh,
        )
        add_project(folder.database, user, f"project of {name}")
    return folder


@pytest.mark.parametrize("instance", INSTANCES, indirect=True)
def test_2_17_means_what_2_16_meant(
    instance: FractalFolder, slurm_programs: str, release_python: Callable[[str], str], run_module: Run
) -> None:
    python = release_python("2.16.6")
    old = run_python(python, _OLD_SETTINGS, instance.path, {"PATH": slurm_programs})
    options = {"path": str(instance.env_file), "server_python": python}

    result = run_module("fractal_env_migrate", **options)

    assert not result.get("failed"), result
    assert PASSWORD not in json.dumps(result) and KEY.decode() not in json.dumps(result)
    again = run_module("fractal_env_migrate", **options)
    assert (again["changed"], again["steps"], again["changes"]) == (False, [], [])
    assert again["handed_on"] == result["handed_on"]
    for release in ("2.17.0", "2.17.2"):
        compare_settings(old, run_python(release_python(release), _NEW_SETTINGS, instance.path, {}), result)
    instance.set_db("2.17.0")
    instance.update_db_data()
    if result["handed_on"]:
        told = run_module(
            "fractal_resource_profile",
            _release="2.17.0",
            env_file=str(instance.env_file),
            handed_on=result["handed_on"],
        )
        assert told["changed"], told
    compare_resource(old, resource(instance.database), result["handed_on"])
    assert instance.database.value("SELECT count(*) FROM user_oauth WHERE profile_id IS NOT NULL") == 2


def compare_settings(old: dict[str, Any], new: dict[str, Any], result: dict[str, Any]) -> None:
    same = (
        "JWT_SECRET_KEY JWT_EXPIRE_SECONDS COOKIE_EXPIRE_SECONDS POSTGRES_USER POSTGRES_PASSWORD POSTGRES_HOST "
        "POSTGRES_DB FRACTAL_LOGGING_LEVEL FRACTAL_API_MAX_JOB_LIST_LENGTH FRACTAL_EMAIL_SENDER "
        "FRACTAL_EMAIL_SMTP_SERVER FRACTAL_EMAIL_SMTP_PORT FRACTAL_EMAIL_INSTANCE_NAME FRACTAL_EMAIL_RECIPIENTS "
        "FRACTAL_EMAIL_USE_STARTTLS FRACTAL_EMAIL_USE_LOGIN"
    ).split()
    assert {name: new[name] for name in same} == {name: old[name] for name in same}
    assert int(new["POSTGRES_PORT"]) == int(old["POSTGRES_PORT"])
    assert float(new["FRACTAL_GRACEFUL_SHUTDOWN_TIME"]) == float(old["FRACTAL_GRACEFUL_SHUTDOWN_TIME"])
    assert new["DB_ECHO"] in (old["DB_ECHO"], str(old["DB_ECHO"]).lower())
    backend = old["FRACTAL_RUNNER_BACKEND"]
    assert new["FRACTAL_RUNNER_BACKEND"] == ("slurm_sudo" if backend == "slurm" else backend)
    assert result["runner_backend"] == new["FRACTAL_RUNNER_BACKEND"]
    assert new["FRACTAL_DEFAULT_GROUP_NAME"] == "All" and new["FRACTAL_HELP_URL"] is None
    scheme = old["FRACTAL_VIEWER_AUTHORIZATION_SCHEME"]
    assert new["FRACTAL_DATA_AUTH_SCHEME"] == scheme
    if scheme == "users-folders":
        assert new["FRACTAL_DATA_BASE_FOLDER"] == old["FRACTAL_VIEWER_BASE_FOLDER"]
    assert (new["mail"] or None) == (old["mail"] or None)
    assert new["oauth"] == bool(old["clients"])
    names = [] if not old["clients"] else [old["clients"][0]["CLIENT_NAME"].lower()]
    assert [new["OAUTH_CLIENT_NAME"] or ""] == [result["oauth_client_name"]] == (names or [""])
    for client in old["clients"]:
        assert new["OAUTH_CLIENT_ID"] == client["CLIENT_ID"]
        assert new["OAUTH_CLIENT_SECRET"] == client["CLIENT_SECRET"]
        assert new["OAUTH_OIDC_CONFIG_ENDPOINT"] == client["OIDC_CONFIGURATION_ENDPOINT"]
        assert new["OAUTH_REDIRECT_URL"] == (client["REDIRECT_URL"] or None)


def resource(database: Database) -> dict[str, Any]:
    row = database.value("SELECT row_to_json(resource) FROM resource")
    return dict(row)


def compare_resource(old: dict[str, Any], new: dict[str, Any], handed_on: dict[str, Any]) -> None:
    backend = old["FRACTAL_RUNNER_BACKEND"]
    assert new["type"] == ("slurm_sudo" if backend == "slurm" else backend)
    assert new["tasks_local_dir"] == old["FRACTAL_TASKS_DIR"]
    assert new["jobs_local_dir"] == old["FRACTAL_RUNNER_WORKING_BASE_DIR"]
    assert new["jobs_poll_interval"] == old["FRACTAL_SLURM_POLL_INTERVAL"]
    if backend != "local":
        assert new["jobs_slurm_python_worker"] == (old["FRACTAL_SLURM_WORKER_PYTHON"] or old["executable"])
        assert new["jobs_runner_config"]["default_slurm_config"]["partition"] == "main"
    else:
        assert new["jobs_runner_config"] == LOCAL_CONFIG
    versions = {v: old[f"FRACTAL_TASKS_PYTHON_{v.replace('.', '_')}"] for v in ("3.9", "3.10", "3.11", "3.12", "3.13")}
    versions = {version: path for version, path in versions.items() if path}
    assert new["tasks_python_config"] == {
        "default_version": old["FRACTAL_TASKS_PYTHON_DEFAULT_VERSION"],
        "versions": versions,
        "pip_cache_dir": old["FRACTAL_PIP_CACHE_DIR"],
    }
    assert bool(handed_on) == ("3.13" in versions)
    assert new["tasks_pixi_config"].items() >= (PIXI_CONFIG.items() if old["FRACTAL_PIXI_CONFIG_FILE"] else set())
    assert bool(new["tasks_pixi_config"]) == bool(old["FRACTAL_PIXI_CONFIG_FILE"])


@pytest.mark.parametrize("instance", ["everything set"], indirect=True)
def test_to_examine_to_render_and_check_mode_write_nothing_else(
    instance: FractalFolder, release_python: Callable[[str], str], run_module: Run
) -> None:
    def files() -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in instance.path.iterdir()}

    options = {"path": str(instance.env_file), "server_python": release_python("2.16.6")}
    before = files()
    examined = run_module("fractal_env_migrate", **options, state="examined")
    checked = run_module("fractal_env_migrate", **options, _check=True)
    new = str(instance.path / "new")
    assert run_module("fractal_env_migrate", **options, state="rendered", rendered_path=new, _check=True)["changed"]
    assert files() == before
    assert run_module("fractal_env_migrate", **options, state="rendered", rendered_path=new)["changed"]
    assert {name: content for name, content in files().items() if name != "new"} == before
    done = run_module("fractal_env_migrate", **options)
    assert files()[".fractal_server.env"] == files()["new"]
    ignored = ("changed", "at", "duration", "warnings", "invocation")
    told = [{name: v for name, v in result.items() if name not in ignored} for result in (examined, checked, done)]
    assert told[0] == told[1] == told[2] and (examined["changed"], checked["changed"]) == (False, True)
    instance.env_file.write_text("A='open\n")
    found = run_module("fractal_env_migrate", **options, state="examined")
    assert [finding["id"] for finding in found["findings"]] == ["environment.line_unreadable"]
    assert "line 1" in run_module("fractal_env_migrate", **options)["msg"]


@pytest.mark.parametrize("instance", ["slurm, the least"], indirect=True)
def test_the_rules_name_every_variable_that_2_16_reads(
    instance: FractalFolder, slurm_programs: str, release_python: Callable[[str], str]
) -> None:
    from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.r2_17_0 import env_rules as rules  # noqa: PLC0415

    old = run_python(release_python("2.16.6"), _OLD_SETTINGS, instance.path, {"PATH": slurm_programs})
    collected = {"OAUTH_CLIENTS_CONFIG"}  # from the variables OAUTH_<CLIENT>_...
    known = {rule.variable for rule in rules.SERVER} | set(rules.NEVER_SET) | collected
    assert known == set(old["fields"])


@pytest.mark.parametrize("instance", ["slurm_ssh with pixi, OIDC, e-mail"], indirect=True)
def test_variables_that_only_the_unit_has_arrive_too(
    instance: FractalFolder, slurm_programs: str, release_python: Callable[[str], str]
) -> None:
    from ansible_collections.fractal_ops.platform.plugins.module_utils._env_file.draft import Context  # noqa: PLC0415
    from ansible_collections.fractal_ops.platform.plugins.module_utils._env_file.migration import migrate_server  # noqa: PLC0415
    from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.env_steps import ENV_STEPS  # noqa: PLC0415

    given = [line.partition("=")[::2] for line in instance.env_file.read_text().splitlines() if "=" in line]
    process = {name: value.strip("'\"") for name, value in given if "secret with" not in value}
    process["OAUTH_KEYCLOAK_CLIENT_SECRET"] = 'a secret with # and "quotes"'
    instance.env_file.write_text("# all in the unit\n")
    old = run_python(release_python("2.16.6"), _OLD_SETTINGS, instance.path, {"PATH": slurm_programs, **process})
    migration = migrate_server(
        instance.env_file.read_text(),
        Context(
            str(instance.path),
            process=process,
            can_override=True,
            tasks_python=("3.11", old["executable"]),
            decrypt=lambda token, key: PASSWORD,
        ),
        ENV_STEPS,
        to="2.17.2",
    )
    assert migration.blockers == []
    assert migration.hidden == ["FRACTAL_EMAIL_PASSWORD"]
    instance.env_file.write_text(migration.text)
    instance.old_env_file.write_text(migration.old_text or "")
    environ = {name: value for name, value in process.items() if name not in migration.hidden}
    told = {"runner_backend": migration.runner_backend, "oauth_client_name": migration.oauth_client_name}
    for release in ("2.17.0", "2.17.2"):
        # in the service, and in fractalctl, which has nothing but the file
        for given_environ in (environ, {}):
            new = run_python(release_python(release), _NEW_SETTINGS, instance.path, given_environ)
            compare_settings(old, new, told)
    instance.set_db("2.17.0")
    instance.update_db_data()
    compare_resource(old, resource(instance.database), migration.handed_on)
