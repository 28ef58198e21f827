"""Decisions about a database that need no database: how far it is, what is refused, what things are called."""

from __future__ import annotations

import sys

import pytest
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.accounts import Account
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.door import Door
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.programs import run
from ansible_collections.fractal_ops.platform.plugins.module_utils._database import database as _database
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.database import (
    DatabaseSettings,
    Installation,
    settings_from_values,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.state import data_migrations
from ansible_collections.fractal_ops.platform.plugins.module_utils._releases.path import (
    first_release_with_head,
    release,
    release_at_head,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.data_migrations import DATA_MIGRATIONS
from ansible_collections.fractal_ops.platform.plugins.module_utils._upgrade import data as _data_migration
from ansible_collections.fractal_ops.platform.plugins.module_utils._upgrade import schema as _schema_migration
from ansible_collections.fractal_ops.platform.plugins.module_utils._upgrade.state import read_state

HEADS = {"2.16.6": "981d588fe248", "2.17.0": "83bc2ad3ffcc", "2.17.1": "7673fe18c05d", "2.17.2": "e0e717ae2f26"}
NOTHING = {
    "resources": 0, "profiles": 0, "projects_attached": 0, "projects_left": 3,
    "task_groups_attached": 0, "task_groups_left": 2, "users_attached": 0, "users_left": ["ann", "bob"],
}  # fmt: skip
ALL = {
    "resources": 1, "profiles": 2, "projects_attached": 3, "projects_left": 0,
    "task_groups_attached": 2, "task_groups_left": 0, "users_attached": 2, "users_left": [],
}  # fmt: skip


@pytest.mark.parametrize(
    ("revision", "rows", "expected"),
    [
        (HEADS["2.16.6"], {}, "pending"),
        (HEADS["2.17.0"], NOTHING, "pending"),
        (HEADS["2.17.0"], {**NOTHING, "projects_left": 0, "task_groups_left": 0, "users_left": []}, "pending"),
        (HEADS["2.17.0"], {**NOTHING, "resources": 1}, "partial"),
        (HEADS["2.17.0"], {**ALL, "projects_left": 1}, "partial"),
        (HEADS["2.17.0"], {**ALL, "task_groups_left": 1}, "partial"),
        (HEADS["2.17.0"], {**ALL, "users_left": ["ann"]}, "partial"),
        (HEADS["2.17.0"], {**ALL, "resources": 0}, "partial"),
        (HEADS["2.17.0"], ALL, "done"),
        (HEADS["2.17.0"], {**ALL, "profiles": 0, "users_attached": 0}, "done"),
        (HEADS["2.17.1"], {}, "not_needed"),
        (HEADS["2.17.2"], {}, "not_needed"),
        ("deadbeef", {}, "not_needed"),
        (None, {}, "not_needed"),
    ],
)
def test_how_far_the_data_migration_is(revision: str | None, rows: dict[str, object], expected: str) -> None:
    assert state(revision, rows)["data_migration"] == expected


def test_releases_of_revisions() -> None:
    assert [first_release_with_head(HEADS[v]) for v in HEADS] == ["2.16.0", "2.17.0", "2.17.1", "2.17.2"]
    assert first_release_with_head(None) == first_release_with_head("deadbeef") == "unknown"


def state(at: str | None, rows: dict[str, object]) -> dict[str, object]:
    revision = HEADS.get(str(at), at)
    found = {f"data 2.17.0 {name}": value for name, value in rows.items()}
    return {"revision": revision, **data_migrations(release_at_head(revision), DATA_MIGRATIONS, found)}


@pytest.mark.parametrize(
    ("at", "rows", "wanted", "installed", "named"),
    [
        ("2.16.6", {}, "2.17.0", "2.17.0", ""),
        ("2.16.6", {}, "2.17.0", "2.16.6", "2.16.6 is installed"),
        ("2.16.6", {}, "2.17.1", "2.17.1", "data migration of 2.17.0 reads, which has not run"),
        ("2.17.0", NOTHING, "2.17.1", "2.17.1", "there is no resource, nothing was written"),
        (
            "2.17.0",
            {**ALL, "users_left": ["ann"]},
            "2.17.2",
            "2.17.2",
            "is partial: 0 projects",
        ),
        ("2.17.0", ALL, "2.17.2", "2.17.2", ""),
        ("2.17.1", {}, "2.17.2", "2.17.2", ""),
        ("2.17.2", {}, "2.17.0", "2.17.0", "never goes back"),
        ("deadbeef", {}, "2.17.0", "2.17.0", "belongs to no release"),
    ],
)
def test_which_schema_migrations_are_refused(
    at: str, rows: dict[str, object], wanted: str, installed: str, named: str
) -> None:
    reason = _schema_migration.why_refused(state(at, rows), release(wanted), installed, "/venv/bin/python")
    assert bool(reason) == bool(named) and named in reason


@pytest.mark.parametrize(
    ("at", "installed", "named"),
    [
        ("2.17.0", "2.17.0", ""),
        ("2.17.0", "2.17.1", "would do nothing"),
        ("2.16.6", "2.17.0", "comes before the data migration"),
    ],
)
def test_which_data_migrations_are_refused(at: str, installed: str, named: str) -> None:
    reason = _data_migration.why_refused(state(at, NOTHING), "2.17.0", installed, "/venv/bin/python")
    assert bool(reason) == bool(named) and named in reason


def test_what_is_left_is_named() -> None:
    at = HEADS["2.17.0"]
    assert "nothing was written" in str(state(at, NOTHING)["left"])
    assert "1 projects and 0 task groups" in str(state(at, {**ALL, "projects_left": 1})["left"])
    assert "directory: ann" in str(state(at, {**ALL, "users_left": ["ann"]})["left"])
    assert state(at, ALL)["left"] == ""


def test_whom_an_earlier_stop_left_out_is_told_at_later_releases() -> None:
    assert state("2.17.2", {"users_left": ["ann"]})["lost"] == ["ann"]
    assert state("2.17.0", {**ALL, "users_left": ["ann"]})["lost"] == []


def test_settings_show_no_password() -> None:
    settings = settings_from_values({"POSTGRES_DB": "d", "POSTGRES_USER": "u", "POSTGRES_PASSWORD": "canary"})
    assert settings == DatabaseSettings("localhost", 5432, "u", "canary", "d")
    assert "canary" not in f"{settings} {settings!r} {settings.where} {settings.at('other')}"
    assert "canary" not in repr(Installation("/srv/.fractal_server.env", {"POSTGRES_PASSWORD": "canary"}))
    assert settings.libpq_environment() == {
        "PGHOST": "localhost", "PGPORT": "5432", "PGDATABASE": "d", "PGUSER": "u", "PGPASSWORD": "canary",
        "PGAPPNAME": "fractal_ops.platform",
    }  # fmt: skip


@pytest.mark.parametrize("values", [{}, {"POSTGRES_DB": ""}, {"POSTGRES_DB": "d", "POSTGRES_PORT": "5432a"}])
def test_incomplete_settings_are_refused(values: dict[str, str]) -> None:
    with pytest.raises(FractalError, match="POSTGRES_"):
        settings_from_values(values)


def test_empty_values_are_those_of_libpq() -> None:
    """2.16 accepts empty values, and libpq then takes its defaults."""
    values = {"POSTGRES_DB": "d", "POSTGRES_HOST": "", "POSTGRES_PORT": "", "POSTGRES_USER": ""}
    settings = settings_from_values(values)
    assert (settings.host, settings.port, settings.user, settings.password) == ("localhost", 5432, None, None)


def test_an_environment_that_is_not_fractals_is_told() -> None:
    python = "/usr/bin/python3"
    if run([python, "-I", "-c", "import sqlalchemy"]).code == 0:
        pytest.skip(f"{python} has SQLAlchemy")
    settings = Installation("", database={"POSTGRES_DB": "d"})
    with pytest.raises(FractalError, match=f"\\A{python} has no sqlalchemy or psycopg.*fractal_server_python"):
        Door(Account.named(None), python).call(read_state, settings)


def test_a_child_that_stands_by_has_imported_what_its_first_connection_needs() -> None:
    script = f"""
import sys
import {_database.__name__} as database
before = set(sys.modules)
database.sa.create_engine(database.settings_from_values({{"POSTGRES_DB": "d"}}).url())
print(sorted(name for name in set(sys.modules) - before if name.startswith(("sqlalchemy.", "psycopg."))))
"""
    assert run([sys.executable, "-c", script]).out == "[]\n"
