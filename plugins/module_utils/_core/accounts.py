# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""Accounts of this host, to run programs as."""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"  # what systemd gives to services

_NOGROUP = 65534


@dataclass(frozen=True)
class Account:
    """An account to run a program as, or with whose rights to work: ``gid`` is the group that it works with."""

    name: str
    uid: int
    gid: int
    home: str

    @classmethod
    def named(cls, name: str | None) -> Account:
        """Return the account ``name``; None, or a process that is not root, stays what it is.

        Raises:
            FractalError: There is no such account.
        """
        try:
            entry = pwd.getpwnam(name) if name and os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
        except KeyError as error:
            raise FractalError(f"The account {name or os.geteuid()} does not exist on this host.") from error
        return cls(entry.pw_name, entry.pw_uid, entry.pw_gid, entry.pw_dir)

    @classmethod
    def to_ask(cls, name: str | None) -> Account:
        """Return the account ``name`` to ask its programs what they are, or ``nobody`` where there is no such account.

        A unit with an account that does not exist cannot start; what it leads to can be told all the same.
        """
        try:
            return cls.named(name)
        except FractalError:
            return cls.named("nobody")

    @classmethod
    def of_uid(cls, uid: int, gid: int | None = None) -> Account:
        """Return the account with a number; one without a name has no home and no further groups.

        Args:
            uid: Its number.
            gid: The group that it is to work with, which counts if it is a member, or has no name.
        """
        try:
            entry = pwd.getpwuid(uid)
        except KeyError:
            return cls(str(uid), uid, gid or _NOGROUP, "/")
        found = cls(entry.pw_name, entry.pw_uid, entry.pw_gid, entry.pw_dir)
        return replace(found, gid=gid) if gid is not None and gid in found.groups else found

    @property
    def groups(self) -> list[int]:
        """All its groups; none for an account without a name."""
        try:
            own = pwd.getpwnam(self.name).pw_gid
        except KeyError:
            return []
        return os.getgrouplist(self.name, own)

    @property
    def is_own(self) -> bool:
        """Whether this very process runs as the account."""
        return self.uid == os.geteuid()

    @property
    def other(self) -> Account | None:
        """The account, or None if it is this process's own: then nothing has to be done as somebody else."""
        return None if self.is_own else self

    @property
    def environment(self) -> dict[str, str]:
        """The variables that a program of the account starts with: nothing of this process."""
        return {"PATH": _PATH, "HOME": self.home, "USER": self.name, "LOGNAME": self.name, "LANG": "C.UTF-8"}

    @property
    def subprocess_options(self) -> dict[str, Any]:
        """The options of ``subprocess`` that change to the account; none for one's own."""
        if self.is_own:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": self.groups}
