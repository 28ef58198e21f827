"""Each condition in environment file and JSON files under which the real data migration fails.

Done as the official page says (the environment file copied as it is), the migration must fail. Either the check finds
it, and after the fix the migration passes; or the collection's own migration of the environment file mends it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, Callable

import pytest
from ansible_collections.fractal_ops.platform.plugins.module_utils._precheck.server_host import ServerHost
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.env_steps import env_task
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.r2_17_0.prechecks import (
    check_environment_file,
)
from postgres_cluster import Database
from postgres_seed import add_user
from releases_environments import SLURM_CONFIG, FractalFolder
from warm_fractalctl import WarmMigration

Folder = Callable[..., FractalFolder]
SLURM, PIXI = "config_slurm.json", "config_pixi.json"
PIXI_CONFIG = {"versions": {"0.47": "/pixi/0.47", "0.48": "/pixi/0.48"}, "default_version": "0.47"}
PIXI_SLURM = {"partition": "main", "cpus": 1, "mem": "1G", "time": "10"}
UNSET = None


@dataclass(frozen=True)
class Case:
    """Variables (None: not set) and JSON files (text or data) that make the condition, and the finding.

    ``finding``: id and subject (variable, or name of the file); None where the migration of the file mends it.
    """

    finding: tuple[str, str] | None
    values: Mapping[str, str | None] = field(default_factory=dict)
    files: Mapping[str, Any] = field(default_factory=dict)
    backend: str = "slurm"
    lines: str = ""  # further lines of the environment file


def slurm(**changes: Any) -> Case:
    config: dict[str, Any] = deepcopy(SLURM_CONFIG)
    for place, value in changes.items():
        *inner, key = place.split("__")
        target = config
        for part in inner:
            target = target[part]
        target[key] = value
    return Case(("config.refused", SLURM), files={SLURM: config})


def pixi(finding: tuple[str, str], backend: str = "slurm", **changes: Any) -> Case:
    config = {**PIXI_CONFIG, "SLURM_CONFIG": PIXI_SLURM, **changes}
    config = {key: value for key, value in config.items() if value is not UNSET}
    return Case(finding, {"FRACTAL_PIXI_CONFIG_FILE": PIXI}, {PIXI: config}, backend)


def value(variable: str, text: str | None, finding: str | None = "environment.value_refused") -> Case:
    return Case(finding and (finding, variable), {variable: text})  # type: ignore[arg-type]


PYTHON, DEFAULT = "FRACTAL_TASKS_PYTHON_3_11", "FRACTAL_TASKS_PYTHON_DEFAULT_VERSION"
CASES = {
    "1 no default version": Case(None, {DEFAULT: UNSET}),
    "2 default version without interpreter": Case(
        ("environment.variable_missing", "FRACTAL_TASKS_PYTHON_3_12"), {DEFAULT: "3.12"}
    ),
    "2 default version 3.13": Case(None, {DEFAULT: "3.13", "FRACTAL_TASKS_PYTHON_3_13": "/usr/bin/python3"}),
    "3 interpreter relative": value(PYTHON, "python3"),
    "3 interpreter empty": value(PYTHON, ""),
    "3 pip cache relative": value("FRACTAL_PIP_CACHE_DIR", "cache"),
    "3 pip cache empty": value("FRACTAL_PIP_CACHE_DIR", ""),
    "4 pixi file missing": value("FRACTAL_PIXI_CONFIG_FILE", "/no/file", "environment.config_file_missing"),
    "4 pixi file is no JSON": Case(("config.not_json", PIXI), {"FRACTAL_PIXI_CONFIG_FILE": PIXI}, {PIXI: "{"}),
    "4 pixi default not there": pixi(("config.refused", PIXI), default_version="1"),
    "4 pixi folders apart": pixi(("config.refused", PIXI), versions={"0.47": "/a/0.47", "0.48": "/b/0.48"}),
    "4 pixi folder not its version": pixi(("config.refused", PIXI), versions={"0.47": "/pixi/x"}),
    "4 pixi memory without unit": pixi(("config.refused", PIXI), SLURM_CONFIG={**PIXI_SLURM, "mem": "100"}),
    "5 no tasks folder": value("FRACTAL_TASKS_DIR", UNSET, "environment.variable_missing"),
    "5 no jobs folder": value("FRACTAL_RUNNER_WORKING_BASE_DIR", UNSET, "environment.variable_missing"),
    "6 tasks folder relative": value("FRACTAL_TASKS_DIR", "tasks", None),
    "6 jobs folder relative": value("FRACTAL_RUNNER_WORKING_BASE_DIR", "jobs", None),
    "7 poll interval empty": value("FRACTAL_SLURM_POLL_INTERVAL", ""),
    "7 poll interval without a value": Case(None, lines="FRACTAL_SLURM_POLL_INTERVAL\n"),
    "7 poll interval no number": value("FRACTAL_SLURM_POLL_INTERVAL", "fast"),
    "8 no worker": value("FRACTAL_SLURM_WORKER_PYTHON", UNSET, None),
    "8 worker empty": value("FRACTAL_SLURM_WORKER_PYTHON", ""),
    "8 worker relative": value("FRACTAL_SLURM_WORKER_PYTHON", "python3"),
    "9 no SLURM file named": value("FRACTAL_SLURM_CONFIG_FILE", UNSET, "environment.variable_missing"),
    "9 SLURM file missing": value("FRACTAL_SLURM_CONFIG_FILE", "/no/file", "environment.config_file_missing"),
    "9 SLURM file is a folder": Case(("config.unreadable", "lib"), {"FRACTAL_SLURM_CONFIG_FILE": "/usr/lib"}),
    "9 SLURM file is no JSON": Case(("config.not_json", SLURM), files={SLURM: "not JSON"}),
    "9 SLURM file is a list": Case(("config.not_json", SLURM), files={SLURM: []}),
    "10 extra_lines null": slurm(default_slurm_config__extra_lines=None),
    "10 user_local_exports null": slurm(user_local_exports=None),
    "10 empty partition": slurm(default_slurm_config__partition=""),
    "10 no CPU": slurm(default_slurm_config__cpus_per_task=0),
    "10 no memory": slurm(default_slurm_config__mem=0),
    "10 blank line": slurm(default_slurm_config__extra_lines=[" "]),
    "10 negative number of jobs": slurm(batching_config__max_num_jobs=-1),
    "10 bad unit of memory": slurm(batching_config__max_mem_per_job="5K"),
    "10 unknown key": slurm(default_slurm_config__qos="high"),
    "11 pixi on SSH without SLURM_CONFIG": pixi(("config.refused", PIXI), "slurm_ssh", SLURM_CONFIG=UNSET),
}


def write(folder: FractalFolder, case: Case) -> None:
    """Make the condition in a folder of a good instance. Configuration files are named by absolute paths."""
    folder.write()
    for name, content in case.files.items():
        text = content if isinstance(content, str) else json.dumps(content)
        (folder.path / name).write_text(text, encoding="utf-8")
    values = {**folder.values, "FRACTAL_SLURM_CONFIG_FILE": str(folder.path / SLURM), **case.values}
    if case.values.get("FRACTAL_PIXI_CONFIG_FILE") == PIXI:
        values["FRACTAL_PIXI_CONFIG_FILE"] = str(folder.path / PIXI)
    lines = [f"{name}={text}\n" for name, text in values.items() if text is not UNSET]
    text = "".join(lines) + case.lines + folder.database.env_lines()
    folder.env_file.write_text(text, encoding="utf-8")


def blockers(folder: FractalFolder, python: str) -> set[tuple[str, str]]:
    params = {"env_file": str(folder.env_file), "python": python, "oauth_client": None, "target_version": "2.17.0"}
    found = check_environment_file(ServerHost(params))
    return {(one.id, one.subject.rsplit("/", 1)[-1]) for one in found if one.severity == "blocker"}


def migrated_old_file(folder: FractalFolder, python: str) -> str:
    """Return the ``.old`` file that the collection's migration of the environment file writes."""
    text = env_task(path=str(folder.env_file), server_python=python).migration.old_text
    assert text is not None
    return text


@pytest.mark.parametrize("name", CASES)
def test_condition_is_found_or_mended(
    name: str,
    migrations: Callable[[str], WarmMigration],
    new_database: Callable[[], Database],
    fractal_folder: Folder,
    release_python: Callable[[str], str],
) -> None:
    case, python = CASES[name], release_python("2.16.6")
    database = new_database()
    add_user(
        database, "ann@example.org", ssh_host="h", ssh_username="ann", ssh_private_key_path="/k", ssh_tasks_dir="/t",
        ssh_jobs_dir="/j",
    )  # fmt: skip
    folder = fractal_folder(database, FRACTAL_RUNNER_BACKEND=case.backend)
    migration = migrations(case.backend)
    write(folder, case)
    found = blockers(folder, python)
    as_the_page_says = folder.env_file.read_text(encoding="utf-8")
    assert not migration.passed(migration.migrate(database, as_the_page_says)), "there is no such condition"
    if case.finding is None:
        assert found == set()
    else:
        assert case.finding in found
        write(folder, Case(None))  # the fix: each value and file as it must be
        assert blockers(folder, python) == set()
    outcome = migration.migrate(database, migrated_old_file(folder, python))
    assert migration.passed(outcome), outcome.output


def test_several_wrong_fields_are_found_at_once(
    new_database: Callable[[], Database], fractal_folder: Folder, release_python: Callable[[str], str]
) -> None:
    folder = fractal_folder(new_database())
    config = deepcopy(SLURM_CONFIG)
    config["default_slurm_config"].update(extra_lines=None, partition="")
    config["user_local_exports"] = None
    write(folder, Case(None, {PYTHON: "python3"}, {SLURM: config}))
    params = {"env_file": str(folder.env_file), "python": release_python("2.16.6"), "oauth_client": None}
    params["target_version"] = "2.17.0"
    found = [one for one in check_environment_file(ServerHost(params)) if one.severity == "blocker"]
    assert [one.id for one in found].count("config.refused") == 3
    assert PYTHON in {one.subject for one in found}
