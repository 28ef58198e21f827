# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""The JSON configurations and the resource that the data migration of 2.17.0 makes of them, under 2.17's rules."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.files import file_text
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.findings import (
    Finding,
    blocker,
    rule_table,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.pydantic_or_stand_ins import ValidationError
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.acceptance import problems
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.r2_17_0.models import (
    RESOURCES,
    JobRunnerConfigLocal,
    JobRunnerConfigSlurm,
    TasksPixiConfig,
    TasksPixiConfigSsh,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.r2_17_0.placeholders import RESOURCE_NAME

if TYPE_CHECKING:
    from ansible_collections.fractal_ops.platform.plugins.module_utils._core.pydantic_or_stand_ins import BaseModel

SLURM_FILE, PIXI_FILE = "FRACTAL_SLURM_CONFIG_FILE", "FRACTAL_PIXI_CONFIG_FILE"
LOCAL_FILE = "FRACTAL_LOCAL_CONFIG_FILE"
# The data migration looks at these; 3.13 and 3.14 stay behind (2_17_0.py, get_TasksPythonSettings)
_PYTHONS = ("3.9", "3.10", "3.11", "3.12")
# Field of the resource -> variable that it comes from
_SOURCES = {
    "tasks_local_dir": "FRACTAL_TASKS_DIR",
    "jobs_local_dir": "FRACTAL_RUNNER_WORKING_BASE_DIR",
    "jobs_slurm_python_worker": "FRACTAL_SLURM_WORKER_PYTHON",
    "jobs_poll_interval": "FRACTAL_SLURM_POLL_INTERVAL",
    "tasks_python_config": "FRACTAL_TASKS_PYTHON_DEFAULT_VERSION",
    "tasks_pixi_config": PIXI_FILE,
    "jobs_runner_config": SLURM_FILE,
}


_MIGRATION = "fractal-server 2.17.0, data_migrations/2_17_0.py"

CHAPTERS = {"config": "Configuration files"}
FINDINGS = rule_table(
    blocker(
        "config.missing",
        "Configuration file not named",
        "{variable} is not set; the data migration needs it.",
        "Set {variable} to the JSON file with the SLURM configuration.",
        _MIGRATION,
    ),
    blocker(
        "config.unreadable",
        "Configuration file cannot be read",
        "{subject}, named by {variable}, cannot be read: {reason}.",
        "Repair the file, or correct {variable}.",
        _MIGRATION,
    ),
    blocker(
        "config.not_json",
        "Configuration file is not JSON",
        "{subject}, named by {variable}, is not a JSON object: {reason}.",
        "Correct the file.",
        _MIGRATION,
    ),
    blocker(
        "config.refused",
        "Configuration that 2.17 refuses",
        "{subject}, named by {variable}, would be refused: {problem}.",
        "Correct this field in {subject}; 2.17 is stricter than 2.16.",
        "fractal-server 2.17.0, runner/config/ and tasks/config/",
    ),
    blocker(
        "config.resource_refused",
        "Setting that 2.17 refuses",
        "The data migration would make a resource that fractal-server refuses: {problem}.",
        "Correct {subject} in the environment file.",
        "fractal-server 2.17.0, app/schemas/v2/resource.py",
    ),
)


def configuration_findings(old_values: dict[str, str], backend: str, directory: str) -> dict[str, Any]:
    """Return the ``findings`` of `check_configuration` as plain data. It reads the files that the values name."""
    return {"findings": [one.as_dict() for one in check_configuration(old_values, backend, directory)]}


def check_configuration(old_values: Mapping[str, str], backend: str, directory: str) -> Iterator[Finding]:
    """Yield what the data migration would refuse in an instance's configuration.

    Args:
        old_values: The variables that ``.fractal_server.env.old`` will have.
        backend: 2.17's name of the runner backend.
        directory: Working directory of fractal-server, where relative paths start.
    """
    found: list[Finding] = []
    loaded: dict[str, dict[str, Any]] = {}
    for variable, model in _files(backend):
        path = old_values.get(variable)
        if not path:
            if variable == SLURM_FILE:
                found.append(FINDINGS["config.missing"].finding(variable, variable=variable))
            continue
        full = os.path.join(directory, path)
        if variable == LOCAL_FILE and not os.path.exists(full):
            continue
        content = _load(full, variable, model, found)
        if content is not None:
            loaded[variable] = content
    yield from found
    if not found:
        yield from _resource(old_values, backend, loaded)


def _files(backend: str) -> list[tuple[str, type[BaseModel]]]:
    runner = (LOCAL_FILE, JobRunnerConfigLocal) if backend == "local" else (SLURM_FILE, JobRunnerConfigSlurm)
    return [runner, (PIXI_FILE, TasksPixiConfigSsh if backend == "slurm_ssh" else TasksPixiConfig)]


def _load(path: str, variable: str, model: type[BaseModel], found: list[Finding]) -> dict[str, Any] | None:
    """Return the content of a JSON file that ``model`` accepts, or add why not to ``found``."""
    names = {"subject": path, "variable": variable}
    try:
        text = file_text(path)
    except FractalError as error:
        found.append(FINDINGS["config.unreadable"].finding(**names, reason=str(error).rstrip(".")))
        return None
    if text is None:
        found.append(FINDINGS["config.unreadable"].finding(**names, reason="there is no such file"))
        return None
    try:
        content = json.loads(text)
    except ValueError as error:
        found.append(FINDINGS["config.not_json"].finding(**names, reason=str(error)))
        return None
    if not isinstance(content, dict):
        found.append(FINDINGS["config.not_json"].finding(**names, reason="it holds no object {...}"))
        return None
    try:
        model(**content)
    except ValidationError as error:
        found += [FINDINGS["config.refused"].finding(**names, problem=problem) for problem in problems(error)]
        return None
    return content


def _resource(values: Mapping[str, str], backend: str, loaded: Mapping[str, dict[str, Any]]) -> Iterator[Finding]:
    """Yield what 2.17 refuses in the resource, made exactly as the data migration makes it."""
    poll = values.get("FRACTAL_SLURM_POLL_INTERVAL", "15")
    data: dict[str, Any] = {
        "type": backend,
        "name": RESOURCE_NAME,
        "tasks_python_config": {
            "default_version": values.get("FRACTAL_TASKS_PYTHON_DEFAULT_VERSION"),
            "versions": {v: values[name] for v in _PYTHONS if (name := _python_variable(v)) in values},
            "pip_cache_dir": values.get("FRACTAL_PIP_CACHE_DIR"),
        },
        "tasks_pixi_config": loaded.get(PIXI_FILE, {}),
        "tasks_local_dir": values.get("FRACTAL_TASKS_DIR"),
        "jobs_local_dir": values.get("FRACTAL_RUNNER_WORKING_BASE_DIR"),
        "jobs_poll_interval": poll,
        "jobs_runner_config": loaded.get(LOCAL_FILE if backend == "local" else SLURM_FILE, {}),
    }
    if backend != "local":
        data["jobs_slurm_python_worker"] = values.get("FRACTAL_SLURM_WORKER_PYTHON")
    if backend == "slurm_ssh":
        data["host"] = "host"  # that there is one is checked with the users
    try:
        int(poll)
    except ValueError:
        problem = "FRACTAL_SLURM_POLL_INTERVAL is not a whole number"
        yield FINDINGS["config.resource_refused"].finding("FRACTAL_SLURM_POLL_INTERVAL", problem=problem)
        data["jobs_poll_interval"] = 1
    try:
        RESOURCES[backend](**data)
    except ValidationError as error:
        for problem in problems(error):
            subject = _source(problem.split(":", 1)[0])
            yield FINDINGS["config.resource_refused"].finding(subject, problem=f"{subject}: {problem}")


def _python_variable(version: str) -> str:
    return f"FRACTAL_TASKS_PYTHON_{version.replace('.', '_')}"


def _source(place: str) -> str:
    """Return the variable from which the field at ``place`` comes."""
    parts = place.split(".")
    if parts[0] == "tasks_python_config" and "pip_cache_dir" in parts:
        return "FRACTAL_PIP_CACHE_DIR"
    if parts[0] == "tasks_python_config" and "versions" in parts and len(parts) > 3:
        return _python_variable(".".join(parts[2:4]))
    return _SOURCES.get(parts[0], place)
