# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""The environment file for 2.17.2: one setting became strict (fractal-server 2.17.2, config/_database.py)."""

from __future__ import annotations

from ansible_collections.fractal_ops.platform.plugins.module_utils._env_file.rules import EnvStep, Rule, true_or_false

STEP = EnvStep(
    release="2.17.2",
    rules=(Rule("DB_ECHO", "keep", "2.17.2 takes nothing but 'true' and 'false' (_database.py)", mend=true_or_false),),
)
