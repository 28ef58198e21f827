#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check that a fractal-server works, through its own API."""

from __future__ import annotations

DOCUMENTATION = r"""
module: fractal_verify
short_description: Check that a fractal-server works, through its own API
version_added: 1.0.0
description:
  - Checks release, log-in with password, the account's rights, profile and settings pages, the way to the OpenID
    provider, the viewer's folders, and the mail server.
  - Collects a small task package and runs it as a job, for real, as any user would do; everything that this makes is
    removed again. Only the records that Fractal keeps of a job and of a collection stay.
  - Never fails because of what a check finds; every check is made and its result returned.
  - Needs nothing but the standard library of the host's Python, 3.9 or later.
author:
  - The fractal_ops.platform developers (@fractal-ops)
extends_documentation_fragment:
  - fractal_ops.platform.verification
attributes:
  check_mode:
    description: Can run in check mode; what would make anything is skipped then.
    support: partial
    details:
      - In check mode no task is collected and no job is run.
  diff_mode:
    description: Returns details on what has changed.
    support: none
options:
  service:
    description:
      - The systemd unit of fractal-server.
    type: str
    default: fractal-server
  email:
    description:
      - E-mail address of an account, best an ordinary user's. What needs one is skipped without it.
    type: str
  password:
    description:
      - Its password.
    type: str
  probe_sources:
    description:
      - The sources of the task package, by file name. Without them collection and job are skipped.
    type: dict
  probe_timeout:
    description:
      - Seconds for the collection, and again for the job, to end.
    type: float
    default: 600
  python:
    description:
      - Interpreter that runs fractal-server, if its unit does not lead to it.
    type: path
  workers:
    description:
      - See M(fractal_ops.platform.fractal_resource_profile).
    type: list
    elements: dict
    default: []
  viewer_paths_before:
    description:
      - See M(fractal_ops.platform.fractal_resource_profile).
    type: dict
  check_email:
    description:
      - Whether to log in to the mail server. No mail is sent.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Check that fractal-server works
  fractal_ops.platform.fractal_verify:
    version: 2.17.0
    email: alice@example.org
    password: "{{ vault_alice }}"
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
review:
  description: See RV(fractal_ops.platform.fractal_resource_profile#module:review); null if the database did not tell.
  returned: success
  type: dict
findings:
  description: See RV(fractal_ops.platform.fractal_resource_profile#module:findings).
  returned: success
  type: list
  elements: dict
viewer:
  description: See RV(fractal_ops.platform.fractal_resource_profile#module:viewer).
  returned: success
  type: dict
server:
  description: What fractal-web's settings have to agree with.
  returned: success
  type: dict
  contains:
    version:
      description: Installed release.
      type: str
      returned: success
    oauth_client:
      description: Name of the OAuth client in lower case, or an empty text.
      type: str
      returned: success
    runner_backend:
      description: Runner backend.
      type: str
      returned: success
    default_group_name:
      description: Name of the default group, or an empty text.
      type: str
      returned: success
duration:
  description: Seconds that the module took.
  returned: always
  type: float
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.fractal_ops.platform.plugins.module_utils._module import run_module
from ansible_collections.fractal_ops.platform.plugins.module_utils._verify.checks import VERIFICATION_ARGUMENTS
from ansible_collections.fractal_ops.platform.plugins.module_utils._verify.server import verify_server


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "service": {"type": "str", "default": "fractal-server"},
            **VERIFICATION_ARGUMENTS,
            "email": {"type": "str"},
            "password": {"type": "str", "no_log": True},
            "probe_sources": {"type": "dict"},
            "probe_timeout": {"type": "float", "default": 600},
            "python": {"type": "path"},
            "workers": {"type": "list", "elements": "dict", "default": []},
            "viewer_paths_before": {"type": "dict"},
            "check_email": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    options = dict(module.params)
    if module.check_mode:
        options["probe_sources"] = None
    run_module(module, lambda: verify_server(options))


if __name__ == "__main__":
    main()
