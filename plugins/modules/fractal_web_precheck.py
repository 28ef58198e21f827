#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find everything on a fractal-web host that would make the upgrade fail or hurt somebody."""

from __future__ import annotations

DOCUMENTATION = r"""
module: fractal_web_precheck
short_description: Find everything on a fractal-web host that would make the upgrade fail or hurt somebody
version_added: 1.0.0
description:
  - Checks Node against the release, the release archive (it is fetched, checked, unpacked aside, and thrown away),
    disk, port, the systemd unit, the environment file, and whether fractal-server can be reached.
  - Every check is made, whatever the others find. A check that cannot be made is a finding too.
  - Reads only. Needs nothing but the standard library of the host's Python, 3.9 or later.
author:
  - The fractal_ops.platform developers (@fractal-ops)
extends_documentation_fragment:
  - fractal_ops.platform.network
  - fractal_ops.platform.remote_src
attributes:
  check_mode:
    description: Can run in check mode and return what it would return otherwise.
    support: full
  diff_mode:
    description: Returns details on what has changed.
    support: none
options:
  service:
    description: The systemd unit of fractal-web.
    type: str
    default: fractal-web
  version:
    description: The release of fractal-web to arrive at.
    type: str
    required: true
  server_version:
    description: The release of fractal-server that it will belong to. With it the pairing is checked.
    type: str
  archive:
    description:
      - Path on the host, or URL, of the release archive.
      - The default is the official archive for the host's version of Node.
    type: str
  checksum:
    description: SHA-256 of the archive.
    type: str
  env_file:
    description: The environment file of fractal-web, if the unit does not lead to it.
    type: path
  url:
    description: Address at which fractal-web answers on its own host, if neither its sockets nor the unit tell.
    type: str
  maintenance_page:
    description: Whether a maintenance page is to answer in its place during the upgrade.
    type: bool
    default: false
  server:
    description:
      - What RV(fractal_ops.platform.fractal_observe#module:instance) was for its fractal-server. If that runs, it
        must answer this host, as the release that it is.
    type: dict
"""

EXAMPLES = r"""
- name: Check the web host
  fractal_ops.platform.fractal_web_precheck:
    version: 1.21.1
    server_version: 2.17.0
    archive: /opt/archives/node-18-fractal-web-v1.21.1.tar.gz
  register: __web
"""

RETURN = r"""
findings:
  description: What is, or will be, wrong; see C(docs/findings.md).
  returned: success
  type: list
  elements: dict
  sample:
    - id: web.node_mismatch
      severity: blocker
      subject: /usr/bin/node
      message: The host runs Node 16; fractal-web 1.21.1 is made for Node 18 or 20.
      fix: Install Node 18 or 20 for the unit, or set fractal_web_archive to the archive made for Node 16.
      reference: fractal-web, docs/version-compatibility.md
      acceptable: true
duration:
  description: Seconds that it took.
  returned: always
  type: float
"""

from typing import TYPE_CHECKING, Any, NoReturn

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.copied import REMOTE_SRC_ARGUMENT
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.programs import NETWORK_ARGUMENT
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.systemd import read_unit
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.maintenance import (
    page_is_up,
    why_no_page,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.web import discover_web
from ansible_collections.fractal_ops.platform.plugins.module_utils._module import run_module
from ansible_collections.fractal_ops.platform.plugins.module_utils._precheck.web import (
    WebHost,
    check_web,
    running_version,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.prechecks import WEB_CHECKS

if TYPE_CHECKING:
    from collections.abc import Mapping


def precheck(params: Mapping[str, Any]) -> dict[str, Any]:
    instance = discover_web(params["service"], params["env_file"], params["url"])
    unit = read_unit(params["service"])
    page = page_is_up(unit.name)
    wanted = params["maintenance_page"] and not page
    host = WebHost(
        instance=instance,
        unit=unit,
        values=instance.variables(),
        version=params["version"],
        archive=params["archive"],
        checksum=params["checksum"],
        on_controller=not params["remote_src"],
        server_version=params["server_version"],
        running_server=running_version(params["server"]),
        page_is_up=page,
        no_page=why_no_page(unit, instance) if wanted else "",
    )
    return {"findings": [finding.as_dict() for finding in check_web(host, WEB_CHECKS)]}


def main() -> NoReturn:
    module = AnsibleModule(
        argument_spec={
            **NETWORK_ARGUMENT,
            **REMOTE_SRC_ARGUMENT,
            "service": {"type": "str", "default": "fractal-web"},
            "version": {"type": "str", "required": True},
            "server_version": {"type": "str"},
            "archive": {"type": "str"},
            "checksum": {"type": "str"},
            "env_file": {"type": "path"},
            "url": {"type": "str"},
            "maintenance_page": {"type": "bool", "default": False},
            "server": {"type": "dict"},
        },
        supports_check_mode=True,
    )
    run_module(module, lambda: precheck(module.params))


if __name__ == "__main__":
    main()
