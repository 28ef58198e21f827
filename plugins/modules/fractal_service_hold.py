#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: fractal_service_hold
short_description: Stop a unit and keep it from starting half-way through an upgrade
version_added: 1.0.0
author:
  - The fractal_ops.platform developers (@fractal-ops)
description:
  - With O(state=present), writes a drop-in that makes every start of the unit fail with an explanation, then stops the
    unit. The drop-in survives a reboot, so that a half-migrated instance never serves users.
  - With O(state=absent), starts the unit and waits until its API answers. Only then the drop-in goes. If the service
    does not come up, the drop-in stays as the record of the upgrade, without keeping the unit from being started.
attributes:
  check_mode:
    description: Says whether something would change.
    support: full
  diff_mode:
    description: Shows what changed.
    support: none
options:
  service:
    description: Name of the systemd unit.
    type: str
    default: fractal-server
  state:
    description: Whether the unit is held or runs.
    type: str
    choices: [present, absent]
    default: present
  controller:
    description: Who runs the upgrade, for the message on the host.
    type: str
    default: unknown
  backup_root:
    description:
      - Folder for backups. The hold names a folder in it, by unit and time, for the backup that this upgrade will make.
        Leave it out if none will be made.
    type: path
  backup:
    description: Folder of the backup that belongs to what is done, if it exists already.
    type: path
  running:
    description:
      - Whether the unit is started, with O(state=absent). V(false) only removes the drop-in, for a service that was
        stopped before the upgrade.
    type: bool
    default: true
  version:
    description: The release of fractal-server that must answer, with O(state=absent).
    type: str
  url:
    description: Address at which the API answers on this host, if the unit's command does not tell.
    type: str
  timeout:
    description: Seconds to wait for the API, from the start on.
    type: float
    default: 120
extends_documentation_fragment:
  - fractal_ops.platform.lock
"""

EXAMPLES = r"""
- name: Stop fractal-server
  fractal_ops.platform.fractal_service_hold:
    controller: ops1
    backup_root: /var/backups/fractal

- name: Start fractal-server
  fractal_ops.platform.fractal_service_hold:
    state: absent
    version: 2.17.0
"""

RETURN = r"""
hold:
  description: The hold in force; an interrupted upgrade's one is kept, with its run and its backup.
  returned: with O(state=present)
  type: dict
  sample:
    run: 20261123T200000Z
    since: "2026-11-23T20:00:00Z"
    controller: ops1
    backup: /var/backups/fractal/fractal-server.service/20261123T200000Z
    ran_before: true
    phase: held
at:
  description: When the module began, in seconds since the epoch by the host's clock.
  returned: always
  type: float
health:
  description: The service that answered.
  returned: with O(state=absent) and O(running=true)
  type: dict
  sample:
    service: fractal-server.service
    url: http://127.0.0.1:8000
    version: 2.17.0
duration:
  description: Seconds that it took.
  returned: always
  type: float
"""

from typing import TYPE_CHECKING, Any, NoReturn

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.systemd import unit_name
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.hold import read_hold
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.lock import LOCK_ARGUMENT
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.service import (
    bring_up,
    new_hold,
    stop_and_hold,
    would_hold,
    would_start,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._module import run_module

if TYPE_CHECKING:
    from collections.abc import Mapping


def hold_or_start(params: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    service = params["service"]
    if params["state"] == "present":
        new = new_hold(unit_name(service), params["controller"], params["backup_root"], params["backup"])
        changed, hold = (would_hold if check_mode else stop_and_hold)(service, new)
        return {"changed": changed, "hold": hold.as_dict()}
    if not check_mode:
        return bring_up(service, **{name: params[name] for name in ("running", "version", "url", "timeout")})
    return {"changed": would_start(service) if params["running"] else read_hold(unit_name(service)) is not None}


def main() -> NoReturn:
    module = AnsibleModule(
        argument_spec={
            **LOCK_ARGUMENT,
            "service": {"type": "str", "default": "fractal-server"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "controller": {"type": "str", "default": "unknown"},
            "backup_root": {"type": "path"},
            "backup": {"type": "path"},
            "running": {"type": "bool", "default": True},
            "version": {"type": "str"},
            "url": {"type": "str"},
            "timeout": {"type": "float", "default": 120},
        },
        supports_check_mode=True,
    )
    run_module(module, lambda: hold_or_start(module.params, module.check_mode))


if __name__ == "__main__":
    main()
