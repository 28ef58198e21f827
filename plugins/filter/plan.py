# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The planner as a filter: it runs on the controller and costs no task."""

from __future__ import annotations

from typing import Any, Callable

from ansible_collections.fractal_ops.platform.plugins.module_utils._plan import plan_server


def server_plan(instance: dict[str, Any], database: dict[str, Any], target: str) -> dict[str, Any]:
    """Return the stages of one server; see ``server_plan.yml`` beside this file."""
    return plan_server(instance, database, target).as_dict()


class FilterModule:
    """Filters of this collection."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {"server_plan": server_plan}
