#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: fractal_web_release
short_description: Unpack a release of fractal-web beside the one in use, and switch between them
version_added: 1.0.0
author:
  - The fractal_ops.platform developers (@fractal-ops)
description:
  - With O(state=staged), unpacks the release archive into its own folder, while fractal-web runs.
  - With O(state=switched), makes the release directory that the unit knows lead to it, by one atomic rename. Files
    in the directory that belong to no release, such as C(.env), go along.
  - With O(state=original), switches back to O(version) with its own environment file.
  - With O(state=running), starts the unit, or restarts it if it was started before the switch or before its environment
    file was written, and waits until it answers and reaches its server.
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
    default: fractal-web
  state:
    description: What to do.
    type: str
    choices: [staged, switched, original, running]
    default: staged
  version:
    description:
      - The release of fractal-web to stage, to switch to, to go back to, or that must answer.
      - With O(state=original) the default is the one that was switched away from; with O(state=running) it is the one
        that is there.
    type: str
  archive:
    description:
      - URL or file on the host of the release archive, for O(state=staged).
      - By default the official release for the version of Node on the host.
    type: str
  checksum:
    description: SHA-256 of the archive, for O(state=staged).
    type: str
  env_file:
    description: Environment file of fractal-web, if the unit does not lead to it.
    type: path
  server_version:
    description:
      - With O(state=running), the release of fractal-server that fractal-web must reach.
      - With O(state=original), the one that the server went back to. A fractal-web that belongs to it stays.
    type: str
  url:
    description: Address at which fractal-web answers on its own host, if the unit does not tell.
    type: str
  timeout:
    description: Seconds to wait for fractal-web, from its start on.
    type: float
    default: 120
extends_documentation_fragment:
  - fractal_ops.platform.network
  - fractal_ops.platform.remote_src
  - fractal_ops.platform.lock
"""

EXAMPLES = r"""
- name: Unpack fractal-web
  fractal_ops.platform.fractal_web_release:
    version: 1.21.1
    archive: /opt/archives/node-18-fractal-web-v1.21.1.tar.gz

- name: Switch fractal-web
  fractal_ops.platform.fractal_web_release:
    state: switched
    version: 1.21.1

- name: Restart fractal-web
  fractal_ops.platform.fractal_web_release:
    state: running
    version: 1.21.1
"""

RETURN = r"""
release_directory:
  description: The directory that the unit knows.
  returned: success
  type: str
  sample: /opt/fractal-web
health:
  description: The service that answered.
  returned: with O(state=running)
  type: dict
  sample:
    service: fractal-web.service
    url: http://127.0.0.1:3000
    version: 1.21.1
    server_version: 2.17.0
at:
  description: When the module began, in seconds since the epoch by the host's clock.
  returned: always
  type: float
duration:
  description: Seconds that it took.
  returned: always
  type: float
"""

import time
from typing import TYPE_CHECKING, Any, NoReturn

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.copied import REMOTE_SRC_ARGUMENT
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.programs import NETWORK_ARGUMENT
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.health import wait_until_healthy
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.lock import LOCK_ARGUMENT
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.service import restart, start
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.web import discover_web
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.web_release import (
    belongs_to,
    is_stale,
    kept_release,
    official_archive,
    stage_web_release,
    switch_web_release,
    switch_web_release_back,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._module import run_module

if TYPE_CHECKING:
    from collections.abc import Mapping


def apply(params: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    instance = discover_web(params["service"], params["env_file"], params["url"]).as_dict()
    result: dict[str, Any] = {"release_directory": instance["release_directory"]}
    version = params["version"] or wanted_version(params["state"], instance)
    if params["state"] == "running":
        return {**result, **start_or_restart(params, instance, check_mode)}
    if check_mode:
        stays = params["state"] == "original" and belongs_to(instance, params["server_version"])
        return {**result, "changed": instance["version"] != version and not stays}
    if params["state"] == "staged":
        archive = params["archive"] or official_archive(version, instance["node_version"])
        changed = stage_web_release(instance, version, archive, params["checksum"])
    elif params["state"] == "switched":
        changed = switch_web_release(instance, version)
    elif belongs_to(instance, params["server_version"]):
        changed = False
    else:
        changed = switch_web_release_back(instance, version)
    return {**result, "changed": changed}


def wanted_version(state: str, instance: Mapping[str, Any]) -> str:
    return (state == "original" and kept_release(instance)) or instance["version"]


def start_or_restart(params: Mapping[str, Any], instance: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    active = instance["active_state"] == "active"
    version = params["version"] or instance["version"]
    stale = is_stale(instance, version)
    if check_mode:
        return {"changed": stale or not active}
    began = time.monotonic()
    if stale:
        restart(params["service"], params["timeout"])
    changed = stale if active else start(params["service"], params["timeout"])
    health = wait_until_healthy(
        params["service"],
        kind="web",
        url=instance["url"],
        version=version,
        server_version=params["server_version"],
        timeout=params["timeout"] - (time.monotonic() - began),
    )
    return {"changed": changed, "health": health.as_dict()}


def main() -> NoReturn:
    module = AnsibleModule(
        argument_spec={
            **NETWORK_ARGUMENT,
            **REMOTE_SRC_ARGUMENT,
            **LOCK_ARGUMENT,
            "service": {"type": "str", "default": "fractal-web"},
            "state": {"type": "str", "choices": ["staged", "switched", "original", "running"], "default": "staged"},
            "version": {"type": "str"},
            "archive": {"type": "str"},
            "checksum": {"type": "str"},
            "env_file": {"type": "path"},
            "server_version": {"type": "str"},
            "url": {"type": "str"},
            "timeout": {"type": "float", "default": 120},
        },
        required_if=[("state", "staged", ["version"]), ("state", "switched", ["version"])],
        supports_check_mode=True,
    )
    run_module(module, lambda: apply(module.params, module.check_mode))


if __name__ == "__main__":
    main()
