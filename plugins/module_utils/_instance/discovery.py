# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""Discovery: everything about an instance that its systemd unit leads to.

The unit's name is all that an operator has to say. The values of environment variables stay on the host: what leaves
it are their names, and the few values that are no secret.
"""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.accounts import Account
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.programs import run
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.systemd import Unit, read_unit
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.database import read_env_file
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.hold import read_hold
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.lock import read_lock
from ansible_collections.fractal_ops.platform.plugins.module_utils._venv.build import prepared_releases
from ansible_collections.fractal_ops.platform.plugins.module_utils._venv.interpreter import facts

SERVER_ENV_FILE = ".fractal_server.env"  # read from the working directory (config.py of 2.16 and 2.17)
SERVER_LAUNCHERS = ("fractalctl", "gunicorn", "uvicorn")


@dataclass(frozen=True)
class ServerInstance:
    """A fractal-server deployment on this host, without any secret."""

    service: str
    user: str
    group: str
    working_directory: str
    env_file: str
    environment_files: list[str]
    process_variables: list[str]
    unit_file: str
    drop_ins: list[str]
    active_state: str
    enabled_state: str
    restart_policy: str
    umask: str
    launcher: str
    command: list[str]
    python: str
    environment: str
    base_python: str
    is_venv: bool
    python_version: str
    version: str | None
    staged: list[str]
    worker_python: str
    host: str
    port: int
    url: str
    workers: int
    hold: dict[str, Any] | None
    lock: dict[str, Any] | None
    kind: str = field(default="server")

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for Ansible."""
        return asdict(self)


@dataclass(frozen=True)
class WebInstance:
    """A fractal-web deployment on this host, without any secret."""

    service: str
    user: str
    group: str
    release_directory: str
    env_file: str
    environment_files: list[str]
    unit_file: str
    drop_ins: list[str]
    active_state: str
    enabled_state: str
    node: str
    node_version: str | None
    version: str | None
    url: str
    lock: dict[str, Any] | None
    kind: str = field(default="web")

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for Ansible."""
        return asdict(self)


def discover_server(
    service: str, python: str | None = None, url: str | None = None, strategy: str = "staged"
) -> ServerInstance:
    """Return the fractal-server instance behind the unit ``service``.

    ``python`` and ``url`` replace what the unit's command line leads to; ``strategy`` is how releases get installed.

    Raises:
        FractalError: The unit does not exist, or its command line leads to no Python environment.
    """
    unit = _existing_unit(service)
    launcher, arguments = split_command(unit.command, SERVER_LAUNCHERS)
    interpreter = python or _interpreter_of(unit, launcher)
    found = facts(interpreter, Account.named(unit.user))
    host, port = listen_address(launcher, arguments)
    hold = read_hold(unit.name)
    environment = str(Path(interpreter).parent.parent)
    env_file = os.path.join(unit.working_directory, SERVER_ENV_FILE)
    own_variables = unit.process_environment()
    return ServerInstance(
        service=unit.name,
        user=unit.user,
        group=unit.group,
        working_directory=unit.working_directory,
        env_file=env_file,
        environment_files=unit.environment_files,
        process_variables=sorted(own_variables),
        unit_file=unit.fragment_path,
        drop_ins=unit.drop_in_paths,
        active_state=unit.active_state,
        enabled_state=unit.enabled_state,
        restart_policy=unit.restart_policy,
        umask=unit.umask,
        launcher=os.path.basename(launcher),
        command=unit.command,
        python=interpreter,
        environment=environment,
        base_python=found.base_python,
        is_venv=found.is_venv,
        python_version=found.python_version,
        version=found.version,
        staged=prepared_releases(environment, found.version, strategy),
        worker_python=_worker_python(env_file, own_variables),
        host=host,
        port=port,
        url=url or base_url(host, port),
        workers=worker_count(arguments),
        hold=hold.as_dict() if hold else None,
        lock=_lock(unit.name),
    )


def discover_web(service: str, env_file: str | None = None, url: str | None = None) -> WebInstance:
    """Return the fractal-web instance behind the unit ``service``.

    The release directory is the one that holds ``build/`` (fractal-web's release archive has no top folder).

    Raises:
        FractalError: The unit does not exist, or its command line does not run ``node`` on a ``build`` folder.
    """
    unit = _existing_unit(service)
    node, arguments = split_command(unit.command, ("node", "nodejs"))
    build = next((a for a in arguments if os.path.basename(a.rstrip("/")) in ("build", "index.js")), None)
    if build is None:
        raise FractalError(
            f"The unit {unit.name} does not run 'node <folder>/build' (it runs: {' '.join(unit.command)}). "
            "Name the unit of fractal-web in fractal_web_service."
        )
    folder = os.path.normpath(os.path.join(unit.working_directory, build))
    release = os.path.dirname(os.path.dirname(folder) if folder.endswith("index.js") else folder)
    environment = unit.process_environment()
    node_option = next((a.split("=", 1)[1] for a in arguments if a.startswith("--env-file=")), None)
    files = unit.environment_files + ([os.path.join(unit.working_directory, node_option)] if node_option else [])
    return WebInstance(
        service=unit.name,
        user=unit.user,
        group=unit.group,
        release_directory=release,
        env_file=env_file or (files[-1] if files else os.path.join(release, ".env")),
        environment_files=files,
        unit_file=unit.fragment_path,
        drop_ins=unit.drop_in_paths,
        active_state=unit.active_state,
        enabled_state=unit.enabled_state,
        node=node,
        node_version=_node_version(node, Account.named(unit.user)),
        version=_package_version(release),
        url=url or base_url(environment.get("HOST", "0.0.0.0"), int(environment.get("PORT") or 3000)),
        lock=_lock(unit.name),
    )


def unit_environment(service: str) -> dict[str, str]:
    """Return the variables that the unit itself sets (``Environment=``, ``EnvironmentFile=``), also those it unsets.

    Raises:
        FractalError: The unit does not exist, or a required environment file cannot be read.
    """
    return _existing_unit(service).process_environment(also_unset=True)


def _lock(unit: str) -> dict[str, Any] | None:
    lock = read_lock(unit)
    return lock.as_dict() if lock else None


def split_command(command: Sequence[str], programs: Sequence[str]) -> tuple[str, list[str]]:
    """Return the program among ``programs`` that a unit's command line runs, and the arguments after it.

    Finds it behind wrappers too (``/usr/bin/env``, ``bash -c 'exec gunicorn …'``). Without a match the command's own
    first word is the program.
    """
    words = list(command)
    if len(words) > 2 and os.path.basename(words[0]) in ("sh", "bash") and words[1].startswith("-"):
        words = shlex.split(" ".join(words[2:]).strip("'\""))
    for index, word in enumerate(words):
        if os.path.basename(word) in programs:
            return word, words[index + 1 :]
    return (words[0], words[1:]) if words else ("", [])


def listen_address(launcher: str, arguments: Sequence[str]) -> tuple[str, int]:
    """Return host and port on which the server listens, by the defaults of ``fractalctl start`` and gunicorn.

    Raises:
        FractalError: The server listens on a socket file, which the health check cannot reach.
    """
    host, port = "127.0.0.1", 8000
    bind = _option(arguments, "--bind", "-b")
    if bind and os.path.basename(launcher) == "gunicorn":
        if bind.startswith(("unix:", "fd:")):
            raise FractalError(
                f"fractal-server listens on {bind}; set fractal_server_url to an address at which its API answers."
            )
        host, _unused, text = bind.rpartition(":")
        return (host or bind).strip("[]"), int(text) if text.isdigit() else port
    host = _option(arguments, "--host") or host
    text = _option(arguments, "--port") or str(port)
    return host, int(text) if text.isdigit() else port


def worker_count(arguments: Sequence[str]) -> int:
    """Return the number of gunicorn workers on the command line (default 1)."""
    text = _option(arguments, "--workers", "-w") or "1"
    return int(text) if text.isdigit() else 1


def base_url(host: str, port: int) -> str:
    """Return the URL at which a service that listens on ``host`` answers on its own machine."""
    if host in ("", "0.0.0.0", "::", "*"):
        host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def shebang_interpreter(script: str) -> str | None:
    """Return the interpreter that a script starts with, also in pip's long form (``#!/bin/sh`` and ``'''exec'``)."""
    try:
        with open(script, "rb") as stream:
            head = stream.read(4096).decode("utf-8", "replace").splitlines()
    except OSError:
        return None
    if not head or not head[0].startswith("#!"):
        return None
    interpreter = head[0][2:].split()[0] if head[0][2:].split() else ""
    if os.path.basename(interpreter) == "sh" and len(head) > 1:
        match = re.match(r"""'''exec' (?:"([^"]+)"|([^" ]+)) """, head[1])
        return (match.group(1) or match.group(2)) if match else None
    return interpreter


def _existing_unit(service: str) -> Unit:
    unit = read_unit(service)
    if unit.load_state in ("not-found", "masked") or not unit.command:
        raise FractalError(
            f"The systemd unit {unit.name} is {unit.load_state or 'empty'} on this host. "
            "Name the right unit in fractal_server_service or fractal_web_service, or unmask it."
        )
    return unit


def _interpreter_of(unit: Unit, launcher: str) -> str:
    """Return the string that is ``sys.executable`` in the running server."""
    path = launcher if os.path.isabs(launcher) else _which(launcher, unit.process_environment().get("PATH"))
    if path and os.path.basename(path).startswith("python"):
        return path
    interpreter = shebang_interpreter(path) if path else None
    if not interpreter or not os.path.basename(interpreter).startswith("python"):
        raise FractalError(
            f"The command of unit {unit.name} ({' '.join(unit.command)}) leads to no Python environment. "
            "Set fractal_server_python to the interpreter that runs fractal-server."
        )
    return interpreter


def _which(program: str, path: str | None) -> str | None:
    for folder in (path or os.defpath).split(os.pathsep):
        candidate = os.path.join(folder, program)
        if os.access(candidate, os.X_OK):
            return candidate
    return None


def interpreter_of(service: str) -> str:
    """Return the interpreter that the unit ``service`` runs fractal-server with.

    Raises:
        FractalError: The unit does not exist, or its command line leads to no Python environment.
    """
    unit = _existing_unit(service)
    return _interpreter_of(unit, split_command(unit.command, SERVER_LAUNCHERS)[0])


def _worker_python(env_file: str, process_environment: Mapping[str, str]) -> str:
    """Return the interpreter of the SLURM jobs as 2.16 knew it, from the ``.old`` file too; empty for the server's."""
    name = "FRACTAL_SLURM_WORKER_PYTHON"
    for path in (env_file, env_file + ".old"):
        try:
            found = {**read_env_file(path, process_environment), **process_environment}.get(name)
        except FractalError:
            continue  # no such file, or one that the precheck complains about
        if found:
            return found
    return ""


def _node_version(node: str, account: Account) -> str | None:
    done = run([node, "--version"], account=account)
    return done.out.strip().lstrip("v")[:40] or None if done.code == 0 else None


def _package_version(release: str) -> str | None:
    try:
        data = json.loads(Path(release, "package.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return data.get("version") if isinstance(data, Mapping) else None


def _option(arguments: Sequence[str], *names: str) -> str | None:
    for index, word in enumerate(arguments):
        for name in names:
            if word == name and index + 1 < len(arguments):
                return arguments[index + 1]
            if word.startswith(name + "="):
                return word[len(name) + 1 :]
    return None
