"""A stop that Fractal does not have: its row, its code and an entry in each registry are all that the upgrade needs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.findings import (
    Finding,
    FindingRule,
    rule_table,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.database import Installation
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.state import data_migrations
from ansible_collections.fractal_ops.platform.plugins.module_utils._env_file import on_host
from ansible_collections.fractal_ops.platform.plugins.module_utils._env_file.rules import EnvStep, Rule
from ansible_collections.fractal_ops.platform.plugins.module_utils._precheck.server_host import ServerHost
from ansible_collections.fractal_ops.platform.plugins.module_utils._releases import path
from ansible_collections.fractal_ops.platform.plugins.module_utils._releases.release import Release, TakenAway
from ansible_collections.fractal_ops.platform.plugins.module_utils._run.report import gather
from ansible_collections.fractal_ops.platform.plugins.module_utils._run.state import server_state
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops import env_steps
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.data_migrations import DATA_MIGRATIONS
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.prechecks import PRECHECKS, checks_on_the_way
from ansible_collections.fractal_ops.platform.plugins.module_utils._upgrade import data, hop, schema
from ansible_collections.fractal_ops.platform.plugins.module_utils._venv import strategies
from in_process import InProcess

if TYPE_CHECKING:
    from ansible_collections.fractal_ops.platform.plugins.module_utils._releases.data_migration import Rows

STOP = Release("3.1.0", "aaaaaaaaaaaa", ("3.11", "3.14"), "1.22.0", (20,), is_stop=True)
NEXT = Release(
    "3.1.1", "bbbbbbbbbbbb", ("3.11", "3.14"), "1.22.0", (20,), takes_away=(TakenAway("user_oauth", "shelf"),)
)
LAST = [known for known in path.RELEASES if not known.is_stop][-1]
OLD_HEAD = LAST.alembic_head
FINDINGS = rule_table(FindingRule("release.odd_shelf", "warning", "An odd shelf", "{subject} is odd.", "Tidy it."))


class Shelves:
    """Every user gets a list of shelves out of the old one; users without are left."""

    release = "3.1.0"
    answers = "yes\n"
    mend_lost = ""

    def queries(self, tables: Mapping[str, Sequence[str]]) -> dict[str, str]:
        return {"left": "SELECT …", "done": "SELECT …"} if "shelves" in tables.get("user_oauth", ()) else {}

    def state(self, rows: Rows) -> str:
        return "done" if not rows["left"] else "partial" if rows["done"] else "pending"

    def left(self, rows: Rows) -> str:
        return f"users without shelves: {', '.join(rows['left'])}"

    def lost(self, rows: Rows) -> list[str]:
        return list(rows.get("left", ()))

    def lock(self, connection: Any) -> None:
        connection.log.append("lock")

    def has_rows_to_take_back(self, connection: Any) -> bool:
        return bool(connection.rows["done"])

    def take_back(self, connection: Any) -> None:
        connection.log.append("take back")

    def why_refused(self, env_file: str, values: Mapping[str, str]) -> str:
        return "" if "SHELF_ROOM" not in values else "the old file still names SHELF_ROOM"


def check_shelves(host: ServerHost) -> Iterator[Finding]:
    yield FINDINGS["release.odd_shelf"].finding(host.params["target_version"])


@pytest.fixture(autouse=True)
def invented(monkeypatch: pytest.MonkeyPatch) -> None:
    until_then = path.RELEASES[: path.RELEASES.index(LAST) + 1]
    monkeypatch.setattr(path, "RELEASES", (*until_then, STOP, NEXT))
    step = EnvStep("3.1.0", (Rule("FRACTAL_SHELF_URL", "drop", "nobody looks at shelves any more"),))
    monkeypatch.setattr(env_steps, "ENV_STEPS", [*env_steps.ENV_STEPS, step])
    monkeypatch.setitem(DATA_MIGRATIONS, "3.1.0", Shelves())
    monkeypatch.setitem(PRECHECKS, "3.1.0", (("shelves", check_shelves),))


@dataclass
class World:
    """A stopped instance at the newest release that there is, as far as a hop looks at it."""

    env_file: str
    version: str = LAST.version
    revision: str = OLD_HEAD
    rows: dict[str, list[str]] = field(default_factory=lambda: {"left": ["ann", "bob"], "done": []})
    log: list[str] = field(default_factory=list)
    fails: bool = False

    def state(self, *_options: Any, **_more: Any) -> dict[str, Any]:
        found = {f"data 3.1.0 {name}": value for name, value in self.rows.items()} if self.revision != OLD_HEAD else {}
        described = data_migrations(path.release_at_head(self.revision), DATA_MIGRATIONS, found)
        return {"reachable": True, "revision": self.revision, "other_sessions": [], **described}

    def switch(self, _environment: str, _old: str, version: str) -> bool:
        assert "SHELF_URL" not in Path(self.env_file).read_text(), "the release would read a file of the one before"
        self.version = version
        self.log.append(f"switch {version}")
        return True

    def fractalctl(self, _installation: Any, _python: str, command: str, answers: str = "") -> Any:
        self.log.append(command)
        if command == "set-db":
            self.revision = path.release(self.version).alembic_head
        elif self.fails:
            self.rows = {"left": ["bob"], "done": ["ann"]}
        else:
            assert answers == "yes\n"
            self.rows = {"left": [], "done": ["ann", "bob"]}
        return SimpleNamespace(returncode=0, tail=lambda: "said nothing", as_dict=dict)

    @contextlib.contextmanager
    def connect(self, *_options: Any, **_more: Any) -> Iterator[Any]:
        yield SimpleNamespace(begin=contextlib.nullcontext, rows=self.rows, log=self.log)

    def instance(self, *_options: Any, **_more: Any) -> Any:
        return SimpleNamespace(version=self.version, python="/venv/bin/python", environment="/venv")


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    env_file = tmp_path / ".fractal_server.env"
    env_file.write_text(
        "JWT_SECRET_KEY=k\nPOSTGRES_DB=d\nFRACTAL_RUNNER_BACKEND=slurm_sudo\nFRACTAL_SHELF_URL=https://s.example.org\n"
    )
    made = World(str(env_file))
    monkeypatch.setattr(hop, "facts", made.instance)
    monkeypatch.setattr(hop, "read_state", made.state)
    monkeypatch.setattr(strategies, "switch", made.switch)
    for module in (schema, data):
        monkeypatch.setattr(module, "state_of", made.state)
        monkeypatch.setattr(module, "connect", made.connect)
        monkeypatch.setattr(module, "run_fractalctl", made.fractalctl)
        monkeypatch.setattr(module, "installed_version", lambda *_options: made.version)
    monkeypatch.setattr(schema, "revision_of", lambda _connection: made.revision)
    monkeypatch.setattr(on_host, "facts", lambda *_options: SimpleNamespace(python_version="3.11.2"))
    monkeypatch.setattr(hop, "service_side", lambda *_options: InProcess())
    return made


def go(world: World, version: str) -> dict[str, Any]:
    return hop.make_hop(Installation(world.env_file), None, version)


def observed(world: World) -> dict[str, Any]:
    examined = env_steps.env_task(path=world.env_file, release="3.1.1", data_migration=False).migration
    checks = checks_on_the_way(host(world.version))
    instance = {
        **{"service": "fractal-server.service", "version": world.version, "environment": "/venv", "staged": []},
        **{"env_file": world.env_file, "active_state": "inactive", "hold": None, "lock": None},
    }
    server = [finding.as_dict() for name, check in checks if name != "rows" for finding in check(host(world.version))]
    return {
        "seen": {
            "instance": instance,
            "database": {"reachable": True, **world.state()},
            "environment": {"findings": [], "steps": examined.steps},
        },
        "server": {"findings": server},
    }


def host(version: str) -> Any:
    checked = ServerHost({"target_version": "3.1.1"})
    checked.__dict__.update(_route=(path.hops(version, "3.1.1"), ""))
    return checked


def test_precheck_plan_and_report_show_the_stop(world: World) -> None:
    state = server_state(observed(world), "3.1.1")
    assert [one["id"] for one in state["findings"]] == ["release.odd_shelf"]
    assert state["plan"]["hops"] == ["3.1.0", "3.1.1"] and state["plan"]["blocked"] == ""
    pending = [(stage["name"], stage["release"]) for stage in state["plan"]["stages"] if stage["state"] == "pending"]
    assert pending[3:] == [
        ("environment_file", ""),
        *(("install", "3.1.0"), ("schema", "3.1.0"), ("data", "3.1.0")),
        *(("install", "3.1.1"), ("schema", "3.1.1"), ("start", "3.1.1")),
    ]
    facts = {"s": {"__server_state": state, "__server_failure": state["failure"]}}
    [record] = gather(facts, {"fractal_server": ["s"], "fractal_web": []}, "prediction")
    why = {stage["title"]: stage["reason"] for stage in record["stages"]}
    assert why["Migrate the data for 3.1.0"] == "data migration: pending"
    assert "is to be changed for 3.1.0" in why["Migrate the environment file"]
    assert "3.1.1 is odd." in [finding["message"] for finding in record["findings"]]


def test_the_hops_go_through_it_step_by_step_and_a_second_run_does_nothing(world: World) -> None:
    first = go(world, "3.1.0")
    assert world.log == ["switch 3.1.0", "set-db", "lock", "take back", "update-db-data"]
    assert first["environment"]["steps"] == ["3.1.0"] and first["data"]["proof"] == {"left": [], "done": ["ann", "bob"]}
    again = go(world, "3.1.0")
    assert not again["changed"]
    last = go(world, "3.1.1")
    assert last["data"] is None and last["environment"]["steps"] == []
    plan = server_state(observed(world), "3.1.1")["plan"]
    assert [stage["name"] for stage in plan["stages"] if stage["state"] == "pending"] == ["start"]


def test_a_program_that_did_half_of_it_is_not_believed_and_nothing_goes_past_it(world: World) -> None:
    world.fails = True
    with pytest.raises(FractalError, match=r"do not prove the migration: users without shelves: bob\."):
        go(world, "3.1.0")
    plan = server_state(observed(world), "3.1.1")["plan"]
    assert plan["hops"] == ["3.1.0", "3.1.1"]
    assert ("data", "3.1.0") in [(s["name"], s["release"]) for s in plan["stages"] if s["state"] == "pending"]
    with pytest.raises(FractalError, match=r"data migration of 3\.1\.0 reads.*partial: users without shelves: bob"):
        go(world, "3.1.1")
    assert world.revision == STOP.alembic_head
    world.version, world.fails = "3.1.0", False
    assert go(world, "3.1.0")["data"]["healed"]


def test_skipping_it_is_refused_by_the_schema(world: World) -> None:
    with pytest.raises(FractalError, match=r"may drop what the data migration of 3\.1\.0 reads, which has not run"):
        go(world, "3.1.1")
    assert world.revision == OLD_HEAD and "set-db" not in world.log


def test_its_own_condition_refuses_it(world: World) -> None:
    with Path(world.env_file).open("a") as stream:
        stream.write("SHELF_ROOM=1\n")
    with pytest.raises(FractalError, match="still names SHELF_ROOM"):
        go(world, "3.1.0")
    assert "update-db-data" not in world.log


def test_who_was_left_out_for_good_is_told_afterwards(world: World) -> None:
    world.version, world.revision, world.rows = "3.1.1", NEXT.alembic_head, {"left": ["bob"]}
    seen = observed(world)
    seen["seen"]["instance"]["hold"] = {"run": "r", "since": "s", "controller": "c", "backup": ""}
    [lost] = [one for one in server_state(seen, "3.1.1")["findings"] if one["id"] == "migration.lost"]
    assert "bob" in lost["message"]


def test_the_way_out_of_2_16_has_the_checks_of_all_stops() -> None:
    names = [name for name, _check in checks_on_the_way(host("2.16.6"))]
    assert names[:2] == ["stops", "rows"] and names[-1] == "shelves"
    assert len(names) == 2 + sum(len(PRECHECKS[known.version]) for known in path.RELEASES if known.is_stop)
