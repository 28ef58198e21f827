# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes down which tasks of a run were really sent to each host. For tests only."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = r"""
name: remote_tasks
type: aggregate
short_description: Write down which tasks were sent to each host
description:
  - For tests of how often a playbook asks a host. Writes a JSON object of lists to the file that E(REMOTE_TASKS) names.
  - Each item of a loop counts; what is delegated counts for the host that it is delegated to.
"""

# what Ansible does without its hosts
_ON_THE_CONTROLLER = frozenset(
    "add_host assert debug fail group_by include_role include_tasks meta set_fact validate_argument_spec".split()
)


class CallbackModule(CallbackBase):  # type: ignore[misc]
    """Keeps the names of the tasks that ran, by host."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "remote_tasks"

    def __init__(self) -> None:
        """Begin with no task."""
        super().__init__()
        self._sent: dict[str, list[str]] = {}

    def v2_runner_on_ok(self, result: Any) -> None:
        """Keep a task that ended well."""
        self._keep(result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        """Keep a task that failed."""
        self._keep(result)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        """Keep a task whose host did not answer."""
        self._keep(result)

    def _keep(self, result: Any) -> None:
        task = result.task
        host = result.task_fields.get("delegate_to") or result.host.name
        if host == "localhost" or task.action.rpartition(".")[2] in _ON_THE_CONTROLLER:
            return
        items = result.result.get("results", [{}]) if task.loop is not None else [{}]
        self._sent.setdefault(host, []).extend([task.get_name()] * sum(not one.get("skipped") for one in items))

    def v2_playbook_on_stats(self, stats: Any) -> None:
        """Write them down."""
        Path(os.environ["REMOTE_TASKS"]).write_text(json.dumps(self._sent), encoding="utf-8")
