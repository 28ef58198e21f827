#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rehearse the upgrade of a running fractal-server on a copy of its database."""

from __future__ import annotations

DOCUMENTATION = r"""
module: fractal_rehearsal
short_description: Rehearse the upgrade of a running fractal-server on a copy of its database
version_added: 1.0.0
description:
  - Dumps one consistent snapshot of the database, restores it into a database of its own and compares both. Then each
    of O(releases) migrates that database, in the environment that
    M(fractal_ops.platform.fractal_server_environment) built beside the one in use and as the service account; the
    alembic revision and the rows tell whether it did. The last release is started on it, on a free port of the
    loopback address, and has to answer, to let somebody log in, and to list projects.
  - The service stays up. Its database and environment file are only read. What is started on the copy has no way to a
    job, a task or a cluster. Nothing is left, also of a rehearsal that was killed.
  - What it measures says how long the service will be down.
author:
  - The fractal_ops.platform developers (@fractal-ops)
extends_documentation_fragment:
  - fractal_ops.platform.database.installation
  - fractal_ops.platform.lock
attributes:
  check_mode:
    description: Can run in check mode and return what it would return otherwise.
    details: Does nothing and is skipped, as it would have to make a database.
    support: partial
  diff_mode:
    description: Returns details on what has changed.
    support: none
options:
  releases:
    description: The releases of fractal-server on the way, in order. The last one is the target.
    type: list
    elements: str
    required: true
  strategy:
    description:
      - How the releases get installed. With V(in_place) there are no environments of them yet, so that only the dump
        and the restore are rehearsed.
    type: str
    choices: [staged, in_place]
    default: staged
  backup_root:
    description: Folder whose disk takes the dump. The dump has no name there and goes with the rehearsal.
    type: path
    default: /var/backups/fractal
  method:
    description: How the database will be backed up; see M(fractal_ops.platform.fractal_backup).
    type: str
    choices: [auto, copy, dump]
    default: auto
  jobs:
    description: How many tables to restore at once.
    type: int
    default: 1
  start_timeout:
    description: Seconds that the new release has to answer in.
    type: float
    default: 120
  email:
    description: Account to log in with. Without it and O(password), a token is made for a user of the instance.
    type: str
  password:
    description: Password of the account.
    type: str
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
- name: Rehearse the upgrade to 2.17.0, whose environment is built
  fractal_ops.platform.fractal_rehearsal:
    releases: [2.17.0]
"""

RETURN = r"""
passed:
  description: Whether all that could be rehearsed went well.
  returned: success, not in check mode
  type: bool
findings:
  description: What was found, as in C(docs/findings.md); what refused is a blocker.
  returned: success, not in check mode
  type: list
  elements: dict
target:
  description: The release that was rehearsed.
  returned: success, not in check mode
  type: str
revision:
  description: The alembic revision of the instance's database.
  returned: success, not in check mode
  type: str
seconds:
  description: What each step took.
  returned: success, not in check mode
  type: dict
  sample:
    dump: 1.4
    proof: 3.2
    copy: 0.4
    compare: 0.1
    environment: 0.3
    switch 2.17.0: 1.3
    schema 2.17.0: 2.2
    data 2.17.0: 2.4
    note: 0.6
    start: 3.1
    stop: 0.3
size_bytes:
  description: Size of the instance's database.
  returned: success, not in check mode
  type: int
dump_bytes:
  description: Size of the dump.
  returned: success, not in check mode
  type: int
copy_bytes_per_second:
  description: How fast PostgreSQL copies a database file by file, 0 if that was not tried.
  returned: success, not in check mode
  type: int
projects:
  description: How many projects the account saw in the new release; null if it did not come to that.
  returned: success, not in check mode
  type: int
predicted:
  description:
    - Seconds that each stage with the service down will take, by its name. Empty unless everything was rehearsed.
  returned: success, not in check mode
  type: dict
  sample:
    stop: 0.3
    backup: 0.5
    environment_file: 0.3
    hop 2.17.0: 5.9
    note: 0.6
    start: 3.1
predicted_seconds:
  description: Seconds that the service will be down; null unless everything was rehearsed.
  returned: success, not in check mode
  type: float
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
from ansible_collections.fractal_ops.platform.plugins.module_utils._upgrade.rehearsal import Wanted, rehearse


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **INSTALLATION_ARGUMENTS,
            **LOCK_ARGUMENT,
            "releases": {"type": "list", "elements": "str", "required": True},
            "strategy": {"type": "str", "choices": ["staged", "in_place"], "default": "staged"},
            "backup_root": {"type": "path", "default": "/var/backups/fractal"},
            "method": {"type": "str", "choices": ["auto", "copy", "dump"], "default": "auto"},
            "jobs": {"type": "int", "default": 1},
            "start_timeout": {"type": "float", "default": 120},
            "email": {"type": "str"},
            "password": {"type": "str", "no_log": True},
            "default_group_name": {"type": "str", "choices": ["All", ""], "default": "All"},
            "oauth_client": {"type": "str"},
        },
        supports_check_mode=True,
    )
    options = module.params
    wanted = Wanted(
        hops=options["releases"],
        strategy=options["strategy"],
        backup_root=options["backup_root"],
        method=options["method"],
        jobs=options["jobs"],
        start_timeout=options["start_timeout"],
        email=options["email"] or "",
        password=options["password"] or "",
        env_options={name: options[name] for name in ("default_group_name", "oauth_client")},
    )
    run_module(
        module, lambda: rehearse(find_installation(options), options["python"], wanted, check_mode=module.check_mode)
    )


if __name__ == "__main__":
    main()
