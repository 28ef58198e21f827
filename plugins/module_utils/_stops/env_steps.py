# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""The steps of the environment files, in the order of their releases. The host's Python runs them: no libraries."""

from __future__ import annotations

from typing import Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._env_file.on_host import EnvTask
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.r2_17_0 import env as r2_17_0
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.r2_17_0.web import migrate_web
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.r2_17_2 import env as r2_17_2
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.r2_18_0 import env as r2_18_0

ENV_STEPS = [r2_17_0.STEP, r2_17_2.STEP, r2_18_0.STEP]


def env_task(**options: Any) -> EnvTask:
    """Return the migration of one file on this host, with all steps. See `EnvTask`."""
    return EnvTask(steps=ENV_STEPS, migrate_web=migrate_web, **options)
