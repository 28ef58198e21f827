# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose lock it is may change between the look at a host and the moment at which the lock is taken.

What a killed run left waiting on the host for the lock gets it first then. Only the controller can tell that the new
one is dead as well.
"""

from __future__ import annotations

from typing import Any

from ansible_collections.fractal_ops.platform.plugins.action.fractal_observe import ActionModule as RunModule
from ansible_collections.fractal_ops.platform.plugins.module_utils._run.controller import is_dead


class ActionModule(RunModule):
    """Run the module, once more if the run that has the lock is known to be dead."""

    def _on_host(self, tmp: str | None, task_vars: dict[str, Any] | None) -> dict[str, Any]:
        result = super()._on_host(tmp, task_vars)
        held = (result.get("held") or {}).get("run", "")
        if not is_dead(held):
            return result
        self._task.args = {**self._task.args, "run": {**self._task.args["run"], "abandoned": held}}
        return super()._on_host(tmp, task_vars)
