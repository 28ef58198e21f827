#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: fractal_settings_check
short_description: Validate an environment file with a release's own settings classes
version_added: 1.0.0
author:
  - The fractal_ops.platform developers (@fractal-ops)
description:
  - Loads O(env_file) with the settings classes of the fractal-server release that O(python) belongs to, in a folder of
    its own, with the environment of the unit. Nothing is started and the database is not touched.
  - Fails with every setting that the release refuses. Values are never shown.
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
    description: Name of the systemd unit whose environment counts as well.
    type: str
    default: fractal-server
  python:
    description: Interpreter of the release's environment.
    type: path
    required: true
  env_file:
    description: The environment file to validate; its name does not matter.
    type: path
    required: true
  hidden:
    description: Variables of the unit that its new drop-in will take away.
    type: list
    elements: str
    default: []
  remove:
    description: Remove the file afterwards. It is a rendering with secrets that nothing else needs.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Render the new environment file
  fractal_ops.platform.fractal_env_migrate:
    path: /opt/fractal/server/.fractal_server.env
    service: fractal-server
    server_python: /opt/fractal/venv/bin/python3
    state: rendered
    rendered_path: /run/fractal-upgrade.env
  register: rendered

- name: Validate the new environment file with 2.17.0's own settings
  fractal_ops.platform.fractal_settings_check:
    python: /opt/fractal/venv-2.17.0/bin/python3
    env_file: /run/fractal-upgrade.env
    hidden: "{{ rendered.hidden }}"
    remove: true
"""

RETURN = r"""
version:
  description: The release that accepted the file.
  returned: success
  type: str
  sample: 2.17.0
at:
  description: When the module began, in seconds since the epoch by the host's clock.
  returned: always
  type: float
duration:
  description: Seconds that it took.
  returned: always
  type: float
"""

import os
from typing import TYPE_CHECKING, Any, NoReturn

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.systemd import read_unit
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.discovery import unit_environment
from ansible_collections.fractal_ops.platform.plugins.module_utils._module import run_module
from ansible_collections.fractal_ops.platform.plugins.module_utils._venv.settings_check import check_settings

if TYPE_CHECKING:
    from collections.abc import Mapping


def check(params: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    try:
        environ = unit_environment(params["service"])
        seen = {name: value for name, value in environ.items() if name not in params["hidden"]}
        version = check_settings(params["python"], params["env_file"], seen, read_unit(params["service"]).user)
    finally:
        if params["remove"] and not check_mode and os.path.lexists(params["env_file"]):
            os.unlink(params["env_file"])
    return {"version": version}


def main() -> NoReturn:
    module = AnsibleModule(
        argument_spec={
            "service": {"type": "str", "default": "fractal-server"},
            "python": {"type": "path", "required": True},
            "env_file": {"type": "path", "required": True},
            "hidden": {"type": "list", "elements": "str", "default": []},
            "remove": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    run_module(module, lambda: check(module.params, module.check_mode))


if __name__ == "__main__":
    main()
