# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""The processes of a unit and the sockets on which they listen, as the kernel tells in /proc (proc(5), cgroups(7))."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import struct
from collections.abc import Iterator

from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.address import Address

_LISTEN = "0A"  # TCP_LISTEN
_ACCEPTS = 0x10000  # __SO_ACCEPTCON
_HIERARCHIES = ("", "systemd", "unified")  # cgroup v2; v1; both at once


def processes(control_group: str, cgroups: str = "/sys/fs/cgroup") -> list[int]:
    """Return the processes of a unit's control group and those below it; none if the unit does not run."""
    found: set[int] = set()
    if control_group in ("", "/"):
        return []
    for hierarchy in _HIERARCHIES:
        for folder, _folders, _files in os.walk(os.path.join(cgroups, hierarchy, control_group.lstrip("/"))):
            with contextlib.suppress(OSError), open(os.path.join(folder, "cgroup.procs"), encoding="ascii") as stream:
                found.update(int(line) for line in stream.read().split())
    return sorted(found)


def listening(pids: list[int], proc: str = "/proc") -> list[Address]:
    """Return where these processes listen, TCP first, each once; without the right to look, nothing."""
    inodes: dict[str, set[str]] = {}
    holder: dict[str, int] = {}
    for pid in pids:
        with contextlib.suppress(OSError):
            namespace = os.readlink(f"{proc}/{pid}/ns/net")
            holder.setdefault(namespace, pid)
            for name in os.listdir(f"{proc}/{pid}/fd"):
                with contextlib.suppress(OSError):
                    match = re.fullmatch(r"socket:\[(\d+)\]", os.readlink(f"{proc}/{pid}/fd/{name}"))
                    if match:
                        inodes.setdefault(namespace, set()).add(match[1])
    found = []
    for namespace, wanted in inodes.items():
        tables = f"{proc}/{holder[namespace]}/net"
        for table, rows in (("tcp", _tcp), ("tcp6", _tcp), ("unix", _unix)):
            found += [address for inode, address in rows(os.path.join(tables, table)) if inode in wanted]
    return list(dict.fromkeys(found))


def command_of(pid: int, proc: str = "/proc") -> list[str]:
    """Return the command line of a process, empty if it has ended."""
    try:
        with open(f"{proc}/{pid}/cmdline", "rb") as stream:
            return [os.fsdecode(word) for word in stream.read().split(b"\0") if word]
    except OSError:
        return []


def _tcp(path: str) -> Iterator[tuple[str, Address]]:
    for row in _rows(path):
        if len(row) > 9 and row[3] == _LISTEN:
            host, _colon, port = row[1].partition(":")
            words = [int(host[start : start + 8], 16) for start in range(0, len(host), 8)]
            packed = struct.pack(f"={len(words)}I", *words)
            family = socket.AF_INET if len(words) == 1 else socket.AF_INET6
            yield row[9], Address(_mapped(socket.inet_ntop(family, packed)), int(port, 16))


def _mapped(host: str) -> str:
    return host[len("::ffff:") :] if host.startswith("::ffff:") and "." in host else host


def _unix(path: str) -> Iterator[tuple[str, Address]]:
    for row in _rows(path):
        if len(row) > 7 and int(row[3], 16) & _ACCEPTS:
            yield row[6], Address(path=" ".join(row[7:]))


def _rows(path: str) -> list[list[str]]:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as stream:
            return [line.split() for line in stream.read().splitlines()[1:]]
    except OSError:
        return []
