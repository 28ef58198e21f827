# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""Which hosts make up an instance, by the operator's variables alone: also one that no role knows of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SERVER, WEB, WORKER = GROUPS = ("fractal_server", "fractal_web", "fractal_worker")


def server_of(hostvars: Mapping[str, Mapping[str, Any]], groups: Mapping[str, list[str]], host: str) -> str:
    """Return the server that a host belongs to: itself, the named one, or the only one; empty if that is not said."""
    servers = groups.get(SERVER, [])
    if host in servers:
        return host
    return str(hostvars[host].get("fractal_server_host") or (servers[0] if len(servers) == 1 else ""))


def webs_of(hostvars: Mapping[str, Mapping[str, Any]], groups: Mapping[str, list[str]], server: str) -> list[str]:
    """Return the web hosts that belong to a server; none for an empty name."""
    return [name for name in groups.get(WEB, []) if server and server_of(hostvars, groups, name) == server]
