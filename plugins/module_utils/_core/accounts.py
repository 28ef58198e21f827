# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""Accounts of this host, to run programs as."""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"  # what systemd gives to services


@dataclass(frozen=True)
class Account:
    """An account to run a program as: its own variables, and the options of ``subprocess`` (none for one's own)."""

    environment: Mapping[str, str]
    subprocess_options: Mapping[str, Any]


def service_account(name: str | None) -> Account:
    """Return the account ``name``; None, or a process that is not root, stays what it is.

    Raises:
        FractalError: There is no such account.
    """
    try:
        entry = pwd.getpwnam(name) if name and os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
    except KeyError as error:
        raise FractalError(f"The account {name or os.geteuid()} does not exist on this host.") from error
    environment = {"PATH": _PATH, "HOME": entry.pw_dir, "USER": entry.pw_name, "LOGNAME": entry.pw_name}
    if entry.pw_uid == os.geteuid():
        return Account(environment, {})
    groups = os.getgrouplist(entry.pw_name, entry.pw_gid)
    return Account(environment, {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": groups})
