# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""What ``fractal_serial`` may be: what Ansible's ``serial`` takes, but of instances instead of hosts."""

from __future__ import annotations

import re
from typing import Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError

SERIAL = "fractal_serial"
_COUNT = re.compile(r"[1-9][0-9]*")
_SHARE = re.compile(r"(100|[1-9][0-9]?)%")
_CAN_BE = "it can be a number from 1 on, a share such as '25%', or a list of these, such as [1, 2, '50%']"


def sizes(serial: Any, instances: int) -> list[int]:
    """Return how many of so many instances each wave has; empty if there are to be no waves.

    Raises:
        FractalError: A size is neither a number from 1 on nor a share from 1% to 100%.
    """
    wanted = serial.split(",") if isinstance(serial, str) else serial if isinstance(serial, list) else [serial]
    return [_size(one, instances) for one in wanted if one not in (None, "")]


def _size(wanted: Any, instances: int) -> int:
    text = "" if isinstance(wanted, bool) else str(wanted).strip()
    if _COUNT.fullmatch(text):
        return int(text)
    if _SHARE.fullmatch(text):
        return max(1, instances * int(text[:-1]) // 100)
    raise FractalError(f"has the part {wanted!r}; {_CAN_BE}.")
