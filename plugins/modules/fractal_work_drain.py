#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Wait for the jobs of a Fractal instance, or end them."""

from __future__ import annotations

DOCUMENTATION = r"""
module: fractal_work_drain
short_description: Wait for the jobs of a Fractal instance, or end them
version_added: 1.0.0
description:
  - A stop of fractal-server kills its jobs and task collections, and leaves them in the database as if they ran.
  - So this module makes sure that there are none, in the way that O(mode) says.
author:
  - The fractal_ops.platform developers (@fractal-ops)
extends_documentation_fragment:
  - fractal_ops.platform.database.installation
  - fractal_ops.platform.lock
attributes:
  check_mode:
    description: Can run in check mode and return what is in flight.
    support: full
  diff_mode:
    description: Returns details on what has changed.
    support: none
options:
  mode:
    description:
      - V(fail) fails if anything is in flight.
      - V(wait) waits until nothing is, and fails after O(timeout).
      - V(abort) asks fractal-server to end its jobs, which cancels their SLURM jobs and writes log and history, and
        waits for that. A task collection cannot be asked; it has O(timeout) seconds to end. What is left then, or
        belongs to a process that is gone, is left to O(state=settled).
    type: str
    choices: [fail, wait, abort]
    default: fail
  timeout:
    description: Seconds to wait.
    type: int
    default: 3600
  state:
    description:
      - V(drained) is for the running service, before it is stopped.
      - V(settled) is for the stopped one. What is still in flight in the database is marked as failed, in one
        transaction, jobs with their history as C(PATCH /admin/v2/job/) does it.
    type: str
    choices: [drained, settled]
    default: drained
"""

EXAMPLES = r"""
- name: Wait half an hour for the jobs in flight
  fractal_ops.platform.fractal_work_drain:
    mode: wait
    timeout: 1800

- name: End the jobs in flight
  fractal_ops.platform.fractal_work_drain:
    mode: abort
    timeout: 60
"""

RETURN = r"""
stopped:
  description: What was ended, such as C(job 4 of ann@example.org).
  returned: success
  type: list
  elements: str
left:
  description: What is still in flight.
  returned: success
  type: list
  elements: str
duration:
  description: Seconds that the module took.
  returned: always
  type: float
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.systemd import read_unit
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.database import (
    INSTALLATION_ARGUMENTS,
    find_installation,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.lock import LOCK_ARGUMENT
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.service_side import service_side
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.work_in_flight import drain, settle
from ansible_collections.fractal_ops.platform.plugins.module_utils._module import run_module


def end_work(options: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    installation = find_installation(options)
    unit = read_unit(installation.service) if installation.service else None
    door = service_side(installation, options["python"], options["timeout"] + 600)
    if options["state"] == "drained":
        started = unit.started_at if unit else None
        return door.call(drain, installation, started, options["mode"], options["timeout"], check_mode)
    if unit and unit.active_state not in ("inactive", "failed"):
        raise FractalError(f"{unit.name} runs, so its work in flight cannot be marked as failed. Stop it.")
    return door.call(settle, installation, check_mode)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **INSTALLATION_ARGUMENTS,
            **LOCK_ARGUMENT,
            "mode": {"type": "str", "choices": ["fail", "wait", "abort"], "default": "fail"},
            "timeout": {"type": "int", "default": 3600},
            "state": {"type": "str", "choices": ["drained", "settled"], "default": "drained"},
        },
        supports_check_mode=True,
    )
    run_module(module, lambda: end_work(module.params, module.check_mode))


if __name__ == "__main__":
    main()
