"""Facts of the scenario for the tests: its hosts, the target release, what was seeded and what was recorded.

A test file says which host it is about: ``testinfra_hosts = hosts_of("fractal_server")``.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import testinfra
import yaml
from testinfra.host import Host

SHARED = Path(__file__).resolve().parents[1]
EPHEMERAL = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"])


@dataclass(frozen=True)
class Target:
    """What is true of an instance that arrived at a release."""

    version: str
    alembic_head: str
    dropped: frozenset[tuple[str, str]]  # columns that the release takes away; "*" stands for the whole table
    web: str
    schema_of: str  # the releases that have this schema
    folders: str  # the column of user_oauth with a user's project folder or folders
    unread: frozenset[str] = frozenset()  # variables that 2.17.0 reads and the release does not
    filled: frozenset[tuple[str, str]] = frozenset()  # columns whose NULL the way there fills


_TO_2_17_0 = frozenset({("user_oauth", "username")})
_TO_2_18_5 = _TO_2_17_0 | {
    *(("user_settings", "*"), ("user_oauth", "user_settings_id")),
    *(("usergroup", "viewer_paths"), ("user_oauth", "project_dir")),
    *(("taskgroupv2", "venv_size_in_kB"), ("taskgroupv2", "venv_file_number")),
}
TARGETS = {
    "2.17.0": Target("2.17.0", "83bc2ad3ffcc", _TO_2_17_0, "1.21.1", "2.17.0", "project_dir"),
    "2.18.5": Target(
        *("2.18.5", "068496367952", _TO_2_18_5, "1.22.2", "2.18.2 to 2.18.6", "project_dirs"),
        frozenset({"FRACTAL_DATA_AUTH_SCHEME"}),
    ),
    "2.26.0": Target(
        *("2.26.0", "0c5e3f92c3a8", _TO_2_18_5 | {("taskv2", "source"), ("datasetv2", "history")}, "1.29.6"),
        *("2.25.1 to 2.26.0", "project_dirs"),
        frozenset({"FRACTAL_DATA_AUTH_SCHEME"}),
        frozenset({("taskv2", "version"), ("taskgroupv2", "version")}),
    ),
}


def kept_counts(before: dict[str, Any], target: Target) -> dict[str, int]:
    """Return how many rows the tables have that the target keeps."""
    return {name: table["count"] for name, table in before.items() if (name, "*") not in target.dropped}


def columns(tables: dict[str, Any]) -> dict[tuple[str, str], str]:
    """Return the digest of each column."""
    return {(name, column): digest for name, table in tables.items() for column, digest in table["columns"].items()}


def changed_columns(before: dict[str, Any], after: dict[str, Any], target: Target) -> set[tuple[str, str]]:
    """Return the columns that the target keeps as they are and that do not hold the same values."""
    now, also = columns(after), target.dropped | target.filled
    kept = {key: digest for key, digest in columns(before).items() if not also & {key, (key[0], "*")}}
    return {key for key, digest in kept.items() if now.get(key) != digest}


@cache
def inventory() -> dict[str, Any]:
    """Return the scenario's group variables, group by group."""
    folder = Path(os.environ["MOLECULE_INVENTORY_FILE"]).parent / "group_vars"
    return {path.name: yaml.safe_load(path.read_text()) or {} for path in folder.iterdir()}


def hosts_of(group: str) -> list[str]:
    """Return the testinfra names of a group's hosts."""
    hosts = yaml.safe_load(Path(os.environ["MOLECULE_INVENTORY_FILE"]).read_text())[group]["hosts"]
    return [f"podman://{inventory()['all']['pair']}-{name}" for name in hosts]


@pytest.fixture(scope="session")
def target() -> Target:
    """The release at which the instance has to be."""
    return TARGETS[inventory()["all"].get("fractal_target_version", "2.17.0")]


@pytest.fixture(scope="session")
def server() -> Host:
    """The (only) server, for tests about another host too."""
    return testinfra.get_host(hosts_of("fractal_server")[0])


@pytest.fixture(scope="session")
def seed(server: Host) -> dict[str, Any]:
    """What tests/bed/seed.py made."""
    made: dict[str, Any] = json.loads(server.file("/opt/bed/seed.json").content_string)
    return made


@pytest.fixture(scope="session")
def rows_before() -> dict[str, Any]:
    """Counts and digests of all tables before the upgrade."""
    rows: dict[str, Any] = json.loads((EPHEMERAL / "rows_before.json").read_text())
    return rows


@pytest.fixture(scope="session")
def rows_after(server: Host) -> dict[str, Any]:
    """The same now."""
    script = (SHARED / "files" / "rows.py").read_text()
    rows: dict[str, Any] = json.loads(server.check_output("python3 -c %s", script))
    return rows


def query(host: Host, statement: str) -> list[dict[str, Any]]:
    """Return the rows of a query on the Fractal database."""
    psql = "runuser -u postgres -- psql -AtX -d fractal_db -c %s"
    text = host.check_output(psql, f"select to_jsonb(t) from ({statement}) t")
    return [json.loads(line) for line in text.splitlines()]


def curl(host: Host, url: str) -> Any:
    """Return the JSON that a URL answers on the host."""
    return json.loads(host.check_output("curl -sf %s", url))
