#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the state of a Fractal database."""

from __future__ import annotations

DOCUMENTATION = r"""
module: fractal_database_info
short_description: Read the state of a Fractal database
version_added: 0.1.0
description:
  - Says which release the schema belongs to, how far the data migration of fractal-server 2.17.0 has come, what is in
    flight, and how many rows each table has.
  - Only reads; a role with nothing but the right to C(SELECT) is enough.
author:
  - The fractal_ops.platform developers (@fractal-ops)
extends_documentation_fragment:
  - fractal_ops.platform.database.installation
  - fractal_ops.platform.database
  - fractal_ops.platform.lock
attributes:
  check_mode:
    description: Can run in check mode and return what it would return otherwise.
    support: full
  diff_mode:
    description: Returns details on what has changed.
    support: none
options:
  counts:
    description:
      - Whether to count the rows of every table, which takes longer the larger the database is.
    type: bool
    default: true
  fail_unreachable:
    description:
      - Whether to fail when the database cannot be reached. Otherwise RV(database.reachable) is V(false) and
        RV(database.reason) says why.
    type: bool
    default: true
"""

EXAMPLES = r"""
- name: Read the state of the database
  fractal_ops.platform.fractal_database_info:
    service: fractal-server
  register: state

- name: Show the release that the schema belongs to
  ansible.builtin.debug:
    var: state.database.release
"""

RETURN = r"""
database:
  description: The state of the database. Unreachable, it has only C(reachable) and C(reason).
  returned: success
  type: dict
  contains:
    reachable:
      description: Whether the database answered.
      type: bool
      returned: success
    reason:
      description: Why it did not.
      type: str
      returned: success
    revision:
      description: The alembic revision, or null.
      type: str
      returned: reachable
    release:
      description: First release with this revision as its head, V(unknown) for none that the collection knows.
      type: str
      returned: reachable
    newest_release:
      description: Last release with this revision as its head, V(unknown) for none that the collection knows.
      type: str
      returned: reachable
    data_migration:
      description:
        - How far the data migration (C(fractalctl update-db-data)) of RV(database.stop) has come - V(pending),
          V(partial) or V(done); V(not_needed) when the schema has gone past it.
      type: str
      returned: reachable
    migrated:
      description: The rows that say so.
      type: dict
      returned: reachable
    stop:
      description: The last release with a data migration that the schema has reached; before all of them, the first.
      type: str
      returned: reachable
    left:
      description: What that data migration has not done, in words.
      type: str
      returned: reachable
    lost:
      description: Users, by e-mail, whom an earlier data migration left out for good.
      type: list
      elements: str
      returned: reachable
    counts:
      description: Number of rows by table. Empty with O(counts=false).
      type: dict
      returned: reachable
    jobs_in_flight:
      description: Number of submitted jobs.
      type: int
      returned: reachable
    submitted_jobs:
      description: The first hundred of them with id, project, user, and since when.
      type: list
      elements: dict
      returned: reachable
    activities_in_flight:
      description: Number of task-group activities (collection, deactivation, ...) pending or ongoing.
      type: int
      returned: reachable
    ongoing_activities:
      description: The first hundred of them with id, action, package, user, and since when.
      type: list
      elements: dict
      returned: reachable
    other_sessions:
      description: Other clients connected to this database - pid, user, application, client.
      type: list
      elements: dict
      returned: reachable
    role:
      description: The database role, quoted where SQL needs it.
      type: str
      returned: reachable
    can_create_database:
      description: Whether the role may create databases, as the proof of a backup needs.
      type: bool
      returned: reachable
    size_bytes:
      description: Size of the database on disk.
      type: int
      returned: reachable
    server_version:
      description: Version of PostgreSQL.
      type: str
      returned: reachable
    server_version_num:
      description: The same as a number, such as V(150004).
      type: int
      returned: reachable
duration:
  description: Seconds that the module took.
  returned: always
  type: float
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.database import (
    DATABASE_ARGUMENTS,
    find_installation,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.lock import LOCK_ARGUMENT
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.service_side import service_side
from ansible_collections.fractal_ops.platform.plugins.module_utils._module import run_module
from ansible_collections.fractal_ops.platform.plugins.module_utils._upgrade.state import read_state


def read(params: dict[str, Any]) -> dict[str, Any]:
    """Return the module's result."""
    try:
        installation = find_installation(params)
        door = service_side(installation, params["python"])
        return {"database": door.call(read_state, installation, counts=params["counts"])}
    except FractalError as error:
        if params["fail_unreachable"]:
            raise
        return {"database": {"reachable": False, "reason": str(error)}}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **DATABASE_ARGUMENTS,
            **LOCK_ARGUMENT,
            "counts": {"type": "bool", "default": True},
            "fail_unreachable": {"type": "bool", "default": True},
        },
        supports_check_mode=True,
    )
    run_module(module, lambda: read(module.params))


if __name__ == "__main__":
    main()
