# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""Programs that end with the module that started them."""

from __future__ import annotations

import ctypes
import signal
from typing import Any

_PR_SET_PDEATHSIG = 1  # prctl(2)
_LIBC = ctypes.CDLL(None)


def _end_with_parent() -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


ENDS_WITH_US: dict[str, Any] = {"preexec_fn": _end_with_parent}
"""Options of ``subprocess`` for a program that writes: when its module is killed, it must not go on beside the next
run. Each of these programs may be killed at any moment."""
