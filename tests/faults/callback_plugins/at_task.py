# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs a command, or kills the whole ansible-playbook run without any clean-up, when a task begins. For tests only."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = r"""
name: at_task
type: aggregate
short_description: Run a command, or kill the run, when a task begins
description:
  - For tests of what an upgrade leaves when something happens to it. E(AT_TASK) is a JSON list of objects with
    C(task) and C(command), a list; without a command the run is killed.
"""


class CallbackModule(CallbackBase):  # type: ignore[misc]
    """Acts before a task runs on any host."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "at_task"

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        """Do what is to be done when this task begins; the first time only, if it is a command."""
        acts = json.loads(os.environ["AT_TASK"])
        for act in [one for one in acts if one["task"] == task.get_name().rpartition(" : ")[2]]:
            if not act["command"]:
                os.killpg(os.getpgrp(), signal.SIGKILL)
            acts.remove(act)
            os.environ["AT_TASK"] = json.dumps(acts)
            subprocess.run(act["command"], check=True, stdout=subprocess.DEVNULL)
