# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""At which addresses a command line makes a service listen: pure rules, nothing is asked or executed here."""

from __future__ import annotations

import ast
import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.command_line import (
    CommandLine,
    Surroundings,
)

_EVERYWHERE = ("", "0.0.0.0", "*")


class AddressUnknown(FractalError):
    """The surroundings do not tell the address."""


@dataclass(frozen=True)
class Address:
    """Where a service listens: ``host`` and ``port``, or the ``path`` of a Unix socket (``@name``: an abstract one)."""

    host: str = ""
    port: int = 0
    path: str = ""
    tls: bool = False

    @property
    def urls(self) -> list[str]:
        """The URLs at which it answers on its own machine, the likeliest first."""
        scheme = "https" if self.tls else "http"
        if self.path:
            return [f"{scheme}+unix://{quote(self.path, safe='')}"]
        hosts = (
            ["127.0.0.1"] if self.host in _EVERYWHERE else ["127.0.0.1", "::1"] if self.host == "::" else [self.host]
        )
        return [
            f"{scheme}://[{host}]:{self.port}" if ":" in host else f"{scheme}://{host}:{self.port}" for host in hosts
        ]


def server_addresses(command: CommandLine, around: Surroundings) -> list[Address]:
    """Return where fractal-server listens, by the rules of the program that runs it.

    Sources: fractal-server 2.16.6 and 2.17.0, __main__.py; gunicorn 23, ``config.py``, ``util.py`` and
    ``arbiter.py``; uvicorn 0.38, ``main.py``.

    Raises:
        AddressUnknown: The program is another one, or something else than a literal decides.
    """
    if command.program == "fractalctl":
        return [_host_and_port(_last(command.arguments, "--host"), _last(command.arguments, "--port", "-p"))]
    if command.program == "uvicorn":
        return [_uvicorn(command, around)]
    if command.program == "gunicorn":
        return _gunicorn(command, around)
    raise AddressUnknown(f"{command.path or 'the command'} is none of fractalctl, gunicorn and uvicorn")


def web_addresses(variables: Mapping[str, str], sockets: Sequence[str]) -> list[Address]:
    """Return where fractal-web listens (SvelteKit's adapter-node 5, ``index.js`` and ``env.js``).

    Raises:
        AddressUnknown: ``PORT`` is no port.
    """
    if sockets:
        return [parse_address(one) for one in sockets]
    if variables.get("SOCKET_PATH"):
        return [Address(path=variables["SOCKET_PATH"])]
    return [_host_and_port(variables.get("HOST") or "0.0.0.0", variables.get("PORT") or "3000", "PORT")]


def worker_count(command: CommandLine, around: Surroundings) -> int:
    """Return the number of worker processes, 1 where it is not told."""
    given = _last(command.arguments, "--workers", "-w")
    if command.program == "gunicorn" and not given:
        extra = _words(command.environment.get("GUNICORN_CMD_ARGS", ""))
        given = _last(extra, "--workers", "-w")
        if not given:
            settings, _computed = _configuration([*extra, *command.arguments], command.directory, around)
            given = str(settings.get("workers", ""))
    given = given or command.environment.get("WEB_CONCURRENCY", "")
    return int(given) if re.fullmatch(r"[0-9]{1,4}", given) else 1


def parse_address(text: str) -> Address:
    """Return the address in a gunicorn ``bind`` or a systemd ``ListenStream=``.

    Raises:
        AddressUnknown: Its port is none.
    """
    if text.startswith(("/", "@")):
        return Address(path=text)
    text = text[len("tcp://") :] if text.startswith("tcp://") else text
    if text.isdigit():
        return _host_and_port("::", text)
    if "[" in text and "]" in text:
        host, port = text.split("]", 1)[0].lstrip("["), text.rpartition("]:")[2] if "]:" in text else "8000"
        return _host_and_port(host, port)
    host, colon, port = text.partition(":")
    return _host_and_port(host or "0.0.0.0", port.split(":", 1)[0] if colon else "8000")


def _gunicorn(command: CommandLine, around: Surroundings) -> list[Address]:
    """Follow gunicorn: configuration file, then GUNICORN_CMD_ARGS, then the command line; sockets before all."""
    extra = _words(command.environment.get("GUNICORN_CMD_ARGS", ""))
    settings, computed = _configuration([*extra, *command.arguments], command.directory, around)
    given = {
        name: _all(command.arguments, *options) or _all(extra, *options)
        for name, options in (("bind", ("--bind", "-b")), ("certfile", ("--certfile",)), ("keyfile", ("--keyfile",)))
    }
    tls = any(given[name] or settings.get(name) for name in ("certfile", "keyfile"))
    if around.sockets:
        return [_with_tls(parse_address(one), tls) for one in around.sockets]
    if not given["bind"] and "bind" in computed:
        raise AddressUnknown(f"{computed['bind']} computes 'bind'")
    port = command.environment.get("PORT", "")
    binds: Any = given["bind"] or settings.get("bind") or [f"0.0.0.0:{port}" if port else "127.0.0.1:8000"]
    if isinstance(binds, str):
        binds = [one.strip() for one in binds.split(",") if one.strip()]
    return [_with_tls(_bind(str(one), command.directory, around), tls) for one in binds]


def _bind(text: str, directory: str, around: Surroundings) -> Address:
    unix = re.match(r"unix:(?://)?", text)
    if unix:
        return Address(path=os.path.join(directory, text[unix.end() :]))
    if text.startswith("fd://"):
        return _handed_over(text[len("fd://") :], around)
    return parse_address(text)


def _uvicorn(command: CommandLine, around: Surroundings) -> Address:
    def option(name: str) -> str:
        variable = "UVICORN_" + name[2:].replace("-", "_").upper()
        return _last(command.arguments, name) or command.environment.get(variable, "")

    tls = bool(option("--ssl-certfile") or option("--ssl-keyfile"))
    if option("--uds"):
        return Address(path=os.path.join(command.directory, option("--uds")), tls=tls)
    if option("--fd"):
        return _with_tls(_handed_over(option("--fd"), around), tls)
    return _with_tls(_host_and_port(option("--host"), option("--port")), tls)


def _handed_over(number: str, around: Surroundings) -> Address:
    """Return the socket that systemd hands over as a file descriptor; the first is 3 (sd_listen_fds(3))."""
    index = int(number) - 3 if number.isdigit() else -1
    if not 0 <= index < len(around.sockets):
        raise AddressUnknown(f"it listens on the file descriptor {number}, and no socket unit tells what that is")
    return parse_address(around.sockets[index])


def _host_and_port(host: str, port: str, name: str = "the port") -> Address:
    port = port or "8000"
    if not re.fullmatch(r"[0-9]{1,5}", port) or not 0 < int(port) < 65536:
        raise AddressUnknown(f"{name} is {port!r}, which is no port")
    return Address(host or "127.0.0.1", int(port))


def _with_tls(address: Address, tls: bool) -> Address:
    return Address(address.host, address.port, address.path, tls)


def _configuration(
    arguments: Sequence[str], directory: str, around: Surroundings
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the literal settings of gunicorn's configuration file, and for each computed one who computes it."""
    named = _last(arguments, "--config", "-c")
    if named.startswith("python:"):
        return {}, {"bind": f"The module {named[len('python:') :]}"}
    path = os.path.join(directory, named[len("file:") :] if named.startswith("file:") else named or "gunicorn.conf.py")
    text = around.read(path)
    if text is None:
        return {}, {"bind": f"{path}, which cannot be read,"} if named else {}
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return {}, {"bind": f"{path}, which is no Python,"}
    literal: dict[str, Any] = {}
    for statement in tree.body:
        for name, value in _assigned(statement):
            try:
                literal[name] = ast.literal_eval(value)
            except ValueError:
                literal.pop(name, None)
    assigned = [node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load)]
    simple = [name for statement in tree.body for name, _value in _assigned(statement)]
    computed = {name for name in assigned if assigned.count(name) != simple.count(name) or name not in literal}
    if any(isinstance(node, ast.ImportFrom) and node.names[0].name == "*" for node in ast.walk(tree)):
        computed.add("bind")
    return {k: v for k, v in literal.items() if k not in computed}, dict.fromkeys(computed, path)


def _assigned(statement: ast.stmt) -> Iterator[tuple[str, ast.expr]]:
    """Yield the plain assignments of one statement."""
    if isinstance(statement, ast.Assign):
        yield from ((target.id, statement.value) for target in statement.targets if isinstance(target, ast.Name))
    elif isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name) and statement.value:
        yield statement.target.id, statement.value


def _all(arguments: Sequence[str], *names: str) -> list[str]:
    """Return every value of an option: ``--bind x``, ``--bind=x``, ``-b x``, ``-bx``."""
    found: list[str] = []
    for index, word in enumerate(arguments):
        for name in names:
            if word == name:
                found += arguments[index + 1 : index + 2]
            elif word.startswith(name + "=") or (not name.startswith("--") and word.startswith(name)):
                found.append(word[len(name) :].lstrip("="))
    return found


def _last(arguments: Sequence[str], *names: str) -> str:
    return next(reversed(_all(arguments, *names)), "")


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:
        return text.split()
