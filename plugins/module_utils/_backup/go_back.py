# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""Going back to what a backup holds, from the stop of the new release to the start of the old one, without a pause.

Each step does nothing where it is done already, so that whatever was killed is run again.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any, Callable

from ansible_collections.fractal_ops.platform.plugins.module_utils._backup.restore_database import restore_database
from ansible_collections.fractal_ops.platform.plugins.module_utils._backup.restore_files import restore_files
from ansible_collections.fractal_ops.platform.plugins.module_utils._backup.store import PACKAGES, read_manifest
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.side_by_side import switch_back
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.systemd import unit_name
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.database import find_installation
from ansible_collections.fractal_ops.platform.plugins.module_utils._env_file.on_host import (
    DROP_IN_FOLDER,
    DROP_IN_NAME,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.discovery import discover_server
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.health import Health
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.service import (
    lift,
    lift_and_start,
    new_hold,
    stop_and_hold,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._venv.build import restore_in_place


def go_back_to(
    backup: str,
    service: str,
    python: str | None,
    controller: str,
    accept_data_loss: bool,
    seen: Mapping[str, Any] | None,
    healthy: Callable[[], Health] | None,
) -> dict[str, Any]:
    """Bring back environment, database and files, and start the service.

    Args:
        backup: Folder of the backup.
        service: The unit.
        python: Interpreter that runs fractal-server, if the unit does not lead to it.
        controller: For the record of the hold.
        accept_data_loss: See `restore_database`.
        seen: The same.
        healthy: Waits until the service answers; None to leave it stopped.

    Returns:
        What `restore_database` returned, ``files`` (as `restore_files`), ``seconds`` of each step, and ``changed`` if
        any did something.

    Raises:
        FractalError: A step failed; those before it are done, and the service is held.
    """
    manifest = read_manifest(backup)
    installation, instance = find_installation({"service": service}), discover_server(service, python).as_dict()
    unit = unit_name(service)
    drop_in = os.path.join(DROP_IN_FOLDER, unit + ".d", DROP_IN_NAME)
    seconds: dict[str, float] = {}

    def timed(step: str, work: Callable[[], Any]) -> Any:
        started = time.monotonic()
        try:
            return work()
        finally:
            seconds[step] = round(time.monotonic() - started, 3)

    stopped, _hold = timed("stop", lambda: stop_and_hold(service, new_hold(unit, controller, None, backup)))
    # before the database: what is restored there with may have been half-way through an upgrade in place
    switched = timed("environment", lambda: _old_environment(instance, backup, manifest["environment"]))
    database = timed(
        "database",
        lambda: restore_database(installation, str(instance["python"]), backup, accept_data_loss, seen=seen),
    )
    made = [drop_in, drop_in[: -len(".conf")] + ".env"]
    files = timed("files", lambda: restore_files(backup, made))
    started = timed("start", lambda: lift_and_start(service, healthy)[0] if healthy else lift(service))
    changed = any((stopped, switched, database["changed"], files, started))
    return {**database, "changed": changed, "files": files, "seconds": seconds}


def _old_environment(instance: Mapping[str, Any], backup: str, old: Mapping[str, Any]) -> bool:
    with open(os.path.join(backup, PACKAGES), encoding="utf-8") as stream:
        packages = stream.read().splitlines()
    changed = restore_in_place(instance, old["version"], packages)
    return changed or switch_back(str(instance["environment"]), old["version"], old["real_path"])
