# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""State and review of a database in one child process: half of what each costs is to load SQLAlchemy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.database import Installation
from ansible_collections.fractal_ops.platform.plugins.module_utils._resources.run import only_review
from ansible_collections.fractal_ops.platform.plugins.module_utils._upgrade.state import read_state


def state_and_review(
    installation: Installation, workers: Sequence[Mapping[str, Any]], viewer_paths_before: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Return the ``state`` of a database (see `read_state`) and its ``review`` (see `only_review`), or why it has none.

    Raises:
        FractalError: It cannot be reached.
    """
    state = read_state(installation)
    try:
        return {"state": state, "review": only_review(installation, workers, viewer_paths_before), "why_not": ""}
    except FractalError as error:
        return {"state": state, "review": None, "why_not": str(error)}
