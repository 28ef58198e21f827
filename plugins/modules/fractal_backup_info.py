#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: fractal_backup_info
short_description: Find the backup that an instance would go back to
version_added: 1.0.0
author:
  - The fractal_ops.platform developers (@fractal-ops)
description:
  - Finds the backup of the upgrade in progress, or else the newest one that the instance can come from, and says what
    it holds.
attributes:
  check_mode:
    description: Can run in check mode and return the same.
    support: full
  diff_mode:
    description: Shows what changed.
    support: none
    details: Nothing changes.
options:
  service:
    description: Name of the systemd unit.
    type: str
    default: fractal-server
  backup_root:
    description: Folder for backups.
    type: path
    default: /var/backups/fractal
  backup:
    description: Folder of the backup, if it is to be another one.
    type: path
  version:
    description:
      - Release of fractal-server that is installed, as M(fractal_ops.platform.fractal_observe) returns it.
      - While no upgrade is in progress, the backups of later releases do not count, as the instance has gone back from
        them; without this option they do.
    type: str
"""

EXAMPLES = r"""
- name: Find the backup to go back to
  fractal_ops.platform.fractal_backup_info:
    backup_root: /var/backups/fractal
    version: 2.17.0
"""

RETURN = r"""
hold:
  description: What keeps the unit stopped, as M(fractal_ops.platform.fractal_service_hold) returned it, or V(null).
  returned: success
  type: dict
  sample: null
backup:
  description: The backup, or V(null) if there is none.
  returned: success
  type: dict
  contains:
    path:
      description: Its folder.
      type: str
      returned: success
    created:
      description: When it was made (UTC, ISO 8601).
      type: str
      returned: success
    version:
      description: The release of fractal-server that was installed.
      type: str
      returned: success
    environment:
      description: Where the Python environment was, with all links followed.
      type: str
      returned: success
    revision:
      description: The alembic revision.
      type: str
      returned: success
without_dump:
  description: Folders of the finished backups of this instance that are a frozen copy of the database alone.
  returned: success
  type: list
  elements: str
  sample: []
not_packed:
  description: Folders of the finished backups of this instance whose dump has no compression.
  returned: success
  type: list
  elements: str
  sample: []
folder:
  description: Where the backups of this instance are.
  returned: success
  type: str
  sample: /var/backups/fractal/fractal-server.service
ran_before:
  description: Whether the service ran before the upgrade stopped it; if not, a rollback does not start it.
  returned: success
  type: bool
at:
  description: When the module began, in seconds since the epoch by the host's clock.
  returned: always
  type: float
duration:
  description: Seconds that it took.
  returned: always
  type: float
"""

from typing import TYPE_CHECKING, Any, NoReturn

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.fractal_ops.platform.plugins.module_utils._backup.packing import not_packed
from ansible_collections.fractal_ops.platform.plugins.module_utils._backup.store import without_dump
from ansible_collections.fractal_ops.platform.plugins.module_utils._module import run_module
from ansible_collections.fractal_ops.platform.plugins.module_utils._window.go_back import backup_to_go_back_to

if TYPE_CHECKING:
    from collections.abc import Mapping


def find(params: Mapping[str, Any]) -> dict[str, Any]:
    named, installed = params["backup"] or "", params["version"] or ""
    found = backup_to_go_back_to(params["service"], params["backup_root"], named, installed)
    return {**found, "without_dump": without_dump(found["folder"]), "not_packed": not_packed(found["folder"])}


def main() -> NoReturn:
    module = AnsibleModule(
        argument_spec={
            "service": {"type": "str", "default": "fractal-server"},
            "backup_root": {"type": "path", "default": "/var/backups/fractal"},
            "backup": {"type": "path"},
            "version": {"type": "str"},
        },
        supports_check_mode=True,
    )
    run_module(module, lambda: find(module.params))


if __name__ == "__main__":
    main()
