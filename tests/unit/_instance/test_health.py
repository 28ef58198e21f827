"""Health: what ends the wait, and what is said when a service does not come up."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.systemd import Unit, parse_unit
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance import health as _health
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance import journal as _journal


@contextmanager
def service(*answers: dict[str, Any] | None) -> Iterator[str]:
    """A service that gives each answer once and the last for ever; None is a 502."""
    left = list(answers)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = left.pop(0) if len(left) > 1 else left[0]
            body = b"not yet" if answer is None else json.dumps(answer).encode()
            self.send_response(502 if answer is None else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def unit(state: str = "active", restarts: int = 0, folder: str = "/nowhere", environment: str = "") -> Unit:
    return parse_unit(
        "fractal-server.service",
        f"LoadState=loaded\nActiveState={state}\nWorkingDirectory={folder}\nEnvironment={environment}\nNRestarts={restarts}\n"
        "Result=exit-code\nExecStart={ path=/v/bin/fractalctl ; argv[]=/v/bin/fractalctl start --port 8123 ; }\n",
    )


@pytest.fixture
def systemd(monkeypatch: pytest.MonkeyPatch) -> list[Unit]:
    """No systemd here: what it says is given unit by unit, the last one for ever."""
    said = [unit()]
    monkeypatch.setattr(_health, "read_unit", lambda _: said.pop(0) if len(said) > 1 else said[0])
    monkeypatch.setattr(_health, "LOOK_AT_UNIT", 0)
    return said


def test_waits_until_the_service_answers(systemd: list[Unit]) -> None:
    with service(None, None, {"alive": True, "version": "2.17.0"}) as url:
        health = _health.wait_until_healthy("fractal-server", url=url, version="2.17.0")
    assert (health.version, health.url) == ("2.17.0", url)


def test_another_version_ends_the_wait_at_once(systemd: list[Unit]) -> None:
    with (
        service({"alive": True, "version": "2.16.6"}) as url,
        pytest.raises(FractalError, match=r"2\.16\.6, not as 2\.17\.0"),
    ):
        _health.wait_until_healthy("fractal-server", url=url, version="2.17.0", timeout=3600)


def test_any_version_is_right_when_none_is_asked_for(systemd: list[Unit]) -> None:
    with service({"alive": True, "version": "2.16.6"}) as url:
        assert _health.wait_until_healthy("fractal-server", url=url).version == "2.16.6"


@pytest.mark.parametrize("later", [unit("failed"), unit("inactive"), unit("activating", restarts=3)])
def test_a_unit_that_systemd_gave_up_ends_the_wait_at_once(systemd: list[Unit], later: Unit) -> None:
    systemd.append(later)
    with pytest.raises(FractalError, match="does not stay up") as caught:
        _health.wait_until_healthy("fractal-server", url="http://127.0.0.1:9", timeout=3600)
    assert f"{later.active_state}, result exit-code, {later.restarts} restarts" in str(caught.value)


@pytest.mark.parametrize("timeout", [0.2, 0.20371], ids=["given", "what a start has left of it"])
def test_the_deadline_tells_the_last_problem(systemd: list[Unit], timeout: float) -> None:
    with service(None) as url, pytest.raises(FractalError, match=r"status 502.*waited 0\.2 s"):
        _health.wait_until_healthy("fractal-server", url=url, timeout=timeout)


def test_web_is_healthy_only_with_its_server(systemd: list[Unit]) -> None:
    web = {"alive": True, "version": "1.21.1", "fractal_server_alive": False, "fractal_server_version": None}
    old = {**web, "fractal_server_alive": True, "fractal_server_version": "2.16.6"}
    with service(web, old, {**old, "fractal_server_version": "2.17.0"}) as url:
        health = _health.wait_until_healthy("fractal-web", "web", url, "1.21.1", "2.17.0")
    assert health.server_version == "2.17.0"
    with service(web) as url, pytest.raises(FractalError, match="does not reach its fractal-server"):
        _health.wait_until_healthy("fractal-web", "web", url, timeout=0.2)


def test_the_url_is_read_from_the_unit() -> None:
    assert _health.service_url(unit(), "server") == "http://127.0.0.1:8123"
    assert _health.service_url(unit(environment="PORT=5173"), "web") == "http://127.0.0.1:5173"
    assert _health.service_url(unit(environment="PORT=abc"), "web") == ""


def test_colours_and_what_lets_log_in_are_not_shown() -> None:
    text = (
        "\x1b[32mINFO\x1b[0m: GET /auth/mock/callback?code=s3cret&state=s3cret HTTP/1.1\n"
        "\x1b]8;;http://x\x07link\x1b]8;;\x07 /auth?x=1&access_token=s3cret' postcode=9"
    )
    assert _journal.mask(text, ()) == (
        "INFO: GET /auth/mock/callback?code=********&state=******** HTTP/1.1\n"
        "link /auth?x=1&access_token=********' postcode=9"
    )


def test_secrets_of_unit_and_files_are_masked(tmp_path: Path) -> None:
    settings = "export JWT_SECRET_KEY='jwt-value'  # note\nnot a line\nSMTP_PASS=abc\nPORT=80\n"
    (tmp_path / ".fractal_server.env").write_text(settings)
    secrets = _journal.unit_secrets(unit(folder=str(tmp_path), environment="POSTGRES_PASSWORD=pg-value HOME=/x"))
    text = _journal.mask(
        "jwt-value pg-value abc PORT 80\npostgresql://fractal:other@db/x\n"
        "[type=missing, input_value={'JWT_SECRET_KEY': 'jwt-va...'}, input_type=dict]",
        secrets,
    )
    assert text == (
        "******** ******** ******** PORT 80\npostgresql://********@db/x\n"
        "[type=missing, input_value=********, input_type=dict]"
    )
