#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: fractal_files_restore
short_description: Bring the files of an instance back from its backup, byte for byte
version_added: 1.0.0
author:
  - The fractal_ops.platform developers (@fractal-ops)
description:
  - Gives environment files, JSON configurations, units and drop-ins their old content, owner and mode, and removes what
    was not there when the backup was made. The caller reloads systemd.
  - What the environment file names comes back with the rights of the service account, and so does whatever lies in its
    folders. No link that this account made leads further than the account itself could write.
attributes:
  check_mode:
    description: Says what would change.
    support: full
  diff_mode:
    description: Shows what changed.
    support: none
    details: The files hold secrets; RV(changes) lists them.
options:
  backup:
    description: Folder of the backup.
    type: path
    required: true
  created:
    description: Further files that an upgrade may have made; they are removed unless the backup holds them.
    type: list
    elements: path
    default: []
extends_documentation_fragment:
  - fractal_ops.platform.lock
"""

EXAMPLES = r"""
- name: Bring the files back
  fractal_ops.platform.fractal_files_restore:
    backup: /var/backups/fractal/fractal-server.service/20251120T210000Z
"""

RETURN = r"""
changes:
  description:
    - Each file that was C(restored) or C(removed). One that the environment file names and the service account must not
      write is C(left), as no upgrade changes it either.
  returned: success
  type: list
  elements: dict
  sample:
    - path: /opt/fractal/server/.fractal_server.env
      action: restored
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
from ansible_collections.fractal_ops.platform.plugins.module_utils._backup.restore_files import restore_files
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.lock import LOCK_ARGUMENT
from ansible_collections.fractal_ops.platform.plugins.module_utils._module import run_module

if TYPE_CHECKING:
    from collections.abc import Mapping


def restore(params: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    changes = restore_files(params["backup"], params["created"], check_mode)
    return {"changed": bool(changes), "changes": changes}


def main() -> NoReturn:
    module = AnsibleModule(
        argument_spec={
            **LOCK_ARGUMENT,
            "backup": {"type": "path", "required": True},
            "created": {"type": "list", "elements": "path", "default": []},
        },
        supports_check_mode=True,
    )
    run_module(module, lambda: restore(module.params, module.check_mode))


if __name__ == "__main__":
    main()
