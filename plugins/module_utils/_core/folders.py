# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""Acting as the users do, here or on the cluster: removing a job's folders (root may have no right to, on a share)."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.accounts import Account
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.programs import run

_TIMEOUT = 120  # seconds

# fabric is what fractal-server itself uses, with these arguments (fractal-server 2.17.0, ssh/_fabric.py)
_REMOTE = """
import fabric, json, shlex, sys
to = json.load(sys.stdin)
arguments = {"key_filename": to["key"], "look_for_keys": False, "banner_timeout": 30, "auth_timeout": 30}
with fabric.Connection(host=to["host"], user=to["user"], forward_agent=False, connect_kwargs=arguments) as there:
    print(there.run(shlex.join(to["command"]), hide=True, in_stream=False).stdout, end="")
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
        _run_as(self.user, command, what)


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

    def run(self, command: Sequence[str]) -> str:
        """Run a command there and return what it prints.

        Raises:
            FractalError: The cluster cannot be reached, or the command fails.
        """
        return self._run(command, command[0])

    def _run(self, command: Sequence[str], what: str) -> str:
        to = {"host": self.host, "user": self.user, "key": self.key, "command": list(command)}
        return _run_as(self.server_user, [self.python, "-c", _REMOTE], f"{what} on {self.host}", json.dumps(to))


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


def _run_as(user: str, command: Sequence[str], what: str, text: str = "") -> str:
    """Run a command as an account and return what it prints.

    Raises:
        FractalError: It fails; ``what`` says for what it was.
    """
    try:
        account = Account.named(user)
    except FractalError as error:
        raise FractalError(f"{what}: {error}") from error
    done = run(command, account=account, environ=account.environment, timeout=_TIMEOUT, input=text)
    if done.code != 0:
        raise FractalError(f"{what}: {done.last_words()}")
    return done.out
