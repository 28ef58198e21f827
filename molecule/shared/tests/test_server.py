"""The server host after an upgrade: unit, package, schema, environment file."""

from __future__ import annotations

import io

from dotenv import dotenv_values
from scenario import EPHEMERAL, Target, curl, hosts_of, query
from testinfra.host import Host

testinfra_hosts = hosts_of("fractal_server")

FOLDER = "/opt/fractal/server"
PYTHON = "/opt/fractal/venv/bin/python3"

# The 2.16 file of the test bed as the official upgrade page wants it: renamed, changed, dropped and added variables.
ENVIRONMENT = {
    "JWT_SECRET_KEY": "jwt-s3cret-5d41402abc4b2a76",
    "JWT_EXPIRE_SECONDS": "84600",
    "COOKIE_EXPIRE_SECONDS": "84600",
    "POSTGRES_HOST": "localhost",
    "POSTGRES_PORT": "5432",
    "POSTGRES_USER": "fractal",
    "POSTGRES_PASSWORD": "pg-s3cret-7d793037a0760186",
    "POSTGRES_DB": "fractal_db",
    "FRACTAL_RUNNER_BACKEND": "slurm_sudo",
    "FRACTAL_LOGGING_LEVEL": "20",
    "FRACTAL_API_MAX_JOB_LIST_LENGTH": "50",  # its default was 50 in 2.16 and is 25 in 2.17
    "FRACTAL_DEFAULT_GROUP_NAME": "All",
    "FRACTAL_DATA_AUTH_SCHEME": "viewer-paths",
    "OAUTH_CLIENT_NAME": "mock",
    "OAUTH_CLIENT_ID": "fractal",
    "OAUTH_CLIENT_SECRET": "oidc-s3cret-9bf31c7ff062936a",
    "OAUTH_OIDC_CONFIG_ENDPOINT": "http://127.0.0.1:9400/.well-known/openid-configuration",
    "FRACTAL_EMAIL_SENDER": "fractal@example.org",
    "FRACTAL_EMAIL_SMTP_SERVER": "localhost",
    "FRACTAL_EMAIL_SMTP_PORT": "2525",
    "FRACTAL_EMAIL_INSTANCE_NAME": "bed",
    "FRACTAL_EMAIL_RECIPIENTS": "admin@example.org",
    "FRACTAL_EMAIL_PASSWORD": "mail-s3cret-45c48cce2e2d7fbd",
    "FRACTAL_EMAIL_USE_STARTTLS": "true",
    "FRACTAL_EMAIL_USE_LOGIN": "true",
}


def test_unit_is_enabled_and_active(host: Host) -> None:
    unit = host.service("fractal-server")
    assert unit.is_enabled and unit.is_running and not unit.is_masked


def test_no_unit_has_failed(host: Host) -> None:
    assert host.check_output("systemctl list-units --failed --no-legend --plain") == ""


def test_api_answers_with_the_target_release(host: Host, target: Target) -> None:
    assert curl(host, "http://localhost:8000/api/alive/") == {"alive": True, "version": target.version}


def test_package_is_the_target_release(host: Host, target: Target) -> None:
    code = "from importlib.metadata import version; print(version('fractal-server'))"
    assert host.check_output(f"runuser -u fractal -- {PYTHON} -c %s", code) == target.version


def test_service_runs_under_the_interpreter_path_of_before(host: Host) -> None:
    """2.17 compares its own interpreter's path with the SLURM workers'; another one needs more sudo rights."""
    pid = host.check_output("systemctl show -P MainPID fractal-server")
    command = host.file(f"/proc/{pid}/cmdline").content_string.split("\0")
    assert command[:2] == [PYTHON, "/opt/fractal/venv/bin/fractalctl"]
    assert host.check_output(f"runuser -u fractal -- {PYTHON} -c 'import sys; print(sys.executable)'") == PYTHON


def test_extra_packages_came_along(host: Host) -> None:
    code = "from importlib.metadata import version; print(version('prometheus-client'), version('setproctitle'))"
    assert host.check_output(f"runuser -u fractal -- {PYTHON} -c %s", code) == "0.25.0 1.3.7"


def test_environment_has_the_owner_of_before_and_all_may_read_it(host: Host) -> None:
    """It belonged to the service account, as in the field; SLURM users run it."""
    for path in ("/opt/fractal/venv", "/opt/fractal/venv-2.16.6", PYTHON, "/opt/fractal/venv/bin/fractalctl"):
        found = host.check_output("stat -Lc '%%U %%a' %s", path)
        assert found in ("fractal 755", "root 755"), path  # the interpreter itself is the system's
        assert host.check_output("stat -c %%U %s", path) == "fractal", path
    host.check_output(f"runuser -u alice -- {PYTHON} -c 'import fractal_server'")


def test_schema_is_at_the_head_of_the_target_release(host: Host, target: Target) -> None:
    assert query(host, "select version_num from alembic_version") == [{"version_num": target.alembic_head}]


def test_environment_file_is_migrated(host: Host, target: Target) -> None:
    file = host.file(f"{FOLDER}/.fractal_server.env")
    wanted = {name: value for name, value in ENVIRONMENT.items() if name not in target.unread}
    assert dict(dotenv_values(stream=io.StringIO(file.content_string))) == wanted
    assert (file.user, file.group, file.mode) == ("fractal", "fractal", 0o600)


def test_old_environment_file_is_kept_for_the_owner_only(host: Host) -> None:
    file = host.file(f"{FOLDER}/.fractal_server.env.old")
    original = dotenv_values(EPHEMERAL / "env_before")
    kept = dotenv_values(stream=io.StringIO(file.content_string))
    if original["FRACTAL_TASKS_PYTHON_DEFAULT_VERSION"] == "3.13":  # 2.17.0's data migration knows 3.12 at most
        original["FRACTAL_TASKS_PYTHON_DEFAULT_VERSION"] = "3.12"
    assert {name: kept.get(name) for name in original} == original
    assert (file.user, file.group, file.mode) == ("fractal", "fractal", 0o600)


def test_no_file_that_others_may_read_holds_a_secret(host: Host) -> None:
    found = host.run("grep -rIl --exclude-dir=proc --exclude-dir=sys -- -s3cret- /etc /opt /root /srv /tmp /var /home")
    readable = [path for path in found.stdout.splitlines() if host.file(path).mode & 0o044]
    assert readable == []


def test_journal_holds_no_secret(host: Host) -> None:
    assert host.run("journalctl --no-pager --quiet | grep -e -s3cret-").stdout == ""
