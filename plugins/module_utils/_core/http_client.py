# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""A small client for the HTTP interfaces of fractal-server and fractal-web.

No redirect is followed, no proxy is used and no cookie is kept: a caller sees exactly what the service answered.
A service that listens on a Unix socket has a URL like ``http+unix://%2Frun%2Ffractal.sock``.
"""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import json
import secrets
import socket
import ssl
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult, unquote, urlencode, urlsplit

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.masking import mask_values, short_number

_SHOWN = 600  # characters of a foreign answer that go into a message
_LARGEST = 64 << 20  # bytes of an answer


@dataclass(frozen=True)
class Answer:
    """What a service answered: ``headers`` are (lower-case name, value) pairs in the order received."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes = field(repr=False)

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode("utf-8", "replace")

    def all(self, name: str) -> list[str]:
        """Return every value of one header."""
        return [value for key, value in self.headers if key == name.lower()]

    def json(self) -> Any:
        """Return the body as data, or None when it is no JSON."""
        try:
            return json.loads(self.body, parse_int=short_number)
        except (ValueError, RecursionError):
            return None


class ApiError(FractalError):
    """A request that the service refused: ``status`` is the HTTP status, ``detail`` the service's own words."""

    def __init__(self, message: str, status: int, detail: str) -> None:
        """Keep status and detail beside the message."""
        super().__init__(message)
        self.status = status
        self.detail = detail


def request(
    url: str,
    method: str = "GET",
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    timeout: float = 30,
    validate_certs: bool = True,
) -> Answer:
    """Send one request and return the answer, whatever its status.

    A service that means harm, or is sick, keeps nobody: an answer that comes in drops ends, too, as does a huge one.

    Args:
        url: Where.
        method: How.
        body: What to send.
        headers: With which headers.
        timeout: Seconds until the next part of the answer; all of it may take twice as long.
        validate_certs: Whether a certificate has to be valid.

    Raises:
        FractalError: Nothing answers at the URL, or what answers does not speak HTTP, or not within these limits.
    """
    parts = urlsplit(url)
    try:
        connection = _connection(parts, timeout, validate_certs)
        connection.connect()
        was_cut = threading.Event()
        end = threading.Timer(2 * timeout, _cut, (connection.sock, was_cut))
        end.daemon = True
        end.start()
        try:
            target = (parts.path or "/") + ("?" + parts.query if parts.query else "")
            connection.request(method, target, body=body, headers=dict(headers or {}))
            reply = connection.getresponse()
            pairs = tuple((name.lower(), value) for name, value in reply.getheaders())
            content = reply.read(_LARGEST + 1)
            if len(content) > _LARGEST:
                raise ValueError(f"more than {_LARGEST} bytes")
            if was_cut.is_set():
                raise TimeoutError(f"not all of the answer within {2 * timeout:g} seconds")
            return Answer(reply.status, pairs, content)
        finally:
            end.cancel()
            connection.close()
    except (OSError, http.client.HTTPException, ValueError) as error:
        place = f"{parts.scheme}://{parts.netloc}{parts.path}"
        raise FractalError(f"{place} does not answer: {str(error) or type(error).__name__}.") from error


def _cut(connected: socket.socket, was_cut: threading.Event) -> None:
    was_cut.set()  # first: whoever reads sees the end of the answer at once
    with contextlib.suppress(OSError):  # it is not open any more
        connected.shutdown(socket.SHUT_RDWR)


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket; ``@name`` is an abstract one (unix(7))."""

    def __init__(self, path: str, timeout: float, context: ssl.SSLContext | None) -> None:
        """Connect to the socket at ``path``, with TLS if there is a ``context``."""
        super().__init__("localhost", timeout=timeout)
        self._path = "\0" + path[1:] if path.startswith("@") else path
        self._context = context

    def connect(self) -> None:
        """Open the connection."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)
        if self._context is not None:
            self.sock = self._context.wrap_socket(self.sock)


def _connection(parts: SplitResult, timeout: float, validate_certs: bool) -> http.client.HTTPConnection:
    scheme, _plus, unix = parts.scheme.partition("+")
    context = None
    if scheme == "https":
        # No certificate is made out to this machine's own loopback, and nobody can come between there.
        checked = validate_certs and not unix and not is_loopback(parts.hostname or "")
        context = ssl.create_default_context() if checked else ssl._create_unverified_context()
    if unix:
        return _UnixConnection(unquote(parts.netloc), timeout, context)
    if context is not None:
        return http.client.HTTPSConnection(parts.netloc, timeout=timeout, context=context)
    return http.client.HTTPConnection(parts.netloc, timeout=timeout)


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine's own loopback, by number."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Api:
    """The API of one fractal-server, for one account after :meth:`log_in`.

    A token lives ``JWT_EXPIRE_SECONDS``, three minutes by default (fractal-server 2.17.0, config/_main.py), so a 401
    is answered by logging in once more.
    """

    def __init__(self, url: str, timeout: float = 30, validate_certs: bool = True) -> None:
        """Talk to the server at ``url``, such as ``http://127.0.0.1:8000``."""
        self.url = url.rstrip("/")
        self._timeout = timeout
        self._validate_certs = validate_certs
        self._token = ""
        self._email = ""
        self._password = ""

    def log_in(self, email: str, password: str) -> None:
        """Log in with a password; later requests are sent for this account.

        Raises:
            ApiError: The account is refused.
            FractalError: The server does not answer.
        """
        self._email, self._password, self._token = email, password, ""
        form = urlencode({"username": email, "password": password}).encode()
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        data = self._checked("POST", "/auth/token/login/", self._send("POST", "/auth/token/login/", form, kind))
        self._token = str(data.get("access_token", "")) if isinstance(data, dict) else ""

    def use_token(self, token: str) -> None:
        """Send later requests with a token that was not got by `log_in`."""
        self._token = token

    def answer(self, method: str, path: str, body: bytes | None = None, kind: str = "application/json") -> Answer:
        """Send a request and return the answer whatever its status."""
        headers = {"Content-Type": kind} if body is not None else {}
        answer = self._send(method, path, body, headers)
        if answer.status == 401 and self._token and self._email:
            self.log_in(self._email, self._password)
            answer = self._send(method, path, body, headers)
        return answer

    def get(self, path: str, **query: Any) -> Any:
        """Return the data at ``path``.

        Raises:
            ApiError: The status is not 2xx.
        """
        return self._call("GET", path, query)

    def post(self, path: str, data: Any, **query: Any) -> Any:
        """Send data and return the answer's data."""
        return self._call("POST", path, query, json.dumps(data).encode())

    def patch(self, path: str, data: Any, **query: Any) -> Any:
        """Change what is at ``path`` and return the answer's data."""
        return self._call("PATCH", path, query, json.dumps(data).encode())

    def delete(self, path: str, **query: Any) -> Any:
        """Delete what is at ``path``."""
        return self._call("DELETE", path, query)

    def upload(self, path: str, name: str, content: bytes, fields: Mapping[str, str] | None = None) -> Any:
        """Send a file as the multipart field ``file``, with further text fields, and return the answer's data."""
        boundary = secrets.token_hex(16)
        return self._call(
            "POST",
            path,
            {},
            multipart(boundary, name, content, fields or {}),
            f"multipart/form-data; boundary={boundary}",
        )

    def _call(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any],
        body: bytes | None = None,
        kind: str = "application/json",
    ) -> Any:
        where = path + ("?" + urlencode(query) if query else "")
        return self._checked(method, where, self.answer(method, where, body, kind))

    def _send(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> Answer:
        sent = {"Accept": "application/json", **headers}
        if self._token:
            sent["Authorization"] = f"Bearer {self._token}"
        return request(self.url + path, method, body, sent, self._timeout, self._validate_certs)

    def _checked(self, method: str, path: str, answer: Answer) -> Any:
        data = answer.json()
        if 200 <= answer.status < 300:
            return data
        detail = data["detail"] if isinstance(data, dict) and "detail" in data else answer.text
        text = self._masked(detail if isinstance(detail, str) else json.dumps(detail))[:_SHOWN]
        raise ApiError(f"{method} {path} answered {answer.status}: {text}", answer.status, text)

    def _masked(self, text: str) -> str:
        """Return the text without password and token: a validation error quotes what was sent."""
        return mask_values(text, filter(None, (self._password, self._token)))


def loses_secure_cookies(url: str) -> bool:
    """Return whether browsers at ``url`` send no ``Secure`` cookie: plain HTTP, except on the machine itself.

    Since fastapi-users 15.0.2, a log-in by OAuth needs such a cookie.
    """
    address = urlsplit(url)
    return address.scheme == "http" and address.hostname not in ("localhost", "127.0.0.1", "::1")


def multipart(boundary: str, name: str, content: bytes, fields: Mapping[str, str]) -> bytes:
    """Return a multipart/form-data body (RFC 7578) with text fields and one file named ``file``."""
    lines: list[bytes] = []
    for key, value in fields.items():
        lines += [f'--{boundary}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'.encode()]
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    return b"".join([*lines, head.encode(), content, f"\r\n--{boundary}--\r\n".encode()])
