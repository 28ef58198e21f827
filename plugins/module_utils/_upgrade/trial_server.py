# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""A release of fractal-server on a free loopback port, for a moment: started as the service account, asked, stopped.

Its socket is opened here and handed over, so nobody else can have the port, and no token goes to a stranger.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from typing import Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.accounts import Account
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.http_client import Api
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.programs import Pipe, ends_with_us
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.database import Installation
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.alive import ask
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.fractalctl import secrets_of
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.journal import mask

# as `fractalctl start` does (fractal-server 2.17.0, __main__.py), but on a socket that is open already
_SERVE = """
import socket, sys, uvicorn
uvicorn.Server(uvicorn.Config("fractal_server.main:app")).run(sockets=[socket.socket(fileno=int(sys.argv[1]))])
"""
_LOOK_AGAIN = 0.1  # seconds
_STOP_PATIENCE = 30.0  # seconds
_AUDIENCE = ["fastapi-users:auth"]  # fastapi-users 14 and 15, authentication/strategy/jwt.py
_LIFETIME = 300  # seconds
_PROJECTS = "/api/v2/project/"  # fractal-server 2.17.0 and 2.26.0, app/routes/api/v2/project.py


class TrialServer:
    """A running server; leaving the context stops it, and ``stop_seconds`` then tells how long that took."""

    def __init__(self, installation: Installation, python: str) -> None:
        """Start it in the folder of the installation's environment file, as its account."""
        account = Account.named(installation.run_as)
        self._secrets = secrets_of(installation)
        self._said = Pipe(tail=True)
        self.stop_seconds = 0.0
        self._started = time.monotonic()
        with socket.socket() as listening:
            listening.bind(("127.0.0.1", 0))
            listening.listen(64)
            self.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
            try:
                self._process = subprocess.Popen(  # pylint: disable=ansible-bad-function
                    [python, "-B", "-c", _SERVE, str(listening.fileno())],
                    stdin=subprocess.DEVNULL,
                    stdout=self._said.end,
                    stderr=self._said.end,
                    pass_fds=(listening.fileno(),),
                    env={**account.environment, **installation.process_environment},
                    cwd=installation.working_directory,
                    start_new_session=True,
                    **ends_with_us(),
                    **account.subprocess_options,
                )
            except (OSError, subprocess.SubprocessError) as error:
                self._said.close()
                reason = getattr(error, "strerror", None) or type(error).__name__
                raise FractalError(f"{python} cannot be started: {reason}.") from error
        self._said.close_end()

    def __enter__(self) -> TrialServer:
        """Return the server itself."""
        return self

    def __exit__(self, *_exception: object) -> None:
        """Stop it, and all that it started."""
        started = time.monotonic()
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_STOP_PATIENCE)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self.stop_seconds = round(time.monotonic() - started, 3)
        self._said.close()

    def answers(self, version: str, timeout: float) -> float:
        """Wait until it answers with ``version``; return the seconds since its start.

        Raises:
            FractalError: It ended, answers as another version, or not within ``timeout`` seconds. With its last words.
        """
        problem = "it does not answer"
        while time.monotonic() - self._started < timeout:
            self._said.read()
            if self._process.poll() is not None:
                raise FractalError(f"it ended with {self._process.returncode}.{self.last_words()}")
            found = ask(self.url, "server", timeout=max(1.0, timeout - (time.monotonic() - self._started)))
            if found.version == version and not found.problem:
                return round(time.monotonic() - self._started, 3)
            if found.version is not None:
                raise FractalError(f"it answers as {found.version}, not as {version}.{self.last_words()}")
            problem = found.problem
            time.sleep(_LOOK_AGAIN)
        raise FractalError(f"{problem} (waited {timeout:g} s).{self.last_words()}")

    def last_words(self) -> str:
        """Return the end of what it said, no secret among it."""
        self._said.read()
        lines = [line for line in mask(self._said.text, self._secrets).splitlines() if line.strip()][-12:]
        return "".join(f"\n{line}" for line in ["Its last words:", *lines]) if lines else ""


def log_in_and_list(api: Api, variables: Mapping[str, str], account: Mapping[str, Any] | None) -> int:
    """Log in as ``account``, unless that was done with a password, and return how many projects it sees.

    Raises:
        FractalError: The server refuses.
    """
    if account is not None:
        api.use_token(token_of(int(account["id"]), variables["JWT_SECRET_KEY"]))
    api.get("/auth/current-user/")
    found = api.get(_PROJECTS)
    if not isinstance(found, list):
        raise FractalError(f"GET {_PROJECTS} answered with no list of projects.")
    return len(found)


def token_of(user: int, key: str) -> str:
    """Return a token as log-in gives it (RFC 7519, HS256; fastapi-users, jwt.py): nobody's password is needed."""
    claims = {"sub": str(user), "aud": _AUDIENCE, "exp": int(time.time()) + _LIFETIME}
    signed = ".".join(_part(json.dumps(one).encode()) for one in ({"alg": "HS256", "typ": "JWT"}, claims))
    return f"{signed}.{_part(hmac.new(key.encode(), signed.encode(), hashlib.sha256).digest())}"


def _part(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
