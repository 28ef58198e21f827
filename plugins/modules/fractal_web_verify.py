#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check that a fractal-web works and agrees with its server."""

from __future__ import annotations

DOCUMENTATION = r"""
module: fractal_web_verify
short_description: Check that a fractal-web works and agrees with its server
version_added: 1.0.0
description:
  - Checks that fractal-web answers and reaches its server, its release and settings, the log-in page with the OAuth
    button, and the viewer's addresses.
  - Never fails because of what a check finds; every check is made and its result returned.
  - Needs nothing but the standard library of the host's Python, 3.9 or later.
author:
  - The fractal_ops.platform developers (@fractal-ops)
extends_documentation_fragment:
  - fractal_ops.platform.verification
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
      - The systemd unit of fractal-web.
    type: str
    default: fractal-web
  env_file:
    description:
      - Environment file of fractal-web, if its unit does not lead to it.
    type: path
  server:
    description:
      - What RV(fractal_ops.platform.fractal_verify#module:server) was for its server. Without it nothing is compared.
    type: dict
"""

EXAMPLES = r"""
- name: Check that fractal-web works
  fractal_ops.platform.fractal_web_verify:
    version: 1.21.1
  register: verified
"""

RETURN = r"""
checks:
  description:
    - Every check with C(id), C(title), C(status), C(subject), C(message) and C(fix). The status is V(passed), V(failed)
      or V(skipped).
  returned: success
  type: list
  elements: dict
told:
  description:
    - What fractal-web says of what it has to agree on with its server, in the shape of
      RV(fractal_ops.platform.fractal_verify#module:server). No C(version) if the server was not reached.
  returned: success
  type: dict
duration:
  description: Seconds that the module took.
  returned: always
  type: float
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.fractal_ops.platform.plugins.module_utils._module import run_module
from ansible_collections.fractal_ops.platform.plugins.module_utils._verify.checks import VERIFICATION_ARGUMENTS
from ansible_collections.fractal_ops.platform.plugins.module_utils._verify.web import verify_web


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "service": {"type": "str", "default": "fractal-web"},
            **VERIFICATION_ARGUMENTS,
            "env_file": {"type": "path"},
            "server": {"type": "dict"},
        },
        supports_check_mode=True,
    )
    run_module(module, lambda: verify_web(module.params))


if __name__ == "__main__":
    main()
