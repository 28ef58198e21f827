#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: fractal_lock
short_description: Let one run at a time work on a Fractal instance
version_added: 1.0.0
author:
  - The fractal_ops.platform developers (@fractal-ops)
description:
  - Takes the lock on an instance for a run of a playbook, or gives it back. While another run has it, the module fails
    and says who that is, and since when.
  - A lock never has to be removed by hand. Of a run that was killed, it is taken over at once on the same controller,
    and five minutes after its last step from elsewhere. What such a run left working on the host is waited for.
attributes:
  check_mode:
    description: Says whether something would change.
    support: full
  diff_mode:
    description: Shows what changed.
    support: none
options:
  service:
    description: Name of the systemd unit of the instance.
    type: str
    default: fractal-server
  state:
    description: Whether the run has the lock.
    type: str
    choices: [present, absent]
    default: present
  run:
    description: The run, as the filter P(fractal_ops.platform.this_run#filter) names it.
    type: dict
    required: true
    suboptions:
      unit:
        description: Not used here; it makes what the module returned fit for giving the lock back.
        type: str
        default: ""
      run:
        description: Name of the run.
        type: str
        required: true
      controller:
        description: Who runs it, for people.
        type: str
        required: true
      abandoned:
        description: Another run that is known to be dead.
        type: str
        default: ""
  lease:
    description:
      - Seconds after which the lock of another run lapses that has not dated it. With less than the default the module
        waits for that, unless the other run does something meanwhile.
    type: float
    default: 300
  told:
    description:
      - Whether the report of this run tells how the last window on the unit ended, so that no later one has to. Noted
        with O(state=absent), before the lock is given back.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Take the lock
  fractal_ops.platform.fractal_lock:
    run: "{{ none | fractal_ops.platform.this_run }}"
  register: taken

- name: Give the lock back
  fractal_ops.platform.fractal_lock:
    state: absent
    run: "{{ taken.lock }}"
"""

RETURN = r"""
lock:
  description: The run that has the lock, for the option C(lock) of other modules.
  returned: with O(state=present)
  type: dict
  sample:
    unit: fractal-server.service
    run: ops1/6f9c/pid[4026531836]:4711:8321
    controller: root@ops1
    abandoned: ""
since:
  description: When the run took the lock (UTC, ISO 8601).
  returned: with O(state=present), not in check mode
  type: str
held:
  description: The run that has the lock, when it began, and how many seconds ago it did something.
  returned: when another run has the lock
  type: dict
  sample:
    run: ops2/81d0/pid[4026531836]:2207:5520
    controller: ann@ops2
    since: "2026-11-26T22:14:03Z"
    idle: 12.5
at:
  description: When the module began, in seconds since the epoch by the host's clock.
  returned: always
  type: float
duration:
  description: Seconds that it took.
  returned: always
  type: float
"""

from typing import TYPE_CHECKING, Any, NoReturn

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.systemd import unit_name
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.lock import (
    LEASE,
    LOCK_ARGUMENT,
    give_back,
    is_in_the_way,
    read_lock,
    refused,
    take,
    wait_until_lapsed,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._module import run_module
from ansible_collections.fractal_ops.platform.plugins.module_utils._window.journal import note_told

if TYPE_CHECKING:
    from collections.abc import Mapping


def take_or_give_back(params: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    unit, run = unit_name(params["service"]), params["run"]
    result = {"lock": {**run, "unit": unit}} if params["state"] == "present" else {}
    if check_mode:
        return {**result, **predict(unit, run, params["state"])}
    if params["state"] == "absent":
        if params["told"]:
            note_told(unit, run["run"])
        return {"changed": give_back(unit, run)}
    if params["lease"] < LEASE:
        wait_until_lapsed(unit, run, params["lease"])
    changed, lock = take(unit, run, lease=params["lease"])
    return {**result, "changed": changed, "since": lock.since}


def predict(unit: str, run: Mapping[str, str], state: str) -> dict[str, Any]:
    found = read_lock(unit)
    own = found is not None and found.run in (run["run"], run["abandoned"] if state == "absent" else run["run"])
    if state == "present" and found is not None and is_in_the_way(found.as_dict(), run):
        raise refused(unit, found.as_dict())
    return {"changed": own == (state == "absent")}


def main() -> NoReturn:
    module = AnsibleModule(
        argument_spec={
            "service": {"type": "str", "default": "fractal-server"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "run": {**LOCK_ARGUMENT["lock"], "required": True},
            "lease": {"type": "float", "default": LEASE},
            "told": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    run_module(module, lambda: take_or_give_back(module.params, module.check_mode))


if __name__ == "__main__":
    main()
