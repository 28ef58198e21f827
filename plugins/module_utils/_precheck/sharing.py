# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""Who shares the environment, the working directory or the database with the instance: units and processes."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.findings import (
    Finding,
    FindingRule,
    rule_table,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.systemd import Unit, all_units
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.wording import examples
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.database import (
    SERVER_ENV_FILE,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._env_file.reading import read_env_file
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.command_line import (
    Surroundings,
    read_command,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.sockets import command_of, processes

if TYPE_CHECKING:
    from ansible_collections.fractal_ops.platform.plugins.module_utils._precheck.server_host import ServerHost

CHAPTERS = {"unit": "The unit of fractal-server"}
FINDINGS = rule_table(
    FindingRule(
        "unit.shared",
        "blocker",
        "Another unit shares what will be upgraded",
        "{subject} shares {what} with {unit}, which would be upgraded in part: its process goes on with the old "
        "release, and its next start is one of the new release.",
        "Give it an environment, a folder and a database of its own; or stop and disable it for the upgrade, and "
        "accept unit.shared if it belongs to this instance.",
    ),
    FindingRule(
        "unit.shared_process",
        "warning",
        "Other processes run from the environment",
        "Processes that do not belong to {unit} run from {subject}: {who}.",
        "End them before the upgrade, which replaces the environment under them.",
    ),
)

_STARTS_BY_ITSELF = ("enabled", "enabled-runtime", "linked", "linked-runtime")
# The jobs of SLURM run the server's own Python, too; they are work in flight. Sources: fractal-server 2.16.6,
# app/runner/ and fractal-server 2.17.0, runner/
_JOB = re.compile(r"fractal_server[./](?:app[./])?runner[./]")


@dataclass(frozen=True)
class Share:
    """What an instance must have for itself: ``database`` as (host, port, name)."""

    environment: str
    directory: str
    database: tuple[str, str, str] | None


def check_shared(host: ServerHost) -> Iterator[Finding]:
    """No other unit and no other process uses what will be upgraded."""
    instance, unit = host.instance, host.unit
    if instance is None or unit is None:
        return
    own = Share(instance.environment, unit.working_directory, database_of(host.values))
    for other in all_units():
        shared = shared_with(other, own) if other.name != unit.name and comes_up(other) else []
        if shared:
            yield FINDINGS["unit.shared"].finding(unit.name, what=" and ".join(shared), unit=other.name)
    strangers = foreign_processes(own.environment, set(processes(unit.control_group)) | _ancestors(os.getpid()))
    if strangers:
        told = examples([f"{' '.join(command)[:100]} (process {pid})" for pid, command in strangers])
        yield FINDINGS["unit.shared_process"].finding(own.environment, unit=unit.name, who=told)


def comes_up(unit: Unit) -> bool:
    """Return whether a unit runs, or will by itself."""
    return unit.active_state in ("active", "activating", "reloading") or bool(
        unit.enabled_state in _STARTS_BY_ITSELF or unit.triggers
    )


def shared_with(other: Unit, own: Share) -> list[str]:
    """Return, in words, what another unit shares with the instance."""
    found = []
    if any(leads_into(command, own.environment) for command in (" ".join(other.command), *other.before_start)):
        found.append(f"the Python environment {own.environment}")
    if not _serves(other):
        return found
    if os.path.realpath(other.working_directory) == os.path.realpath(own.directory):
        found.append(f"the working directory {own.directory}")
    variables: dict[str, str] = {}
    with contextlib.suppress(FractalError):
        variables.update(read_env_file(os.path.join(other.working_directory, SERVER_ENV_FILE), {}))
    with contextlib.suppress(FractalError):
        variables.update(other.process_environment())
    database = database_of(variables)
    if database is not None and database == own.database:
        found.append(f"the database {database[2]}")
    return found


def leads_into(command: str, environment: str) -> bool:
    """Return whether a command names a path in the environment, or a link to one."""
    folders = {environment + "/", os.path.realpath(environment) + "/"}
    if any(folder in command for folder in folders):
        return True
    links = [word for word in command.split() if word.startswith("/") and os.path.islink(word)]
    return any(_target(link).startswith(tuple(folders)) for link in links)


def database_of(variables: Mapping[str, str]) -> tuple[str, str, str] | None:
    """Return the database that fractal-server's variables name, None if they name none."""
    name = variables.get("POSTGRES_DB", "")
    host = variables.get("POSTGRES_HOST") or "localhost"
    host = "localhost" if host in ("127.0.0.1", "::1") or host.startswith("/") else host
    return (host, variables.get("POSTGRES_PORT") or "5432", name) if name else None


def foreign_processes(
    environment: str, own: set[int], proc: str = "/proc", pids: Sequence[int] | None = None
) -> list[tuple[int, list[str]]]:
    """Return the processes that were started from the environment and are not ``own``: process id and command line."""
    every = [int(name) for name in os.listdir(proc) if name.isdigit()] if pids is None else pids
    found = []
    for pid in sorted(set(every) - own):
        command = command_of(pid, proc)
        if any(word.startswith(environment + "/") for word in command[:2]) and not _JOB.search(" ".join(command)):
            found.append((pid, command))
    return found


def _serves(unit: Unit) -> bool:
    """Return whether the unit runs a fractal-server."""
    command = read_command(unit.command, Surroundings(unit.environment, unit.working_directory))
    words = " ".join(command.arguments)
    return command.serves and (command.program == "fractalctl" or "fractal_server" in words)


def _target(link: str) -> str:
    """Return where a link leads, without following what its target, an interpreter maybe, is itself a link to."""
    return os.path.normpath(os.path.join(os.path.dirname(link), os.readlink(link)))


def _ancestors(pid: int) -> set[int]:
    found = set()
    while pid > 1 and pid not in found:
        found.add(pid)
        try:
            with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stream:
                pid = int(stream.read().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            break
    return found
