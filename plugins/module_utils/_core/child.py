# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""A process on the other side of the door: started, and asked once, at once or later.

It gets the call as a sealed file through a socket, so it can be started before there is a call, and reading it can
block nobody.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.accounts import Account
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.programs import (
    Pipe,
    end_session,
    ends_with_us,
    listen,
    sealed_file,
)

LONGEST_ANSWER = 64 << 20  # bytes


@dataclass
class Child:
    """A child that waits for its call.

    Attributes:
        process: The process; it leads a session of its own.
        line: Our end of the socket that is its standard input.
        result: Where its answer comes.
        said: The end of whatever else it says.
    """

    process: subprocess.Popen[Any]
    line: socket.socket
    result: Pipe
    said: Pipe

    @classmethod
    def start(cls, account: Account, python: str, code: bytes, script: str, fds: Sequence[int] = ()) -> Child:
        """Start one.

        Args:
            account: As whom.
            python: Under which interpreter.
            code: The zip file with this collection's code.
            script: What it does, with ``{code}`` and ``{result}`` for the numbers of its open files.
            fds: Open files that it gets besides, under the same numbers.

        Raises:
            OSError: It cannot be started.
            subprocess.SubprocessError: The same.
        """
        result, said = Pipe(LONGEST_ANSWER), Pipe(tail=True)
        ours, its = socket.socketpair()
        try:
            with its, sealed_file(code) as number:
                process = subprocess.Popen(  # pylint: disable=ansible-bad-function
                    [python, "-I", "-B", "-c", script.format(code=number, result=result.end)],
                    stdin=its.fileno(),
                    stdout=said.end,
                    stderr=said.end,
                    pass_fds=(number, result.end, *fds),
                    env=account.environment,
                    cwd="/",
                    start_new_session=True,
                    **ends_with_us(),
                    **account.subprocess_options,
                )
        except BaseException:
            for one in (ours, result, said):
                one.close()
            raise
        result.close_end()
        said.close_end()
        return cls(process, ours, result, said)

    @property
    def waits(self) -> bool:
        """Whether it still runs."""
        return self.process.poll() is None

    def ask(self, call: bytes) -> None:
        """Give it its call, which it can take whenever it wants."""
        with sealed_file(call) as number, contextlib.suppress(OSError):  # a child that has ended says why
            socket.send_fds(self.line, [b"!"], [number])

    def answer(self, timeout: float) -> tuple[bytes, str, str]:
        """Wait for its end. Return its answer, how it ended in words, and why it was killed, if it was.

        Args:
            timeout: Seconds; it is killed then, with all that it started.
        """
        code, why = listen(self.process, [self.result, self.said], timeout)
        last = " ".join(line.strip() for line in self.said.text.strip().splitlines()[-3:])
        return bytes(self.result.content), f"it ended with {code}{': ' if last else ''}{last}", why

    def end(self) -> None:
        """End it, if it still runs."""
        end_session(self.process)
        for one in (self.line, self.result, self.said):
            one.close()


def receive_call() -> None:
    """In the child: wait for the call, and make it the standard input. Without one there is nothing to do."""
    with socket.socket(fileno=os.dup(0)) as line:
        _byte, numbers, _flags, _address = socket.recv_fds(line, 1, 1)
    if not numbers:
        raise SystemExit
    os.dup2(numbers[0], 0)
    os.close(numbers[0])
