"""No check falls out of a table in silence, and every row of the tables is run."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.checks import run_checks
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.findings import Finding
from ansible_collections.fractal_ops.platform.plugins.module_utils._precheck import in_database, server, web
from ansible_collections.fractal_ops.platform.plugins.module_utils._precheck.database_side import told
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops import prechecks

PACKAGE = "ansible_collections.fractal_ops.platform.plugins.module_utils"
UTILS = Path(inspect.getfile(server)).parents[1]
TABLES = ((server, "ON_THE_HOST"), (server, "WITH_THE_DATABASE"), (in_database, "IN_THE_DATABASE"))
ROWS = [
    *(row for module, name in TABLES for row in getattr(module, name)),
    *web.CHECKS,
    *prechecks.WEB_CHECKS,
    *prechecks.ALWAYS,
    *(row for rows in prechecks.PRECHECKS.values() for row in rows),
]
# what other checks, or the run of all, call
CALLED = {
    "check_configuration",
    "check_database",
    "check_rows_refused",
    "check_path",
    "check_server",
    "check_users",
    "check_web",
}


def of_a_host() -> dict[str, Callable[..., Any]]:
    """Every check of the rooms _precheck and _stops, by its file and name."""
    found = {}
    for path in [*UTILS.glob("_precheck/*.py"), *UTILS.glob("_stops/**/*.py")]:
        parts = path.relative_to(UTILS).with_suffix("").parts
        module = importlib.import_module(".".join([PACKAGE, *parts]))
        for name, function in inspect.getmembers(module, inspect.isfunction):
            if name.startswith("check_") and function.__module__ == module.__name__ and name not in CALLED:
                found[f"{'/'.join(parts)}.{name}"] = function
    return found


def test_each_check_of_a_host_is_in_a_table() -> None:
    rows = {function for _name, function in ROWS}
    assert sorted(name for name, function in of_a_host().items() if function not in rows) == []
    assert len(of_a_host()) > 20


class FakeHost:
    """A host about which every check finds one thing: its own name."""

    unit = None
    installation = SimpleNamespace(env_file="/srv/.env")

    def __init__(self, reachable: bool = True) -> None:
        self._reachable = reachable

    @property
    def facts(self) -> SimpleNamespace:
        """As the child answers: what the checks in the database found."""
        if not self._reachable:
            raise FractalError("it is down")
        return SimpleNamespace(findings=run_checks(self, in_database.IN_THE_DATABASE))


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """Every row's check replaced by one that finds its name; the names by table."""

    def finds(name: str) -> Callable[[Any], list[Finding]]:
        return lambda _host: [Finding(name, "info", name, "", "", "", True)]

    names = {}
    for module, table in TABLES:
        names[table] = [name for name, _function in getattr(module, table)]
        monkeypatch.setattr(module, table, tuple((name, finds(name)) for name in names[table]))
    monkeypatch.setattr(server, "check_path", finds("path"))
    return names


def test_each_row_of_each_table_is_run(rows: dict[str, list[str]]) -> None:
    also = [("stop", lambda _host: [Finding("stop", "info", "stop", "", "", "", True)])]
    found = [one.id for one in server.check_server(FakeHost(), also)]  # type: ignore[arg-type]
    assert sorted(found) == sorted(["stop", *(name for names in rows.values() for name in names)])


def test_the_checks_of_each_stop_on_the_way_are_made() -> None:
    class Stop:
        version = "2.17.0"

    names = [name for name, _check in prechecks.checks_on_the_way(type("Host", (), {"stops": [Stop]}))]  # type: ignore[arg-type]
    assert names == ["stops", "rows", *(name for name, _check in prechecks.PRECHECKS["2.17.0"])]
    assert len(names) > 3


def test_without_a_database_the_rest_is_told_all_the_same(rows: dict[str, list[str]]) -> None:
    found = [one.id for one in server.check_server(FakeHost(reachable=False))]  # type: ignore[arg-type]
    assert sorted(found) == sorted(rows["ON_THE_HOST"] + ["path", "database.unreachable"])


GOOD = {
    **{"size_bytes": 1, "postmaster": 0, "slurm_users": ["ann"], "worker_pythons": ["/p"]},
    "why_no_copy": ["no room"],
    "findings": [Finding("database.not_owner", "blocker", "s", "m", "f", "r", False).as_dict()],
}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("size_bytes", "1"),
        ("slurm_users", [1]),
        ("worker_pythons", None),
        ("why_no_copy", [1]),
        ("findings", [{"id": "x"}]),
        ("findings", [{**GOOD["findings"][0], "severity": "loud"}]),
        ("findings", [{**GOOD["findings"][0], "message": ["m"]}]),
    ],
)
def test_what_the_child_says_is_checked(name: str, value: Any) -> None:
    assert told(GOOD).slurm_users == ["ann"] and told(GOOD).findings[0].severity == "blocker"
    with pytest.raises(FractalError, match="makes no sense"):
        told({**GOOD, name: value})
    with pytest.raises(FractalError, match="makes no sense"):
        told({one: what for one, what in GOOD.items() if one != name})
