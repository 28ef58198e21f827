"""The checks of a server against the real fractal-server: each passes on a good instance and fails on a broken one."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, Callable

import pytest
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.folders import LocalFolders
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.http_client import Api, ApiError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.verification import Check
from ansible_collections.fractal_ops.platform.plugins.module_utils._releases.api import api_of
from ansible_collections.fractal_ops.platform.plugins.module_utils._verify.email import email
from ansible_collections.fractal_ops.platform.plugins.module_utils._verify.oauth import login_oauth
from ansible_collections.fractal_ops.platform.plugins.module_utils._verify.probe import probe
from ansible_collections.fractal_ops.platform.plugins.module_utils._verify.probe_package import SOURCES
from ansible_collections.fractal_ops.platform.plugins.module_utils._verify.server import all_checks
from ansible_collections.fractal_ops.platform.plugins.module_utils._verify.session import Session
from postgres_cluster import Database
from releases_environments import FractalFolder
from verification_services import (
    CSRF_COOKIE,
    MAIL_PASSWORD,
    MAIL_USER,
    PASSWORD,
    Served,
    give_passwords,
    oauth_log_in,
)

pytest_plugins = ["verification_services"]
Start = Callable[..., Served]
ANN, UMA, EVE = "ann@example.org", "uma@example.org", "eve@example.org"
PROBE = {
    name: Path(__file__).parents[3].joinpath("roles/verify/files/probe", name).read_text(encoding="utf-8")
    for name in SOURCES
}
OPTIONS: dict[str, Any] = {
    "version": "2.17.0",
    "email": ANN,
    "password": PASSWORD,
    "probe_sources": None,
    "probe_timeout": 120,
    "check_email": False,
}


def add(folder: FractalFolder, **variables: str) -> None:
    """Add variables to the environment file."""
    with folder.env_file.open("a", encoding="utf-8") as stream:
        stream.write("".join(f"{name}={value}\n" for name, value in variables.items()))


def by_id(checks: list[Check]) -> dict[str, Check]:
    return {check.id: check for check in checks}


def states(checks: list[Check]) -> dict[str, str]:
    return {check.id: check.status for check in checks}


# --- log-in, user, profile, settings ---


def test_a_good_account_passes(migrated: FractalFolder, served: Start) -> None:
    checks = all_checks(served(migrated).session(), OPTIONS)
    assert states(checks) == {
        "api_version": "passed",
        "login_password": "passed",
        "current_user": "passed",
        "profile_information": "passed",
        "settings": "passed",  # ann is a superuser
        "viewer_paths": "passed",
        "task_collection": "skipped",
        "job_execution": "skipped",
        "probe_removed": "skipped",
        "login_oauth": "skipped",
        "email": "skipped",
    }
    assert "'Profile ann' on resource 'Resource Name', username ann" in by_id(checks)["profile_information"].message


def test_without_an_account_its_checks_are_skipped_and_say_how(migrated: FractalFolder, served: Start) -> None:
    checks = by_id(all_checks(served(migrated).session(), {**OPTIONS, "password": None}))
    for name in ("login_password", "current_user", "task_collection", "job_execution", "viewer_paths"):
        assert checks[name].status == "skipped" and "fractal_verify_email" in checks[name].fix


def test_a_wrong_password_fails_and_the_rest_is_skipped(migrated: FractalFolder, served: Start) -> None:
    checks = all_checks(served(migrated).session(), {**OPTIONS, "password": "wrong-" + PASSWORD})
    assert states(checks)["login_password"] == "failed" and states(checks)["current_user"] == "skipped"
    assert PASSWORD not in str([check.as_dict() for check in checks])


def test_another_release_fails_and_ends_the_api_checks(migrated: FractalFolder, served: Start) -> None:
    checks = by_id(all_checks(served(migrated).session(), {**OPTIONS, "version": "2.17.2"}))
    assert checks["api_version"].status == "failed" and "answers as 2.17.0" in checks["api_version"].message
    assert checks["job_execution"].status == "skipped"


def test_a_server_that_is_down_fails(migrated: FractalFolder) -> None:
    session = Served("http://127.0.0.1:9", migrated, "2.17.0").session()
    checks = by_id(all_checks(session, OPTIONS))
    assert checks["api_version"].status == "failed" and "does not answer" in checks["api_version"].message


def test_a_user_whom_the_migration_left_out_fails(migrated: FractalFolder, served: Start) -> None:
    checks = by_id(all_checks(served(migrated).session(), {**OPTIONS, "email": UMA, "probe_sources": PROBE}))
    assert "not verified, not attached to a profile" in checks["current_user"].message
    assert checks["profile_information"].status == checks["viewer_paths"].status == "failed"
    assert checks["task_collection"].status == "failed" and "403" in checks["task_collection"].message
    assert checks["settings"].status == "skipped"  # not a superuser


def test_a_settings_page_that_fails_is_told(migrated: FractalFolder, served: Start) -> None:
    session = served(migrated).session()
    migrated.database.rows("UPDATE user_oauth SET is_superuser = false WHERE email = %s", ANN)
    session.api.log_in(ANN, PASSWORD)
    with pytest.raises(ApiError, match=r"GET /api/settings/app/ answered 403"):
        session.api.get("/api/settings/app/")


def test_a_token_that_has_run_out_is_renewed(migrated: FractalFolder, served: Start) -> None:
    add(migrated, JWT_EXPIRE_SECONDS="1")
    api = served(migrated).session(ANN).api
    first = api._token
    while api.get("/auth/current-user/") and api._token == first:
        pass  # until the first token has run out
    assert api._token != first


# --- viewer ---


@pytest.mark.parametrize(
    ("scheme", "paths"),
    [
        ({"FRACTAL_DATA_AUTH_SCHEME": "viewer-paths"}, ["/data/ann"]),
        (
            {"FRACTAL_DATA_AUTH_SCHEME": "users-folders", "FRACTAL_DATA_BASE_FOLDER": "/base"},
            ["/base/ann", "/data/ann"],
        ),
        ({}, []),
    ],
)
def test_viewer_paths_are_those_that_the_review_expects(
    migrated: FractalFolder, served: Start, run_module: Any, scheme: dict[str, str], paths: list[str]
) -> None:
    add(migrated, **scheme)
    session = served(migrated).session()
    reviewed = run_module("fractal_resource_profile", _release="2.17.0", env_file=str(migrated.env_file))
    session.reviewed = reviewed
    assert reviewed["viewer"]["paths"][ANN] == paths
    assert by_id(all_checks(session, OPTIONS))["viewer_paths"].status == "passed"
    session.reviewed = {"viewer": {"paths": {ANN: [*paths, "/lost"]}}}
    failed = by_id(all_checks(session, OPTIONS))["viewer_paths"]
    assert failed.status == "failed" and "/lost" in failed.message


# --- task collection and job ---


@pytest.fixture
def local(seeded_database: Database, fractal_folder: Callable[..., FractalFolder]) -> FractalFolder:
    """The same instance with backend ``local``, so that jobs run without SLURM; projects below the test's folder."""
    folder = fractal_folder(seeded_database, FRACTAL_TASKS_PYTHON_3_11="/usr/bin/env", FRACTAL_RUNNER_BACKEND="local")
    python = migrated_python(folder)
    folder.values["FRACTAL_TASKS_PYTHON_3_11"] = python
    folder.write_new_generation("local")
    folder.set_db("2.17.0")
    folder.update_db_data()
    seeded_database.rows("UPDATE user_oauth SET project_dir = %s WHERE email = %s", str(folder.path / "project"), ANN)
    give_passwords(seeded_database, "2.17.0")
    return folder


def migrated_python(folder: FractalFolder) -> str:
    """Return an interpreter 3.11 with which environments can be made."""
    found = shutil.which("python3.11")
    assert found, "python3.11 is needed"
    return found


def in_use(folder: FractalFolder) -> list[Any]:
    """Return what a probe could leave behind."""
    database = folder.database
    tables = ("projectv2", "datasetv2", "workflowv2", "workflowtaskv2", "taskgroupv2", "taskv2")
    rows = [(table, database.value(f"SELECT count(*) FROM {table}")) for table in tables]
    folders = [str(p) for name in ("jobs", "tasks", "project") for p in (folder.path / name).rglob("*") if p.is_file()]
    return [*rows, folders]


def test_a_package_is_collected_and_run_and_nothing_stays(local: FractalFolder, served: Start) -> None:
    before = in_use(local)
    checks = by_id(all_checks(served(local).session(), {**OPTIONS, "probe_sources": PROBE}))
    assert checks["task_collection"].status == "passed", checks["task_collection"]
    assert checks["job_execution"].status == "passed", checks["job_execution"]
    assert checks["probe_removed"].status == "passed", checks["probe_removed"]
    assert in_use(local) == before
    assert local.database.value("SELECT status FROM jobv2 ORDER BY id DESC LIMIT 1") == "done"


def test_a_healthy_instance_of_before_passes_and_says_what_it_has_not(
    seeded_database: Database, fractal_folder: Callable[..., FractalFolder], served: Start
) -> None:
    """Verification on the day before the upgrade, with a real collection and a real job."""
    python = shutil.which("python3.11")
    assert python, "python3.11 is needed"
    folder = fractal_folder(seeded_database, FRACTAL_TASKS_PYTHON_3_11=python, FRACTAL_RUNNER_BACKEND="local")
    seeded_database.rows(
        "UPDATE user_settings SET project_dir = %s "
        "WHERE id = (SELECT user_settings_id FROM user_oauth WHERE email = %s)",
        str(folder.path / "project"),
        ANN,
    )
    give_passwords(seeded_database, "2.16.6")
    before = in_use(folder)
    options = {**OPTIONS, "version": "2.16.6", "probe_sources": PROBE}
    checks = by_id(all_checks(served(folder, "2.16.6").session(), options))
    assert {name: check.status for name, check in checks.items()} == {
        "api_version": "passed",
        "login_password": "passed",
        "current_user": "passed",
        "profile_information": "skipped",
        "settings": "passed",
        "viewer_paths": "passed",
        "task_collection": "passed",
        "job_execution": "passed",
        "probe_removed": "passed",
        "login_oauth": "skipped",
        "email": "skipped",
    }, checks
    assert checks["profile_information"].message == "fractal-server 2.16.6 knows no profiles"
    assert in_use(folder) == before


def test_a_healthy_instance_of_a_later_release_passes(local: FractalFolder, served: Start) -> None:
    """Users with several project folders, datasets told in another way, a page of settings less."""
    local.set_db("2.18.0")
    done = local.fractalctl("2.18.0", "update-db-data", answers="yes\n" * 5)
    assert done.returncode == 0, done.stdout + done.stderr
    before = in_use(local)
    options = {**OPTIONS, "version": "2.18.0", "probe_sources": PROBE}
    checks = by_id(all_checks(served(local, "2.18.0").session(), options))
    passed = {name for name, check in checks.items() if check.status == "passed"}
    assert passed == {
        *("api_version", "login_password", "current_user", "profile_information", "settings", "viewer_paths"),
        *("task_collection", "job_execution", "probe_removed"),
    }, checks
    assert in_use(local) == before


def test_an_interpreter_that_is_gone_fails_the_collection(local: FractalFolder, served: Start) -> None:
    local.database.rows(
        "UPDATE resource SET tasks_python_config = "
        """jsonb_set(tasks_python_config, '{versions,3.11}', '"/gone/python"')"""
    )
    before = in_use(local)
    checks = by_id(all_checks(served(local).session(), {**OPTIONS, "probe_sources": PROBE}))
    assert checks["task_collection"].status == "failed" and "/gone/python" in checks["task_collection"].message
    assert checks["job_execution"].status == "skipped" and checks["probe_removed"].status == "passed"
    assert in_use(local) == before


def test_a_task_that_fails_fails_the_job_and_nothing_stays(local: FractalFolder, served: Start) -> None:
    session = served(local).session(ANN)
    session.me = session.api.get("/auth/current-user/")
    session.folder = session.me["project_dir"]
    before = in_use(local)
    broken = {**PROBE, "read.py": "raise SystemExit('the disk is full')\n"}
    checks = by_id(probe(session, broken, 120))
    assert checks["job_execution"].status == "failed" and "the disk is full" in checks["job_execution"].message
    assert checks["probe_removed"].status == "passed", checks["probe_removed"]
    assert in_use(local) == before


def test_without_slurm_the_job_fails(migrated: FractalFolder, served: Start, release_python: Any) -> None:
    """The resource is of type slurm_sudo, but this machine knows neither the user nor sbatch."""
    migrated.database.rows(
        "UPDATE resource SET tasks_python_config = "
        "jsonb_set(tasks_python_config, '{versions,3.11}', to_jsonb(%s::text))",
        migrated_python(migrated),
    )
    checks = by_id(all_checks(served(migrated).session(), {**OPTIONS, "probe_sources": PROBE}))
    assert checks["task_collection"].status == "passed", checks["task_collection"]
    assert checks["job_execution"].status == "failed", checks["job_execution"]


def test_what_cannot_be_removed_is_told(local: FractalFolder, served: Start) -> None:
    session = served(local).session(ANN)
    session.me = session.api.get("/auth/current-user/")
    session.folder = session.me["project_dir"]

    class Nobody(Session):
        def user_folders(self) -> Any:
            return LocalFolders("no-such-account")

    session.__class__ = Nobody
    broken = {**PROBE, "read.py": "raise SystemExit('broken')\n"}
    failed = by_id(probe(session, broken, 120))["probe_removed"]
    assert failed.status == "failed" and "The account no-such-account does not exist" in failed.message


# --- OAuth ---


def with_oauth(folder: FractalFolder, endpoint: str, **variables: str) -> None:
    oauth = {
        "OAUTH_CLIENT_NAME": "Mock",
        "OAUTH_CLIENT_ID": "fractal",
        "OAUTH_CLIENT_SECRET": "oauth-canary-1",
        "OAUTH_OIDC_CONFIG_ENDPOINT": endpoint,
        **variables,
    }
    add(folder, **oauth)


def check_oauth(running: Served, **variables: str) -> Check:
    session = running.session()
    session.variables = {**session.variables, **variables}
    return login_oauth(session)


def test_oauth_passes_for_the_configured_client(migrated: FractalFolder, served: Start, provider: str) -> None:
    with_oauth(migrated, provider, OAUTH_REDIRECT_URL="https://fractal.example.org/auth/login/oauth2")
    check = check_oauth(served(migrated))
    assert check.status == "passed", check
    assert "https://fractal.example.org/auth/login/oauth2" in check.message and check.subject == "mock"


def test_oauth_over_plain_http_fails_and_says_why(migrated: FractalFolder, served: Start, provider: str) -> None:
    with_oauth(migrated, provider, OAUTH_REDIRECT_URL="http://fractal.example.org/auth/login/oauth2")
    check = check_oauth(served(migrated))
    assert check.status == "failed" and CSRF_COOKIE in check.message and "HTTPS" in check.message


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"OAUTH_CLIENT_NAME": "renamed"}, "/auth/renamed/authorize/ answers with status 404"),
        ({"OAUTH_CLIENT_ID": "other"}, "the client id sent to the provider is not OAUTH_CLIENT_ID"),
        ({"OAUTH_REDIRECT_URL": "https://other.example.org/"}, "OAUTH_REDIRECT_URL is https://other.example.org/"),
        ({"OAUTH_OIDC_CONFIG_ENDPOINT": "http://127.0.0.1:9/x"}, "discovery is not reachable"),
    ],
)
def test_oauth_fails_when_settings_and_server_disagree(
    migrated: FractalFolder, served: Start, provider: str, other: dict[str, str], said: str
) -> None:
    with_oauth(migrated, provider)
    check = check_oauth(served(migrated), **other)
    assert check.status == "failed" and said in check.message


def test_a_client_lost_in_the_upgrade_fails(migrated: FractalFolder, served: Start) -> None:
    running = served(migrated)
    assert check_oauth(running).status == "skipped"
    with migrated.old_env_file.open("a", encoding="utf-8") as stream:
        stream.write("OAUTH_IDP_CLIENT_ID=fractal\n")
    lost = check_oauth(running)
    assert lost.status == "failed" and "OAUTH_IDP_CLIENT_ID" in lost.message


def test_an_existing_user_logs_in_through_the_provider_before_and_after(
    seeded_database: Database, fractal_folder: Callable[..., FractalFolder], served: Start, provider: str
) -> None:
    """The account of 2.16 is found again in 2.17, which in addition wants its Secure cookie back."""
    old = {
        "OAUTH_MOCK_CLIENT_ID": "fractal",
        "OAUTH_MOCK_CLIENT_SECRET": "oauth-canary-1",
        "OAUTH_MOCK_OIDC_CONFIGURATION_ENDPOINT": provider,
    }
    folder = fractal_folder(seeded_database, FRACTAL_RUNNER_BACKEND="local", **old)
    before = oauth_log_in(served(folder, "2.16.6").url, "mock", "ann-sub")
    assert before.status == 204
    accounts = "SELECT user_id, oauth_name, account_id FROM oauthaccount"
    known = seeded_database.rows(accounts)
    assert known == [(1, "openid", "ann-sub")]
    folder.upgrade("2.17.0")
    with_oauth(folder, provider, OAUTH_CLIENT_NAME="mock")
    url = served(folder, "2.17.0").url
    after = oauth_log_in(url, "mock", "ann-sub")
    assert after.status == 204 and seeded_database.rows(accounts) == known
    token = after.all("set-cookie")[0].split(";")[0].split("=", 1)[1]
    api = Api(url)
    api._token = token
    me = api.get("/auth/current-user/")
    assert me["email"] == ANN and me["profile_id"] is not None
    refused = oauth_log_in(url, "mock", "ann-sub", keep_cookie=False)
    assert (refused.status, refused.json()["detail"]) == (400, "OAUTH_INVALID_STATE")


# --- e-mail ---


def mail_settings(port: int, **changed: str) -> dict[str, str]:
    return {
        "FRACTAL_EMAIL_SMTP_SERVER": "127.0.0.1",
        "FRACTAL_EMAIL_SMTP_PORT": str(port),
        "FRACTAL_EMAIL_SENDER": MAIL_USER,
        "FRACTAL_EMAIL_PASSWORD": MAIL_PASSWORD,
        "FRACTAL_EMAIL_USE_STARTTLS": "true",
        "FRACTAL_EMAIL_USE_LOGIN": "true",
        **changed,
    }


def test_email_log_in_passes_with_the_decrypted_password(mail: int) -> None:
    assert email(mail_settings(mail), asked=True, release=api_of("2.17.0")).status == "passed"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"FRACTAL_EMAIL_PASSWORD": "wrong-canary"}, "refuses the log-in as fractal@example.org (535)"),
        ({"FRACTAL_EMAIL_PASSWORD": "gAAAAABk-canary" + "x" * 90}, "which only an earlier release could read"),
        ({"FRACTAL_EMAIL_USE_STARTTLS": "false"}, "SMTP"),
        ({"FRACTAL_EMAIL_SMTP_PORT": "9"}, "ConnectionRefusedError"),
    ],
)
def test_email_log_in_fails(mail: int, changed: dict[str, str], said: str) -> None:
    check = email(mail_settings(mail, **changed), asked=True, release=api_of("2.17.0"))
    assert check.status == "failed" and said in check.message
    assert "canary" not in check.message


def test_email_is_skipped_when_not_asked_for_or_not_configured(mail: int) -> None:
    assert email(mail_settings(mail), asked=False, release=api_of("2.17.0")).status == "skipped"
    assert email({}, asked=True, release=api_of("2.17.0")).status == "skipped"
