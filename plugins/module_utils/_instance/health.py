# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""Wait until a Fractal service answers with the right version; this ends the window, so it looks often."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.systemd import Unit, read_unit
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.alive import ask
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.discovery import server_url
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.journal import journal_tail
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.web import web_url

POLL = 0.05  # seconds between two requests
LOOK_AT_UNIT = 1.0  # seconds between two looks at systemd
RESTARTS = 3  # a unit that systemd had to start again so often while we wait does not come up by itself


@dataclass(frozen=True)
class Health:
    """A service that answers: ``waited`` is in seconds, ``server_version`` is what fractal-web says of its server."""

    service: str
    url: str
    version: str
    server_version: str | None
    waited: float

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for Ansible."""
        return asdict(self)


def wait_until_healthy(
    service: str,
    kind: str = "server",
    url: str | None = None,
    version: str | None = None,
    server_version: str | None = None,
    timeout: float = 60,
) -> Health:
    """Wait until the service behind a unit answers, with ``version`` if given.

    Args:
        service: The systemd unit.
        kind: ``server`` or ``web``; fractal-web is healthy only when it reaches its fractal-server.
        url: Where it answers on this machine; by default what the sockets of its processes tell, and the unit.
        version: The only version that is right.
        server_version: For ``web``: the only right version of the fractal-server that it reaches.
        timeout: Seconds to wait. A unit that has failed, or that answers with another version, ends the wait at once.

    Raises:
        FractalError: It does not become healthy; the text tells the unit's state and its last journal lines.
    """
    unit = read_unit(service)
    base = (url or service_url(unit, kind)).rstrip("/")
    start = time.monotonic()
    looked = start
    problem = "nothing was asked"
    while time.monotonic() - start < timeout:
        answer = ask(base, kind)
        problem = answer.problem
        if not problem:
            problem = wrong_version(kind, answer.data, version, server_version)
            if not problem:
                waited = round(time.monotonic() - start, 3)
                said = answer.data
                return Health(unit.name, base, str(said.get("version")), said.get("fractal_server_version"), waited)
            if kind == "server":
                raise unhealthy(unit, problem)
        if time.monotonic() - looked >= LOOK_AT_UNIT:
            looked = time.monotonic()
            now = read_unit(service)
            if now.active_state in ("failed", "inactive") or now.restarts - unit.restarts >= RESTARTS:
                raise unhealthy(unit, "it does not stay up")
            base = (url or service_url(now, kind)).rstrip("/")  # its sockets tell, once it listens
        time.sleep(POLL)
    raise unhealthy(unit, f"{problem} (waited {round(timeout, 1):g} s)")


def running_version(base: str, kind: str) -> str | None:
    """Return the version that answers at ``base``, or None if none does."""
    return ask(base, kind, validate_certs=False).version


def wrong_version(kind: str, alive: dict[str, Any], version: str | None, server_version: str | None) -> str:
    """Return what is wrong with the versions in an answer of ``alive``, or an empty text."""
    if version and alive.get("version") != version:
        return (
            f"it answers as {alive.get('version')}, not as {version}: an old process still runs, or the unit starts "
            "another environment than the one that was switched"
        )
    if kind == "web" and server_version and alive.get("fractal_server_version") != server_version:
        return f"the server that it reaches answers as {alive.get('fractal_server_version')}, not as {server_version}"
    return ""


def service_url(unit: Unit, kind: str) -> str:
    """Return the URL at which the unit's service answers on this machine; empty if nothing tells.

    Raises:
        FractalError: The unit is unknown.
    """
    if unit.load_state == "not-found" or not unit.command:
        raise FractalError(
            f"The systemd unit {unit.name} does not exist on this host. Name the right one in 'service'."
        )
    return web_url(unit)[0] if kind == "web" else server_url(unit)[0]


def unhealthy(unit: Unit, problem: str) -> FractalError:
    """Return the error for a service that is not well, with all that the person at night would look up next."""
    now = read_unit(unit.name)
    state = f"{now.active_state}, result {now.result}, {now.restarts} restarts"
    text = f"{unit.name} is not healthy: {problem}. State of the unit: {state}."
    tail = journal_tail(now)
    return FractalError(
        text + (f" Its last journal lines:\n{tail}" if tail else f" Look at: journalctl -u {unit.name}")
    )
