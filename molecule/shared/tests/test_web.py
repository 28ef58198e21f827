"""The web host after an upgrade."""

from __future__ import annotations

import io
import json

from dotenv import dotenv_values
from scenario import Target, curl, hosts_of
from testinfra.host import Host

testinfra_hosts = hosts_of("fractal_web")

FOLDER = "/opt/fractal-web"
ENVIRONMENT = {
    "FRACTAL_SERVER_HOST": "http://server:8000",
    "FRACTAL_RUNNER_BACKEND": "slurm_sudo",
    "FRACTAL_DEFAULT_GROUP_NAME": "All",
    "PORT": "5173",
    "ORIGIN": "http://localhost:5173",
    "PUBLIC_OAUTH_CLIENT_NAME": "mock",
    "PUBLIC_UPDATE_JOBS_INTERVAL": "3000",
    "AUTH_COOKIE_SECURE": "true",
    "LOG_LEVEL_CONSOLE": "info",
}


def test_unit_is_enabled_and_active(host: Host) -> None:
    unit = host.service("fractal-web")
    assert unit.is_enabled and unit.is_running and not unit.is_masked


def test_web_and_its_server_are_alive_at_their_releases(host: Host, target: Target) -> None:
    assert curl(host, "http://localhost:5173/alive") == {
        "alive": True,
        "version": target.web,
        "fractal_server_alive": True,
        "fractal_server_version": target.version,
    }


def test_log_in_page_has_the_button_of_the_provider(host: Host) -> None:
    page = host.check_output("curl -sf http://localhost:5173/auth/login")
    assert "Log in with institutional account" in page and '"mock"' in page


def test_the_button_leads_to_the_provider(host: Host) -> None:
    """The name in the web's address has to be the client's name on the server."""
    answer = curl(host, "http://localhost:5173/api/auth/mock/authorize")
    assert answer["authorization_url"].startswith("http://127.0.0.1:9400/oauth2/authorize")


def test_folder_holds_the_new_release_and_nothing_of_the_old(host: Host, target: Target) -> None:
    assert json.loads(host.file(f"{FOLDER}/package.json").content_string)["version"] == target.web
    chunks = host.check_output(f"find {FOLDER}/build/client/_app/immutable -type f -printf '%f '")
    assert chunks.split() == [f"start.{target.web}.js"]
    assert host.file(f"{FOLDER}/LICENSE").is_file
    assert host.file(f"{FOLDER}/node_modules").is_directory


def test_environment_file_is_migrated(host: Host) -> None:
    file = host.file(f"{FOLDER}/.env")
    assert dict(dotenv_values(stream=io.StringIO(file.content_string))) == ENVIRONMENT
    assert (file.user, file.group, file.mode) == ("fractal", "fractal", 0o600)


def test_release_has_the_owner_of_the_folder_in_which_it_lies(host: Host) -> None:
    """Root unpacks nothing into a folder of another account with its own rights; others may read, not write."""
    for path in (f"{FOLDER}/build", f"{FOLDER}/build/index.js"):
        file = host.file(path)
        assert (file.user, oct(file.mode & 0o022)) == (host.file("/opt/fractal-web-1.20.1").user, "0o0"), path
