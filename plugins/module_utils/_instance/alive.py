# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""Where a Fractal service answers: asked, and only where nobody can be asked, concluded from its command line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.http_client import request
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.address import Address

# fractal-server 2.16.6 and 2.17.0, app/routes/api/__init__.py; fractal-web 1.20 and 1.21, src/routes/alive/+server.js
ALIVE_PATH = {"server": "/api/alive/", "web": "/alive"}
# seconds: fractal-web asks its server by name, and a resolver waits 5 for an answer that was lost (resolv.conf(5))
_PATIENCE = 12
_SHORT = 3  # seconds to find out which of several addresses is Fractal's


@dataclass(frozen=True)
class Alive:
    """What a service says of itself at an address, or the ``problem`` why that is not good enough yet."""

    data: dict[str, Any] = field(default_factory=dict)
    problem: str = ""

    @property
    def version(self) -> str | None:
        """The release that answers; None where nothing of Fractal does."""
        return str(self.data["version"]) if "version" in self.data else None


def ask(base: str, kind: str, timeout: float = _PATIENCE, validate_certs: bool = True) -> Alive:
    """Ask the service at ``base`` (a URL without path), ``server`` or ``web``, whether it is alive."""
    if not base:
        return Alive(problem="it is not known where it answers")
    url = base.rstrip("/") + ALIVE_PATH[kind]
    try:
        answer = request(url, timeout=timeout, validate_certs=validate_certs)
    except FractalError as error:
        return Alive(problem=str(error).rstrip("."))
    data = answer.json()
    if answer.status != 200 or not isinstance(data, dict) or data.get("alive") is not True:
        return Alive(problem=f"{url} answers with status {answer.status}, which is not Fractal's answer")
    if kind == "web" and data.get("fractal_server_alive") is not True:
        return Alive(data, "fractal-web is up but does not reach its fractal-server (FRACTAL_SERVER_HOST)")
    return Alive(data)


def find_url(kind: str, open_sockets: Sequence[Address], expected: Sequence[Address]) -> str:
    """Return the URL at which a service answers, empty if nothing tells.

    Args:
        kind: ``server`` or ``web``.
        open_sockets: Where its processes listen. The first that answers as Fractal is right.
        expected: Where its command line makes it listen: the answer while it does not run.
    """
    if not open_sockets:
        return expected[0].urls[0] if expected else ""
    tls = any(address.tls for address in expected)
    known = [url for address in expected for url in address.urls]
    candidates = [url for address in open_sockets for url in replace(address, tls=tls).urls]
    candidates.sort(key=lambda url: (url not in known, "+unix" in url))
    if not expected:
        candidates += [url for address in open_sockets for url in replace(address, tls=True).urls]
    if len(candidates) == 1:
        return candidates[0]
    answering = (url for url in candidates if ask(url, kind, _SHORT, validate_certs=False).version)
    return next(answering, candidates[0])
