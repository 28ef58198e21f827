# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""Whether there is room for what the upgrade writes, from measured sizes."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.checks import tree_size
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.findings import (
    Finding,
    FindingRule,
    rule_table,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.wording import human_size
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.server import data_folder

if TYPE_CHECKING:
    from ansible_collections.fractal_ops.platform.plugins.module_utils._precheck.server_host import ServerHost

CHAPTERS = {"host": "Hosts"}
FINDINGS = rule_table(
    FindingRule(
        "host.disk_full",
        "blocker",
        "Not enough room",
        "The file system {subject} has {free} free; the upgrade needs {needed}: {parts}.",
        "Make room, or set fractal_backup_root to a folder on another file system.",
        settles={"fractal_backup_root": None},
    ),
)

_RESTORED = 1.2  # a restored copy and its write-ahead log, compared with the database


class Need(NamedTuple):
    """Room needed in a folder: bytes, and what for."""

    folder: str
    size: float
    purpose: str


class Room(NamedTuple):
    """The file system that a folder is on: its device, mount point, and free bytes."""

    device: int
    mount_point: str
    free: int


def check_disk(host: ServerHost) -> Iterator[Finding]:
    """Every file system that the upgrade writes to has room for all of it."""
    yield from shortages(needs(host))


def needs(host: ServerHost) -> list[Need]:
    """Return what the upgrade writes where: dump, copy that proves it, environments."""
    size, folder_of_data = host.facts.size_bytes, data_folder(host.facts.postmaster)
    found = [Need(host.params["backup_root"], size, "the dump of the database")]
    if folder_of_data and host.params["backup_proof"] == "restore":
        found.append(Need(folder_of_data, size * _RESTORED, "the copy that proves the backup"))
    number = len(host.missing_releases)
    if number:
        copies = number if host.params["install_strategy"] == "staged" else number + 1
        parent = os.path.dirname(os.path.realpath(host.environment))
        found.append(Need(parent, tree_size(host.environment) * copies, f"{copies} Python environment(s)"))
    return found


def shortages(wanted: Iterable[Need]) -> Iterator[Finding]:
    """Yield a finding for each file system that has less room than all that is wanted on it."""
    by_device: dict[int, list[Need]] = {}
    rooms: dict[int, Room] = {}
    for need in wanted:
        room = room_of(need.folder)
        rooms[room.device] = room
        by_device.setdefault(room.device, []).append(need)
    for device, together in by_device.items():
        size = sum(need.size for need in together)
        room = rooms[device]
        if room.free < size:
            parts = ", ".join(f"{human_size(need.size)} for {need.purpose} in {need.folder}" for need in together)
            yield FINDINGS["host.disk_full"].finding(
                room.mount_point, free=human_size(room.free), needed=human_size(size), parts=parts
            )


def room_of(folder: str) -> Room:
    """Return the file system of ``folder``, or of the one in which it will be made."""
    folder = os.path.realpath(folder)
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    free, device = shutil.disk_usage(folder).free, os.stat(folder).st_dev
    while folder != "/" and not os.path.ismount(folder):
        folder = os.path.dirname(folder)
    return Room(device, folder, free)
