#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Migrate the data of a Fractal database for 2.17.0."""

from __future__ import annotations

DOCUMENTATION = r"""
module: fractal_data_migrate
short_description: Migrate the data of a Fractal database for 2.17.0
version_added: 0.1.0
description:
  - Runs C(fractalctl update-db-data) of 2.17.0 exactly once, as fractal-server itself runs, and proves by the rows that
    every project, every task group and every active and verified user got what it needs.
  - The program has no resume. What a killed run left behind is taken back first, in one transaction, and only while the
    rows show that nothing else was written since; otherwise the module refuses, as the rollback is the way out then.
  - Does nothing when the migration is complete or the schema is newer.
  - Waits until nobody else works on the database with the same role, such as a program that outlived a killed run.
author:
  - The fractal_ops.platform developers (@fractal-ops)
extends_documentation_fragment:
  - fractal_ops.platform.database.installation
  - fractal_ops.platform.lock
attributes:
  check_mode:
    description: Can run in check mode and return what it would return otherwise.
    support: full
  diff_mode:
    description: Returns details on what has changed.
    support: none
options:
  backend:
    description:
      - The backend that the new environment file has to name, so that the resource becomes one of the right kind.
      - The default follows from the old environment file.
    type: str
    choices: [slurm_sudo, slurm_ssh]
"""

EXAMPLES = r"""
- name: Give every user a profile, and every project and task group a resource
  fractal_ops.platform.fractal_data_migrate:
    service: fractal-server
  register: data

- name: Show what the rows prove
  ansible.builtin.debug:
    var: data.proof
"""

RETURN = r"""
state_before:
  description: How far the migration had come - V(not_needed), V(pending), V(partial) or V(done).
  returned: success
  type: str
healed:
  description: Whether the rows of a killed run were taken back.
  returned: success
  type: bool
proof:
  description:
    - The rows afterwards. Of an earlier release only what is still known when the schema is newer.
    - C(resources), C(profiles), C(projects_attached), C(task_groups_attached) and C(users_attached) are numbers;
      C(projects_left), C(task_groups_left) and the list C(users_left) say what is missing.
  returned: success
  type: dict
evidence:
  description: What the program said, secrets masked. Nothing is decided from it. Null when it did not run.
  returned: success
  type: dict
  contains:
    command:
      description: What was run.
      type: str
      returned: success
    returncode:
      description: Its exit code.
      type: int
      returned: success
    output:
      description: Its output, line by line.
      type: list
      elements: str
      returned: success
duration:
  description: Seconds that the module took.
  returned: always
  type: float
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.database import (
    INSTALLATION_ARGUMENTS,
    find_installation,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.lock import LOCK_ARGUMENT
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.service_side import A_DAY, service_side
from ansible_collections.fractal_ops.platform.plugins.module_utils._module import run_module
from ansible_collections.fractal_ops.platform.plugins.module_utils._upgrade.data import migrate_data


def migrate(options: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    installation = find_installation(options)
    door = service_side(installation, options["python"], A_DAY)
    return door.call(migrate_data, installation, door.python, backend=options["backend"], check_mode=check_mode)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **INSTALLATION_ARGUMENTS,
            **LOCK_ARGUMENT,
            "backend": {"type": "str", "choices": ["slurm_sudo", "slurm_ssh"]},
        },
        supports_check_mode=True,
    )
    run_module(module, lambda: migrate(module.params, module.check_mode))


if __name__ == "__main__":
    main()
