# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""The environment file for 2.18.0: what the viewer shows is not set there any more (fractal-server 2.18.0, config/)."""

from __future__ import annotations

from ansible_collections.fractal_ops.platform.plugins.module_utils._env_file.rules import EnvStep, Rule

_VIEWER = (
    "2.18.0 shows each user the own project directories and the datasets of shared projects, and reads no {} any more"
)

STEP = EnvStep(
    release="2.18.0",
    rules=(
        Rule("FRACTAL_DATA_AUTH_SCHEME", "drop", _VIEWER.format("scheme")),
        Rule("FRACTAL_DATA_BASE_FOLDER", "drop", _VIEWER.format("base folder")),
    ),
)
