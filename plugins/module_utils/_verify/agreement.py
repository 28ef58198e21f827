# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""Whether a web host that was verified without its server agrees with it: the controller asks that afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def agrees(told: Mapping[str, Any], server: Mapping[str, Any]) -> bool:
    """Return whether each check of a web host that passes without its server passes with it, too.

    Args:
        told: What `verify_web` returned as ``told``.
        server: What `verify_server` returned as ``server``; None in it stands for what is not compared.
    """
    return bool(server) and all(value is None or told.get(key) == value for key, value in server.items())
