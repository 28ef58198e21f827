# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""The sockets, timers and paths that start a service: they rest while it is held, and come back before it.

A socket unit that goes on listening would start the held service at each request, be refused, and fail for good
(``trigger-limit-hit``); the service would then come back without its socket, at another address.
Each of them is held by a drop-in like the service's own, so that a killed run and a reboot forget none.
"""

from __future__ import annotations

import contextlib
import glob
import os

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.files import write_file
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.systemd import Unit, systemctl
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.hold import hold_path as _hold_path

_NEVER = "/fractal-upgrade-in-progress--run-upgrade-or-rollback-playbook"


def hold_triggers(unit: Unit) -> bool:
    """Stop what starts ``unit`` and keep it from starting. Return whether that changed anything.

    Raises:
        FractalError: systemd refuses.
    """
    running = [name for name in unit.triggers if _state(name) in ("active", "activating", "reloading")]
    for name in running:
        os.makedirs(os.path.dirname(_hold_path(name)), mode=0o755, exist_ok=True)
        _write(name, unit.name, f"[Unit]\nAssertPathExists={_NEVER}\n")
    if running:
        systemctl("daemon-reload")
        systemctl("stop", *running)
    return bool(running)


def start_triggers(service: str) -> bool:
    """Start again what was held because it starts ``service`` (full name). Return whether that changed anything.

    Raises:
        FractalError: systemd refuses.
    """
    names = held_triggers(service)
    if not names:
        return False
    for name in names:
        _write(name, service, "")  # a note only: who dies before the start must not forget it
    systemctl("daemon-reload")
    failed = [name for name in names if _state(name) == "failed"]
    if failed:
        systemctl("reset-failed", *failed)
    systemctl("start", *names)
    for name in names:
        os.unlink(_hold_path(name))
        with contextlib.suppress(OSError):
            os.rmdir(os.path.dirname(_hold_path(name)))
    systemctl("daemon-reload")
    return True


def held_triggers(service: str) -> list[str]:
    """Return the units that are held because they start ``service``: known also after systemd has forgotten them."""
    found = []
    for path in glob.glob(_hold_path("*")):
        with contextlib.suppress(OSError), open(path, encoding="utf-8") as stream:
            if f"# starts: {service}\n" in stream.read():
                found.append(os.path.basename(os.path.dirname(path))[: -len(".d")])
    return sorted(found)


def _state(name: str) -> str:
    return systemctl("show", "--value", "--property=ActiveState", name).strip()


def _write(name: str, service: str, assertion: str) -> None:
    text = (
        f"# fractal_ops.platform is upgrading {service}; this unit must not start it half-way.\n"
        "# Run the upgrade playbook again to go on, or the rollback playbook to go back.\n"
        f"# starts: {service}\n{assertion}"
    )
    write_file(_hold_path(name), text.encode(), uid=0, gid=0, mode=0o644)
