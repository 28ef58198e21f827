#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Declare and review the resources, profiles and users of fractal-server."""

from __future__ import annotations

DOCUMENTATION = r"""
module: fractal_resource_profile
short_description: Declare and review the resources, profiles and users of fractal-server
version_added: 1.0.0
description:
  - Without O(resources), O(profiles), O(users) and O(handed_on) it only reads, and returns the review - every resource,
    every profile, who uses it, who cannot use Fractal and why, and which names are still those of the data migration.
  - With them it brings the database to the declared state in one transaction. What is not mentioned stays as it is.
  - A resource is known by its current or previous name, a profile by these or by its username, a user by e-mail. A
    rename never makes a second resource.
  - Before anything is written, everything is validated with the constraints of the release whose schema the database
    has. What would detach users, projects or task groups is refused.
  - Fractal reads these rows anew for each request, so nothing has to be restarted.
author:
  - The fractal_ops.platform developers (@fractal-ops)
extends_documentation_fragment:
  - fractal_ops.platform.database.installation
  - fractal_ops.platform.database
  - fractal_ops.platform.lock
requirements:
  - pydantic >= 2
attributes:
  check_mode:
    description: Can run in check mode and predict what it would change.
    support: full
  diff_mode:
    description: Returns details on what has changed.
    support: full
options:
  resources:
    description:
      - Where tasks and jobs run.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description:
          - Name that it has, or gets.
        type: str
        required: true
      previous_name:
        description:
          - Name that it may still have, such as V(Resource Name), the name that the data migration gives.
        type: str
      state:
        description:
          - A resource with profiles, projects or task groups is never removed.
        type: str
        choices: [present, absent]
        default: present
      create:
        description:
          - Create the resource when none has that name. Needs O(resources[].type) and all that the type asks for.
        type: bool
        default: false
      type:
        description:
          - Type of a new resource, the same as the server's C(FRACTAL_RUNNER_BACKEND).
        type: str
        choices: [slurm_sudo, slurm_ssh, local]
      host:
        description:
          - Address of the cluster, for V(slurm_ssh).
        type: str
      jobs_slurm_python_worker:
        description:
          - Interpreter whose environment has the server's release of fractal-server, used inside SLURM jobs.
        type: path
      jobs_poll_interval:
        description:
          - Seconds between two looks at the queue.
        type: int
      jobs_local_dir:
        description:
          - Folder of the jobs on the server.
        type: path
      jobs_runner_config:
        description:
          - SLURM configuration, as a whole.
        type: dict
      tasks_local_dir:
        description:
          - Folder of the task environments on the server.
        type: path
      tasks_pixi_config:
        description:
          - pixi configuration, as a whole.
        type: dict
      interpreters:
        description:
          - Interpreters for task environments to add or replace, by version such as V(3.12).
          - An empty path takes one away.
        type: dict
      default_python_version:
        description:
          - Version of the interpreter that is used when a task package does not ask for one.
        type: str
      pip_cache_dir:
        description:
          - Cache folder of pip. An empty text turns the cache off.
        type: str
  profiles:
    description:
      - As whom users compute.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description:
          - Name that it has, or gets. A profile that does not exist is created.
        type: str
        required: true
      previous_name:
        description:
          - Name that it may still have.
        type: str
      state:
        description:
          - A profile with users is never removed.
        type: str
        choices: [present, absent]
        default: present
      resource:
        description:
          - Name of its resource. Needed for a new profile when there are several resources.
        type: str
      username:
        description:
          - Account on the cluster. Without a match by name, the only profile with this username is the one meant.
        type: str
      ssh_key_path:
        description:
          - Private key on the server, for V(slurm_ssh).
        type: path
      jobs_remote_dir:
        description:
          - Folder of the jobs on the cluster, for V(slurm_ssh).
        type: path
      tasks_remote_dir:
        description:
          - Folder of the task environments on the cluster, for V(slurm_ssh).
        type: path
  users:
    description:
      - Who uses which profile. Users are never created or removed here.
    type: list
    elements: dict
    default: []
    suboptions:
      email:
        description:
          - E-mail address of the user, case does not matter.
        type: str
        required: true
      profile:
        description:
          - Name of the profile, or the username that only one profile has.
        type: str
      project_dir:
        description:
          - Folder of the user's projects.
        type: path
      slurm_accounts:
        description:
          - SLURM accounts that the user may choose from.
        type: list
        elements: str
      is_active:
        description:
          - Whether the user may log in.
        type: bool
      is_verified:
        description:
          - Whether the user may use the API.
        type: bool
  handed_on:
    description:
      - What RV(fractal_ops.platform.fractal_env_migrate#module:handed_on) returned, to be put back after the data
        migration, which cannot carry it over.
      - Only what is missing is added, only a stand-in for an interpreter is taken away, and a poll interval replaces
        only the one of the data migration (15). Nothing that an administrator has set since is touched.
    type: dict
    default: {}
    suboptions:
      tasks_python:
        description:
          - Interpreters by version.
        type: dict
      default_version:
        description:
          - Version of the default interpreter, if it is one of O(handed_on.tasks_python).
        type: str
      stand_ins:
        description:
          - Interpreters by version that were only for the data migration, which knows no Python 3.13.
        type: dict
      poll_interval:
        description:
          - Seconds between two looks at the queue.
        type: int
  workers:
    description:
      - What RV(fractal_ops.platform.fractal_worker_environment#module:worker) was on the hosts of a cluster, so that
        their release can be compared with the server's. Without it a review asks the cluster itself, as Fractal does.
    type: list
    elements: dict
    default: []
  viewer_paths_before:
    description:
      - What RV(viewer.before) was before the upgrade, by e-mail. By default it is what the database still tells.
    type: dict
"""

EXAMPLES = r"""
- name: Review resources, profiles and users
  fractal_ops.platform.fractal_resource_profile:
  register: reviewed

- name: Name the resource, give it another interpreter, and let Carol in
  fractal_ops.platform.fractal_resource_profile:
    resources:
      - name: Cluster Zurich
        previous_name: Resource Name
        interpreters:
          "3.13": /usr/bin/python3.13
    profiles:
      - name: carol
        username: carol
    users:
      - email: carol@example.org
        profile: carol
        project_dir: /data/carol
        is_verified: true
"""

RETURN = r"""
review:
  description:
    - Resources, profiles, users and C(without_access), as they are after the call.
    - Null when the schema has no resources yet.
  returned: success
  type: dict
changes:
  description: What was changed, row by row - kind, name, action and fields.
  returned: success
  type: list
  elements: dict
findings:
  description: What a person should look at.
  returned: success
  type: list
  elements: dict
checks:
  description: Checks of schema, names, users, workers and viewer - id, status, subject, message and fix.
  returned: success
  type: list
  elements: dict
viewer:
  description: What the viewer may show.
  returned: success
  type: dict
  contains:
    scheme:
      description: The authorization scheme, or null if no environment file was named.
      type: str
      returned: success
    paths:
      description: The folders that each active and verified user may see, by e-mail.
      type: dict
      returned: success
    before:
      description: The same by the rules of the release before, or null when the database does not tell any more.
      type: dict
      returned: success
duration:
  description: Seconds that the module took.
  returned: always
  type: float
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.database import (
    DATABASE_ARGUMENTS,
    find_installation,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.lock import LOCK_ARGUMENT
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.service_side import service_side
from ansible_collections.fractal_ops.platform.plugins.module_utils._module import run_module
from ansible_collections.fractal_ops.platform.plugins.module_utils._resources.run import declare_or_review

STATE = {"type": "str", "choices": ["present", "absent"], "default": "present"}
RESOURCE = {
    "name": {"type": "str", "required": True},
    "previous_name": {"type": "str"},
    "state": STATE,
    "create": {"type": "bool", "default": False},
    "type": {"type": "str", "choices": ["slurm_sudo", "slurm_ssh", "local"]},
    "host": {"type": "str"},
    "jobs_slurm_python_worker": {"type": "path"},
    "jobs_poll_interval": {"type": "int"},
    "jobs_local_dir": {"type": "path"},
    "jobs_runner_config": {"type": "dict"},
    "tasks_local_dir": {"type": "path"},
    "tasks_pixi_config": {"type": "dict"},
    "interpreters": {"type": "dict"},
    "default_python_version": {"type": "str"},
    "pip_cache_dir": {"type": "str"},
}
PROFILE = {
    "name": {"type": "str", "required": True},
    "previous_name": {"type": "str"},
    "state": STATE,
    "resource": {"type": "str"},
    "username": {"type": "str"},
    "ssh_key_path": {"type": "path", "no_log": False},
    "jobs_remote_dir": {"type": "path"},
    "tasks_remote_dir": {"type": "path"},
}
USER = {
    "email": {"type": "str", "required": True},
    "profile": {"type": "str"},
    "project_dir": {"type": "path"},
    "slurm_accounts": {"type": "list", "elements": "str"},
    "is_active": {"type": "bool"},
    "is_verified": {"type": "bool"},
}
HANDED_ON = {
    "tasks_python": {"type": "dict"},
    "default_version": {"type": "str"},
    "stand_ins": {"type": "dict"},
    "poll_interval": {"type": "int"},
}


OPTIONS: dict[str, dict[str, Any]] = {
    "resources": {"type": "list", "elements": "dict", "default": [], "options": RESOURCE},
    "profiles": {"type": "list", "elements": "dict", "default": [], "options": PROFILE},
    "users": {"type": "list", "elements": "dict", "default": [], "options": USER},
    "handed_on": {"type": "dict", "default": {}, "options": HANDED_ON},
    "workers": {"type": "list", "elements": "dict", "default": []},
    "viewer_paths_before": {"type": "dict"},
}


def declare(params: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    installation = find_installation(params)
    door = service_side(installation, params["python"])
    return door.call(declare_or_review, installation, {name: params[name] for name in OPTIONS}, check_mode)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **DATABASE_ARGUMENTS,
            **LOCK_ARGUMENT,
            **OPTIONS,
        },
        supports_check_mode=True,
    )
    run_module(module, lambda: declare(module.params, module.check_mode))


if __name__ == "__main__":
    main()
