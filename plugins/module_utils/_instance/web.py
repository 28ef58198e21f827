# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""Discovery of fractal-web: everything that its systemd unit leads to, without the values of variables."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.accounts import Account
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.dotenv import Reader, assignments, parse
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.programs import Done, run
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.systemd import Unit, read_unit
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.address import (
    Address,
    AddressUnknown,
    web_addresses,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.alive import find_url
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.command_line import (
    CommandLine,
    read_command,
    read_text,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.discovery import (
    existing_unit,
    lock_of,
    surroundings,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.sockets import listening, processes


@dataclass(frozen=True)
class WebInstance:
    """A fractal-web deployment on this host, without any secret.

    ``environment_files`` are those of the unit and of Node; of ``node_environment_files`` the last one counts.
    ``page_is_up`` says whether a maintenance page is in its place, if that was asked.
    """

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
    node_environment_files: list[str] = field(default_factory=list)
    address_problem: str = ""
    page_is_up: bool = False
    kind: str = field(default="web")

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for Ansible."""
        return asdict(self)

    def variables(self) -> dict[str, str]:
        """Return fractal-web's variables as its process sees them.

        Raises:
            FractalError: A file that the unit requires cannot be read.
        """
        return web_variables(read_unit(self.service), self.node_environment_files)


def discover_web(service: str, env_file: str | None = None, url: str | None = None) -> WebInstance:
    """Return the fractal-web instance behind the unit ``service``.

    The release directory is the one that holds ``build/`` (fractal-web's release archive has no top folder).
    ``env_file`` is one that the operator names because the unit does not lead to it.

    Raises:
        FractalError: The unit does not exist, or its command line does not run ``node`` on a ``build`` folder.
    """
    unit = existing_unit(service)
    command = read_command(unit.command, surroundings(unit))
    release = _release_directory(unit, command)
    node = command.locate(command.path) or command.path
    of_node = node_files(command)
    files = [*unit.environment_files, *of_node]
    if env_file and env_file not in files:
        of_node.insert(0, env_file)
    found, problem = web_url(unit, of_node)
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
        node_version=_node_version(node, unit.user),
        version=web_version(release),
        url=url or found,
        lock=lock_of(unit.name),
        node_environment_files=of_node,
        address_problem="" if url else problem,
    )


def web_url(unit: Unit, files: Sequence[str] | None = None) -> tuple[str, str]:
    """Return the URL at which the unit's fractal-web answers on this host, and why its variables do not tell.

    The sockets of its processes tell, while it runs. ``files`` are those that Node reads, by default those that the
    command line names.

    Raises:
        FractalError: A file that the unit requires cannot be read.
    """
    expected, problem = expected_addresses(unit, files)
    return find_url("web", listening(processes(unit.control_group)), expected), problem


def expected_addresses(unit: Unit, files: Sequence[str] | None = None) -> tuple[list[Address], str]:
    """Return where its command line and variables make the unit's fractal-web listen, or why they do not tell.

    ``files`` are those that Node reads, by default those that the command line names.

    Raises:
        FractalError: A file that the unit requires cannot be read.
    """
    around = surroundings(unit)
    try:
        command = read_command(unit.command, around)
        read = node_files(command) if files is None else files
        own = {name: value for name, value in command.environment.items() if name in ("HOST", "PORT", "SOCKET_PATH")}
        return web_addresses({**web_variables(unit, read), **own}, around.sockets), ""
    except AddressUnknown as error:
        return [], str(error)


def web_variables(unit: Unit, files: Sequence[str]) -> dict[str, str]:
    """Return the variables of a fractal-web: of ``files``, which Node reads, and over them the unit's own.

    Raises:
        FractalError: A file that the unit requires cannot be read.
    """
    values: dict[str, str] = {}
    for path in files:
        text = read_text(path)
        if text is None:
            raise FractalError(f"The unit {unit.name} lets Node read {path}, which cannot be read.")
        read = assignments(parse(text, Reader.DOTENV_1_2))
        values.update({name: value for name, value in read.items() if value is not None})
    return {**values, **unit.process_environment()}


def node_files(command: CommandLine) -> list[str]:
    """Return the environment files that Node reads, the last one counts (Node 20 to 24, ``--env-file``).

    Also the one of ``-r dotenv/config`` (SvelteKit, adapter-node). One that need not be there is named if it is.
    """
    found: list[str] = []
    words = list(command.arguments)
    while words and words[0].startswith("-"):
        option, equals, value = words.pop(0).partition("=")
        if option not in ("--env-file", "--env-file-if-exists", "-r", "--require", "--import"):
            continue
        value = value if equals else words.pop(0) if words else ""
        if value == "dotenv/config":
            value = command.environment.get("DOTENV_CONFIG_PATH", ".env")
        elif "env-file" not in option:
            continue
        path = os.path.join(command.directory, value)
        if option == "--env-file" or os.path.isfile(path):
            found.append(path)
    return found


def web_version(directory: str) -> str | None:
    """Return the version that ``package.json`` in ``directory`` names, or None."""
    try:
        data = json.loads(read_text(os.path.join(directory, "package.json")) or "")
    except ValueError:
        return None
    return data.get("version") if isinstance(data, dict) else None


def run_node(node: str, user: str, *arguments: str) -> Done:
    """Run Node as the account of the unit, which may own it.

    Raises:
        FractalError: There is no such account.
    """
    return run([node, *arguments], account=Account.named(user))


def _release_directory(unit: Unit, command: CommandLine) -> str:
    names = ("build", "index.js")
    build = next((word for word in command.arguments if os.path.basename(word.rstrip("/")) in names), None)
    if build is None or command.program not in ("node", "nodejs"):
        raise FractalError(
            f"The unit {unit.name} does not run 'node <folder>/build' (it runs: {' '.join(unit.command)}). "
            "Name the unit of fractal-web in fractal_web_service."
        )
    folder = os.path.normpath(os.path.join(command.directory, build))
    return os.path.dirname(os.path.dirname(folder) if folder.endswith("index.js") else folder)


def _node_version(node: str, user: str) -> str | None:
    try:
        done = run_node(node, user, "--version")
    except FractalError:
        return None  # the precheck tells that there is no such account
    told = re.match(r"v?(\d{1,4}\.\d{1,4}\.\d{1,4})\s*$", done.out)
    return told[1] if told and done.code == 0 else None
