#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Wait until a Fractal service answers with the right version."""

from __future__ import annotations

DOCUMENTATION = r"""
module: fractal_health
short_description: Wait until a Fractal service answers with the right version
version_added: 0.1.0
description:
  - Asks the C(alive) page of fractal-server or fractal-web on its own machine, every 50 milliseconds, until it answers
    with the version expected.
  - Ends at once, without waiting for O(timeout), when systemd has given the unit up or fractal-server answers with
    another version.
  - On failure it says what state the unit is in and shows its last journal lines, with the secrets of its environment
    masked.
  - Needs nothing but the standard library of the host's Python, 3.9 or later.
author:
  - The fractal_ops.platform developers (@fractal-ops)
attributes:
  check_mode:
    description: Can run in check mode and return what it would return otherwise.
    support: full
  diff_mode:
    description: Returns details on what has changed.
    support: none
options:
  service:
    description:
      - The systemd unit.
      - The default is V(fractal-server), with O(kind=web) V(fractal-web).
    type: str
  kind:
    description:
      - What the unit runs. fractal-web is healthy when it answers and also reaches its fractal-server.
    type: str
    choices: [server, web]
    default: server
  url:
    description:
      - Where the service answers on this machine, such as V(http://127.0.0.1:8000). The default is read from the unit.
    type: str
  version:
    description:
      - The version that must answer. Without it any version is right.
    type: str
  server_version:
    description:
      - With O(kind=web), the version of the fractal-server that fractal-web must reach.
    type: str
  timeout:
    description:
      - Seconds to wait.
    type: float
    default: 60
  validate_certs:
    description:
      - Whether the certificate must be valid when O(url) begins with C(https).
    type: bool
    default: true
"""

EXAMPLES = r"""
- name: Wait until fractal-server answers with the new version
  fractal_ops.platform.fractal_health:
    version: 2.17.0

- name: Wait until fractal-web reaches the new fractal-server
  fractal_ops.platform.fractal_health:
    kind: web
    version: 1.21.1
    server_version: 2.17.0
"""

RETURN = r"""
health:
  description: The service that answered.
  returned: success
  type: dict
  contains:
    service:
      description: The unit.
      type: str
      returned: success
    url:
      description: Where it answered.
      type: str
      returned: success
    version:
      description: Its version.
      type: str
      returned: success
    server_version:
      description: With O(kind=web), the version of the server that it reaches.
      type: str
      returned: success
    waited:
      description: Seconds until it answered.
      type: float
      returned: success
duration:
  description: Seconds that the module took.
  returned: always
  type: float
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.health import wait_until_healthy
from ansible_collections.fractal_ops.platform.plugins.module_utils._module import run_module


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "service": {"type": "str"},
            "kind": {"type": "str", "choices": ["server", "web"], "default": "server"},
            "url": {"type": "str"},
            "version": {"type": "str"},
            "server_version": {"type": "str"},
            "timeout": {"type": "float", "default": 60},
            "validate_certs": {"type": "bool", "default": True},
        },
        supports_check_mode=True,
    )
    options = dict(module.params)
    options["service"] = options["service"] or "fractal-" + options["kind"]
    run_module(module, lambda: {"health": wait_until_healthy(**options).as_dict()})


if __name__ == "__main__":
    main()
