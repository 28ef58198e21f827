"""One stage of a hop by itself, in a process that a test can kill: ``stages.py schema`` or ``data``, options on stdin.

Runs as a hop in the window does, under a Python that has nothing of Fractal's.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.database import find_installation
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.service_side import A_DAY, service_side
from ansible_collections.fractal_ops.platform.plugins.module_utils._upgrade.data import migrate_data
from ansible_collections.fractal_ops.platform.plugins.module_utils._upgrade.schema import migrate_schema

STAGES = {"schema": migrate_schema, "data": migrate_data}


def make(stage: str, options: dict[str, Any]) -> dict[str, Any]:
    """Return what a stage returns, or why it failed, as a module would."""
    check_mode = options.pop("_ansible_check_mode")
    installation = find_installation(options)
    door = service_side(installation, options["python"], A_DAY)
    try:
        return door.call(STAGES[stage], installation, door.python, options["release"], check_mode=check_mode)
    except FractalError as error:
        return {"failed": True, "msg": str(error)}


if __name__ == "__main__":
    json.dump(make(sys.argv[1], json.load(sys.stdin)), sys.stdout)
