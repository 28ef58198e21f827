# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""Starting the program of the window apart from everything.

It is a transient unit of systemd: no session, no connection and no controller is above it. Code and instruction lie in
a folder of root's under /run, and root's own Python runs them in isolated mode, so nobody else has a say in it.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import sys
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.door import collection_code
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.files import private_folder, write_file
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.programs import run
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.hold import read_hold
from ansible_collections.fractal_ops.platform.plugins.module_utils._window.journal import (
    begin_journal,
    read_events,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._window.program import INSTRUCTION, Order
from ansible_collections.fractal_ops.platform.plugins.module_utils._window.watching import (
    attach,
    is_running,
    window_unit,
)

FOLDER = "/run"  # a program that was killed leaves its own in there, which the next one, or a rollback, removes
# Seconds that systemd waits for the children of a program that was killed: what follows is decided after that, and the
# service is down meanwhile. A child that means harm would make it 90, as does a host whose systemd misses their end.
_LEFT_ALONE = 5
_PACKAGE = "ansible_collections.fractal_ops.platform.plugins.module_utils"
_START = f"""import sys
sys.path.insert(0, %r)
from {_PACKAGE}._window.program import main
main(%r)
"""


def new_id() -> str:
    """Return a name for one program."""
    return secrets.token_hex(8)


def start_window(order: Order, seen: Mapping[str, Any]) -> dict[str, Any]:
    """Start the program, unless one works on this window. Return ``changed``, and what `watch` needs: ``id``, ``seen``.

    Args:
        order: The instruction.
        seen: What this run has seen of the instance, for another run that attaches.

    Raises:
        FractalError: It cannot be started. Nothing was changed.
    """
    if is_running(order.unit):
        return attach(order.unit)
    folder = os.path.join(FOLDER, f"{order.unit}.window")
    shutil.rmtree(folder, ignore_errors=True)
    private_folder(folder)
    hold = read_hold(order.unit)
    begin_journal(order.unit, hold.run if hold else "", seen)
    code, script = os.path.join(folder, "code.zip"), os.path.join(folder, "window.py")
    for path, content in (
        (code, collection_code()),
        (script, (_START % (code, folder)).encode()),
        (os.path.join(folder, INSTRUCTION), json.dumps(asdict(order)).encode()),
    ):
        write_file(path, content, os.geteuid(), os.getegid(), 0o600)
    number = len(read_events(order.unit))
    command = ["systemd-run", "--quiet", "--collect", f"--unit={window_unit(order.unit)}"]
    command += [f"--property=TimeoutStopSec={_LEFT_ALONE}"]
    command += [f"--description=The upgrade of {order.unit} by fractal_ops.platform", "--"]
    run([*command, sys.executable, "-I", "-B", script]).must("start the window as a unit of its own")
    return {"changed": True, "id": order.id, "seen": number}
