# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""A process on the other side of the door: started, and asked, at once or later, and perhaps again.

It gets each call as a sealed file through a socket, so it can be started before there is a call, and reading it can
block nobody. With the call it gets the pipe for the answer.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
from collections.abc import Iterator, Sequence
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
    """A child that waits for calls.

    Attributes:
        process: The process; it leads a session of its own.
        line: Our end of the socket that is its standard input.
        said: The end of whatever it says besides its answers.
    """

    process: subprocess.Popen[Any]
    line: socket.socket
    said: Pipe

    @classmethod
    def start(cls, account: Account, python: str, code: bytes, script: str, fds: Sequence[int] = ()) -> Child:
        """Start one.

        Args:
            account: As whom.
            python: Under which interpreter.
            code: The zip file with this collection's code.
            script: What it does, with ``{code}`` for the number of that open file.
            fds: Open files that it gets besides, under the same numbers.

        Raises:
            OSError: It cannot be started.
            subprocess.SubprocessError: The same.
        """
        said = Pipe(tail=True)
        ours, its = socket.socketpair()
        try:
            with its, sealed_file(code) as number:
                process = subprocess.Popen(  # pylint: disable=ansible-bad-function
                    [python, "-I", "-B", "-c", script.format(code=number)],
                    stdin=its.fileno(),
                    stdout=said.end,
                    stderr=said.end,
                    pass_fds=(number, *fds),
                    env=account.environment,
                    cwd="/",
                    start_new_session=True,
                    **ends_with_us(),
                    **account.subprocess_options,
                )
        except BaseException:
            for one in (ours, said):
                one.close()
            raise
        said.close_end()
        return cls(process, ours, said)

    @property
    def waits(self) -> bool:
        """Whether it still runs."""
        return self.process.poll() is None

    def ask(self, call: bytes) -> Pipe:
        """Give it a call, which it can take whenever it wants. Return where its answer comes."""
        result = Pipe(LONGEST_ANSWER)
        with sealed_file(call) as number, contextlib.suppress(OSError):  # a child that has ended says why
            socket.send_fds(self.line, [b"!"], [number, result.end])
        result.close_end()
        return result

    def answer(self, result: Pipe, timeout: float) -> tuple[bytes, str, str]:
        """Wait for an answer, or its end. Return the answer, how it ended in words, and why it was killed, if it was.

        Args:
            result: What `ask` returned.
            timeout: Seconds; it is killed then, with all that it started.
        """
        code, why = listen(self.process, [result, self.said], timeout, until=result)
        last = " ".join(line.strip() for line in self.said.text.strip().splitlines()[-3:])
        return bytes(result.content), f"it ended with {code}{': ' if last else ''}{last}", why

    def end(self) -> None:
        """End it, if it still runs."""
        end_session(self.process)
        for one in (self.line, self.said):
            one.close()


def calls() -> Iterator[tuple[str, int]]:
    """In the child: yield each call, and the file descriptor for its answer, until nobody is left who asks.

    What is started from here can read neither: a call may hold a password.
    """
    with socket.socket(fileno=os.dup(0)) as line:
        with open(os.devnull, "rb") as nothing:
            os.dup2(nothing.fileno(), 0)
        while True:
            _byte, numbers, _flags, _address = socket.recv_fds(line, 1, 2)
            if len(numbers) != 2:
                return
            for number in numbers:
                os.set_inheritable(number, False)
            with open(numbers[0], encoding="utf-8") as stream:
                text = stream.read()
            yield text, numbers[1]
