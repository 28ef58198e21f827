#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: fractal_server_environment
short_description: Build the Python environments of the next releases, and switch between them
version_added: 1.0.0
author:
  - The fractal_ops.platform developers (@fractal-ops)
description:
  - With O(state=staged), builds the environment of each of O(releases) beside the one in use, while the service runs.
    Packages that the old environment had in addition (gunicorn, monitoring agents) are carried over.
  - With O(state=switched), makes the path that the unit and SLURM know lead to O(release), by one atomic rename.
  - With O(state=original), switches back to O(release), exactly as it was.
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
  python:
    description: Interpreter that runs fractal-server, if the unit's command does not lead to it.
    type: path
  state:
    description: What to do. V(tidy) removes what a preparation that was killed left.
    type: str
    choices: [staged, switched, original, tidy]
    default: staged
  releases:
    description: Releases to build, for O(state=staged).
    type: list
    elements: str
    default: []
  release:
    description: Release to switch to, for O(state=switched), or to go back to, for O(state=original).
    type: str
  original:
    description: Where the environment was, all links followed, for O(state=original).
    type: path
  packages:
    description:
      - The list of what was installed, as the backup holds it, for O(state=original). It tells whether an upgrade in
        place has begun.
    type: path
  strategy:
    description:
      - V(staged) builds new environments and leaves the old one untouched.
      - V(in_place) upgrades the environment with pip, as the official procedure does, for conda and other environments
        that cannot be moved. A copy of the old one is kept beside it.
    type: str
    choices: [staged, in_place]
    default: staged
extends_documentation_fragment:
  - fractal_ops.platform.network
  - fractal_ops.platform.remote_src
  - fractal_ops.platform.pip
  - fractal_ops.platform.lock
"""

EXAMPLES = r"""
- name: Build the environment of 2.17.0
  fractal_ops.platform.fractal_server_environment:
    releases:
      - 2.17.0
    wheelhouse: /opt/wheelhouse

- name: Switch to 2.17.0
  fractal_ops.platform.fractal_server_environment:
    state: switched
    release: 2.17.0
"""

RETURN = r"""
built:
  description: The environments that were built.
  returned: with O(state=staged)
  type: list
  elements: dict
  sample:
    - path: /opt/fractal/venv-2.17.0
      version: 2.17.0
      carried_over:
        - gunicorn==23.0.0
removed:
  description: The folders that were removed.
  returned: with O(state=tidy)
  type: list
  elements: str
environment:
  description: The path that the unit knows.
  returned: success
  type: str
  sample: /opt/fractal/venv
duration:
  description: Seconds that it took.
  returned: always
  type: float
"""

import os
from typing import TYPE_CHECKING, Any, NoReturn

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.copied import REMOTE_SRC_ARGUMENT
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.programs import NETWORK_ARGUMENT
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.side_by_side import switch_back
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.discovery import discover_server
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.lock import LOCK_ARGUMENT
from ansible_collections.fractal_ops.platform.plugins.module_utils._module import run_module
from ansible_collections.fractal_ops.platform.plugins.module_utils._venv.build import build_environment, remove_partial
from ansible_collections.fractal_ops.platform.plugins.module_utils._venv.pip import PIP_OPTIONS, arguments_of
from ansible_collections.fractal_ops.platform.plugins.module_utils._venv.strategies import (
    prepare_in_place,
    restore_in_place,
    switch_to,
)

if TYPE_CHECKING:
    from collections.abc import Mapping


def stage_or_switch(params: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    instance = discover_server(params["service"], params["python"], strategy=params["strategy"]).as_dict()
    environment = instance["environment"]
    in_place = params["strategy"] == "in_place"
    arguments = arguments_of(params)
    if params["state"] == "staged":
        there = [*instance["staged"], instance["version"]]
        missing = [version for version in params["releases"] if version not in there]
        built = []
        for version in missing if not check_mode else ():
            if in_place:
                built.append(prepare_in_place(instance, version, arguments, os.environ))
            else:
                built.append(build_environment(instance, version, arguments, os.environ, params["pythons"]))
        return {"changed": bool(missing), "built": built, "environment": environment}
    if params["state"] == "tidy":
        removed = remove_partial(environment, check_mode)
        return {"changed": bool(removed), "removed": removed, "environment": environment}
    if check_mode and params["state"] == "switched":
        return {"changed": instance["version"] != params["release"], "environment": environment}
    if params["state"] == "original":
        changed = restore_in_place(instance, params["release"], read_lines(params["packages"]), check_mode)
        if check_mode:
            return {"changed": changed or instance["version"] != params["release"], "environment": environment}
        changed = changed or switch_back(environment, params["release"], params["original"])
    else:
        release, strategy = params["release"], params["strategy"]
        changed = switch_to(instance["python"], instance["version"], release, strategy, os.environ)
    return {"changed": changed, "environment": environment}


def read_lines(path: str | None) -> list[str]:
    if not path:
        return []
    with open(path, encoding="utf-8") as stream:
        return stream.read().splitlines()


def main() -> NoReturn:
    module = AnsibleModule(
        argument_spec={
            **NETWORK_ARGUMENT,
            **REMOTE_SRC_ARGUMENT,
            **LOCK_ARGUMENT,
            "service": {"type": "str", "default": "fractal-server"},
            "python": {"type": "path"},
            "state": {"type": "str", "choices": ["staged", "switched", "original", "tidy"], "default": "staged"},
            "releases": {"type": "list", "elements": "str", "default": []},
            "release": {"type": "str"},
            "original": {"type": "path"},
            "packages": {"type": "path"},
            "strategy": {"type": "str", "choices": ["staged", "in_place"], "default": "staged"},
            **PIP_OPTIONS,
        },
        required_if=[("state", "switched", ["release"]), ("state", "original", ["release"])],
        supports_check_mode=True,
    )
    run_module(module, lambda: stage_or_switch(module.params, module.check_mode))


if __name__ == "__main__":
    main()
