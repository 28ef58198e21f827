#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Remove what upgrades and rollbacks have left and nobody needs any more."""

from __future__ import annotations

DOCUMENTATION = r"""
module: fractal_tidy
short_description: Remove what upgrades and rollbacks have left and nobody needs any more
version_added: 1.0.0
description:
  - Of a fractal-server, removes frozen copies of its database that are superseded, databases that rollbacks have put
    aside, Python environments beside the one in use, backups beyond O(keep), and what killed runs have left. Of a
    fractal-web, removes the folders of releases beside the one in use.
  - Looks only at what this collection has made - databases with its mark and their exact name, environments whose
    scripts name the path that they take the place of, folders of fractal-web with its mark, and backups.
  - Keeps what a rollback of the newest upgrade needs, unless O(rollback) is given up. A frozen copy whose backup has no
    dump yet, the backup that a rollback goes back to, and releases that processes still run from stay in any case.
  - Refuses while an upgrade of the instance is in progress.
author:
  - The fractal_ops.platform developers (@fractal-ops)
extends_documentation_fragment:
  - fractal_ops.platform.lock
attributes:
  check_mode:
    description: Can run in check mode and return what it would return otherwise.
    support: full
  diff_mode:
    description: Returns details on what has changed.
    support: none
options:
  kind:
    description: What runs on this host.
    type: str
    choices: [server, web]
    default: server
  service:
    description: Name of its systemd unit; by default C(fractal-server) or C(fractal-web).
    type: str
  python:
    description: Interpreter that runs fractal-server, if its unit does not lead to it.
    type: path
  env_file:
    description: Environment file of fractal-web, if its unit does not lead to it.
    type: path
  backup_root:
    description: Folder for backups on the server.
    type: path
    default: /var/backups/fractal
  keep:
    description: How many backups stay; 0 keeps all.
    type: int
    default: 0
  rollback:
    description: Whether to remove also what a rollback of the newest upgrade needs.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Remove what nobody needs any more
  fractal_ops.platform.fractal_tidy:
    service: fractal-server
    keep: 3
"""

RETURN = r"""
found:
  description: What there is of this collection's.
  returned: success
  type: list
  elements: dict
  contains:
    kind:
      description:
        - V(copy) (frozen), V(database) (put aside), V(environment), V(web), V(backup), V(files) copied from
          the controller, or V(left_over) of a killed run.
      type: str
      returned: success
    name:
      description: Its name or path.
      type: str
      returned: success
    bytes:
      description: How large it is.
      type: int
      returned: success
    goes:
      description: Whether it was removed, or would be in check mode.
      type: bool
      returned: success
    why:
      description: Why it goes or stays.
      type: str
      returned: success
bytes:
  description: How much that frees.
  returned: success
  type: int
failed_items:
  description: What could not be removed, and why.
  returned: success
  type: list
  elements: str
duration:
  description: Seconds that it took.
  returned: always
  type: float
"""

import os
from typing import TYPE_CHECKING, Any, NoReturn

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.fractal_ops.platform.plugins.module_utils._backup.tidy import tidy_server, tidy_web
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.database import find_installation
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.discovery import discover_server
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.lock import LOCK_ARGUMENT
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.web import discover_web
from ansible_collections.fractal_ops.platform.plugins.module_utils._module import run_module

if TYPE_CHECKING:
    from collections.abc import Mapping


def tidy(params: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    service = params["service"] or f"fractal-{params['kind']}"
    if params["kind"] == "web":
        return tidy_web(discover_web(service, params["env_file"]).as_dict(), params["rollback"], check_mode)
    instance = discover_server(service, params["python"]).as_dict()
    root = os.path.join(params["backup_root"], instance["service"])
    installation = find_installation({"service": service})
    return tidy_server(installation, instance, root, params["keep"], params["rollback"], check_mode)


def main() -> NoReturn:
    module = AnsibleModule(
        argument_spec={
            **LOCK_ARGUMENT,
            "kind": {"type": "str", "choices": ["server", "web"], "default": "server"},
            "service": {"type": "str"},
            "python": {"type": "path"},
            "env_file": {"type": "path"},
            "backup_root": {"type": "path", "default": "/var/backups/fractal"},
            "keep": {"type": "int", "default": 0},
            "rollback": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    run_module(module, lambda: tidy(module.params, module.check_mode))


if __name__ == "__main__":
    main()
