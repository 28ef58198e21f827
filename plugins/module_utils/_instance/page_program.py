# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""The program that answers in fractal-web's place while a window is open: 503 and one page, whatever is asked.

It is put on the host as this one file, and runs there as nobody with the host's own Python in isolated mode. It ends
by itself when the window is over, also if nobody is left to end it: fractal-server tells that.
"""

from __future__ import annotations

import json
import socket
import socketserver
import ssl
import sys
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler
from typing import Any

HEADER = "X-Fractal-Maintenance"
RETRY_AFTER = 60  # seconds
_POLL = 1.0  # seconds between two looks at fractal-server
_SURELY_DOWN = 3  # looks in a row: a single one without an answer may be the network's


class Watch:
    """Whether the window is over, judged by fractal-server alone."""

    def __init__(self, patience: float, grace: float) -> None:
        """Begin with a server that is up.

        Args:
            patience: Seconds that the server may stay up: a window that has not stopped it by then will not.
            grace: Seconds from the answer of the new server on in which fractal-web is still being upgraded.
        """
        self._patience = patience
        self._grace = grace
        self._silent = 0
        self._up_since: float | None = None
        self._was_down = False

    def is_over(self, alive: bool, now: float) -> bool:
        """Return whether the page has to go, given whether the server answers ``now`` (seconds of any clock)."""
        if not alive:
            self._silent += 1
            self._was_down = self._was_down or self._silent >= _SURELY_DOWN
            if self._was_down:
                self._up_since = None
            return False
        self._silent = 0
        self._up_since = now if self._up_since is None else self._up_since
        return now - self._up_since >= (self._grace if self._was_down else self._patience)


class Page(BaseHTTPRequestHandler):
    """Answers every request with the same page."""

    timeout = 10  # seconds for one request
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "maintenance", ""
    content = b""

    def answer(self) -> None:
        """Answer; what was sent along is read first, or the sender would see a broken connection."""
        length = self.headers.get("Content-Length", "")
        self.rfile.read(min(int(length), 1 << 20) if length.isdigit() else 0)
        self.send_response(503)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(self.content)))
        self.send_header("Retry-After", str(RETRY_AFTER))
        self.send_header("Cache-Control", "no-store")
        self.send_header("Connection", "close")
        self.send_header(HEADER, "1")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(self.content)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = answer

    def log_message(self, *_unused: Any) -> None:
        """Keep nobody's address."""


class Listener(socketserver.ThreadingTCPServer):
    """Listens where fractal-web did."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, host: str, port: int) -> None:
        """Bind and listen.

        Raises:
            OSError: The address is another's.
        """
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]  # of a name the first, as Node does
        self.address_family = found[0]
        super().__init__((host, port), Page)

    def server_bind(self) -> None:
        """Bind; like Node, at ``::`` for both kinds of addresses."""
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(self.server_address[0] != "::"))
        super().server_bind()

    def handle_error(self, *_unused: Any) -> None:
        """Leave a client alone that went away."""


def is_alive(server: str) -> bool:
    """Return whether fractal-server answers at a URL, whoever signed its certificate."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    handlers = [urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)]
    try:
        with urllib.request.build_opener(*handlers).open(server + "/api/alive/", timeout=5) as answer:
            return bool(json.loads(answer.read(1 << 16))["alive"])
    except Exception:  # whatever it is, that is no answer
        return False


def main(order_file: str) -> None:
    """Answer until the window is over."""
    with open(order_file, encoding="utf-8") as stream:
        order = json.load(stream)
    with open(order["page"], "rb") as page:
        Page.content = page.read()
    for host, port in order["addresses"]:
        threading.Thread(target=Listener(host, port).serve_forever, daemon=True).start()
    watch = Watch(order["patience"], order["grace"])
    while not order["server"] or not watch.is_over(is_alive(order["server"]), time.monotonic()):
        time.sleep(_POLL)


if __name__ == "__main__":
    main(sys.argv[1])
