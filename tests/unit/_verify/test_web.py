"""The checks of fractal-web. Its releases cannot be had from a package index, so a few pages stand in for it here."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import fields
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.verification import Check
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.web import WebInstance
from ansible_collections.fractal_ops.platform.plugins.module_utils._verify.web import (
    WebSession,
    all_checks,
    viewer_urls,
    web_alive,
    web_login_page,
    web_release,
)

ALIVE = {"alive": True, "version": "1.21.1", "fractal_server_alive": True, "fractal_server_version": "2.17.0"}
FORM = '<input name="username"><input name="password">'
BUTTON = '<a href="/api/auth/mock/authorize">Login with mock</a>'
PAGES: dict[str, tuple[int, Any]] = {
    "/alive": (200, ALIVE),
    "/api/alive/": (200, {"alive": True, "version": "2.17.0"}),
    "/auth/login": (200, FORM + BUTTON),
    "/api/auth/mock/authorize": (200, {"authorization_url": "https://idp/authorize"}),
    "/data": (404, "no such file"),
    "/broken": (502, "bad gateway"),
}
SERVER = {"version": "2.17.0", "oauth_client": "mock", "runner_backend": "slurm_sudo", "default_group_name": "All"}


@pytest.fixture
def pages() -> Iterator[dict[str, Any]]:
    """A web server; ``pages["url"]`` is its address, every other key a page that a test may change."""
    shown: dict[str, Any] = dict(PAGES)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, data = shown.get(self.path, (404, "not found"))
            body = (data if isinstance(data, str) else json.dumps(data)).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    shown["url"] = f"http://127.0.0.1:{server.server_address[1]}"
    yield shown
    server.shutdown()
    server.server_close()


def session(pages: dict[str, Any], server: dict[str, str] | None = None, **variables: str) -> WebSession:
    about: dict[str, Any] = {field.name: "" for field in fields(WebInstance)}
    about.update(service="fractal-web.service", version="1.21.1", url=pages["url"], release_directory="/opt/web")
    own = {
        "FRACTAL_SERVER_HOST": pages["url"],
        "FRACTAL_RUNNER_BACKEND": "slurm_sudo",
        "FRACTAL_DEFAULT_GROUP_NAME": "All",
        "PUBLIC_OAUTH_CLIENT_NAME": "mock",
        **variables,
    }
    return WebSession(WebInstance(**about), own, {**SERVER, **(server or {})}, "1.21.1", True)


def failed(check: Check, said: str) -> bool:
    assert check.status == "failed" and said in check.message and check.fix, check
    return True


def test_all_checks_pass_on_a_good_host(pages: dict[str, Any]) -> None:
    web = session(pages, PUBLIC_FRACTAL_DATA_URL=pages["url"] + "/data")
    checks = [check(web) for check in (web_alive, web_release, web_login_page, viewer_urls)]
    assert [check.status for check in checks] == ["passed"] * 4


@pytest.mark.parametrize(
    ("page", "answer", "said"),
    [
        ("/alive", (500, "boom"), "answers with status 500"),
        ("/alive", (200, {**ALIVE, "fractal_server_alive": False, "fractal_server_version": None}), "does not reach"),
        ("/api/alive/", (502, "bad gateway"), "does not reach"),
        ("/api/alive/", (200, {"alive": True, "version": "2.16.6"}), "fractal-server 2.16.6, 2.17.0"),
    ],
)
def test_alive_fails_unless_both_ways_are_open(pages: dict[str, Any], page: str, answer: Any, said: str) -> None:
    pages[page] = answer
    assert failed(web_alive(session(pages)), said)


def test_alive_fails_for_the_server_of_another_instance(pages: dict[str, Any]) -> None:
    assert failed(web_alive(session(pages, {"version": "2.17.2"})), "is fractal-server 2.17.0, not 2.17.2")


def test_a_web_that_is_down_fails_every_check_and_stops_none(pages: dict[str, Any]) -> None:
    web = session({**pages, "url": "http://127.0.0.1:9"})
    *three, viewer = all_checks(web)
    assert [check.id for check in three] == ["web_alive", "web_release", "web_login_page"]
    assert all(failed(check, "does not answer") for check in three)
    assert viewer.status == "skipped"


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"FRACTAL_RUNNER_BACKEND": "slurm"}, "FRACTAL_RUNNER_BACKEND is slurm here and slurm_sudo on the server"),
        ({"FRACTAL_DEFAULT_GROUP_NAME": ""}, "FRACTAL_DEFAULT_GROUP_NAME is not set here and All on the server"),
    ],
)
def test_settings_must_agree_with_the_server(pages: dict[str, Any], variables: dict[str, str], said: str) -> None:
    assert failed(web_release(session(pages, **variables)), said)


def test_the_old_release_still_running_fails(pages: dict[str, Any]) -> None:
    pages["/alive"] = (200, {**ALIVE, "version": "1.20.1"})
    assert failed(web_release(session(pages)), "it runs 1.20.1")


@pytest.mark.parametrize(
    ("page", "answer", "said"),
    [
        ("/auth/login", (404, "gone"), "status 404"),
        ("/auth/login", (200, FORM), "does not appear"),
        ("/api/auth/mock/authorize", (404, {"detail": "Not Found"}), "leads to status 404"),
        ("/api/auth/mock/authorize", (200, {}), "not to the provider"),
    ],
)
def test_the_log_in_page_must_lead_to_the_provider(pages: dict[str, Any], page: str, answer: Any, said: str) -> None:
    pages[page] = answer
    assert failed(web_login_page(session(pages)), said)


def test_the_clients_name_must_be_the_servers(pages: dict[str, Any]) -> None:
    assert failed(
        web_login_page(session(pages, PUBLIC_OAUTH_CLIENT_NAME="Mock")), "it is Mock, but the server's client is mock"
    )
    assert failed(web_login_page(session(pages, PUBLIC_OAUTH_CLIENT_NAME="")), "it is not set, but")
    pages["/auth/login"] = (200, FORM)
    without = session(pages, {"oauth_client": ""}, PUBLIC_OAUTH_CLIENT_NAME="")
    assert web_login_page(without).status == "passed"


def test_viewer_addresses_must_answer(pages: dict[str, Any]) -> None:
    assert viewer_urls(session(pages)).status == "skipped"
    broken = session(pages, PUBLIC_FRACTAL_VIZARR_VIEWER_URL=pages["url"] + "/broken")
    assert failed(viewer_urls(broken), "/broken answers with status 502")
    down = session(pages, PUBLIC_FRACTAL_DATA_URL="http://127.0.0.1:9/data")
    assert failed(viewer_urls(down), "PUBLIC_FRACTAL_DATA_URL: http://127.0.0.1:9/data does not answer")
