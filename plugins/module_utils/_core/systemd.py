# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""What systemd knows about a unit, read with ``systemctl show``."""

from __future__ import annotations

import glob
import os
import pwd
import re
import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.dotenv import Reader, assignments, parse
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.files import file_text
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.programs import run

_PROPERTIES = (
    "LoadState ActiveState UnitFileState FragmentPath DropInPaths User Group WorkingDirectory ExecStart Environment "
    "EnvironmentFiles Restart UMask MainPID NRestarts Result NeedDaemonReload "
    "ExecMainStartTimestampMonotonic InactiveExitTimestampMonotonic UnsetEnvironment ExecStartPre ControlGroup "
    "TriggeredBy"
).split()


@dataclass(frozen=True)
class Unit:
    """A systemd service unit, as loaded."""

    name: str
    load_state: str
    active_state: str
    enabled_state: str
    fragment_path: str
    drop_in_paths: list[str]
    user: str
    group: str
    working_directory: str
    command: list[str]
    restart_policy: str
    umask: str
    environment: dict[str, str]
    unset_environment: list[str]
    required_files: list[str]
    optional_files: list[str]
    main_pid: int
    restarts: int
    result: str
    needs_reload: bool
    started_at: float | None  # seconds since the epoch, None if it does not run
    start_began_at: float | None  # the same for the first ExecStartPre=
    before_start: list[str]  # the commands of ExecStartPre=, each as systemd shows it
    control_group: str  # empty if it does not run
    triggers: list[str]  # sockets, timers and paths that start it

    @property
    def environment_files(self) -> list[str]:
        """Files named by ``EnvironmentFile=``."""
        return self.required_files + self.optional_files

    def process_environment(self, also_unset: bool = False) -> dict[str, str]:
        """Return what the unit puts into its process environment (systemd.exec(5)).

        Files win over ``Environment=``, and ``UnsetEnvironment=`` over both unless ``also_unset``.

        Raises:
            FractalError: A file that the unit requires cannot be read.
        """
        values = dict(self.environment)
        for pattern in self.environment_files:
            for path in sorted(glob.glob(pattern)) or [pattern]:
                found = assignments(parse(self._file(path), Reader.SYSTEMD))
                values.update({name: value for name, value in found.items() if value is not None})
        taken: set[str] = set() if also_unset else set(self.unset_environment)
        return {name: value for name, value in values.items() if not taken & {name, f"{name}={value}"}}

    def _file(self, path: str) -> str:
        try:
            text = file_text(path, "surrogateescape")
        except FractalError as error:
            if path in self.required_files or os.path.isfile(path):
                raise FractalError(f"{error} The unit {self.name} reads it.") from error
            return ""  # as systemd does
        if text is None and path in self.required_files:
            raise FractalError(f"The unit {self.name} reads {path}, which cannot be read: No such file or directory.")
        return text or ""


def unit_name(service: str) -> str:
    """Return the full name of a service unit."""
    return service if service.endswith(".service") else service + ".service"


def read_unit(service: str) -> Unit:
    """Return the unit ``service`` (with or without ``.service``); an unknown one has ``load_state`` ``not-found``.

    Raises:
        FractalError: systemd does not answer, or ``service`` is a template without an instance.
    """
    name = unit_name(service)
    if name.endswith("@.service"):
        raise FractalError(
            f"{name} is a template, not a unit: name the instance that runs, such as {name[: -len('.service')]}prod."
        )
    return parse_unit(name, systemctl("show", "--no-pager", "--property=" + ",".join(_PROPERTIES), name))


def all_units() -> list[Unit]:
    """Return all service units of this host, loaded or only installed, without templates.

    Raises:
        FractalError: systemd does not answer.
    """
    listed = systemctl("list-unit-files", "--type=service", "--no-legend", "--plain", "--no-pager")
    listed += systemctl("list-units", "--all", "--type=service", "--no-legend", "--plain", "--no-pager")
    names = sorted({words[0] for line in listed.splitlines() if (words := line.split())})
    names = [name for name in names if name.endswith(".service") and not name.endswith("@.service")]
    if not names:
        return []
    text = systemctl("show", "--no-pager", "--property=" + ",".join(("Id", *_PROPERTIES)), "--", *names)
    found = [parse_unit(_id_of(part), part) for part in text.split("\n\n") if _id_of(part)]
    return list({unit.name: unit for unit in found}.values())  # an alias is shown as the unit that it stands for


def _id_of(text: str) -> str:
    return next((line[3:] for line in text.splitlines() if line.startswith("Id=")), "")


def systemctl(*arguments: str, timeout: float = 120) -> str:
    """Run ``systemctl`` and return its output.

    Raises:
        FractalError: It is missing, fails, or does not answer within ``timeout`` seconds.
    """
    done = run(["systemctl", *arguments], timeout=timeout)
    if done.code != 0:
        raise FractalError(f"systemctl {' '.join(arguments)} failed: {done.last_words(20)}")
    return done.out


def transient_unit(kind: str, unit: str) -> str:
    """Return the name of the transient unit of this collection that does something about ``unit``."""
    return f"fractal-{kind}-{unit.replace('@', '-')}"


def is_at_work(unit: str) -> bool:
    """Return whether a unit runs, begins or ends to.

    Raises:
        FractalError: systemd does not answer.
    """
    shown = systemctl("show", "--value", "--property=ActiveState", unit)
    return shown.strip() in ("active", "activating", "deactivating", "reloading")


def parse_unit(name: str, text: str) -> Unit:
    """Return the unit described by the output of ``systemctl show``."""
    properties: dict[str, list[str]] = {}
    for line in text.splitlines():
        key, _unused, value = line.partition("=")
        properties.setdefault(key, []).append(value)

    def first(key: str) -> str:
        return properties.get(key, [""])[0]

    runs = first("MainPID") not in ("", "0")
    user = first("User") or "root"
    files = [_environment_file(value) for value in properties.get("EnvironmentFiles", []) if value]
    directory = first("WorkingDirectory").lstrip("!").lstrip("-")
    return Unit(
        name=name,
        load_state=first("LoadState"),
        active_state=first("ActiveState"),
        enabled_state=first("UnitFileState"),
        fragment_path=first("FragmentPath"),
        drop_in_paths=first("DropInPaths").split(),
        user=user,
        group=first("Group") or user,
        working_directory=home(user) if directory == "~" else directory or "/",
        command=_argv(properties.get("ExecStart", [""])),
        restart_policy=first("Restart"),
        umask=first("UMask"),
        environment=dict(_assignments(shlex.split(first("Environment")))),
        unset_environment=shlex.split(first("UnsetEnvironment")),
        required_files=[path for path, required in files if required],
        optional_files=[path for path, required in files if not required],
        main_pid=int(first("MainPID") or 0),
        restarts=int(first("NRestarts") or 0),
        result=first("Result"),
        needs_reload=first("NeedDaemonReload") == "yes",
        started_at=_wall_clock(first("ExecMainStartTimestampMonotonic")) if runs else None,
        start_began_at=_wall_clock(first("InactiveExitTimestampMonotonic")) if runs else None,
        before_start=[command for value in properties.get("ExecStartPre", []) if (command := _shown_command(value))],
        control_group=first("ControlGroup"),
        triggers=first("TriggeredBy").split(),
    )


def _assignments(words: Sequence[str]) -> list[tuple[str, str]]:
    pairs = [word.partition("=") for word in words]
    return [(key, value) for key, separator, value in pairs if separator]


def _environment_file(value: str) -> tuple[str, bool]:
    path, _unused, flags = value.partition(" (ignore_errors=")
    return path, not flags.startswith("yes")


def _argv(values: Sequence[str]) -> list[str]:
    """Return the words of the last ``ExecStart=``; systemd prints them joined by blanks."""
    return next((command.split() for value in reversed(values) if (command := _shown_command(value))), [])


def _shown_command(value: str) -> str:
    """Return the command in what systemd shows of an ``Exec…=``; a shell's script may hold semicolons too."""
    _unused, _found, rest = value.partition("argv[]=")
    return re.split(r" ; (?:ignore_errors=|pid=|\})", rest, maxsplit=1)[0].strip()


def _wall_clock(microseconds: str) -> float | None:
    """Return the time since the epoch for a time since boot."""
    return time.time() - time.monotonic() + int(microseconds) / 1e6 if microseconds.isdigit() else None


def home(user: str) -> str:
    """Return the home of an account, ``/`` if there is none."""
    try:
        return pwd.getpwnam(user).pw_dir
    except KeyError:
        return "/"
