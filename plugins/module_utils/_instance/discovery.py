# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""Discovery: everything about an instance that its systemd unit leads to.

The unit's name is all that an operator has to say. The values of environment variables stay on the host: what leaves
it are their names, and the few values that are no secret.
"""

from __future__ import annotations

import glob
import os
import re
import stat
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.accounts import Account
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.owners import open_as
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.systemd import (
    Unit,
    home,
    read_unit,
    systemctl,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.database import (
    SERVER_ENV_FILE,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._env_file.reading import read_env_file
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.address import (
    AddressUnknown,
    server_addresses,
    worker_count,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.alive import find_url
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.command_line import (
    PATH,
    CommandLine,
    Surroundings,
    read_command,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.hold import (
    Hold,
    is_half_forgotten,
    read_hold,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.lock import read_lock
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.sockets import (
    command_of,
    listening,
    processes,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._venv.interpreter import PythonFacts, facts
from ansible_collections.fractal_ops.platform.plugins.module_utils._venv.strategies import prepared_releases

SYNCHRONISES = (
    "'{launcher}' brings the environment in line with its lock file before each start, and so would put the old "
    "release back."
)


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
    url: str
    workers: int
    hold: dict[str, Any] | None
    lock: dict[str, Any] | None
    half_forgotten: bool = False
    address_problem: str = ""
    synchroniser: str = ""
    kind: str = field(default="server")

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for Ansible."""
        return asdict(self)


def discover_server(
    service: str,
    python: str | None = None,
    url: str | None = None,
    strategy: str = "staged",
    when_known: Callable[[str, str], None] = lambda _user, _interpreter: None,
) -> ServerInstance:
    """Return the fractal-server instance behind the unit ``service``.

    ``python`` and ``url`` replace what the unit's command line leads to; ``strategy`` is how releases get installed.
    ``when_known`` gets account and interpreter before the rest is looked at: what needs no more can begin.

    Raises:
        FractalError: The unit does not exist, or its command line leads to no Python environment.
    """
    unit = existing_unit(service)
    around = surroundings(unit)
    command = read_command(unit.command, around)
    interpreter = python or _interpreter_of(unit, command)
    when_known(unit.user, interpreter)
    found = facts(interpreter, Account.to_ask(unit.user))
    hold = read_hold(unit.name)
    _check_python(unit, interpreter, found, hold)
    address, problem = server_url(unit, command, around)
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
        launcher=command.program,
        command=unit.command,
        python=interpreter,
        environment=environment,
        base_python=found.base_python,
        is_venv=found.is_venv,
        python_version=found.python_version,
        version=found.version,
        staged=prepared_releases(environment, found.version, strategy),
        worker_python=_worker_python(env_file, own_variables),
        url=url or address,
        workers=worker_count(command, around),
        hold=hold.as_dict() if hold else None,
        lock=lock_of(unit.name),
        half_forgotten=is_half_forgotten(unit.name),
        address_problem="" if url else problem,
        synchroniser=command.synchroniser,
    )


def server_url(unit: Unit, command: CommandLine | None = None, around: Surroundings | None = None) -> tuple[str, str]:
    """Return the URL at which the unit's fractal-server answers on this host, and why its command line does not tell.

    The sockets of its processes tell, while it runs; the URL is empty if nothing does.
    """
    around = around or surroundings(unit)
    problem = ""
    try:
        expected = server_addresses(command or read_command(unit.command, around), around)
    except AddressUnknown as error:
        expected, problem = [], str(error)
    return find_url("server", listening(processes(unit.control_group)), expected), problem


def surroundings(unit: Unit) -> Surroundings:
    """Return what the unit's command is started in.

    Raises:
        FractalError: A file that the unit requires cannot be read.
    """
    account = {"HOME": home(unit.user), "USER": unit.user, "LOGNAME": unit.user}
    variables = {"PATH": PATH, **account, **unit.process_environment()}
    sockets = [one for one in unit.triggers if one.endswith(".socket")]
    listed = systemctl("show", "--value", "--property=Listen", *sockets) if sockets else ""
    streams = [line.rpartition(" (")[0] for line in listed.splitlines() if line.endswith("(Stream)")]
    return Surroundings(variables, unit.working_directory, sockets=streams)


def unit_environment(service: str) -> dict[str, str]:
    """Return the variables that the unit itself sets (``Environment=``, ``EnvironmentFile=``), also those it unsets.

    Raises:
        FractalError: The unit does not exist, or a required environment file cannot be read.
    """
    return existing_unit(service).process_environment(also_unset=True)


def lock_of(unit: str) -> dict[str, Any] | None:
    """Return the lock on the unit as plain data."""
    lock = read_lock(unit)
    return lock.as_dict() if lock else None


def shebang_interpreter(script: str, account: Account | None = None) -> str | None:
    """Return the interpreter that a script starts with, also in pip's long form (``#!/bin/sh`` and ``'''exec'``).

    ``account`` is the one that runs it, so it can read it, and may have put anything in its place.
    """
    try:
        descriptor = open_as(account, script, os.O_RDONLY | os.O_NONBLOCK)
        with open(descriptor, "rb") as stream:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return None
            head = stream.read(4096).decode("utf-8", "replace").splitlines()
    except OSError:
        return None
    if not head or not head[0].startswith("#!"):
        return None
    words = head[0][2:].split()
    interpreter = words[0] if words else ""
    if os.path.basename(interpreter) == "env" and len(words) > 1:
        return words[-1]
    if os.path.basename(interpreter) == "sh" and len(head) > 1:
        match = re.match(r"""'''exec' (?:"([^"]+)"|([^" ]+)) """, head[1])
        return (match.group(1) or match.group(2)) if match else None
    return interpreter


def existing_unit(service: str) -> Unit:
    """Return the unit, if there is something to look at.

    Raises:
        FractalError: It does not exist, is masked or starts nothing.
    """
    unit = read_unit(service)
    if unit.load_state in ("not-found", "masked") or not unit.command:
        raise FractalError(
            f"The systemd unit {unit.name} is {unit.load_state or 'empty'} on this host. "
            "Name the right unit in fractal_server_service or fractal_web_service, or unmask it."
        )
    return unit


def _interpreter_of(unit: Unit, command: CommandLine) -> str:
    """Return the string that is ``sys.executable`` in the running server."""
    path = command.locate(command.interpreter or command.path)
    found = path if command.interpreter else _interpreter_in(command, path, Account.to_ask(unit.user).other)
    interpreter = command.locate(found) if found else ""
    if not os.path.basename(interpreter).startswith("python"):
        why = f" {SYNCHRONISES.format(launcher=command.synchroniser)}" if command.synchroniser else ""
        raise FractalError(
            f"The command of unit {unit.name} ({' '.join(unit.command)}) leads to no Python environment.{why} "
            f"Set fractal_server_python to the interpreter that runs fractal-server{_running_python(unit)}."
        )
    return interpreter


def _interpreter_in(command: CommandLine, script: str, account: Account | None) -> str | None:
    """Return the interpreter of the script that a command runs.

    A pip that was killed in the environment in use may have taken the script away and not put the new one there. The
    environment was copied aside before, and in the copy the script still names the interpreter at the known path.
    """
    if script and os.path.lexists(script):
        return shebang_interpreter(script, account)
    script = command.locate(command.path, lambda path: bool(_copies(path)))
    named = (shebang_interpreter(copy, account) for copy in _copies(script))
    return next((one for one in named if one and os.path.dirname(one) == os.path.dirname(script)), None)


def _copies(script: str) -> list[str]:
    """Return the copies of an environment's script in those that are kept beside it (see `release_path`)."""
    environment, *rest = script.rsplit("/", 2)
    return sorted(glob.glob("/".join([glob.escape(environment) + "-[0-9]*", *map(glob.escape, rest)])))


def _check_python(unit: Unit, interpreter: str, found: PythonFacts, hold: Hold | None) -> None:
    """Refuse the distribution's own Python, where a command without a path may lead; not in the middle of a hop."""
    if found.version is None and not found.is_venv and hold is None:
        raise FractalError(
            f"The command of unit {unit.name} ({' '.join(unit.command)}) leads to {interpreter}, which has no "
            f"fractal-server. Set fractal_server_python to the interpreter that runs it{_running_python(unit)}."
        )


def _running_python(unit: Unit) -> str:
    """Return, in words, which interpreters the unit's processes run."""
    words = [command_of(pid)[:1] for pid in processes(unit.control_group)]
    found = {word[0] for word in words if word and re.fullmatch(r"/.*/python[\d.]*", word[0])}
    return f" (its processes run {' and '.join(sorted(found))})" if found else ""


def interpreter_of(service: str) -> str:
    """Return the interpreter that the unit ``service`` runs fractal-server with.

    Raises:
        FractalError: The unit does not exist, or its command line leads to no Python environment.
    """
    unit = existing_unit(service)
    return _interpreter_of(unit, read_command(unit.command, surroundings(unit)))


def _worker_python(env_file: str, process_environment: Mapping[str, str]) -> str:
    """Return the interpreter of the SLURM jobs that the file or its copy ``.old`` names; empty for the server's."""
    name = "FRACTAL_SLURM_WORKER_PYTHON"
    for path in (env_file, env_file + ".old"):
        try:
            found = {**read_env_file(path, process_environment), **process_environment}.get(name)
        except FractalError:
            continue  # no such file, or one that the precheck complains about
        if found:
            return found
    return ""
