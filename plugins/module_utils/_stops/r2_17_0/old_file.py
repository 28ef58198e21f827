# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""The ``.old`` file: all that ``fractalctl update-db-data`` of 2.17.0 reads, with the values that 2.16 used in effect.

It is the old file, every line as it was, with what is missing or differs added at its end: the last assignment counts.
Source: fractal-server 2.17.0, data_migrations/2_17_0.py, which reads nothing but this file (the process environment
only within ``${…}``) and knows the interpreters 3.9 to 3.12.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.dotenv import (
    Reader,
    Value,
    interpolate,
    literal,
    parse,
    plain,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.dotenv_editing import (
    complete,
    robust,
    without_mark,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._env_file.draft import Draft
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.r2_17_0 import env_rules as rules

COMPLETED = "# Added for fractalctl update-db-data of 2.17.0: what 2.16 used in effect"
STAND_IN = "# fractalctl update-db-data knows no Python 3.13; the resource gets the real value right after it"
_NAME = ".fractal_server.env.old"


def decide_old_file(draft: Draft) -> None:
    """Decide about the ``.old`` file, all of the new file decided, and about what the script cannot take from it."""
    draft.old_text = _old_file(draft, draft.existing_old)
    draft.handed_on = handed_on(draft.existing_old if draft.old_text is None else draft.old_text)


def _old_file(draft: Draft, existing: str | None) -> str | None:
    """Return the ``.old`` file to write, None to leave what is there."""
    if draft.data_is_over:
        return None
    if rules.era(draft.text) == rules.AFTER:
        if existing is None:
            draft.find("environment.old_file_missing", _NAME)
        else:
            _check_foreign(draft, existing)
        return None
    findings, changes = list(draft.findings), list(draft.changes)
    text = _completed(draft)
    if existing in (None, text, draft.text):
        return text
    if rules.era(draft.text) == rules.BETWEEN:
        draft.findings, draft.changes = findings, changes  # what the file lacks may be there
        _check_foreign(draft, existing)
    else:
        problem = "it is neither a copy of this file nor what this run would make of it"
        draft.find("environment.old_file_foreign", _NAME, problem=problem)
    return None


def handed_on(old_text: str | None) -> dict[str, Any]:
    """Return what the resource needs after ``update-db-data`` has read the ``.old`` file, which leaves it out.

    Returns:
        ``tasks_python`` (interpreters by version) and ``default_version``, if the script drops an interpreter;
        ``stand_ins`` (interpreters by version), if it got some that the instance did not have;
        ``poll_interval`` in seconds, if the script would replace 2.16's default by its own.
    """
    if old_text is None:
        return {}
    script, truth = _read(old_text), _read(old_text.partition(STAND_IN)[0])
    migrated, versions = _interpreters_in(script, rules.MIGRATED_PYTHONS), _interpreters_in(truth, rules.PYTHONS)
    lost = {version: path for version, path in versions.items() if version not in migrated}
    default = truth.get(rules.DEFAULT_PYTHON)
    result: dict[str, Any] = {}
    if lost and default in versions:
        result["tasks_python"] = lost
    if default in lost:
        result["default_version"] = default
        stand_ins = {version: path for version, path in migrated.items() if version not in versions}
        result.update({"stand_ins": stand_ins} if stand_ins else {})
    if rules.POLL_INTERVAL not in script:
        result["poll_interval"] = int(rules.OLD_POLL_INTERVAL)
    return result


def _read(text: str) -> dict[str, str]:
    values = interpolate(parse(text, Reader.DOTENV_1_2), {}, file_wins=True)
    return {name: found for name, value in values.items() if (found := plain(value)) is not None}


def _interpreters_in(values: Mapping[str, str], versions: tuple[str, ...]) -> dict[str, str]:
    names = {version: rules.python_variable(version) for version in versions}
    return {version: values[name] for version, name in names.items() if name in values}


def _completed(draft: Draft) -> str:
    truth = _values_in_effect(draft)
    script = _for_script(draft, truth)
    body = "".join(robust(without_mark(statement)) for statement in draft.statements)
    # the interpreters that the script cannot take are written down too: handed_on() finds them there
    text = complete(body, truth, COMPLETED)
    for name, value in truth.items():
        if draft.file.get(name) != value:
            draft.change(name, "complete", "the .old file gets the value that 2.16 used in effect")
    return text if script == truth else complete(text, script, STAND_IN)


def _for_script(draft: Draft, truth: Mapping[str, Value | None]) -> dict[str, Value | None]:
    """Return what ``update-db-data`` is to read: it stops if the default is a Python that it does not know."""
    default = plain(truth[rules.DEFAULT_PYTHON])
    if default is None or default in rules.MIGRATED_PYTHONS:
        return dict(truth)
    known = [version for version in rules.MIGRATED_PYTHONS if truth.get(rules.python_variable(version))]
    if known:
        return {**truth, rules.DEFAULT_PYTHON: literal(known[-1])}
    version, interpreter = draft.context.tasks_python or ("", "")
    if version not in rules.MIGRATED_PYTHONS:
        version, interpreter = rules.MIGRATED_PYTHONS[-1], plain(truth[rules.python_variable(default)]) or ""
    draft.find("environment.interpreter_added", interpreter, version=version)
    return {**truth, rules.DEFAULT_PYTHON: literal(version), rules.python_variable(version): literal(interpreter)}


def _values_in_effect(draft: Draft) -> dict[str, Value | None]:
    """Return what 2.16 used, its defaults included, by the names of the variables; None for unset."""
    backend = draft.settings.get("FRACTAL_RUNNER_BACKEND", "local")
    found: dict[str, str | None] = {name: _folder(draft, name) for name in rules.FOLDERS}
    found.update(_interpreters(draft))
    found[rules.POLL_INTERVAL] = _poll_interval(draft)
    found[rules.PIP_CACHE] = _absolute(draft, rules.PIP_CACHE)
    found.update({name: _config_file(draft, name, backend) for name in rules.CONFIG_FILES})
    found[rules.WORKER_PYTHON] = _worker_python(draft, backend)
    return {name: None if text is None else literal(text) for name, text in found.items()}


def _folder(draft: Draft, name: str) -> str | None:
    text = draft.known(name)
    if text is None:
        if draft.value(name) is None:
            draft.missing(name, "2.16 does not start without it")
        return None
    if PurePosixPath(text).is_absolute():
        return str(PurePosixPath(text))
    return os.path.realpath(os.path.join(draft.context.directory, text))  # as 2.16 does (make_paths_absolute)


def _absolute(draft: Draft, name: str) -> str | None:
    text = draft.known(name)
    text = None if text is None else text.strip()  # as 2.16 does (AbsolutePathStr)
    if text is not None and not text.startswith("/"):
        draft.find("environment.value_refused", name, problem="it takes an absolute path")
    return text


def _interpreters(draft: Draft) -> dict[str, str | None]:
    default = draft.known(rules.DEFAULT_PYTHON)
    found = {version: _absolute(draft, rules.python_variable(version)) for version in rules.PYTHONS}
    if default is None and draft.context.tasks_python is not None:
        # 2.16 then uses its own interpreter, and no other (check_tasks_python)
        default, interpreter = draft.context.tasks_python
        found = {**dict.fromkeys(found), default: interpreter}
    elif default is None:
        how = "Set it and the interpreter's variable, or give server_python or tasks_python."
        draft.missing(rules.DEFAULT_PYTHON, "2.16 uses the server's own interpreter, which is not known", how)
    elif found.get(default) is None:
        draft.missing(rules.python_variable(default), f"Python {default} is the default for tasks")
    return {rules.DEFAULT_PYTHON: default, **{rules.python_variable(version): path for version, path in found.items()}}


def _poll_interval(draft: Draft) -> str:
    text = draft.known(rules.POLL_INTERVAL)
    if text is None:
        return rules.OLD_POLL_INTERVAL
    match = re.match(r"\s*([+-]?\d+)(\.0*)?\s*\Z", text)
    if match is None:
        draft.find("environment.value_refused", rules.POLL_INTERVAL, problem="it takes a whole number of seconds")
        return rules.OLD_POLL_INTERVAL
    return str(int(match.group(1)))


def _config_file(draft: Draft, name: str, backend: str) -> str | None:
    backends = rules.CONFIG_FILES[name].backends
    text = draft.known(name)
    if text is None:
        if name == rules.SLURM_CONFIG and backend in backends and draft.value(name) is None:
            draft.missing(name, "SLURM jobs need it")
    elif backend in backends and not draft.context.readable(os.path.join(draft.context.directory, text)):
        what, directory = rules.CONFIG_FILES[name].what, draft.context.directory
        draft.find("environment.config_file_missing", name, path=text, directory=directory, what=what)
    return text


def _worker_python(draft: Draft, backend: str) -> str | None:
    text = _absolute(draft, rules.WORKER_PYTHON)
    if backend == "local" or draft.value(rules.WORKER_PYTHON) is not None:
        return text
    if backend != "slurm_ssh" and draft.context.worker_python:
        return draft.context.worker_python
    why = "the data migration needs the interpreter that runs the tasks on the SLURM nodes"
    draft.missing(rules.WORKER_PYTHON, why, "Set it in the environment file, or give worker_python.")
    return None


def _check_foreign(draft: Draft, existing: str) -> None:
    """The ``.old`` file of somebody who began by hand must be enough for the script, and not contradict the file."""
    values = _read(existing)
    default = values.get(rules.DEFAULT_PYTHON, "")
    needed = {rules.DEFAULT_PYTHON, *rules.FOLDERS, *([rules.python_variable(default)] if default else [])}
    if draft.settings.get("FRACTAL_RUNNER_BACKEND", "local") != "local":
        needed |= {rules.WORKER_PYTHON, rules.SLURM_CONFIG}
    left = {name: value for name, value in draft.settings.items() if name in draft.dropped & rules.MIGRATED}
    problems = {
        "it lacks": [name for name in needed if not values.get(name)],
        "it contradicts the file on": [name for name, value in left.items() if values.get(name) != value],
        "relative paths in": [name for name in rules.FOLDERS if not values.get(name, "/").startswith("/")],
        "the data migration takes no Python 3.13 in": [rules.DEFAULT_PYTHON] if default == "3.13" else [],
    }
    text = "; ".join(f"{what} {', '.join(sorted(names))}" for what, names in problems.items() if names)
    if text:
        draft.find("environment.old_file_foreign", _NAME, problem=text)
