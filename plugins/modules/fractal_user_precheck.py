#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find every user who would stop the upgrade, or lose something by it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: fractal_user_precheck
short_description: Find every user who would stop the upgrade, or lose something by it
version_added: 1.0.0
description:
  - Checks the settings of all users in one pass against what the data migration of fractal-server 2.17.0 does with
    them, as long as it is to come. The migration itself stops at the first problem.
  - Tells who will and who will not have access afterwards, and what those who will not have at stake.
  - Reads only, in one read-only transaction; SELECT on the tables of fractal-server is all the right it needs. The
    number of statements does not depend on the number of users.
  - What it finds can be settled with M(fractal_ops.platform.fractal_users).
author:
  - The fractal_ops.platform developers (@fractal-ops)
extends_documentation_fragment:
  - fractal_ops.platform.database.installation
  - fractal_ops.platform.database
attributes:
  check_mode:
    description: Can run in check mode and return what it would return otherwise.
    support: full
  diff_mode:
    description: Returns details on what has changed.
    support: none
requirements:
  - pydantic >= 2
options:
  backend:
    description:
      - The runner backend of the instance, by the name of any release.
      - The default is C(FRACTAL_RUNNER_BACKEND) of fractal-server's environment; with O(dbname) there is none.
    type: str
    choices: [local, slurm, slurm_sudo, slurm_ssh]
  oauth_client:
    description:
      - The OAuth client that stays, where there are several; from 2.17.0 on there is one.
      - The default is the only one there is.
    type: str
"""

EXAMPLES = r"""
- name: Check the users
  fractal_ops.platform.fractal_user_precheck:
    service: fractal-server
  register: __users

- name: Check the users of a database elsewhere, with a role that may only read
  fractal_ops.platform.fractal_user_precheck:
    host: db.example.org
    user: reader
    password: "{{ reader_password }}"
    dbname: fractal_db
    backend: slurm
    python: /opt/fractal/venv/bin/python3
"""

RETURN = r"""
findings:
  description: What is, or will be, wrong; see C(docs/findings.md).
  returned: success
  type: list
  elements: dict
  sample:
    - id: user.setting_unset
      severity: blocker
      subject: ann@example.org
      message: ann@example.org is active and verified but has no project_dir; the data migration stops here.
      fix: Set project_dir of ann@example.org with fractal_users, or set is_verified false.
      reference: fractal-server 2.17.0, data_migrations/2_17_0.py
      acceptable: false
access:
  description: Who will have access to Fractal once the blockers are settled, and who will not.
  returned: success
  type: dict
  contains:
    with_access:
      description: E-mail addresses.
      returned: success
      type: list
      elements: str
    without_access:
      description:
        - The others, why, and what they have at stake. C(hurt) is whether they own projects,
          have running jobs, or were active in the last 90 days.
      returned: success
      type: list
      elements: dict
      sample:
        - email: uma@example.org
          reasons: [not verified]
          is_superuser: false
          projects: 2
          running_jobs: 0
          last_activity: "2026-10-01"
          hurt: true
backend:
  description: The runner backend, by its name of today.
  returned: success
  type: str
  sample: slurm_sudo
duration:
  description: Seconds that it took.
  returned: always
  type: float
"""

from typing import Any, NoReturn

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.database import (
    DATABASE_ARGUMENTS,
    find_installation,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.service_side import service_side
from ansible_collections.fractal_ops.platform.plugins.module_utils._module import run_module
from ansible_collections.fractal_ops.platform.plugins.module_utils._releases.backends import BACKENDS
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.users import precheck_users


def precheck(params: dict[str, Any]) -> dict[str, Any]:
    installation = find_installation(params)
    door = service_side(installation, params["python"])
    return door.call(precheck_users, installation, params["backend"], params["oauth_client"])


def main() -> NoReturn:
    module = AnsibleModule(
        argument_spec={
            **DATABASE_ARGUMENTS,
            "backend": {"type": "str", "choices": list(BACKENDS)},
            "oauth_client": {"type": "str"},
        },
        supports_check_mode=True,
    )
    run_module(module, lambda: precheck(module.params))


if __name__ == "__main__":
    main()
