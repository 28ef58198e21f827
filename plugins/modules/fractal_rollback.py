#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Go back to what a backup holds, with the service down no longer than need be."""

from __future__ import annotations

DOCUMENTATION = r"""
module: fractal_rollback
short_description: Go back to what a backup of fractal-server holds
version_added: 1.0.0
description:
  - Stops fractal-server, brings back its environment, database and files as the backup holds them, and starts it, all
    in one call, as nothing may wait between these steps. Each of them does nothing where it is done already.
  - Ask M(fractal_ops.platform.fractal_database_restore) in check mode before, with its option O(ignore:read_all), while
    the service still runs.
author:
  - The fractal_ops.platform developers (@fractal-ops)
extends_documentation_fragment:
  - fractal_ops.platform.lock
attributes:
  check_mode:
    description: Can run in check mode and return what it would return otherwise.
    support: none
  diff_mode:
    description: Returns details on what has changed.
    support: none
options:
  service:
    description: Name of the systemd unit.
    type: str
    default: fractal-server
  python:
    description: Interpreter that runs fractal-server, if the unit does not lead to it.
    type: path
  backup:
    description: Folder of the backup.
    type: path
    required: true
  controller:
    description: Who does it, for the record on the host.
    type: str
    default: unknown
  accept_data_loss:
    description: Whether to go back although rows were written after the backup.
    type: bool
    default: false
  seen:
    description: What RV(ignore:seen) of M(fractal_ops.platform.fractal_database_restore) was.
    type: dict
  running:
    description: Whether to start the service; it is left stopped otherwise.
    type: bool
    default: true
  version:
    description: The release that must answer then.
    type: str
  url:
    description: Address at which the API answers, if the unit does not tell.
    type: str
  timeout:
    description: Seconds to wait for that, from the start on.
    type: float
    default: 120
"""

EXAMPLES = r"""
- name: Go back
  fractal_ops.platform.fractal_rollback:
    backup: /var/backups/fractal/fractal-server.service/20251120T210000Z
    version: 2.16.6
"""

RETURN = r"""
method:
  description: How the database came back, as M(fractal_ops.platform.fractal_database_restore) returns it, and the rest.
  returned: success
  type: str
seconds:
  description: Seconds of each step.
  returned: success
  type: dict
  sample:
    stop again: 1.0
    old environment: 0.1
    old database: 2.0
    old files: 0.1
    old service: 4.0
duration:
  description: Seconds that it took.
  returned: always
  type: float
"""

import time
from typing import TYPE_CHECKING, Any, Callable, NoReturn

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.fractal_ops.platform.plugins.module_utils._backup.store import read_manifest
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.database import find_installation
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.discovery import discover_server
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.lock import LOCK_ARGUMENT
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.service import bring_up
from ansible_collections.fractal_ops.platform.plugins.module_utils._module import run_module
from ansible_collections.fractal_ops.platform.plugins.module_utils._window.go_back import bring_back

if TYPE_CHECKING:
    from collections.abc import Mapping


def go_back(params: Mapping[str, Any]) -> dict[str, Any]:
    service, path = params["service"], params["backup"]
    old = read_manifest(path)["environment"]
    instance = discover_server(service, params["python"]).as_dict()
    seconds: dict[str, float] = {}
    changed = []

    def stage(name: str, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        started = time.monotonic()
        result = work()
        seconds[name] = round(time.monotonic() - started, 3)
        changed.append(result["changed"])
        return result

    database = bring_back(
        find_installation({"service": service}),
        instance,
        {"path": path, "version": old["version"], "environment": old["real_path"]},
        stage,
        python=instance["python"],
        controller=params["controller"],
        accept_data_loss=params["accept_data_loss"],
        seen=params["seen"],
    )
    how = {name: params[name] for name in ("running", "version", "url", "timeout")}
    stage("old service", lambda: bring_up(service, **how))
    return {**database, "changed": any(changed), "seconds": seconds}


def main() -> NoReturn:
    module = AnsibleModule(
        argument_spec={
            **LOCK_ARGUMENT,
            "service": {"type": "str", "default": "fractal-server"},
            "python": {"type": "path"},
            "backup": {"type": "path", "required": True},
            "controller": {"type": "str", "default": "unknown"},
            "accept_data_loss": {"type": "bool", "default": False},
            "seen": {"type": "dict"},
            "running": {"type": "bool", "default": True},
            "version": {"type": "str"},
            "url": {"type": "str"},
            "timeout": {"type": "float", "default": 120},
        },
    )
    run_module(module, lambda: go_back(module.params))


if __name__ == "__main__":
    main()
