#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: fractal_instance_info
short_description: Discover a fractal-server or fractal-web instance from its systemd unit
version_added: 0.1.0
author:
  - The fractal_ops.platform developers (@fractal-ops)
description:
  - Reads the systemd unit and everything that it leads to, such as the service user, the working directory, the
    environment files, the Python environment, the address it listens on and the installed release.
  - Returns names of environment variables, never their values.
attributes:
  check_mode:
    description: Can run in check mode and return the same.
    support: full
  diff_mode:
    description: Shows what changed.
    support: none
    details: Nothing changes.
options:
  kind:
    description: What the unit runs.
    type: str
    choices: [server, web]
    default: server
  service:
    description:
      - Name of the systemd unit.
      - Defaults to V(fractal-server) or V(fractal-web), by O(kind).
    type: str
  python:
    description: Interpreter that runs fractal-server, if the unit's command does not lead to it. Server only.
    type: path
  env_file:
    description: Environment file of fractal-web, if the unit does not lead to it. Web only.
    type: path
  url:
    description: Address at which the service answers on its own host, if the unit's command does not tell.
    type: str
  strategy:
    description: How the next releases get installed. C(staged) names those that lie prepared for that. Server only.
    type: str
    choices: [staged, in_place]
    default: staged
  optional:
    description: Return V(null) and the reason instead of failing if there is no such unit.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Discover fractal-server
  fractal_ops.platform.fractal_instance_info:
  register: __server

- name: Discover fractal-web
  fractal_ops.platform.fractal_instance_info:
    kind: web
    service: fractal-web
  register: __web
"""

RETURN = r"""
instance:
  description: The instance, or V(null) with O(optional) if the unit does not lead to one.
  returned: success
  type: dict
  sample:
    kind: server
    service: fractal-server.service
    user: fractal
    working_directory: /opt/fractal/server
    env_file: /opt/fractal/server/.fractal_server.env
    worker_python: /opt/fractal/venv/bin/python3
    python: /opt/fractal/venv/bin/python3
    environment: /opt/fractal/venv
    version: 2.16.6
    staged: []
    url: http://127.0.0.1:8000
    hold: null
    lock: null
reason:
  description: Why there is no instance.
  returned: with O(optional) if there is none
  type: str
duration:
  description: Seconds that it took.
  returned: always
  type: float
"""

from typing import TYPE_CHECKING, Any, NoReturn

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.discovery import discover_server
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.web import discover_web
from ansible_collections.fractal_ops.platform.plugins.module_utils._module import run_module

if TYPE_CHECKING:
    from collections.abc import Mapping


def discover(params: Mapping[str, Any]) -> dict[str, Any]:
    service = params["service"] or f"fractal-{params['kind']}"
    try:
        if params["kind"] == "server":
            found = discover_server(service, params["python"], params["url"], params["strategy"])
            return {"instance": found.as_dict()}
        return {"instance": discover_web(service, params["env_file"], params["url"]).as_dict()}
    except FractalError as error:
        if not params["optional"]:
            raise
        return {"instance": None, "reason": str(error)}


def main() -> NoReturn:
    module = AnsibleModule(
        argument_spec={
            "kind": {"type": "str", "choices": ["server", "web"], "default": "server"},
            "service": {"type": "str"},
            "python": {"type": "path"},
            "env_file": {"type": "path"},
            "url": {"type": "str"},
            "strategy": {"type": "str", "choices": ["staged", "in_place"], "default": "staged"},
            "optional": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    run_module(module, lambda: discover(module.params))


if __name__ == "__main__":
    main()
