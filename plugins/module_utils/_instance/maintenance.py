# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""The maintenance page: a transient unit of systemd that takes fractal-web's place for the time of a window.

It conflicts with fractal-web's unit, so systemd itself lets but one of them run, and gives the address from one to the
other: whoever starts fractal-web ends the page. However the page ends - by its own judgement, by its deadline, killed -
systemd starts fractal-web again (``ExecStopPost=``). fractal-web's own unit is neither held nor disabled, and a
transient unit does not survive a reboot: so that brings fractal-web as ever. The unit needs no namespace of its own:
where none can be had, as in a container, it would not start, nor would its ``ExecStopPost=``.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.files import write_file
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.http_client import request
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.programs import run
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.systemd import (
    Unit,
    is_at_work,
    read_unit,
    transient_unit,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance import page_program
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.address import Address
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.service import start
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.sockets import listening, processes
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.web import (
    WebInstance,
    expected_addresses,
)

GRACE = 30.0  # seconds: see page_program.Watch
_ACCOUNT = "nobody"
_PRIVILEGED = 1024  # the first port that needs no capability
_POLL, _PATIENCE = 0.1, 15.0  # seconds
TEXT = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="refresh" content="30">
<title>Fractal is being upgraded</title>
<style>
:root { color-scheme: light dark; }
body { font: 1.1rem/1.5 system-ui, sans-serif; max-width: 34rem; margin: 18vh auto 0; padding: 0 1.5rem; }
h1 { font-size: 1.6rem; line-height: 1.2; }
</style>
</head>
<body>
<h1>Fractal is being upgraded</h1>
<p>It will be back soon. This page looks again every half a minute; you need not do anything.</p>
</body>
</html>
"""


@dataclass(frozen=True)
class Page:
    """What is shown, and for how long at most.

    Attributes:
        content: HTML.
        server: Where fractal-server answers this host; empty if it is not known, and only the deadline counts.
        patience: Seconds that fractal-server may stay up.
        deadline: Seconds after which fractal-web is started again, whatever happens.
    """

    content: str
    server: str
    patience: float
    deadline: float


def page_unit(unit: str) -> str:
    """Return the name of the transient unit that takes the place of ``unit``."""
    return transient_unit("maintenance", unit)


def page_is_up(unit: str) -> bool:
    """Return whether the page is in the place of ``unit``, or on its way."""
    return is_at_work(page_unit(unit))


def open_addresses(unit: Unit, instance: WebInstance) -> list[Address]:
    """Return the TCP ports of a fractal-web that runs.

    Its sockets tell; where nobody may look at them, as in many containers, its variables do.
    """
    found = listening(processes(unit.control_group)) or expected_addresses(unit, instance.node_environment_files)[0]
    return [address for address in found if not address.path]


def why_no_page(unit: Unit, instance: WebInstance) -> str:
    """Return why the page cannot answer where fractal-web does; empty if it can, or if that does not run."""
    sockets = [name for name in unit.triggers if name.endswith(".socket")]
    if sockets:
        return f"{sockets[0]} listens for it, not fractal-web itself"
    if "+unix://" in instance.url:
        return "fractal-web listens on a Unix socket, and the page answers on TCP ports only"
    if unit.active_state == "active" and not open_addresses(unit, instance):
        return "nothing tells where fractal-web listens"
    return ""


def put_up(instance: WebInstance, page: Page) -> bool:
    """Let the page answer where fractal-web listens. Return whether it does, by this call.

    A page that is up already stays as it is. A fractal-web that does not run is not replaced, so that it stays as it
    was found.

    Raises:
        FractalError: It cannot. fractal-web runs as before.
    """
    unit = read_unit(instance.service)
    if page_is_up(unit.name) or unit.active_state != "active":
        return False
    reason = why_no_page(unit, instance)
    if reason:
        raise FractalError(f"The maintenance page cannot take the place of {unit.name}: {reason}. Nothing was changed.")
    addresses = open_addresses(unit, instance)
    folder = _write_program(unit.name, page, addresses)
    run(_command(unit.name, folder, page.deadline, addresses)).must("start the maintenance page as a unit of its own")
    try:
        _wait_until_it_answers(unit.name, addresses)
    except FractalError as error:
        start(unit.name)
        raise FractalError(f"{str(error).rstrip('.')}. {unit.name} runs again.") from error
    return True


def take_away(service: str) -> bool:
    """Start fractal-web in the page's place. Return whether the page was there.

    Raises:
        FractalError: fractal-web does not start.
    """
    unit = read_unit(service).name
    if not page_is_up(unit):
        return False
    start(unit)
    _wait(lambda: not page_is_up(unit), f"The maintenance page in the place of {unit} does not end")
    return True


def _write_program(unit: str, page: Page, addresses: Sequence[Address]) -> str:
    """Put program, page and instruction into a folder that everybody may read; return it."""
    folder = os.path.join("/run", page_unit(unit))
    with contextlib.suppress(FileExistsError):
        os.mkdir(folder, 0o755)
    os.chmod(folder, 0o755)
    order = {
        "page": os.path.join(folder, "page.html"),
        "addresses": [(address.host, address.port) for address in addresses],
        "server": page.server,
        "patience": page.patience,
        "grace": GRACE,
    }
    for name, content in (
        ("page.html", page.content),
        ("order.json", json.dumps(order)),
        ("program.py", program_source()),
    ):
        write_file(os.path.join(folder, name), content.encode(), os.geteuid(), os.getegid(), 0o644)
    return folder


def program_source() -> str:
    """Return the text of the program: of the file beside this one, or in the archive that Ansible has sent."""
    loader = page_program.__spec__.loader if page_program.__spec__ else None
    source: str = loader.get_source(page_program.__name__)  # type: ignore[union-attr]
    return source


def _command(unit: str, folder: str, deadline: float, addresses: Sequence[Address]) -> list[str]:
    privileged = any(address.port < _PRIVILEGED for address in addresses)
    capabilities = "CAP_NET_BIND_SERVICE" if privileged else ""
    programs = {name: shutil.which(name) or f"/usr/bin/{name}" for name in ("systemctl", "rm")}
    properties = [
        f"Conflicts={unit}",
        f"After={unit}",
        f"RuntimeMaxSec={deadline:.0f}",
        "TimeoutStopSec=10",
        f"User={_ACCOUNT}",
        f"CapabilityBoundingSet={capabilities}",
        *([f"AmbientCapabilities={capabilities}"] if privileged else []),
        "NoNewPrivileges=yes",
        "TasksMax=64",
        f"ExecStopPost=+{programs['systemctl']} --no-block start {unit}",
        f"ExecStopPost=+{programs['rm']} -rf {folder}",
    ]
    command = ["systemd-run", "--quiet", "--collect", f"--unit={page_unit(unit)}"]
    command += [f"--description=The maintenance page of fractal_ops.platform, in the place of {unit}"]
    command += [f"--property={one}" for one in properties]
    return [*command, "--", sys.executable, "-I", "-B", f"{folder}/program.py", f"{folder}/order.json"]


def _wait_until_it_answers(unit: str, addresses: Sequence[Address]) -> None:
    def answers() -> bool:
        if not page_is_up(unit):
            raise FractalError(f"The maintenance page does not run. See: journalctl -u {page_unit(unit)}")
        return all(_is_page(address.urls[0]) for address in addresses)

    _wait(answers, f"The maintenance page does not answer where {unit} did")


def _is_page(url: str) -> bool:
    try:
        answer = request(url, timeout=3)
    except FractalError:
        return False
    return answer.status == 503 and bool(answer.all(page_program.HEADER))


def _wait(condition: Callable[[], bool], else_say: str) -> None:
    end = time.monotonic() + _PATIENCE
    while not condition():
        if time.monotonic() > end:
            raise FractalError(f"{else_say} within {_PATIENCE:.0f} seconds.")
        time.sleep(_POLL)


def server_of(values: Mapping[str, str]) -> str:
    """Return the address at which fractal-web looks for fractal-server; empty for one with a password, or of no web."""
    address = values.get("FRACTAL_SERVER_HOST", "").rstrip("/")
    return address if address.startswith(("http://", "https://")) and "@" not in address else ""
