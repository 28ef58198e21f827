#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring a Fractal database back from its backup."""

from __future__ import annotations

DOCUMENTATION = r"""
module: fractal_database_restore
short_description: Bring a Fractal database back from its backup
version_added: 1.0.0
description:
  - Makes the database just what it was when M(fractal_ops.platform.fractal_backup) backed it up. Does nothing when it
    is.
  - If the backup has a frozen copy, and that is what the manifest says, it takes the database's name at one instant,
    with the settings, privileges, limit, owner and comment of the database. That takes seconds.
  - Otherwise the dump is restored into a fresh database and compared with the backup's manifest. Then, at one instant,
    the fresh database takes the name of the old one.
  - What had the name is kept aside as C(<name>_failed_<run>) until you drop it.
  - A database role that may not create databases, or cannot connect to a new one, restores within the existing
    database, in one transaction that also makes the comparison. So it does where a fresh database would have to do
    without something that only an administrator can make, or while others stay connected. What belongs to other roles
    stays untouched then; if it needs something that would be dropped, nothing is changed. Nothing can be kept aside.
  - Whatever fails or is killed, the database is what it was before, and the module can be run again.
  - Uses the environment file in use, or, where that does not lead to the database, the one in the backup.
  - Stop fractal-server before.
author:
  - The fractal_ops.platform developers (@fractal-ops)
extends_documentation_fragment:
  - fractal_ops.platform.database.installation
  - fractal_ops.platform.lock
requirements:
  - pg_restore and psql, not older than the database server
attributes:
  check_mode:
    description: Can run in check mode and return what it would return otherwise.
    support: full
  diff_mode:
    description: Returns details on what has changed.
    support: none
options:
  backup:
    description:
      - Folder of the backup.
    type: path
    required: true
  accept_data_loss:
    description:
      - Whether to go back although rows were written after the backup. Without it the module fails and says which
        tables would lose rows.
    type: bool
    default: false
  method:
    description:
      - V(exchange) gives back the frozen copy, V(fresh_database) restores the dump beside the old database,
        V(in_place) within it. V(auto) takes the first of these that can be done without leaving anything behind.
    type: str
    choices: [auto, exchange, fresh_database, in_place]
    default: auto
  read_all:
    description:
      - Whether to read all of the frozen copy and of the dump, to see that no byte of them is damaged. Do so in check
        mode while fractal-server still runs, as it takes time.
      - Without it, PostgreSQL's own number of the copy, its mark, its structure, and the versions of its rows prove
        that nobody has written to it since it was made.
    type: bool
    default: false
  seen:
    description:
      - RV(seen) of an earlier call, made in check mode while fractal-server still ran. Then only those tables are read
        that somebody has written to since.
    type: dict
    suboptions:
      why_not_exchanged:
        description:
          - What was wrong with the copy; such a copy is not taken.
        type: str
        default: ""
      lost:
        description:
          - Tables that were written to after the backup.
        type: list
        elements: dict
        default: []
      versions:
        description:
          - The versions of the rows of each table.
        type: dict
        default: {}
"""

EXAMPLES = r"""
- name: See what would be lost, while fractal-server still runs
  fractal_ops.platform.fractal_database_restore:
    service: fractal-server
    backup: /var/backups/fractal/fractal-server.service/20251120T210000Z
    read_all: true
  check_mode: true
  register: asked

- name: Bring the database back
  fractal_ops.platform.fractal_database_restore:
    service: fractal-server
    backup: /var/backups/fractal/fractal-server.service/20251120T210000Z
    seen: "{{ asked.seen }}"
"""

RETURN = r"""
method:
  description: How it was restored - V(exchange), V(fresh_database), V(in_place), or empty if it was not necessary.
  returned: success
  type: str
kept_aside:
  description: Name of the database as it was before, also when an earlier call restored it; empty if none was kept.
  returned: success
  type: str
left_out:
  description:
    - What a fresh database had to do without, as only an administrator of PostgreSQL can make it. The database kept
      aside has it.
  returned: success
  type: list
  elements: str
lost:
  description: Tables that were written to after the backup.
  returned: success
  type: list
  elements: dict
  contains:
    table:
      description: The table.
      type: str
      returned: success
    rows_before:
      description: Number of its rows in the backup.
      type: int
      returned: success
    rows_now:
      description: Number of its rows before going back; null if the role may not read it.
      type: int
      returned: success
    created:
      description: How many of them were created since.
      type: int
      returned: success
    gone:
      description: Columns that the table does not have any more.
      type: list
      elements: str
      returned: success
task_folders:
  description:
    - Which folders of task packages do not fit the rows that come back, and what to do about each. A rollback brings no
      folder of tasks back.
  returned: success
  type: list
  elements: str
why_not_exchanged:
  description: What is wrong with the frozen copy of the backup; empty if nothing is, or if it never had one.
  returned: success
  type: str
seen:
  description: For the option O(seen) of the next call.
  returned: success
  type: dict
removed:
  description: Databases that killed runs had left behind.
  returned: success
  type: list
  elements: str
duration:
  description: Seconds that the module took.
  returned: always
  type: float
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.fractal_ops.platform.plugins.module_utils._backup.restore_database import (
    METHODS,
    restore_database,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.database import (
    INSTALLATION_ARGUMENTS,
    find_installation,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.lock import LOCK_ARGUMENT
from ansible_collections.fractal_ops.platform.plugins.module_utils._module import run_module


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **INSTALLATION_ARGUMENTS,
            **LOCK_ARGUMENT,
            "backup": {"type": "path", "required": True},
            "accept_data_loss": {"type": "bool", "default": False},
            "method": {"type": "str", "choices": list(METHODS), "default": "auto"},
            "read_all": {"type": "bool", "default": False},
            "seen": {
                "type": "dict",
                "options": {
                    "why_not_exchanged": {"type": "str", "default": ""},
                    "lost": {"type": "list", "elements": "dict", "default": []},
                    "versions": {"type": "dict", "default": {}},
                },
            },
        },
        supports_check_mode=True,
    )
    options = module.params
    run_module(
        module,
        lambda: restore_database(
            find_installation(options),
            options["python"],
            options["backup"],
            options["accept_data_loss"],
            options["method"],
            module.check_mode,
            options["read_all"],
            options["seen"],
        ),
    )


if __name__ == "__main__":
    main()
