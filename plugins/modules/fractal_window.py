#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: fractal_window
short_description: Upgrade a prepared fractal-server in one program on its host
version_added: 1.0.0
description:
  - Starts a program on the host, as a transient unit of systemd, that goes from the hold of the service over backup,
    environment file and all releases to the healthy new service. It needs neither controller nor connection. If one
    works on the host already, it is watched instead.
  - Each stage is shown a second or two after it begins, on a busy host later. A connection that is lost is made again;
    for how long that is tried, see the notes.
  - After a failure the program itself decides what follows - the old service is started again or the old instance
    brought back, or the service stays held - and the module fails with what was done and how to go on.
  - What it did is noted under C(/var/lib/fractal-ops), by the host's clock.
notes:
  - After two minutes without any answer of the host the module fails. The window goes on by itself; run the upgrade
    again to watch it.
author:
  - The fractal_ops.platform developers (@fractal-ops)
extends_documentation_fragment:
  - fractal_ops.platform.network
  - fractal_ops.platform.lock
attributes:
  check_mode:
    description: Can run in check mode and return what it would return otherwise.
    details: Says only whether a window would begin.
    support: partial
  diff_mode:
    description: Returns details on what has changed.
    support: none
options:
  service:
    description: Name of the systemd unit.
    type: str
    default: fractal-server
  state:
    description:
      - V(started) starts the program and watches it to its end.
      - V(attached) only watches the one that began last, also if it has ended.
      - V(watched) returns what is new in its journal; that is what V(started) and V(attached) call again and again.
    type: str
    choices: [started, attached, watched]
    default: started
  python:
    description: Interpreter that runs fractal-server. Needed with O(state=started).
    type: path
  named_python:
    description: The same, if the operator names it because the unit does not lead to it.
    type: path
  backup_root:
    description: Folder for backups.
    type: path
    default: /var/backups/fractal
  method:
    description: See M(fractal_ops.platform.fractal_backup).
    type: str
    choices: [auto, copy, dump]
    default: auto
  proof:
    description: See M(fractal_ops.platform.fractal_backup).
    type: str
    choices: [restore, list, none]
    default: restore
  plan:
    description: The plan of the server. Needed with O(state=started).
    type: dict
  target:
    description: The release to arrive at. Needed with O(state=started).
    type: str
  strategy:
    description:
      - Whether to switch to the environment of the release beside the one in use, or to install the release in that
        one with pip.
    type: str
    choices: [staged, in_place]
    default: staged
  default_group_name:
    description: See M(fractal_ops.platform.fractal_env_migrate).
    type: str
    choices: [All, ""]
    default: All
  oauth_client:
    description: See M(fractal_ops.platform.fractal_env_migrate).
    type: str
  data_migration:
    description: See M(fractal_ops.platform.fractal_env_migrate).
    type: bool
    default: true
  data_stop:
    description: See M(fractal_ops.platform.fractal_env_migrate).
    type: str
  url:
    description: Where the service answers on its host, if its unit does not tell.
    type: str
  timeout:
    description: Seconds to wait for the service to answer, from its start on.
    type: float
    default: 120
  jobs_in_flight:
    description: See O(fractal_ops.platform.fractal_work_drain#module:mode).
    type: str
    choices: [fail, wait, abort]
    default: fail
  jobs_timeout:
    description: See O(fractal_ops.platform.fractal_work_drain#module:timeout).
    type: int
    default: 3600
  on_failure:
    description: Whether to go back after a failure that left the database changed.
    type: str
    choices: [stop, rollback]
    default: stop
  accept_data_loss:
    description: See M(fractal_ops.platform.fractal_database_restore).
    type: bool
    default: false
  controller:
    description: Who upgrades, for the record on the host.
    type: str
    default: unknown
  hosts:
    description: The hosts of the instance for C(--limit), to be named in the commands to go on.
    type: str
    default: ""
  workers_follow:
    description: Whether the program ends before the start, because workers on other hosts have to be switched first.
    type: bool
    default: false
  only_start:
    description: Whether they are switched, and only the start is left.
    type: bool
    default: false
  failure:
    description: What has failed outside of the program. It then only decides and does what follows.
    type: dict
    suboptions:
      stage:
        description: Where.
        type: str
        default: ""
      msg:
        description: Why.
        type: str
        required: true
  known:
    description: What this run knows of the instance, for another run that attaches.
    type: dict
    default: {}
  expected:
    description: Seconds that each stage is expected to take, by its name in RV(window.stages).
    type: dict
    default: {}
  id:
    description: The program to watch.
    type: str
  seen:
    description: How many events of the journal are known already.
    type: int
    default: 0
  wait:
    description: Longest time to wait for a new one, in seconds.
    type: float
    default: 10
  together:
    description:
      - Seconds to wait for more where there is something new.
      - Each answer costs the host the start of a module. Whoever watches waits for twice as long as the last one took,
        but no less than a second.
    type: float
    default: 1
"""

EXAMPLES = r"""
- name: Watch the window that another run has begun
  fractal_ops.platform.fractal_window:
    state: attached
  register: window

- name: Show how long the service was down
  ansible.builtin.debug:
    var: window.window.window_seconds
"""

RETURN = r"""
window:
  description: What is to be told of the window.
  returned: when the program has ended
  type: dict
  contains:
    outcome:
      description:
        - V(upgraded); V(waits) for the workers; after a failure V(back) if the old instance is back, V(restarted) if
          the service was only started again, V(left) if it is left to a person. Empty if the program was killed.
      type: str
      returned: success
    stages:
      description: State and seconds of each stage, by its name.
      type: dict
      returned: success
      sample: {"stop": {"state": "done", "seconds": 1.2}, "hop 2.17.0": {"state": "done", "seconds": 6.5}}
    results:
      description: The result of each stage, by its name.
      type: dict
      returned: success
    window_seconds:
      description: Seconds from the first stop to the healthy service, by the host's clock; null before that.
      type: float
      returned: success
    msg:
      description: Why it failed.
      type: str
      returned: success
    say:
      description: What was done about that, and how to go on.
      type: str
      returned: success
    running_stage:
      description: The stage in which the program was killed, or empty.
      type: str
      returned: success
    told:
      description: Whether a report has told it.
      type: bool
      returned: success
running:
  description: Whether the program works.
  returned: with O(state=watched)
  type: bool
died:
  description: Whether it was killed.
  returned: with O(state=watched), if it was
  type: bool
last_words:
  description: What systemd's journal says of a program that has not begun.
  returned: with O(state=watched), if it was killed
  type: str
events:
  description: What is new in the journal of the window.
  returned: with O(state=watched)
  type: list
  elements: dict
seen:
  description: How many events are known now.
  returned: with O(state=watched)
  type: int
id:
  description: The program.
  returned: with O(state=started) and O(state=attached)
  type: str
duration:
  description: Seconds that the module took.
  returned: always
  type: float
"""

from typing import TYPE_CHECKING, Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.programs import (
    NETWORK_ARGUMENT,
    network_environment,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.systemd import unit_name
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.lock import LOCK_ARGUMENT
from ansible_collections.fractal_ops.platform.plugins.module_utils._module import run_module
from ansible_collections.fractal_ops.platform.plugins.module_utils._window.watching import attach, watch

if TYPE_CHECKING:
    from collections.abc import Mapping

_NOT_OF_THE_ORDER = ("service", "state", "known", "expected", "seen", "wait", "together", "id", "lock")


def begin_or_watch(params: Mapping[str, Any], lock: Mapping[str, str] | None, check_mode: bool) -> dict[str, Any]:
    unit, state = unit_name(params["service"]), params["state"]
    if state == "watched":
        return watch(unit, params["id"], params["seen"], params["wait"], params["together"], lock)
    if state == "attached":
        return attach(unit)
    if check_mode:
        return {"changed": state == "started"}
    return _start(unit, params, lock)


def _start(unit: str, params: Mapping[str, Any], lock: Mapping[str, str] | None) -> dict[str, Any]:
    # most of the house: whoever watches needs none of it
    from ansible_collections.fractal_ops.platform.plugins.module_utils._window.detached import (  # noqa: PLC0415
        new_id,
        start_window,
    )
    from ansible_collections.fractal_ops.platform.plugins.module_utils._window.program import Order  # noqa: PLC0415

    options = {name: value for name, value in params.items() if name not in _NOT_OF_THE_ORDER}
    order = Order(unit=unit, id=new_id(), lock=dict(lock or {}), environ=network_environment(), **options)
    return start_window(order, params["known"])


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **NETWORK_ARGUMENT,
            **LOCK_ARGUMENT,
            "service": {"type": "str", "default": "fractal-server"},
            "state": {"type": "str", "choices": ["started", "attached", "watched"], "default": "started"},
            "python": {"type": "path"},
            "named_python": {"type": "path"},
            "backup_root": {"type": "path", "default": "/var/backups/fractal"},
            "method": {"type": "str", "choices": ["auto", "copy", "dump"], "default": "auto"},
            "proof": {"type": "str", "choices": ["restore", "list", "none"], "default": "restore"},
            "plan": {"type": "dict"},
            "target": {"type": "str"},
            "strategy": {"type": "str", "choices": ["staged", "in_place"], "default": "staged"},
            "default_group_name": {"type": "str", "choices": ["All", ""], "default": "All"},
            "oauth_client": {"type": "str"},
            "data_migration": {"type": "bool", "default": True},
            "data_stop": {"type": "str"},
            "url": {"type": "str"},
            "timeout": {"type": "float", "default": 120},
            "jobs_in_flight": {"type": "str", "choices": ["fail", "wait", "abort"], "default": "fail"},
            "jobs_timeout": {"type": "int", "default": 3600},
            "on_failure": {"type": "str", "choices": ["stop", "rollback"], "default": "stop"},
            "accept_data_loss": {"type": "bool", "default": False},
            "controller": {"type": "str", "default": "unknown"},
            "hosts": {"type": "str", "default": ""},
            "workers_follow": {"type": "bool", "default": False},
            "only_start": {"type": "bool", "default": False},
            "failure": {
                "type": "dict",
                "options": {"stage": {"type": "str", "default": ""}, "msg": {"type": "str", "required": True}},
            },
            "known": {"type": "dict", "default": {}},
            "expected": {"type": "dict", "default": {}},
            "id": {"type": "str"},
            "seen": {"type": "int", "default": 0},
            "wait": {"type": "float", "default": 10},
            "together": {"type": "float", "default": 1},
        },
        required_if=[("state", "started", ["lock", "python", "plan", "target"]), ("state", "watched", ["id"])],
        supports_check_mode=True,
    )
    state = module.params["state"]
    # only the start works under the lock: the program holds it while it is watched
    lock = module.params["lock"] if state == "started" else module.params.pop("lock")
    run_module(module, lambda: begin_or_watch(module.params, lock, module.check_mode))


if __name__ == "__main__":
    main()
