# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""What an upgrade left, and the way back to the instance of before: the steps of the role rollback, on the host."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Callable

from ansible_collections.fractal_ops.platform.plugins.module_utils._backup.make import tidy_up
from ansible_collections.fractal_ops.platform.plugins.module_utils._backup.restore_database import restore_database
from ansible_collections.fractal_ops.platform.plugins.module_utils._backup.restore_files import restore_files
from ansible_collections.fractal_ops.platform.plugins.module_utils._backup.store import (
    PACKAGES,
    find_backup,
    read_manifest,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.side_by_side import switch_back
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.systemd import unit_name
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.database import Installation
from ansible_collections.fractal_ops.platform.plugins.module_utils._env_file.on_host import (
    DROP_IN_FOLDER,
    DROP_IN_NAME,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.discovery import discover_server
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.hold import read_hold
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.service import (
    bring_up,
    new_hold,
    stop_and_hold,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._venv.build import remove_partial
from ansible_collections.fractal_ops.platform.plugins.module_utils._venv.strategies import restore_in_place
from ansible_collections.fractal_ops.platform.plugins.module_utils._window.way_back import way_back

Stage = Callable[[str, Callable[[], dict[str, Any]]], dict[str, Any]]
"""Does the work of a stage that has a name, and notes it."""


def backup_to_go_back_to(service: str, backup_root: str, named: str = "", installed: str = "") -> dict[str, Any]:
    """Return ``hold``, ``backup``, ``folder`` and ``ran_before``: what an instance would go back to.

    See `find_backup`.

    Raises:
        FractalError: The named backup is not there.
    """
    unit = unit_name(service)
    hold = read_hold(unit)
    folder = os.path.join(backup_root, unit)
    path = find_backup(folder, named, hold.backup if hold else "", installed)
    result: dict[str, Any] = {"hold": hold.as_dict() if hold else None, "backup": None, "folder": folder}
    if path is None:
        return {**result, "ran_before": hold is None or hold.ran_before}
    manifest = read_manifest(path)
    # a rollback of a finished upgrade holds the service as well: what was before the upgrade is in the backup
    result["ran_before"] = (manifest.get("service") or {}).get("ran_before", True)
    result["backup"] = {
        "path": path,
        "created": manifest["created"],
        "version": manifest["environment"]["version"],
        "environment": manifest["environment"]["real_path"],
        "revision": manifest["contents"]["revision"],
    }
    return result


def go_back(
    installation: Installation,
    found: Mapping[str, Any],
    database: Mapping[str, Any],
    stage: Stage,
    *,
    python: str,
    named_python: str | None,
    controller: str,
    url: str | None,
    timeout: float,
    accept_data_loss: bool,
) -> None:
    """Bring back what the backup of this upgrade holds, and start the service if it ran before.

    Args:
        installation: Whose unit, files and database.
        found: What `backup_to_go_back_to` returned.
        database: What the database says, empty if it does not answer.
        stage: How a step is done and noted.
        python: Interpreter that runs fractal-server.
        named_python: The one that the operator named, if any.
        controller: For the record of the hold.
        url: Where the service answers, if its unit does not tell.
        timeout: Seconds to wait for its answer, from its start on.
        accept_data_loss: Whether rows that were written since may get lost.

    Raises:
        FractalError: A step is refused or failed. Those before it are done.
    """
    service = str(installation.service)
    instance = discover_server(service, named_python).as_dict()
    way = way_back(found, instance, database)
    if way["restore"]:
        seen = None
        if way["ask_first"]:  # all that takes long is read while users may still work
            path = found["backup"]["path"]
            asked = restore_database(installation, python, path, accept_data_loss, check_mode=True, read_all=True)
            seen = asked["seen"]
        bring_back(
            installation, instance, found["backup"], stage,
            python=python, controller=controller, accept_data_loss=accept_data_loss, seen=seen,
        )  # fmt: skip
    stage("old service", lambda: bring_up(service, way["start"], url=url, version=way["version"], timeout=timeout))
    stage("clean up", lambda: {"changed": True, "left": _clean_up(installation, python, instance, found["folder"])})


def bring_back(
    installation: Installation,
    instance: Mapping[str, Any],
    backup: Mapping[str, Any],
    stage: Stage,
    *,
    python: str,
    controller: str,
    accept_data_loss: bool,
    seen: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Stop the service, and bring environment, database and files back. It is downtime: nothing waits in between.

    Each step does nothing where it is done already, so that whatever was killed is run again.

    Args:
        installation: Whose unit, files and database.
        instance: What was discovered of it.
        backup: ``path``, ``version`` and ``environment`` of `backup_to_go_back_to`.
        stage: How a step is done and noted.
        python: Interpreter that runs fractal-server.
        controller: For the record of the hold.
        accept_data_loss: Whether rows that were written since may get lost.
        seen: What was seen of the database before; see `restore_database`.

    Returns:
        What `restore_database` returns.

    Raises:
        FractalError: A step failed. Those before it are done, and the service is held.
    """
    unit, path = unit_name(str(installation.service)), backup["path"]
    hold = new_hold(unit, controller, None, path)
    stage("stop again", lambda: {"changed": stop_and_hold(unit, hold)[0]})
    # before the database: what is restored there with may have been half-way through an upgrade in place
    stage("old environment", lambda: {"changed": old_environment(instance, backup)})
    done = stage("old database", lambda: restore_database(installation, python, path, accept_data_loss, seen=seen))
    drop_in = os.path.join(DROP_IN_FOLDER, unit + ".d", DROP_IN_NAME)
    made = [drop_in, drop_in[: -len(".conf")] + ".env"]
    stage("old files", lambda: {"changed": bool(restore_files(path, made))})
    return done


def old_environment(instance: Mapping[str, Any], backup: Mapping[str, Any]) -> bool:
    """Make the known path lead to the environment of before. Return whether that changed anything."""
    with open(os.path.join(backup["path"], PACKAGES), encoding="utf-8") as stream:
        packages = stream.read().splitlines()
    changed = restore_in_place(instance, backup["version"], packages)
    return switch_back(instance["environment"], backup["version"], backup["environment"]) or changed


def _clean_up(installation: Installation, python: str, instance: Mapping[str, Any], folder: str) -> list[str]:
    """Remove half-made left-overs. The old server is back: what cannot be removed is told, and keeps nobody up."""
    left = []
    works: list[tuple[str, Callable[[], list[str]]]] = [
        ("Half-built environments beside the old one", lambda: remove_partial(instance["environment"])),
        ("What an unfinished backup left", lambda: tidy_up(installation, python, folder)),
    ]
    for told, remove in works:
        try:
            remove()
        except (FractalError, OSError) as error:
            left.append(f"{told}: not removed. {error}")
    return left
