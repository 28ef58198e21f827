"""The HTTP client, against a server of the standard library."""

from __future__ import annotations

import contextlib
import email
import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Callable, ClassVar
from urllib.parse import parse_qs

import pytest
from ansible_collections.fractal_ops.platform.plugins.module_utils._core import http_client
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.http_client import (
    Api,
    ApiError,
    multipart,
    request,
)

PASSWORD = "pw-canary-1"


class Fractal(BaseHTTPRequestHandler):
    """Answers as fractal-server would, as far as the client can tell."""

    tokens = 0
    seen: ClassVar[list[tuple[str, str, bytes]]] = []

    def do_GET(self) -> None:
        if self.path == "/login":
            self.answer(302, {}, {"Location": "/elsewhere", "Set-Cookie": "a=1; Secure"})
        elif self.path == "/text":
            self.answer(502, "<html>bad gateway</html>")
        elif self.headers.get("Authorization") != f"Bearer token-{Fractal.tokens}":
            self.answer(401, {"detail": "Unauthorized"})
        else:
            self.answer(200, {"path": self.path})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        Fractal.seen.append((self.path, self.headers.get("Content-Type", ""), body))
        if self.path == "/auth/token/login/":
            if parse_qs(body.decode())["password"] != [PASSWORD]:
                self.answer(400, {"detail": "LOGIN_BAD_CREDENTIALS"})
            else:
                Fractal.tokens += 1
                self.answer(200, {"access_token": f"token-{Fractal.tokens}"})
        elif self.path == "/echo/":
            self.answer(422, {"detail": [{"msg": "wrong", "input": PASSWORD + self.headers["Authorization"]}]})
        else:
            self.answer(201, {"got": body.decode("latin-1")})

    def answer(self, status: int, data: Any, headers: dict[str, str] | None = None) -> None:
        body = data.encode() if isinstance(data, str) else json.dumps(data).encode()
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Fractal)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def api(url: str) -> Api:
    client = Api(url + "/")
    client.log_in("ann@example.org", PASSWORD)
    return client


def test_a_query_goes_into_the_address(api: Api) -> None:
    assert api.get("/x/", task_id=3, name="a b") == {"path": "/x/?task_id=3&name=a+b"}


def test_a_token_that_ran_out_is_replaced_once(api: Api) -> None:
    Fractal.tokens += 1  # the server forgets the token
    assert api.get("/x/") == {"path": "/x/"}


def test_a_refused_log_in_has_the_servers_word_and_no_password(url: str) -> None:
    with pytest.raises(ApiError) as caught:
        Api(url).log_in("ann@example.org", "wrong-canary")
    assert (caught.value.status, caught.value.detail) == (400, "LOGIN_BAD_CREDENTIALS")
    assert "canary" not in str(caught.value)


def test_what_the_server_quotes_back_is_masked(api: Api) -> None:
    with pytest.raises(ApiError) as caught:
        api.post("/echo/", {})
    assert "canary" not in str(caught.value) and "token-" not in str(caught.value) and "wrong" in str(caught.value)


def test_an_answer_that_is_no_json_is_told_as_text(api: Api) -> None:
    with pytest.raises(ApiError, match="answered 502: <html>bad gateway"):
        api.get("/text")


@pytest.fixture
def sick() -> Iterator[Callable[[bytes, bytes], str]]:
    """A service that begins an answer and then sends the same again and again, for ever."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        over = threading.Event()

        def serve(begin: bytes, again: bytes) -> None:
            client = listening.accept()[0]
            with client, contextlib.suppress(OSError):
                client.sendall(begin)
                while not over.wait(0.01 if len(again) < 100 else 0):
                    client.sendall(again)

        def start(begin: bytes, again: bytes) -> str:
            threading.Thread(target=serve, args=(begin, again), daemon=True).start()
            return f"http://127.0.0.1:{listening.getsockname()[1]}/"

        yield start
        over.set()


@pytest.mark.parametrize("begin", [b"", b"HTTP/1.1 200 OK\r\n%s", b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n%s"])
@pytest.mark.parametrize("then", [b"X: ", b"\r\n"])
def test_an_answer_in_drops_ends(sick: Callable[[bytes, bytes], str], begin: bytes, then: bytes) -> None:
    with pytest.raises(FractalError, match="does not answer"):
        request(sick(begin.replace(b"%s", then), b"x"), timeout=0.3)


def test_an_answer_without_an_end_ends(sick: Callable[[bytes, bytes], str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_client, "_LARGEST", 1 << 20)
    with pytest.raises(FractalError, match="more than 1048576 bytes"):
        request(sick(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 65536), timeout=60)


@pytest.mark.parametrize("body", [b"[" * 100_000, b"1" * 5000, b"{"])
def test_what_python_cannot_read_is_no_json(body: bytes) -> None:
    assert http_client.Answer(200, (), body).json() is None


def test_nobody_answers() -> None:
    with pytest.raises(FractalError, match=r"http://127\.0\.0\.1:9/x does not answer"):
        request("http://127.0.0.1:9/x?token=canary")


def test_redirects_are_shown_not_followed(url: str) -> None:
    answer = request(url + "/login")
    assert answer.status == 302 and answer.all("Location") == ["/elsewhere"]
    assert answer.all("set-cookie") == ["a=1; Secure"]


def test_proxies_of_the_environment_are_not_used(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert request(url + "/login").status == 302


def test_an_upload_is_multipart(api: Api) -> None:
    api.upload("/collect/", "probe.whl", b"PK\x03\x04\r\n--\xff", {"python_version": "3.11"})
    path, kind, body = Fractal.seen[-1]
    message = email.message_from_bytes(f"Content-Type: {kind}\r\n\r\n".encode() + body)
    field, file = message.get_payload()
    assert path == "/collect/" and file.get_filename() == "probe.whl"
    assert file.get_payload(decode=True) == b"PK\x03\x04\r\n--\xff"
    assert field.get_param("name", header="content-disposition") == "python_version"
    assert field.get_payload() == "3.11"


def test_multipart_ends_with_its_boundary() -> None:
    assert multipart("B", "f", b"x", {}).endswith(b"\r\nx\r\n--B--\r\n")
