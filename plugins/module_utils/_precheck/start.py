# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""What starts the service, whether it answers where it will be waited for, and what runs before each start."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.findings import (
    Finding,
    FindingRule,
    rule_table,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.masking import mask_urls
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.alive import ask
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.command_line import read_text
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.discovery import SYNCHRONISES

if TYPE_CHECKING:
    from ansible_collections.fractal_ops.platform.plugins.module_utils._core.systemd import Unit
    from ansible_collections.fractal_ops.platform.plugins.module_utils._precheck.server_host import ServerHost

CHAPTERS = {"unit": "The unit of fractal-server"}
FINDINGS = rule_table(
    FindingRule(
        "unit.no_answer",
        "blocker",
        "fractal-server does not answer",
        "{subject} runs, but nothing of fractal-server answers at {url}: {reason}. The upgrade would wait there in "
        "vain.",
        "Set fractal_server_url to the address at which its API answers on its own host, or repair it first.",
        settles={"fractal_server_url": None},
    ),
    FindingRule(
        "unit.other_version",
        "blocker",
        "Another release of fractal-server answers",
        "At {url} fractal-server {found} answers; in the environment of {subject} {version} is installed.",
        "If {subject} was not restarted after its release was changed, restart it. If another instance answers there, "
        "set fractal_server_url to the address of this one.",
        settles={"fractal_server_url": None},
    ),
    FindingRule(
        "unit.address_unknown",
        "warning",
        "Address known only when it runs",
        "{subject} does not run, and it cannot be told where it will listen: {reason}.",
        "Start it, so that its sockets tell; or set fractal_server_url to the address at which its API answers on its "
        "own host.",
        settles={"fractal_server_url": None},
    ),
    FindingRule(
        "unit.synchronises",
        "blocker",
        "The start changes the environment",
        "{subject}: {reason}",
        "Let ExecStart= name the environment's own program, such as {environment}/bin/fractalctl start; or uv run "
        "--no-sync.",
        "documentation of uv run, pixi run, Poetry, PDM and Hatch",
    ),
    FindingRule(
        "unit.start_writes_file",
        "blocker",
        "The environment file is written at each start",
        "{env_file} is written anew whenever {subject} starts{how}, so the file of the new release would be replaced "
        "by the old one.",
        "Take that out of the unit, and keep the settings in {env_file} itself. If it does not write them, accept "
        "unit.start_writes_file.",
    ),
    FindingRule(
        "unit.start_names_file",
        "warning",
        "A command before the start has to do with the environment file",
        "{subject} runs before each start: {command}. If that writes {env_file}, the file of the new release would be "
        "replaced by the old one.",
        "Look at it, and take it out of the unit if it writes the file.",
    ),
)

_VOLATILE = ("/run/", "/var/run/", "/dev/shm/")
_BESIDE = 0.5  # seconds around a start in which a file was written by it


def check_answers(host: ServerHost) -> Iterator[Finding]:
    """The API answers where it will be waited for, as the release that is installed."""
    instance = host.instance
    if instance is None or instance.hold is not None:
        return
    if instance.active_state != "active":
        if instance.address_problem:
            yield FINDINGS["unit.address_unknown"].finding(instance.service, reason=instance.address_problem)
        return
    url = mask_urls(instance.url)
    answer = ask(instance.url, "server")
    if answer.version is None:
        reason = mask_urls("; ".join(filter(None, (answer.problem, instance.address_problem))))
        yield FINDINGS["unit.no_answer"].finding(instance.service, url=url or "its sockets", reason=reason)
    elif answer.version != instance.version:
        yield FINDINGS["unit.other_version"].finding(
            instance.service, url=url, found=answer.version, version=instance.version
        )


def check_start(host: ServerHost) -> Iterator[Finding]:
    """Nothing that happens at each start undoes what the upgrade did."""
    instance, unit = host.instance, host.unit
    if instance is None or unit is None:
        return
    if instance.synchroniser:
        reason = SYNCHRONISES.format(launcher=instance.synchroniser)
        yield FINDINGS["unit.synchronises"].finding(unit.name, reason=reason, environment=instance.environment)
    written = how_written(unit, instance.env_file) if instance.hold is None else ""
    if written:
        yield FINDINGS["unit.start_writes_file"].finding(unit.name, env_file=instance.env_file, how=written)
        return
    for command in unit.before_start:
        if names_file(command, unit.working_directory, instance.env_file):
            yield FINDINGS["unit.start_names_file"].finding(unit.name, command=command, env_file=instance.env_file)


def how_written(unit: Unit, env_file: str) -> str:
    """Return how the unit's start feeds the environment file, as seen from the file itself; empty if it does not."""
    real = os.path.realpath(env_file)
    if real.startswith(_VOLATILE):
        return f" (it is {real}, which does not survive a reboot)"
    try:
        changed = os.stat(real).st_mtime
    except OSError:
        return ""
    began, started = unit.start_began_at, unit.started_at
    if not unit.before_start or began is None or started is None or not began - _BESIDE < changed < started + _BESIDE:
        return ""
    return f", by ExecStartPre={'; '.join(unit.before_start)}"


def names_file(command: str, directory: str, env_file: str) -> bool:
    """Return whether a command, or a script that it runs, names the environment file."""
    name = re.escape(os.path.basename(env_file))
    scripts = [read_text(os.path.join(directory, word)) or "" for word in command.split() if "/" in word]
    return any(re.search(name, text) for text in (command, *scripts))
