# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""Removing a job's folders with the rights of who owns them, here or on the cluster: root may have none on a share."""

from __future__ import annotations

import json
import os
import pwd
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._errors import FractalError

_TIMEOUT = 120  # seconds

# fabric is what fractal-server itself uses, with these arguments (2.17.0, ssh/_fabric.py)
_REMOTE = """
import fabric, json, shlex, sys
to = json.load(sys.stdin)
arguments = {"key_filename": to["key"], "look_for_keys": False, "banner_timeout": 30, "auth_timeout": 30}
with fabric.Connection(host=to["host"], user=to["user"], forward_agent=False, connect_kwargs=arguments) as there:
    there.run(shlex.join(to["command"]), hide=True, in_stream=False)
"""


@dataclass(frozen=True)
class LocalFolders:
    """Folders that this machine sees, of the account ``user``."""

    user: str

    def remove(self, folder: str) -> None:
        """Remove a folder with all that is in it.

        Raises:
            FractalError: It is still there afterwards.
        """
        self._run(_removing(folder), folder)
        if os.path.lexists(folder):
            raise FractalError(f"{folder} is still there")

    def remove_empty(self, folder: str) -> None:
        """Remove a folder if nothing is in it.

        Raises:
            FractalError: It is empty and cannot be removed.
        """
        self._run(_removing_empty(folder), folder)

    def remove_file(self, path: str) -> None:
        """Remove a file; one that is not there is fine.

        Raises:
            FractalError: It cannot be removed.
        """
        self._run(["rm", "-f", "--", path], path)

    def _run(self, command: Sequence[str], what: str) -> None:
        said = _run_as(self.user, command)
        if said is not None:
            raise FractalError(f"{what}: {said}")


@dataclass(frozen=True)
class RemoteFolders:
    """Folders on a cluster, reached as fractal-server reaches it: from the account ``server_user``, with its Python."""

    host: str
    user: str
    key: str
    server_user: str
    python: str

    def remove(self, folder: str) -> None:
        """Remove a folder with all that is in it.

        Raises:
            FractalError: The cluster cannot be reached, or refuses.
        """
        self._run(_removing(folder), folder)

    def remove_empty(self, folder: str) -> None:
        """Remove a folder if nothing is in it.

        Raises:
            FractalError: The cluster cannot be reached, or refuses.
        """
        self._run(_removing_empty(folder), folder)

    def _run(self, command: Sequence[str], what: str) -> None:
        to = {"host": self.host, "user": self.user, "key": self.key, "command": list(command)}
        said = _run_as(self.server_user, [self.python, "-c", _REMOTE], json.dumps(to))
        if said is not None:
            raise FractalError(f"{what} on {self.host}: {said}")


def _removing(folder: str) -> list[str]:
    return ["rm", "-rf", "--one-file-system", "--", _deep(folder)]


def _removing_empty(folder: str) -> list[str]:
    return ["rmdir", "--ignore-fail-on-non-empty", "--", _deep(folder)]


def _deep(folder: str) -> str:
    """Refuse to remove anything but an absolute folder at least three levels deep."""
    parts = [part for part in folder.split("/") if part]
    if not folder.startswith("/") or len(parts) < 3 or ".." in parts:
        raise FractalError(f"{folder!r} is not removed: it is no folder of a job")
    return folder


def _run_as(user: str, command: Sequence[str], text: str = "") -> str | None:
    """Run a command as an account and return what it says when it fails, else None."""
    try:
        account = pwd.getpwnam(user)
    except KeyError:
        return f"the account {user} does not exist on this host"
    change: dict[str, Any] = {}
    if os.geteuid() == 0:
        groups = os.getgrouplist(user, account.pw_gid)
        change = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": groups}
    path = os.environ.get("PATH", "/usr/bin:/bin")
    try:
        done = subprocess.run(
            list(command),
            input=text,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT,
            check=False,
            cwd="/",
            env={"HOME": account.pw_dir, "USER": user, "LOGNAME": user, "PATH": path},
            **change,
        )
    except (OSError, subprocess.SubprocessError) as error:
        return type(error).__name__
    return None if done.returncode == 0 else (done.stderr or done.stdout).strip()[-300:] or f"code {done.returncode}"
