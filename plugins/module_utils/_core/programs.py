# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""The one way to run a program: as which account, with which variables, and for how long.

A program may belong to another account and mean harm. So whatever it does, its caller goes on: a program that hangs is
ended, one that floods its output too, and what it leaves running in the background is not waited for.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import re
import selectors
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.accounts import Account
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.masking import mask_urls

_PR_SET_PDEATHSIG = 1  # prctl(2)
_LIBC = ctypes.CDLL(None)
_CHUNK = 1 << 16
_LOOK_AGAIN = 1.0  # seconds: how often to see whether a program has ended that left its output open to others
MAX_OUTPUT = 16 << 20  # bytes
NOT_THERE, TOO_LONG, TOO_MUCH = 127, 124, 125


def ends_with_us() -> dict[str, Any]:
    """Return the options of ``subprocess`` for a program that must not go on when its module is killed.

    Each of these programs may be killed at any moment.
    """
    us = os.getpid()

    def end_with_parent() -> None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != us:
            os._exit(1)  # we were killed before that

    # subprocess changes the account before it calls this: the kernel forgets the wish when the account changes
    return {"preexec_fn": end_with_parent}


@dataclass(frozen=True)
class Done:
    """A program that has ended: its exit code, and what it said."""

    program: str
    code: int
    out: str
    err: str

    def last_words(self, lines: int = 3, together: str = " ") -> str:
        """Return the end of what it said, without credentials in URLs."""
        said = (self.err.strip() or self.out.strip()).splitlines()[-lines:]
        return mask_urls(together.join(line.strip() for line in said)) or f"exit code {self.code}"

    def must(self, purpose: str) -> str:
        """Return what it printed.

        Raises:
            FractalError: It failed. ``purpose`` says what could not be done because of that.
        """
        if self.code == NOT_THERE and not self.out:
            raise FractalError(f"Cannot {purpose}: {self.program}: {self.last_words(1)}.")
        if self.code != 0:
            last = self.last_words(8, "\n")
            raise FractalError(f"Cannot {purpose} ({os.path.basename(self.program)} ended with {self.code}):\n{last}")
        return self.out


def run(
    command: Sequence[str],
    *,
    account: Account | None = None,
    environ: Mapping[str, str] | None = None,
    cwd: str = "/",
    timeout: float = 60,
    input: str = "",
    err_to_out: bool = False,
) -> Done:
    """Run a program to its end, in a session of its own; it ends with this process.

    Args:
        command: The program and its arguments, without any secret.
        account: Who runs it; by default who runs this process.
        environ: Its variables; by default those of this process for its own account, else only the account's.
        cwd: The folder to run it in.
        timeout: Seconds; it is killed then.
        input: What it reads.
        err_to_out: Keep the order of all that it says, in ``out``.

    Returns:
        What it said. The exit code is 127 if it cannot be started, 124 if it took too long, 125 if it said too much.
    """
    who = account or Account.named(None)
    ours = os.environ if who.is_own else who.environment
    out, err = Pipe(), Pipe(tail=True)
    with contextlib.ExitStack() as stack:
        for pipe in (out, err):
            stack.callback(pipe.close)
        source = stack.enter_context(sealed_file(input.encode())) if input else subprocess.DEVNULL
        try:
            process = subprocess.Popen(  # pylint: disable=ansible-bad-function
                list(command),
                stdin=source,
                stdout=out.end,
                stderr=out.end if err_to_out else err.end,
                env={**ours, "LC_ALL": "C.UTF-8"} if environ is None else dict(environ),
                cwd=cwd,
                start_new_session=True,
                **ends_with_us(),
                **who.subprocess_options,
            )
        except (OSError, subprocess.SubprocessError) as error:
            return Done(command[0], NOT_THERE, "", getattr(error, "strerror", None) or type(error).__name__)
        code, why = listen(process, [out, err], timeout)
        return Done(command[0], code, out.text, "\n".join(part for part in (err.text, why) if part))


# The option of modules that download, or start what does (see doc_fragments/network.py).
NETWORK_ARGUMENT: dict[str, dict[str, Any]] = {"environment": {"type": "dict", "default": {}}}
_NETWORK = re.compile(r"PIP_[A-Z0-9_]+|SSL_CERT_(FILE|DIR)|REQUESTS_CA_BUNDLE|([A-Z]+_)?PROXY", re.IGNORECASE)


def network_environment() -> dict[str, str]:
    """Return those variables of this process that lead pip to its index: proxies, certificates, pip's own."""
    return {name: value for name, value in os.environ.items() if _NETWORK.fullmatch(name)}


def lead_to_the_network(variables: Mapping[str, Any]) -> None:
    """Let this process and its children reach the network as the operator said: proxies, certificates, pip's options.

    Names of proxies are set in lower and in upper case, as some programs read only one of them.

    Raises:
        FractalError: A variable is none of `network_environment`, or its value is not a single line of text.
    """
    for name, value in network_variables(variables).items():
        for written in {name, name.lower(), name.upper()} if name.lower().endswith("proxy") else {name}:
            os.environ[written] = value


def network_variables(variables: Mapping[str, Any]) -> dict[str, str]:
    """Return variables that lead to the network as texts. See `lead_to_the_network`."""
    for name, value in variables.items():
        if not _NETWORK.fullmatch(str(name)):
            raise FractalError(
                f"names {name}, which no download needs. It can have http_proxy, https_proxy, all_proxy, no_proxy, "
                "SSL_CERT_FILE, SSL_CERT_DIR, REQUESTS_CA_BUNDLE, and what begins with PIP_."
            )
        if isinstance(value, bool) or not isinstance(value, (str, int, float)) or not str(value).isprintable():
            raise FractalError(f"needs a single line of text for {name}.")
    return {str(name): str(value) for name, value in variables.items()}


@dataclass
class Pipe:
    """A pipe from a program to us; ``end`` is the program's end. With ``tail`` only the last words are kept."""

    limit: int = MAX_OUTPUT
    tail: bool = False
    content: bytearray = field(default_factory=bytearray)
    end: int = field(default=-1)
    ours: int = field(default=-1)

    def __post_init__(self) -> None:
        """Open it."""
        self.ours, self.end = os.pipe()
        os.set_blocking(self.ours, False)

    @property
    def text(self) -> str:
        """What was read."""
        return self.content.decode("utf-8", "replace")

    @property
    def too_much(self) -> bool:
        """Whether the program said more than is read of it."""
        return not self.tail and len(self.content) > self.limit

    def read(self) -> bool:
        """Read what is there; return whether there may be more later."""
        while not self.too_much:
            try:
                chunk = os.read(self.ours, _CHUNK)
            except BlockingIOError:
                return True
            if not chunk:
                return False
            self.content += chunk
            if self.tail:
                del self.content[:-_CHUNK]
                return True  # such a program could keep us here for ever
        return False

    def close_end(self) -> None:
        """Close the program's end, once the program has it."""
        if self.end >= 0:
            os.close(self.end)
            self.end = -1

    def close(self) -> None:
        """Close both ends."""
        self.close_end()
        os.close(self.ours)


def listen(
    process: subprocess.Popen[Any], pipes: Sequence[Pipe], timeout: float, until: Pipe | None = None
) -> tuple[int, str]:
    """Read ``pipes`` until the program has ended; return its exit code, and why it was ended if it was (see `run`).

    It must lead a session of its own: whoever else is in that session is ended with it. A program that has ended a line
    on the pipe ``until`` is left alone; its code is 0 then.
    """
    deadline = time.monotonic() + timeout
    code, why = 0, ""

    def goes_on() -> bool:
        return until is not None and until.content.endswith(b"\n")

    try:
        with selectors.DefaultSelector() as selector:
            for pipe in pipes:
                pipe.close_end()
                selector.register(pipe.ours, selectors.EVENT_READ, pipe)
            while process.poll() is None and not why and not goes_on():
                left = deadline - time.monotonic()
                if left <= 0:
                    code, why = TOO_LONG, f"no answer within {timeout:.0f} seconds"
                elif not selector.get_map():
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        process.wait(left)
                else:
                    for key, _events in selector.select(min(left, _LOOK_AGAIN)):
                        if not key.data.read():
                            selector.unregister(key.fd)
                    if any(pipe.too_much for pipe in pipes):
                        code, why = TOO_MUCH, "more output than is ever needed"
        if not why:
            for pipe in pipes:
                pipe.read()  # the rest; what others in the background say later is nobody's answer
    finally:
        if why or not goes_on():
            end_session(process)
    return (code, why) if why else (process.returncode or 0, "")


def end_session(process: subprocess.Popen[Any]) -> None:
    """Kill the program and its whole session, if it still runs."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextlib.contextmanager
def sealed_file(content: bytes) -> Iterator[int]:
    """Yield a file in memory that nobody can change, at its beginning; no other account can get at it."""
    descriptor = os.memfd_create("fractal_ops", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        with os.fdopen(os.dup(descriptor), "wb") as stream:
            stream.write(content)
        os.lseek(descriptor, 0, os.SEEK_SET)
        seals = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
        yield descriptor
    finally:
        os.close(descriptor)
