#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read, build and switch the environment in which SLURM jobs run Fractal's own code."""

from __future__ import annotations

DOCUMENTATION = r"""
module: fractal_worker_environment
short_description: Read, build and switch the environment in which SLURM jobs run Fractal's own code
version_added: 1.0.0
description:
  - Fractal refuses every job whose worker has not exactly the server's release of fractal-server. Where the workers'
    environment is not the server's own - a separate one, or that of a cluster reached by SSH - it has to be upgraded in
    the same window as the server, and to go back with it.
  - The environment must be a virtual environment. The path that Fractal knows stays the same.
  - Needs nothing but the standard library of the host's Python, 3.9 or later.
author:
  - The fractal_ops.platform developers (@fractal-ops)
attributes:
  check_mode:
    description: Says whether something would change.
    support: full
  diff_mode:
    description: Returns details on what has changed.
    support: none
options:
  python:
    description:
      - Interpreter of the workers, by the path that Fractal knows - C(FRACTAL_SLURM_WORKER_PYTHON) in 2.16,
        C(jobs_slurm_python_worker) of the resource in 2.17.
    type: path
    required: true
  state:
    description:
      - V(read) changes nothing.
      - V(staged) builds the environment of O(release) beside the one in use. Packages that the old one has in addition
        are carried over.
      - V(switched) makes the known path lead to O(release), by one atomic rename.
      - V(original) switches back to O(release), which was there before, and removes what a build that was killed left.
    type: str
    choices: [read, staged, switched, original]
    default: read
  release:
    description:
      - The release of fractal-server.
    type: str
extends_documentation_fragment:
  - fractal_ops.platform.network
  - fractal_ops.platform.remote_src
  - fractal_ops.platform.pip
"""

EXAMPLES = r"""
- name: Build the workers' environment while the server runs
  fractal_ops.platform.fractal_worker_environment:
    python: /opt/cluster-venv/bin/python3
    state: staged
    release: 2.17.0

- name: Switch to it in the server's window
  fractal_ops.platform.fractal_worker_environment:
    python: /opt/cluster-venv/bin/python3
    state: switched
    release: 2.17.0
"""

RETURN = r"""
worker:
  description: The environment as it is now.
  returned: success
  type: dict
  contains:
    python:
      description: The interpreter.
      type: str
      returned: success
    environment:
      description: The path that Fractal knows.
      type: str
      returned: success
    base_python:
      description: Interpreter that the environment was made with.
      type: str
      returned: success
    python_version:
      description: Version of Python.
      type: str
      returned: success
    version:
      description: Release of fractal-server.
      type: str
      returned: success
    staged:
      description: Releases whose environments lie beside it.
      type: list
      elements: str
      returned: success
duration:
  description: Seconds that the module took.
  returned: always
  type: float
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.copied import REMOTE_SRC_ARGUMENT
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.programs import NETWORK_ARGUMENT
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.worker import settle_worker
from ansible_collections.fractal_ops.platform.plugins.module_utils._module import run_module
from ansible_collections.fractal_ops.platform.plugins.module_utils._venv.pip import PIP_OPTIONS, arguments_of


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **NETWORK_ARGUMENT,
            **REMOTE_SRC_ARGUMENT,
            "python": {"type": "path", "required": True},
            "state": {"type": "str", "choices": ["read", "staged", "switched", "original"], "default": "read"},
            "release": {"type": "str"},
            **PIP_OPTIONS,
        },
        required_if=[("state", state, ["release"]) for state in ("staged", "switched", "original")],
        supports_check_mode=True,
    )
    options = module.params
    run_module(
        module,
        lambda: settle_worker(
            options["python"],
            options["state"],
            options["release"],
            arguments_of(options),
            os.environ,
            module.check_mode,
            options["pythons"],
        ),
    )


if __name__ == "__main__":
    main()
