"""Sockets of processes, by a made-up /proc and by the real one; and which of them is Fractal's."""

from __future__ import annotations

import http.server
import json
import os
import socket
import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.http_client import is_loopback, request
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance import alive
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.address import Address
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.alive import Alive, ask, find_url
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.sockets import (
    command_of,
    listening,
    processes,
)


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers as fractal-server."""

    def do_GET(self) -> None:
        body = json.dumps({"alive": True, "version": "2.16.6"}).encode()
        self.send_response(200 if self.path == "/api/alive/" else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self) -> str:
        return "socket"

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def unix_server(tmp_path: Path) -> Iterator[str]:
    path = str(tmp_path / "f.sock")
    server = socketserver.ThreadingUnixStreamServer(path, Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield path
    finally:
        server.shutdown()
        server.server_close()


def test_the_sockets_of_this_process_are_seen(unix_server: str) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as four,
        socket.create_server(("::1", 0), family=socket.AF_INET6) as six,
    ):
        with socket.create_connection(four.getsockname()):
            found = listening([os.getpid()])
        assert Address("127.0.0.1", four.getsockname()[1]) in found
        assert Address("::1", six.getsockname()[1]) in found
        assert Address(path=unix_server) in found
        assert len([one for one in found if one.port == four.getsockname()[1]]) == 1, "a connection is no address"
    assert Address("127.0.0.1", four.getsockname()[1] if four.fileno() >= 0 else 0) not in listening([os.getpid()])


def test_processes_of_a_control_group_and_those_below(tmp_path: Path) -> None:
    for folder, pids in (("system.slice/f.service", "12\n13\n"), ("system.slice/f.service/payload", "14\n")):
        (tmp_path / "systemd" / folder).mkdir(parents=True)
        (tmp_path / "systemd" / folder / "cgroup.procs").write_text(pids)
    assert processes("/system.slice/f.service", str(tmp_path)) == [12, 13, 14]
    assert processes("/system.slice/other.service", str(tmp_path)) == []
    assert processes("", str(tmp_path)) == [], "a unit that does not run has none, not those of the whole host"
    assert processes("/", str(tmp_path)) == []


def test_a_process_that_has_ended_has_nothing(tmp_path: Path) -> None:
    assert listening([4], str(tmp_path)) == []
    assert command_of(4, str(tmp_path)) == []
    assert command_of(os.getpid())[0]


def test_a_unix_socket_is_asked(unix_server: str) -> None:
    url = Address(path=unix_server).urls[0]
    assert ask(url, "server").version == "2.16.6"
    assert request(url + "/other").status == 404
    with pytest.raises(FractalError, match="does not answer"):
        request(url + "x/api/alive/")


def test_only_loopback_by_number_needs_no_certificate() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.1.2.3", "::1")))
    assert not any(map(is_loopback, ("localhost", "10.0.0.1", "", "fractal.example.org")))


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> dict[str, Alive]:
    said: dict[str, Alive] = {}
    monkeypatch.setattr(alive, "ask", lambda url, *_, **__: said.get(url, Alive(problem="refused")))
    return said


FOUND = [Address("127.0.0.1", 9100), Address("127.0.0.1", 8010), Address(path="/run/control.sock")]


def test_of_several_sockets_the_one_that_answers_as_fractal_is_right(answers: dict[str, Alive]) -> None:
    answers["http://127.0.0.1:8010"] = Alive({"version": "2.16.6"})
    assert find_url("server", FOUND, [Address("127.0.0.1", 8000)]) == "http://127.0.0.1:8010"


def test_what_the_command_line_says_comes_first(answers: dict[str, Alive]) -> None:
    answers |= {url: Alive({"version": "2.16.6"}) for one in FOUND for url in one.urls}
    assert find_url("server", FOUND, [Address("127.0.0.1", 8010)]) == "http://127.0.0.1:8010"


def test_a_single_socket_needs_no_question(answers: dict[str, Alive]) -> None:
    assert find_url("server", FOUND[1:2], [Address("127.0.0.1", 8000)]) == "http://127.0.0.1:8010"


def test_an_unknown_program_may_speak_tls(answers: dict[str, Alive]) -> None:
    answers["https://127.0.0.1:8010"] = Alive({"version": "2.16.6"})
    assert find_url("server", FOUND[1:2], []) == "https://127.0.0.1:8010"


def test_while_it_does_not_run_the_command_line_tells(answers: dict[str, Alive]) -> None:
    assert find_url("server", [], [Address("0.0.0.0", 8443, tls=True)]) == "https://127.0.0.1:8443"
    assert find_url("server", [], []) == ""
    assert "not known" in ask("", "server").problem
