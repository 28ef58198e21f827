#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Take a stopped fractal-server to the next release."""

from __future__ import annotations

DOCUMENTATION = r"""
module: fractal_hop
short_description: Take a stopped fractal-server to the next release
version_added: 0.1.0
description:
  - Switches to the environment that M(fractal_ops.platform.fractal_server_environment) built beside the one in use,
    migrates the schema (C(fractalctl set-db)) and, for a release with a data migration, the data
    (C(fractalctl update-db-data)). What they did is told by the alembic revision and by the rows.
  - C(update-db-data) has no resume. What a killed run of it left is taken back first, in one transaction, and only
    while the rows show that nothing else was written since; otherwise it is refused, as the rollback is the way out.
  - Waits until nobody else works on the database with the same role, such as a program that outlived a killed run.
  - It is one call because the service is down meanwhile. A stage that is done already is left alone, so a hop that was
    interrupted is made again.
author:
  - The fractal_ops.platform developers (@fractal-ops)
extends_documentation_fragment:
  - fractal_ops.platform.database.installation
  - fractal_ops.platform.lock
attributes:
  check_mode:
    description: Can run in check mode and return what it would return otherwise.
    details: Says only whether the new release could migrate the schema.
    support: partial
  diff_mode:
    description: Returns details on what has changed.
    support: none
options:
  release:
    description: The release of fractal-server to go to.
    type: str
    required: true
  strategy:
    description:
      - Whether to switch to the environment of the release beside the one in use, or to install the release in that
        one with pip.
    type: str
    choices: [staged, in_place]
    default: staged
  default_group_name:
    description: See M(fractal_ops.platform.fractal_env_migrate).
    type: str
    choices: [All, ""]
    default: All
  oauth_client:
    description: See M(fractal_ops.platform.fractal_env_migrate).
    type: str
"""

EXAMPLES = r"""
- name: Switch to 2.17.0, migrate schema and data
  fractal_ops.platform.fractal_hop:
    release: 2.17.0
"""

RETURN = r"""
switch:
  description: Whether the known path was switched, and the seconds it took.
  returned: success, not in check mode
  type: dict
  sample:
    changed: true
    duration: 0.05
environment:
  description: Whether the environment file was changed, for which releases, and the seconds it took.
  returned: success, not in check mode
  type: dict
  sample:
    changed: false
    steps: []
    duration: 0.06
schema:
  description:
    - The alembic revision (C(revision)) and the one before (C(revision_before)); what the program said (C(evidence)),
      secrets masked, null if it did not run.
  returned: success
  type: dict
data:
  description:
    - How far the data migration had come (C(state_before)), whether the rows of a killed run were taken back
      (C(healed)), what the rows prove (C(proof)), and what the program said (C(evidence)), secrets masked, null if it
      did not run.
    - Null for a release without a data migration.
  returned: success, not in check mode
  type: dict
duration:
  description: Seconds that the module took.
  returned: always
  type: float
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.database import (
    INSTALLATION_ARGUMENTS,
    find_installation,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.lock import LOCK_ARGUMENT
from ansible_collections.fractal_ops.platform.plugins.module_utils._module import run_module
from ansible_collections.fractal_ops.platform.plugins.module_utils._upgrade.hop import make_hop


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **INSTALLATION_ARGUMENTS,
            **LOCK_ARGUMENT,
            "release": {"type": "str", "required": True},
            "strategy": {"type": "str", "choices": ["staged", "in_place"], "default": "staged"},
            "default_group_name": {"type": "str", "choices": ["All", ""], "default": "All"},
            "oauth_client": {"type": "str"},
        },
        supports_check_mode=True,
    )
    options = module.params
    run_module(
        module,
        lambda: make_hop(
            find_installation(options),
            options["python"],
            options["release"],
            options["strategy"],
            module.check_mode,
            {name: options[name] for name in ("default_group_name", "oauth_client")},
        ),
    )


if __name__ == "__main__":
    main()
