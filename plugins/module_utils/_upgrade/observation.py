# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""What is there on a host, in one look: unit, environment file, database, work in flight, hold, lock. Only reads.

A part that cannot be seen never hides the others: it says why (``failed`` and ``msg``), and becomes a finding.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Callable

from ansible_collections.fractal_ops.platform.plugins.module_utils._backup.store import newest_without_dump
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.accounts import Account
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.door import Door, dismiss
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.masking import mask_urls
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.database import (
    Installation,
    find_installation,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.discovery import discover_server
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.service_side import service_side
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.web import discover_web
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.web_release import is_stale
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.env_steps import env_task
from ansible_collections.fractal_ops.platform.plugins.module_utils._upgrade.state import read_state


@dataclass(frozen=True)
class Reader:
    """How to read the state of a database, and whatever is asked in the same child process.

    Attributes:
        needs: The function whose imports the child needs: they take longer than all that it is asked.
        read: Takes the door to an installation, the installation, and the instance; returns the state of its database.
    """

    needs: Callable[..., dict[str, Any]]
    read: Callable[[Door, Installation, Mapping[str, Any]], dict[str, Any]]


def only_state(door: Door, installation: Installation, _instance: Mapping[str, Any]) -> dict[str, Any]:
    """Read the state of the database, and no more. See `read_state`, also for what it raises."""
    return door.call(read_state, installation)


ONLY_STATE = Reader(read_state, only_state)


def observe_server(
    service: str,
    python: str | None = None,
    url: str | None = None,
    strategy: str = "staged",
    backup_root: str | None = None,
    reader: Reader = ONLY_STATE,
    **of_the_file: Any,
) -> dict[str, Any]:
    """Return ``instance``, ``database``, ``environment`` and ``backups`` of a fractal-server, or only the ``reason``.

    Args:
        service: Name of its unit.
        python: Its interpreter, if the unit does not lead to it.
        url: Its address on the host, if the unit does not tell.
        strategy: How the next releases get installed.
        backup_root: Folder for backups, to look for frozen copies that have no dump yet.
        reader: How to read the state of the database.
        of_the_file: Options of the environment file's migration: ``release``, ``default_group_name``,
            ``oauth_client``.
    """

    def begin(user: str, interpreter: str) -> None:
        with contextlib.suppress(FractalError):  # no such account: who asks the database says so
            Door(Account.named(user), interpreter).stand_by(reader.needs)

    try:
        instance = discover_server(service, python, url, strategy, begin).as_dict()
        database = _part(lambda: _database(service, instance, reader))
    except FractalError as error:
        return {"instance": None, "reason": str(error)}
    finally:
        dismiss()
    return {
        "instance": instance,
        "database": database,
        "environment": _part(lambda: _server_file(service, instance, database, of_the_file)),
        "backups": _part(lambda: {"without_dump": _without_dump(instance, backup_root)}),
    }


def observe_web(
    service: str, env_file: str | None = None, url: str | None = None, **of_the_file: Any
) -> dict[str, Any]:
    """Return ``instance``, ``environment`` and ``process`` of a fractal-web; without an instance, the ``reason``.

    Args:
        service: Name of its unit.
        env_file: Its environment file, if the unit does not lead to it.
        url: Its address on the host, if the unit does not tell.
        of_the_file: Options of the environment file's migration: ``default_group_name``, ``runner_backend``,
            ``oauth_client_name``.
    """
    try:
        instance = discover_web(service, env_file, url).as_dict()
    except FractalError as error:
        return {"instance": None, "reason": str(error)}
    return {
        "instance": instance,
        "environment": _part(lambda: _web_file(service, instance, of_the_file)),
        "process": _part(lambda: {"stale": is_stale(instance, instance["version"])}),
    }


def _part(look: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return what a look at one part gives, or why it gives nothing."""
    try:
        return look()
    except FractalError as error:
        return {"failed": True, "msg": str(error)}
    except Exception as error:  # whatever it is, the other parts are told
        return {"failed": True, "msg": mask_urls(f"{type(error).__name__}: {error}")}


def _database(service: str, instance: Mapping[str, Any], reader: Reader) -> dict[str, Any]:
    try:
        installation = find_installation({"service": service})
        return reader.read(service_side(installation, instance["python"]), installation, instance)
    except FractalError as error:
        return {"reachable": False, "reason": str(error)}


def _without_dump(instance: Mapping[str, Any], backup_root: str | None) -> list[str]:
    return newest_without_dump(os.path.join(backup_root, instance["service"])) if backup_root else []


def _server_file(
    service: str, instance: Mapping[str, Any], database: Mapping[str, Any], options: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the environment file as its migration will see it; it reads the ``.old`` file only before the data's."""
    task = env_task(
        path=instance["env_file"],
        service=service,
        server_python=instance["python"],
        data_migration=database.get("data_migration", "pending") in ("pending", "partial"),
        data_stop=database.get("stop") or None,
        tasks_python={
            "version": instance["python_version"].rpartition(".")[0],
            "interpreter": instance["python"],
        },
        **options,
    )
    return task.result(changed=bool(task.migration.steps))


def _web_file(service: str, instance: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    task = env_task(kind="web", path=instance["env_file"], service=service, **options)
    task.refuse_blockers()
    return task.result(changed=task.apply(write=False))
