# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kills the whole ansible-playbook run, without any clean-up, when a task begins. For tests only."""

from __future__ import annotations

import os
import signal
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = r"""
name: kill_at_task
type: aggregate
short_description: Kill the run when the task named in KILL_AT_TASK begins
description:
  - For tests of what an upgrade leaves when its controller dies.
"""


class CallbackModule(CallbackBase):  # type: ignore[misc]
    """Sends SIGKILL to its own process group."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "kill_at_task"

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        """Die before the task runs on any host."""
        if task.get_name().rpartition(" : ")[2] == os.environ["KILL_AT_TASK"]:
            os.killpg(os.getpgrp(), signal.SIGKILL)
