#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: fractal_env_migrate
short_description: Migrate an environment file of Fractal to a newer release
version_added: 1.0.0
author:
  - The fractal_ops.platform developers (@fractal-ops)
description:
  - Gives every variable of fractal-server 2.16 its place in 2.17, with the value that 2.16 used in effect, defaults and
    variables of the unit included. Lines that need no change stay byte for byte.
  - Writes the C(.old) file that C(fractalctl update-db-data) of 2.17.0 reads, complete and sufficient.
  - Migrates the environment file of fractal-web with O(kind=web).
  - Writes nothing if it finds a reason why the new release would not work as before; says all reasons at once.
  - Runs with the host's Python, 3.9 or later, and needs no library.
attributes:
  check_mode:
    description: Can run in check mode and return what it would change.
    support: full
  diff_mode:
    description: Shows the changed lines, without secrets.
    support: full
options:
  path:
    description: The environment file.
    type: path
    required: true
  kind:
    description: Whose file it is.
    type: str
    choices: [server, web]
    default: server
  state:
    description:
      - V(migrated) writes the files.
      - V(rendered) writes the new file to O(rendered_path) only, for the new release to check before the service stops.
      - V(examined) writes nothing and does not fail either; see RV(findings).
    type: str
    choices: [migrated, rendered, examined]
    default: migrated
  rendered_path:
    description: Where O(state=rendered) writes the new file. It gets the owner of O(path) and no wider mode.
    type: path
  old_path:
    description:
      - Where the file for the data migration goes. Server only.
      - Defaults to O(path) with V(.old) appended, which is where C(fractalctl) of 2.17.0 looks for it.
    type: path
  service:
    description:
      - The systemd unit, whose own environment counts too.
      - Without it only the file counts.
    type: str
  server_python:
    description:
      - Interpreter of fractal-server. It decrypts the e-mail password, and it is what 2.16 used where the file names no
        interpreter.
    type: path
  worker_python:
    description: Interpreter of the SLURM workers, if 2.16 used the server's own and it has another path now.
    type: path
  tasks_python:
    description:
      - Interpreter for tasks if the file names none; 2.16 uses the server's own then.
      - Defaults to O(server_python) and its version.
    type: dict
    suboptions:
      version:
        description: Version, such as V(3.11).
        type: str
        required: true
      interpreter:
        description: Absolute path.
        type: path
        required: true
  default_group_name:
    description: Name of the group that every user is in; empty to have none. fractal-server 2.17 knows V(All) only.
    type: str
    choices: [All, ""]
    default: All
  runner_backend:
    description:
      - Backend as the server calls it, RV(runner_backend) of its own migration. Web only.
      - Defaults to the translation of what the file says.
    type: str
    choices: [slurm_sudo, slurm_ssh, local]
  oauth_client:
    description: Which OAuth client to keep if several are configured; 2.17 knows one. Server only.
    type: str
  oauth_client_name:
    description:
      - OAuth client as the server calls it, RV(oauth_client_name) of its own migration; empty if it has none. Web only.
      - Defaults to what the file says, in lower case.
    type: str
  drop_in_path:
    description:
      - Path of a systemd drop-in, ending in V(.conf), for what 2.17 does not do any more or must not see, that is,
        variables that 2.16 handed to child processes, and values set by the unit that 2.17 refuses. Server only.
      - The values are written to a file beside it, ending in V(.env), that only root can read; systemd shows the
        content of a drop-in to every user.
      - systemd is told to reload its units.
      - Defaults to C(50-fractal-environment.conf) in the drop-in folder of O(service). Without a service, or if empty,
        nothing of this is done, but told as a finding where it is needed.
    type: path
  release:
    description:
      - The release of fractal-server that is to read the file. Steps of later releases are left out. Server only.
      - The default suits 2.17.0 to 2.17.2. Name the release from 2.18.0 on, which reads less.
    type: str
    default: 2.17.2
  data_stop:
    description:
      - The last release with a data migration that the database's schema has reached, see
        RV(fractal_ops.platform.fractal_observe#module:database.stop). Those before it are over. Server only.
    type: str
  data_migration:
    description:
      - Whether the data migration of 2.17.0 is still to come. If so, the C(.old) file is written (or checked, if
        O(path) is one of 2.17 already), and it is an error if a value for it is missing. Server only.
    type: bool
    default: true
extends_documentation_fragment:
  - fractal_ops.platform.lock
"""

EXAMPLES = r"""
- name: See what the migration would do, and what stands in its way
  fractal_ops.platform.fractal_env_migrate:
    path: /opt/fractal/server/.fractal_server.env
    service: fractal-server
    server_python: /opt/fractal/venv/bin/python3
    state: examined

- name: Migrate the environment file of fractal-server
  fractal_ops.platform.fractal_env_migrate:
    path: /opt/fractal/server/.fractal_server.env
    service: fractal-server
    server_python: /opt/fractal/venv/bin/python3
  register: __env

- name: Migrate the environment file of fractal-web
  fractal_ops.platform.fractal_env_migrate:
    path: /opt/fractal/web/.env
    kind: web
    runner_backend: "{{ __env.runner_backend }}"
    oauth_client_name: "{{ __env.oauth_client_name }}"
"""

RETURN = r"""
steps:
  description: The releases for which the file is not yet as they need it, in their order.
  returned: success
  type: list
  elements: str
  sample: [2.17.0]
changes:
  description: What becomes of each variable that does not stay as it is. No values.
  returned: success
  type: list
  elements: dict
  contains:
    variable:
      description: Name in the old file.
      type: str
    action:
      description:
        - V(add), V(change), V(rename) or V(drop) in the new file.
        - V(move) from the file to the drop-in; V(hide) for a variable of the unit.
        - V(complete) in the C(.old) file.
      type: str
    new_variable:
      description: Name in the new file, if renamed.
      type: str
    reason:
      description: Why.
      type: str
  sample:
    - variable: FRACTAL_RUNNER_BACKEND
      action: change
      new_variable: ""
      reason: 2.17 calls the backend 'slurm' 'slurm_sudo'
findings:
  description:
    - What the operator should know. With severity V(blocker) nothing is written, and the module fails unless
      O(state=examined). Those of severity V(warning) are shown as warnings too.
  returned: success
  type: list
  elements: dict
old_path:
  description: The file for the data migration; empty if there is none.
  returned: success
  type: str
drop_in_path:
  description: The drop-in; empty if none is needed.
  returned: success
  type: str
hidden:
  description: Variables that the unit itself sets and the drop-in takes away, since 2.17 needs other values.
  returned: success
  type: list
  elements: str
handed_on:
  description:
    - What the resource needs right after the data migration, because C(update-db-data) leaves it out.
    - V(tasks_python), interpreters by version, and V(default_version), for Python 3.13; V(stand_ins), those that the
      data migration got in its place. V(poll_interval) in seconds.
    - To be given to M(fractal_ops.platform.fractal_resource_profile) as it is.
  returned: success
  type: dict
oauth_client_name:
  description: OAuth client as the server calls it from now on; empty for none.
  returned: success
  type: str
runner_backend:
  description: Backend as the server calls it from now on.
  returned: success
  type: str
duration:
  description: Seconds that it took.
  returned: always
  type: float
"""

from typing import TYPE_CHECKING, Any, NoReturn

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.lock import LOCK_ARGUMENT
from ansible_collections.fractal_ops.platform.plugins.module_utils._module import run_module
from ansible_collections.fractal_ops.platform.plugins.module_utils._releases.path import OFFICIAL
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.env_steps import env_task

if TYPE_CHECKING:
    from collections.abc import Mapping


def migrate(module: AnsibleModule) -> dict[str, Any]:
    params: Mapping[str, Any] = module.params
    task = env_task(**{name: value for name, value in params.items() if name not in ("state", "rendered_path")})
    if params["state"] == "examined":
        return task.result(changed=False)
    task.refuse_blockers()
    for finding in task.migration.findings:
        if finding.severity == "warning":
            module.warn(finding.message)
    diffs = {"diff": task.diffs()} if module._diff else {}
    write = not module.check_mode
    changed = task.render(params["rendered_path"], write) if params["state"] == "rendered" else task.apply(write)
    return {**task.result(changed), **diffs}


def main() -> NoReturn:
    module = AnsibleModule(
        argument_spec={
            **LOCK_ARGUMENT,
            "path": {"type": "path", "required": True},
            "kind": {"type": "str", "choices": ["server", "web"], "default": "server"},
            "state": {"type": "str", "choices": ["migrated", "rendered", "examined"], "default": "migrated"},
            "rendered_path": {"type": "path"},
            "old_path": {"type": "path"},
            "service": {"type": "str"},
            "server_python": {"type": "path"},
            "worker_python": {"type": "path"},
            "tasks_python": {
                "type": "dict",
                "options": {
                    "version": {"type": "str", "required": True},
                    "interpreter": {"type": "path", "required": True},
                },
            },
            "default_group_name": {"type": "str", "choices": ["All", ""], "default": "All"},
            "runner_backend": {"type": "str", "choices": ["slurm_sudo", "slurm_ssh", "local"]},
            "oauth_client": {"type": "str"},
            "oauth_client_name": {"type": "str"},
            "drop_in_path": {"type": "path"},
            "data_migration": {"type": "bool", "default": True},
            "data_stop": {"type": "str"},
            "release": {"type": "str", "default": OFFICIAL},
        },
        required_if=[("state", "rendered", ["rendered_path"])],
        supports_check_mode=True,
    )
    run_module(module, lambda: migrate(module))


if __name__ == "__main__":
    main()
