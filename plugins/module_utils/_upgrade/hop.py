# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""A hop: a stopped server goes from its release to the next one on the release path.

Four stages in one call, because every further call of a module adds half a second of downtime. Each knows from the
instance whether it is done. Root does the first two; the rest is done in one child as the service account, in the
environment of the new release.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Callable

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.door import Door
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.side_by_side import release_path
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.database import Installation
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.service_side import (
    A_DAY,
    python_of,
    service_side,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._releases.path import release
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.data_migrations import (
    why_not_implemented,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.env_steps import env_task
from ansible_collections.fractal_ops.platform.plugins.module_utils._upgrade.data import migrate_data
from ansible_collections.fractal_ops.platform.plugins.module_utils._upgrade.schema import migrate_schema
from ansible_collections.fractal_ops.platform.plugins.module_utils._upgrade.state import read_state
from ansible_collections.fractal_ops.platform.plugins.module_utils._venv.interpreter import facts
from ansible_collections.fractal_ops.platform.plugins.module_utils._venv.strategies import switch_to


def make_hop(
    installation: Installation,
    python: str | None,
    version: str,
    strategy: str = "staged",
    check_mode: bool = False,
    env_options: Mapping[str, Any] | None = None,
    file_is_done: bool = False,
    installed: str | None = None,
) -> dict[str, Any]:
    """Give the release ``version`` its environment file, switch to it, migrate schema and, where it has one, data.

    Args:
        installation: Whose unit, environment files and database.
        python: Interpreter that the unit uses, if its command line does not tell.
        version: The release; prepared beside the environment in use, unless it is installed there already.
        strategy: ``staged`` switches to the environment of the release, ``in_place`` installs it from prepared wheels.
        env_options: What the operator says about the environment file, see `EnvTask`.
        file_is_done: The environment file has been migrated for this release just before.
        installed: The release in the environment, if that was seen just before.
        check_mode: Only see whether it would be refused, as far as that can be seen before the switch.

    Returns:
        ``changed``, and for each of ``environment``, ``switch``, ``schema`` and ``data`` what it returned, with its
        ``duration`` in seconds; ``data`` is None for a release without a data migration.

    Raises:
        FractalError: A stage is refused or failed; those before it are done and stay so. Or the release has a data
            migration that is not implemented here: then nothing is touched.
    """
    reason = why_not_implemented([release(version)])
    if reason:
        raise FractalError(reason)
    python = python_of(installation, python)
    door = service_side(installation, python, A_DAY)
    installed = installed or facts(python, door.account).version  # None if pip was killed
    if check_mode:
        there = strategy == "in_place" or installed == version
        asked = python if there else python_beside(python, version)
        schema = replace(door, python=asked).call(migrate_schema, installation, asked, version, check_mode=True)
        return {"changed": installed != version or schema["changed"], "schema": schema}
    environment = _timed(
        lambda: (
            {"changed": False, "steps": []}
            if file_is_done
            else migrate_environment(installation, door, python, version, env_options or {})
        )
    )
    switched = _timed(lambda: {"changed": switch_to(python, installed, version, strategy, os.environ)})
    stages = {
        "environment": environment,
        "switch": switched,
        **replace(door, python=python).call(migrate, installation, python, version),
    }
    return {"changed": any(stage["changed"] for stage in stages.values() if stage), **stages}


def migrate_environment(
    installation: Installation, door: Door, python: str, version: str, options: Mapping[str, Any]
) -> dict[str, Any]:
    """Take the steps of the environment file up to the release ``version`` that are left, before the release reads it.

    Raises:
        FractalError: One is refused.
    """
    database = door.call(read_state, installation)
    task = env_task(
        path=installation.env_file,
        service=installation.service,
        server_python=python,
        release=version,
        data_migration=database["data_migration"] in ("pending", "partial"),
        data_stop=database["stop"] or None,
        **options,
    )
    task.refuse_blockers()
    return {"changed": task.apply(write=True), "steps": task.migration.steps}


def migrate(installation: Installation, python: str, version: str) -> dict[str, Any]:
    """Migrate schema and data, in the environment of the release ``version``; see `make_hop`."""
    return {
        "schema": _timed(lambda: migrate_schema(installation, python, version)),
        "data": _timed(lambda: migrate_data(installation, python, version)) if release(version).is_stop else None,
    }


def python_beside(python: str, version: str) -> str:
    """Return the interpreter of a release that lies prepared beside the environment of ``python``."""
    return os.path.join(release_path(_environment_of(python), version), "bin", os.path.basename(python))


def _environment_of(python: str) -> str:
    return os.path.dirname(os.path.dirname(python))


def _timed(stage: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    start = time.monotonic()
    return {**stage(), "duration": round(time.monotonic() - start, 3)}
