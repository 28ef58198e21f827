"""A release is judged by what it is: its pages, its accounts, its OAuth clients and its mail password are data."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.http_client import Answer, ApiError
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.discovery import ServerInstance
from ansible_collections.fractal_ops.platform.plugins.module_utils._releases import api as apis
from ansible_collections.fractal_ops.platform.plugins.module_utils._releases.api import APIS, api_of
from ansible_collections.fractal_ops.platform.plugins.module_utils._releases.path import version_key
from ansible_collections.fractal_ops.platform.plugins.module_utils._verify import probe as probing
from ansible_collections.fractal_ops.platform.plugins.module_utils._verify.probe_package import SOURCES
from ansible_collections.fractal_ops.platform.plugins.module_utils._verify.server import _only_client, all_checks
from ansible_collections.fractal_ops.platform.plugins.module_utils._verify.session import Session

TOKEN = "gAAAAABo" + "x" * 100
OPTIONS: dict[str, Any] = {
    "version": None,
    "email": "ann@example.org",
    "password": "pw",
    "probe_sources": None,
    "probe_timeout": 1,
    "check_email": True,
}
ANN = {"email": "ann@example.org", "is_active": True, "is_verified": True, "is_superuser": True}
OLD_PAGES: dict[str, Any] = {
    "/api/alive/": {"alive": True, "version": "2.16.6"},
    "/api/settings/": {},
    "/auth/current-user/": ANN,
    "/auth/current-user/settings/": {"project_dir": "/data/ann", "slurm_user": "ann", "ssh_username": "far"},
    "/auth/current-user/allowed-viewer-paths/": ["/data/ann"],
}
NEW_PAGES: dict[str, Any] = {
    "/api/alive/": {"alive": True, "version": "2.17.1"},
    **{f"/api/settings/{page}/": {} for page in ("app", "database", "email", "data", "oauth")},
    "/auth/current-user/": {**ANN, "profile_id": 1, "project_dir": "/data/ann"},
    "/auth/current-user/profile-info/": {
        **{"has_profile": True, "profile_name": "p", "resource_name": "r", "username": "ann"}
    },
    "/auth/current-user/allowed-viewer-paths/": ["/data/ann"],
}
OLD_VARIABLES = {"FRACTAL_RUNNER_BACKEND": "slurm", "FRACTAL_VIEWER_AUTHORIZATION_SCHEME": "viewer-paths"}
NEW_VARIABLES = {"FRACTAL_RUNNER_BACKEND": "slurm_sudo", "FRACTAL_DATA_AUTH_SCHEME": "viewer-paths"}


class Pages:
    """An API with these pages and no others."""

    url = "http://127.0.0.1:8000"

    def __init__(self, pages: dict[str, Any]) -> None:
        self.pages = pages
        self.asked: list[str] = []

    def log_in(self, _address: str, _password: str) -> None:
        """Take anybody."""

    def get(self, path: str) -> Any:
        self.asked.append(path)
        if path not in self.pages:
            raise ApiError(f"GET {path} answered 404", 404, "Not Found")
        return self.pages[path]

    def answer(self, _method: str, path: str) -> Answer:
        if path not in self.pages:
            return Answer(404, (), b"")
        return Answer(200, (), json.dumps(self.pages[path]).encode())


def session(version: str, pages: dict[str, Any], variables: dict[str, str], tmp_path: Path | None = None) -> Session:
    about: dict[str, Any] = {one.name: "" for one in fields(ServerInstance)}
    env_file = str(tmp_path / ".fractal_server.env") if tmp_path else "/nowhere/.fractal_server.env"
    instance = ServerInstance(**{**about, "version": version, "env_file": env_file, "user": "fractal"})
    return Session(instance, variables, Pages(pages))  # type: ignore[arg-type]


def checks(one: Session, **options: Any) -> dict[str, tuple[str, str]]:
    return {check.id: (check.status, check.message) for check in all_checks(one, {**OPTIONS, **options})}


def test_a_healthy_instance_of_before_passes_and_says_what_it_has_not() -> None:
    one = session("2.16.6", OLD_PAGES, OLD_VARIABLES)
    found = checks(one)
    assert not [(name, said) for name, said in found.items() if said[0] == "failed"]
    passed = {name for name, (status, _said) in found.items() if status == "passed"}
    assert passed == {"api_version", "login_password", "current_user", "settings", "viewer_paths"}
    assert found["profile_information"] == ("skipped", "fractal-server 2.16.6 knows no profiles")
    assert found["current_user"][1] == "active, verified"
    assert found["viewer_paths"][1] == "scheme viewer-paths: /data/ann"
    assert (one.folder, one.profile["username"]) == ("/data/ann", "ann")


@pytest.mark.parametrize(("backend", "username"), [("slurm", "ann"), ("slurm_ssh", "far"), ("local", None)])
def test_jobs_of_before_run_as_the_settings_say(backend: str, username: str | None) -> None:
    one = session("2.16.6", OLD_PAGES, {**OLD_VARIABLES, "FRACTAL_RUNNER_BACKEND": backend})
    checks(one)
    assert one.profile["username"] == username


def test_a_healthy_instance_of_today_passes() -> None:
    one = session("2.17.1", NEW_PAGES, NEW_VARIABLES)
    found = checks(one)
    passed = {name for name, (status, _said) in found.items() if status == "passed"}
    assert passed == {
        *("api_version", "login_password", "current_user", "profile_information", "settings", "viewer_paths")
    }
    assert one.folder == "/data/ann"


@pytest.mark.parametrize(
    ("version", "pages", "variables", "name"),
    [
        ("2.17.0", {**OLD_PAGES, "/api/alive/": {"version": "2.17.0"}}, NEW_VARIABLES, "settings"),
        ("2.17.0", {**OLD_PAGES, "/api/alive/": {"version": "2.17.0"}}, NEW_VARIABLES, "profile_information"),
        ("2.17.0", {**NEW_PAGES, "/auth/current-user/": ANN, "/api/alive/": {"version": "2.17.0"}}, {}, "current_user"),
        ("2.16.6", {**NEW_PAGES, "/api/alive/": {"version": "2.16.6"}}, OLD_VARIABLES, "settings"),
        (
            "2.16.6",
            {**OLD_PAGES, "/auth/current-user/allowed-viewer-paths/": []},
            OLD_VARIABLES,
            "viewer_paths",
        ),
    ],
)
def test_each_release_is_held_to_its_own(
    version: str, pages: dict[str, Any], variables: dict[str, str], name: str
) -> None:
    assert checks(session(version, pages, variables))[name][0] == "failed"


def test_a_release_that_differs_is_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    row = apis.ReleaseApi(
        "3.1.0",
        settings_pages=("/api/settings/app/",),
        folder_page="/auth/current-user/",
        folder_field="project_dirs",
        dataset={"project_dir": "{folder}", "zarr_subfolder": "{name}"},
        profile_page="/auth/current-user/profile-info/",
    )
    monkeypatch.setattr(apis, "APIS", (*APIS, row))
    pages = {
        **{name: page for name, page in NEW_PAGES.items() if "data/" not in name},
        "/auth/current-user/": {**ANN, "profile_id": 1, "project_dirs": ["/data/ann", "/other"]},
        "/api/alive/": {"version": "3.2.0"},
    }
    one = session("3.2.0", pages, {"FRACTAL_RUNNER_BACKEND": "slurm_sudo"})
    found = checks(one)
    assert not [name for name, (status, _said) in found.items() if status == "failed"]
    assert one.folder == "/data/ann" and found["viewer_paths"][1].startswith("scheme of the release: /data/ann")
    assert {name: text.format(folder="/f", name="n") for name, text in one.release.dataset.items()} == {
        "project_dir": "/f",
        "zarr_subfolder": "n",
    }


def test_the_rows_are_in_order_and_an_unreadable_version_is_taken_for_the_newest() -> None:
    assert [row.release for row in APIS] == sorted((row.release for row in APIS), key=version_key)
    assert api_of("2.16.6") is APIS[0] and api_of("1.0.0") is APIS[0]
    assert api_of("2.17.0") is api_of("2.17.2") is APIS[1]
    assert api_of("2.18.0") is api_of("2.20.5") is APIS[2]
    assert api_of("2.21.0") is api_of("2.26.0") is APIS[-1]
    assert api_of("2.17.0rc1") is api_of(None) is APIS[-1]


def test_nothing_is_run_where_it_could_not_be_removed_again() -> None:
    """On a cluster over SSH the review of resources tells the way; before there are any, nobody does."""
    one = session("2.16.6", OLD_PAGES, {**OLD_VARIABLES, "FRACTAL_RUNNER_BACKEND": "slurm_ssh"})
    found = checks(one, probe_sources=dict.fromkeys(SOURCES, ""))
    for name in ("task_collection", "job_execution", "probe_removed"):
        assert found[name][0] == "skipped" and "could not be removed again" in found[name][1]
    assert not [path for path in one.api.asked if "task" in path]  # type: ignore[attr-defined]


def test_without_a_project_folder_nothing_is_run() -> None:
    pages = {**OLD_PAGES, "/auth/current-user/settings/": {"project_dir": None, "slurm_user": "ann"}}
    one = session("2.16.6", pages, OLD_VARIABLES)
    checks(one)
    found = probing.probe(one, dict.fromkeys(SOURCES, ""), 1)
    assert {check.message for check in found} == {"the account has no project folder"}


@pytest.mark.parametrize(("variables", "status"), [({"FRACTAL_DISABLE_BASIC_AUTH": "true"}, "skipped"), ({}, "failed")])
def test_where_nobody_logs_in_with_a_password_that_is_said(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], status: str
) -> None:
    def refuse(_self: Pages, _address: str, _password: str) -> None:
        raise ApiError("POST /auth/token/login/ answered 404", 404, "Not Found")

    monkeypatch.setattr(Pages, "log_in", refuse)
    found = checks(session("2.17.1", NEW_PAGES, variables))
    assert found["login_password"][0] == status and found["current_user"][0] == "skipped"
    assert ("nobody logs in with a password" in found["current_user"][1]) == (status == "skipped")


# --- the mail server's password ---


@pytest.mark.parametrize(("version", "status"), [("2.16.6", "skipped"), ("2.17.0", "failed")])
def test_an_encrypted_mail_password_is_as_it_should_be_before_and_wrong_after(version: str, status: str) -> None:
    mail = {"FRACTAL_EMAIL_SMTP_SERVER": "127.0.0.1", "FRACTAL_EMAIL_PASSWORD": TOKEN, "FRACTAL_EMAIL_SMTP_PORT": "9"}
    pages = OLD_PAGES if version == "2.16.6" else NEW_PAGES
    found = checks(session(version, pages, mail))["email"]
    assert found[0] == status and "FRACTAL_EMAIL_PASSWORD is encrypted" in found[1] and TOKEN not in found[1]


# --- OAuth ---


def client(name: str) -> dict[str, str]:
    return {f"OAUTH_{name}_CLIENT_ID": f"id-{name}", f"OAUTH_{name}_CLIENT_SECRET": "s"}


def way(client_id: str) -> dict[str, str]:
    return {"authorization_url": f"https://idp.example.org/auth?client_id={client_id}&redirect_uri=https://f/cb"}


def test_each_client_of_before_is_tried() -> None:
    variables = {**client("GITHUB"), **client("my-idp")}
    pages = {
        **OLD_PAGES,
        "/auth/github/authorize/": way("id-GITHUB"),
        "/auth/my-idp/authorize/": way("id-my-idp"),
    }
    status, said = checks(session("2.16.6", pages, variables))["login_oauth"]
    assert status == "passed" and said.count("the way to idp.example.org is open") == 2
    wrong = {**pages, "/auth/my-idp/authorize/": way("other")}
    assert checks(session("2.16.6", wrong, variables))["login_oauth"][0] == "failed"
    missing = {name: page for name, page in pages.items() if "github" not in name}
    status, said = checks(session("2.16.6", missing, variables))["login_oauth"]
    assert (status, said) == ("failed", "/auth/github/authorize/ answers with status 404, not with a URL")
    assert checks(session("2.16.6", OLD_PAGES, {}))["login_oauth"] == ("skipped", "no OAuth client is configured")


@pytest.mark.parametrize("where", ["file", "copy"])
def test_the_clients_of_before_mean_nothing_after(tmp_path: Path, where: str) -> None:
    one = session("2.17.1", NEW_PAGES, client("IDP") if where == "file" else {}, tmp_path)
    if where == "copy":
        (tmp_path / ".fractal_server.env.old").write_text("OAUTH_IDP_CLIENT_ID=x\nOAUTH_CLIENT_NAME=y\n")
    status, said = checks(one)["login_oauth"]
    assert status == "failed" and said.startswith("OAUTH_IDP_CLIENT_ID was configured for an earlier release")


def test_fractal_web_is_told_the_client_if_there_is_one() -> None:
    assert _only_client({}) == "" and _only_client({"OAUTH_CLIENT_NAME": "Mine"}) == "mine"
    assert _only_client(client("GITHUB")) == "github"
    assert _only_client({**client("GITHUB"), **client("idp")}) is None
