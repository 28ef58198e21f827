#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find everything on a fractal-server host that would make the upgrade fail or hurt somebody, apart from users."""

from __future__ import annotations

DOCUMENTATION = r"""
module: fractal_server_precheck
short_description: Find everything on a fractal-server host that would make the upgrade fail or hurt somebody
version_added: 1.0.0
description:
  - Checks the environment file, the JSON configurations under the rules of 2.17, Python, the package index or
    wheelhouse, the disk, PostgreSQL and its programs, the systemd unit, SLURM and sudo, jobs in flight, and more.
  - Every check is made, whatever the others find. A check that cannot be made is a finding too.
  - Reads only. Users are the matter of M(fractal_ops.platform.fractal_user_precheck).
author:
  - The fractal_ops.platform developers (@fractal-ops)
extends_documentation_fragment:
  - fractal_ops.platform.network
  - fractal_ops.platform.remote_src
  - fractal_ops.platform.database.installation
  - fractal_ops.platform.database
  - fractal_ops.platform.pip
attributes:
  check_mode:
    description: Can run in check mode and return what it would return otherwise.
    support: full
  diff_mode:
    description: Returns details on what has changed.
    support: none
options:
  target_version:
    description: The release of fractal-server to arrive at.
    type: str
    required: true
  url:
    description: Address at which the API answers on this host, if neither its sockets nor the unit's command tell.
    type: str
  install_strategy:
    description: How the new release will be installed; see M(fractal_ops.platform.fractal_server_environment).
    type: str
    choices: [staged, in_place]
    default: staged
  backup_root:
    description: Folder where the backup will be written; its disk must have room.
    type: path
    default: /var/backups/fractal
  backup_method:
    description: How the backup will be made; see M(fractal_ops.platform.fractal_backup).
    type: str
    choices: [auto, copy, dump]
    default: auto
  backup_proof:
    description: How the backup will be proved; V(restore) needs a role that may create databases, and room.
    type: str
    choices: [restore, list, none]
    default: restore
  oauth_client:
    description: The OAuth client that stays, where fractal-server 2.16 has several.
    type: str
  jobs_in_flight:
    description: What the upgrade will do with running jobs.
    type: str
    choices: [fail, wait, abort]
    default: fail
  workers:
    description:
      - What RV(fractal_ops.platform.fractal_worker_environment#module:worker) is for each environment of the workers
        that is upgraded with the server. Another one than the server's own that is not among them is a finding.
    type: list
    elements: dict
    default: []
"""

EXAMPLES = r"""
- name: Check the server
  fractal_ops.platform.fractal_server_precheck:
    service: fractal-server
    target_version: 2.17.2
    backup_root: /var/backups/fractal
  register: __server
"""

RETURN = r"""
findings:
  description: What is, or will be, wrong; see C(docs/findings.md).
  returned: success
  type: list
  elements: dict
  sample:
    - id: config.refused
      severity: blocker
      subject: /opt/fractal/server/config_slurm.json
      message: >-
        /opt/fractal/server/config_slurm.json, named by FRACTAL_SLURM_CONFIG_FILE, would be refused:
        default_slurm_config.extra_lines: input should be a valid list.
      fix: Correct this field in /opt/fractal/server/config_slurm.json; 2.17 is stricter than 2.16.
      reference: fractal-server 2.17.0, runner/config/ and tasks/config/
      acceptable: false
duration:
  description: Seconds that it took.
  returned: always
  type: float
"""

from typing import TYPE_CHECKING, NoReturn

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.copied import REMOTE_SRC_ARGUMENT
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.programs import NETWORK_ARGUMENT
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.database import (
    DATABASE_ARGUMENTS,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._module import run_module
from ansible_collections.fractal_ops.platform.plugins.module_utils._precheck.server import check_server
from ansible_collections.fractal_ops.platform.plugins.module_utils._precheck.server_host import ServerHost
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.prechecks import checks_on_the_way
from ansible_collections.fractal_ops.platform.plugins.module_utils._venv.pip import PIP_OPTIONS

if TYPE_CHECKING:
    from ansible_collections.fractal_ops.platform.plugins.module_utils._core.findings import Finding


def check(host: ServerHost) -> list[Finding]:
    return check_server(host, checks_on_the_way(host))


def main() -> NoReturn:
    module = AnsibleModule(
        argument_spec={
            **NETWORK_ARGUMENT,
            **REMOTE_SRC_ARGUMENT,
            **DATABASE_ARGUMENTS,
            "target_version": {"type": "str", "required": True},
            "url": {"type": "str"},
            "install_strategy": {"type": "str", "choices": ["staged", "in_place"], "default": "staged"},
            **PIP_OPTIONS,
            "backup_root": {"type": "path", "default": "/var/backups/fractal"},
            "backup_method": {"type": "str", "choices": ["auto", "copy", "dump"], "default": "auto"},
            "backup_proof": {"type": "str", "choices": ["restore", "list", "none"], "default": "restore"},
            "oauth_client": {"type": "str"},
            "jobs_in_flight": {"type": "str", "choices": ["fail", "wait", "abort"], "default": "fail"},
            "workers": {"type": "list", "elements": "dict", "default": []},
        },
        supports_check_mode=True,
    )
    run_module(
        module,
        lambda: {"findings": [one.as_dict() for one in check(ServerHost(module.params))]},
    )


if __name__ == "__main__":
    main()
