#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Migrate the schema of a Fractal database."""

from __future__ import annotations

DOCUMENTATION = r"""
module: fractal_schema_migrate
short_description: Migrate the schema of a Fractal database
version_added: 0.1.0
description:
  - Runs C(fractalctl set-db) as fractal-server itself runs, with its account, working directory and variables.
  - The alembic revision alone decides whether it is needed and whether it worked.
  - Refuses to go back, to migrate with another release than the one installed, and to drop the users' old settings (the
    schema of 2.17.1) before the rows prove that the data migration of 2.17.0 is complete.
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
  release:
    description:
      - The release of fractal-server that the schema shall belong to. It has to be installed.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Bring the schema to that of 2.17.0
  fractal_ops.platform.fractal_schema_migrate:
    release: 2.17.0
"""

RETURN = r"""
revision_before:
  description: Alembic revision before.
  returned: success
  type: str
revision:
  description: Alembic revision afterwards.
  returned: success
  type: str
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
from ansible_collections.fractal_ops.platform.plugins.module_utils._upgrade.schema import migrate_schema


def migrate(options: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    installation = find_installation(options)
    door = service_side(installation, options["python"], A_DAY)
    return door.call(migrate_schema, installation, door.python, options["release"], check_mode)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **INSTALLATION_ARGUMENTS,
            **LOCK_ARGUMENT,
            "release": {"type": "str", "required": True},
        },
        supports_check_mode=True,
    )
    run_module(module, lambda: migrate(module.params, module.check_mode))


if __name__ == "__main__":
    main()
