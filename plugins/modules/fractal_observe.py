#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: fractal_observe
short_description: Look at a fractal-server or fractal-web instance, and change nothing
version_added: 1.0.0
author:
  - The fractal_ops.platform developers (@fractal-ops)
description:
  - Reads the systemd unit and everything that it leads to, that is, the service user, the working directory, the
    environment files, the Python environment, the address it listens on, the installed release, who holds or locks it.
  - Of fractal-server it reads the state of the database as well. The right to C(SELECT) is enough. It is read as the
    account of the service, with the settings that fractal-server itself has, so no password passes through Ansible.
  - Says what the migration of the environment file would find.
  - Does not fail for what it finds, or does not find. Each part says for itself why it could not be seen.
  - Returns names of environment variables, never their values.
attributes:
  check_mode:
    description: Can run in check mode and return the same.
    support: full
  diff_mode:
    description: Shows what changed.
    support: none
    details: Nothing changes.
requirements:
  - For RV(database), in the environment of fractal-server - Python >= 3.11, sqlalchemy >= 2, psycopg >= 3
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
  backup_root:
    description: Folder for backups, to say which have no dump yet. Server only.
    type: path
  release:
    description:
      - The release of fractal-server that is to read the environment file. Server only.
      - Defaults to the newest release that needs anything of the file.
    type: str
  default_group_name:
    description: See O(fractal_ops.platform.fractal_env_migrate#module:default_group_name).
    type: str
    choices: [All, ""]
    default: All
  oauth_client:
    description: See O(fractal_ops.platform.fractal_env_migrate#module:oauth_client). Server only.
    type: str
  oauth_client_name:
    description: See O(fractal_ops.platform.fractal_env_migrate#module:oauth_client_name). Web only.
    type: str
  runner_backend:
    description: See O(fractal_ops.platform.fractal_env_migrate#module:runner_backend). Web only.
    type: str
    choices: [slurm_sudo, slurm_ssh, local]
  verification:
    description:
      - With it, an instance that has this version, and that nothing holds, is verified in the same call, without an
        account. An upgrade of a finished instance so needs one call for each host.
    type: dict
    suboptions:
      version:
        description: The release that the instance is to have.
        type: str
        required: true
      check_email:
        description: See O(fractal_ops.platform.fractal_verify#module:check_email). Server only.
        type: bool
        default: false
"""

EXAMPLES = r"""
- name: Look at fractal-server
  fractal_ops.platform.fractal_observe:
  register: __server

- name: Show the release that its database belongs to
  ansible.builtin.debug:
    var: __server.database.release

- name: Look at fractal-web
  fractal_ops.platform.fractal_observe:
    kind: web
    service: fractal-web
  register: __web
"""

RETURN = r"""
instance:
  description: The instance, or V(null) if the unit does not lead to one.
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
window:
  description:
    - If the window of an upgrade runs, V(running) is true and nothing is looked at - C(instance) is what the run that
      began it has seen. If one has ended well that no report tells yet, V(running) is false. C(seen) is what that
      run knew.
  returned: if there is one
  type: dict
reason:
  description: Why there is no instance.
  returned: if there is none
  type: str
environment:
  description:
    - What M(fractal_ops.platform.fractal_env_migrate) returns with C(state=examined); C(changed) says whether it would
      change the file.
    - If the file cannot be examined, C(failed) is V(true) and C(msg) says why.
  returned: if there is an instance
  type: dict
backups:
  description: Of fractal-server, in C(without_dump) the finished backups that are a frozen copy alone.
  returned: with O(kind=server), if there is an instance
  type: dict
  sample:
    without_dump: []
process:
  description: For fractal-web, whether it runs and has to be started anew (C(stale)); or C(failed) and C(msg).
  returned: with O(kind=web), if there is an instance
  type: dict
database:
  description: The state of the database. Unreachable, it has only C(reachable) and C(reason).
  returned: with O(kind=server), if there is an instance
  type: dict
  contains:
    reachable:
      description: Whether the database answered.
      type: bool
      returned: always
    reason:
      description: Why it did not.
      type: str
      returned: always
    revision:
      description: The alembic revision, or null.
      type: str
      returned: reachable
    release:
      description: First release with this revision as its head, V(unknown) for none that the collection knows.
      type: str
      returned: reachable
    newest_release:
      description: Last release with this revision as its head, V(unknown) for none that the collection knows.
      type: str
      returned: reachable
    data_migration:
      description:
        - How far the data migration (C(fractalctl update-db-data)) of RV(database.stop) has come - V(pending),
          V(partial) or V(done); V(not_needed) when the schema has gone past it.
      type: str
      returned: reachable
    migrated:
      description: The rows that say so.
      type: dict
      returned: reachable
    stop:
      description: The last release with a data migration that the schema has reached; before all of them, the first.
      type: str
      returned: reachable
    left:
      description: What that data migration has not done, in words.
      type: str
      returned: reachable
    lost:
      description: Users, by e-mail, whom an earlier data migration left out for good.
      type: list
      elements: str
      returned: reachable
    skipped:
      description:
        - Data migrations that were skipped, with the C(release), the C(users) who lack what it gives, and the C(fix).
      type: list
      elements: dict
      returned: reachable
    jobs_in_flight:
      description: Number of submitted jobs.
      type: int
      returned: reachable
    submitted_jobs:
      description: The first hundred of them with id, project, user, and since when.
      type: list
      elements: dict
      returned: reachable
    activities_in_flight:
      description: Number of task-group activities (collection, deactivation, ...) pending or ongoing.
      type: int
      returned: reachable
    ongoing_activities:
      description: The first hundred of them with id, action, package, user, and since when.
      type: list
      elements: dict
      returned: reachable
    other_sessions:
      description: Other clients connected to this database - pid, user, application, client.
      type: list
      elements: dict
      returned: reachable
    role:
      description: The database role, quoted where SQL needs it.
      type: str
      returned: reachable
    can_create_database:
      description: Whether the role may create databases, as the proof of a backup needs.
      type: bool
      returned: reachable
    size_bytes:
      description: Size of the database on disk.
      type: int
      returned: reachable
    server_version:
      description: Version of PostgreSQL.
      type: str
      returned: reachable
    server_version_num:
      description: The same as a number, such as V(150004).
      type: int
      returned: reachable
verification:
  description:
    - What M(fractal_ops.platform.fractal_verify) or M(fractal_ops.platform.fractal_web_verify) returns, the latter
      without its O(fractal_ops.platform.fractal_web_verify#module:server).
  returned: with O(verification), if the instance was verified
  type: dict
duration:
  description: Seconds that it took.
  returned: always
  type: float
"""

from typing import TYPE_CHECKING, Any, NoReturn

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.fractal_ops.platform.plugins.module_utils._module import run_module
from ansible_collections.fractal_ops.platform.plugins.module_utils._window.look import look_at_server, look_at_web

if TYPE_CHECKING:
    from collections.abc import Mapping

_SERVER = ("python", "url", "strategy", "backup_root", "release", "default_group_name", "oauth_client")
_WEB = ("env_file", "url", "default_group_name", "runner_backend", "oauth_client_name")
_VERIFICATION = {"server": ("version", "check_email"), "web": ("version",)}


def observe(params: Mapping[str, Any]) -> dict[str, Any]:
    service = params["service"] or f"fractal-{params['kind']}"
    look, names = (look_at_server, _SERVER) if params["kind"] == "server" else (look_at_web, _WEB)
    asked = params["verification"]
    verification = {name: asked[name] for name in _VERIFICATION[params["kind"]]} if asked else None
    return look(service, verification, **{name: params[name] for name in names})


def main() -> NoReturn:
    module = AnsibleModule(
        argument_spec={
            "kind": {"type": "str", "choices": ["server", "web"], "default": "server"},
            "service": {"type": "str"},
            "python": {"type": "path"},
            "env_file": {"type": "path"},
            "url": {"type": "str"},
            "strategy": {"type": "str", "choices": ["staged", "in_place"], "default": "staged"},
            "backup_root": {"type": "path"},
            "release": {"type": "str"},
            "default_group_name": {"type": "str", "choices": ["All", ""], "default": "All"},
            "oauth_client": {"type": "str"},
            "oauth_client_name": {"type": "str"},
            "runner_backend": {"type": "str", "choices": ["slurm_sudo", "slurm_ssh", "local"]},
            "verification": {
                "type": "dict",
                "options": {
                    "version": {"type": "str", "required": True},
                    "check_email": {"type": "bool", "default": False},
                },
            },
        },
        supports_check_mode=True,
    )
    run_module(module, lambda: observe(module.params))


if __name__ == "__main__":
    main()
