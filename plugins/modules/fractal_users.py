#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Settle the flags and settings of users before the upgrade that makes profiles of them."""

from __future__ import annotations

DOCUMENTATION = r"""
module: fractal_users
short_description: Settle the flags and settings of the users of Fractal 2.16 before the upgrade
version_added: 1.0.0
description:
  - Brings named users, or all users that a rule matches, to the declared state. Says what changes, and changes nothing
    else; run again, it changes nothing.
  - Settles what M(fractal_ops.platform.fractal_user_precheck) finds. It is a step of its own that you take; no check
    and no upgrade ever does it for you.
  - Writes to the database in one transaction, while fractal-server 2.16 runs.
  - Values are validated as Fractal 2.16 validates them.
author:
  - The fractal_ops.platform developers (@fractal-ops)
extends_documentation_fragment:
  - fractal_ops.platform.database.installation
  - fractal_ops.platform.database
attributes:
  check_mode:
    description: Says what would change.
    support: full
  diff_mode:
    description: Shows the changed flags and settings.
    support: full
requirements:
  - pydantic >= 2
options:
  users:
    description: Users by name. What is left out stays as it is.
    type: list
    elements: dict
    default: []
    suboptions:
      email:
        description: E-mail address of a user who exists.
        type: str
        required: true
      <<: &columns
        is_active:
          description: Whether the user may log in.
          type: bool
        is_verified:
          description: Whether the user may run jobs; in 2.17 whether they may use Fractal at all.
          type: bool
        is_superuser:
          description: Whether the user administers Fractal.
          type: bool
        project_dir:
          description: Folder of the user's projects, an absolute path.
          type: str
        slurm_user:
          description: The user's account on the SLURM cluster.
          type: str
        slurm_accounts:
          description: The SLURM accounts of the user; all of them.
          type: list
          elements: str
        ssh_host:
          description: Host of the SLURM cluster, for the backend slurm_ssh.
          type: str
        ssh_username:
          description: The user's account there.
          type: str
        ssh_private_key_path:
          description: Absolute path of the private key on the server.
          type: str
        ssh_tasks_dir:
          description: Folder for task environments there, an absolute path.
          type: str
        ssh_jobs_dir:
          description: Folder for jobs there, an absolute path.
          type: str
  rules:
    description:
      - Users by rule. Rules are applied in order until nothing changes any more; O(users) win over rules.
      - In texts, V({name}) stands for the part of the e-mail address before the V(@), V({slurm_user}) and
        V({ssh_username}) for the user's own.
    type: list
    elements: dict
    default: []
    suboptions:
      match:
        description: Conditions that must all hold. Without any, the rule is for everybody.
        type: dict
        required: true
        suboptions:
          email:
            description: Shell pattern of the e-mail address, such as V(*@example.org). Capitals make no difference.
            type: str
          is_active:
            description: Whether the user is active.
            type: bool
          is_verified:
            description: Whether the user is verified.
            type: bool
          is_superuser:
            description: Whether the user is a superuser.
            type: bool
          owns_project:
            description: Whether the user owns a project.
            type: bool
          recently_active:
            description: Whether the user ran a job or collected tasks in the last 90 days.
            type: bool
          has_oauth_account:
            description: Whether the user has an OAuth account.
            type: bool
          unset:
            description: Settings that are all not set.
            type: list
            elements: str
            choices:
              - project_dir
              - slurm_user
              - ssh_host
              - ssh_username
              - ssh_private_key_path
              - ssh_tasks_dir
              - ssh_jobs_dir
      set:
        description: What to set for the users who match.
        type: dict
        required: true
        suboptions: *columns
"""

EXAMPLES = r"""
- name: Verify everybody who is active and owns a project
  fractal_ops.platform.fractal_users:
    rules:
      - match:
          is_active: true
          owns_project: true
        set:
          is_verified: true

- name: Give everybody a project folder, and take the first administrator out of the data migration
  fractal_ops.platform.fractal_users:
    rules:
      - match:
          is_verified: true
          unset: [project_dir]
        set:
          project_dir: /home/{slurm_user}/fractal
    users:
      - email: admin@fractal.xy
        is_verified: false
      - email: ann@example.org
        slurm_user: ann
        slurm_accounts: [imaging]
"""

RETURN = r"""
users:
  description: The users who were, or would be, changed, with the changed flags and settings.
  returned: success
  type: list
  elements: dict
  sample:
    - email: ann@example.org
      before:
        is_verified: false
      after:
        is_verified: true
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
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.users import FLAGS, SETTINGS, settle_users

_LISTS = {"slurm_accounts": {"type": "list", "elements": "str"}}
_COLUMNS: dict[str, dict[str, Any]] = {
    **{name: {"type": "bool"} for name in FLAGS},
    **{name: _LISTS.get(name, {"type": "str", "no_log": False}) for name in SETTINGS},
}
_CONDITIONS: dict[str, dict[str, Any]] = {
    "email": {"type": "str"},
    **{name: {"type": "bool"} for name in (*FLAGS, "owns_project", "recently_active", "has_oauth_account")},
    "unset": {"type": "list", "elements": "str", "choices": [name for name in SETTINGS if name not in _LISTS]},
}


def settle(params: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    installation = find_installation(params)
    door = service_side(installation, params["python"])
    return door.call(settle_users, installation, params["users"], params["rules"], check_mode)


def main() -> NoReturn:
    module = AnsibleModule(
        argument_spec={
            **DATABASE_ARGUMENTS,
            "users": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {"email": {"type": "str", "required": True}, **_COLUMNS},
            },
            "rules": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "match": {"type": "dict", "required": True, "options": _CONDITIONS},
                    "set": {"type": "dict", "required": True, "options": _COLUMNS},
                },
            },
        },
        supports_check_mode=True,
    )
    run_module(module, lambda: settle(module.params, module.check_mode))


if __name__ == "__main__":
    main()
