# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""The command to tell the one who has to go on."""

from __future__ import annotations

INVENTORY = "-i INVENTORY"
"""Where the inventory is not known; the report puts that of its run in this place."""


def command(playbook: str, hosts: str = "") -> str:
    """Return the command that runs one of the playbooks, for some hosts only if any are named."""
    limit = f" --limit {hosts}" if hosts else ""
    return f"ansible-playbook {INVENTORY} fractal_ops.platform.{playbook}{limit}"
