"""The program of the window: the order of its stages, and what follows a failure in each of them."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Callable

import pytest
from ansible_collections.fractal_ops.platform.plugins.module_utils._backup.make import Before
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.accounts import Account
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.door import Door
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.hold import Hold
from ansible_collections.fractal_ops.platform.plugins.module_utils._venv.interpreter import PythonFacts
from ansible_collections.fractal_ops.platform.plugins.module_utils._window import journal as journal_file
from ansible_collections.fractal_ops.platform.plugins.module_utils._window import program
from ansible_collections.fractal_ops.platform.plugins.module_utils._window.journal import (
    Journal,
    read_events,
    summary,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._window.program import Order, run_window

UNIT = "fractal-server.service"
TODO = dict.fromkeys(("stop", "backup", "environment_file", "install", "schema", "data", "start"), True)
PLAN = {"todo": {**TODO, "workers": False}, "down": True, "hops": ["2.17.0", "2.18.0"]}
ORDER = Order(
    unit=UNIT,
    id="p1",
    lock={"run": "r", "controller": "c", "abandoned": ""},
    controller="ops1",
    python="/opt/venv/bin/python",
    backup_root="/b",
    plan=PLAN,
    target="2.18.0",
)
HOLD = Hold("h1", "2026-11-26T20:00:00Z", "ops1", "/b/fractal-server.service/h1")
FORWARDS = [
    "look",
    "drain",
    "stop",
    "backup",
    "environment_file",
    "hop 2.17.0",
    "hop 2.18.0",
    "resources",
    "note",
    "start",
]
BACKWARDS = ["stop again", "old environment", "old database", "old files", "old service", "clean up"]

LOOK, BACK_UP, MIGRATE_FILE, HOP = (  # the real ones
    *(program.Window._look, program.Window._back_up, program.Window._migrate_file, program.Window._hop),
)
BEFORE = Before(PythonFacts("/opt/venv", "/usr/bin/python3", "2.16.6", "3.11.7", True), ["a==1"], [])


class Host:
    """A host on which each stage notes itself, and fails where it is told to."""

    def __init__(self) -> None:
        self.hold: Hold | None = None
        self.backup = False
        self.revision = "old"
        self.fails: set[str] = set()
        self.swept: list[str] = []

    def left(self) -> dict[str, Any]:
        backup = {"path": HOLD.backup, "revision": "old", "version": "2.16.6", "environment": "/opt/venv"}
        return {
            "found": {
                "hold": self.hold.as_dict() if self.hold else None,
                "backup": backup if self.backup else None,
                "folder": "/b",
                "ran_before": True,
            },
            "instance": {"service": UNIT, "active_state": "inactive", "version": "2.16.6"},
            "database": {"revision": self.revision, "data_migration": "pending"},
            "stage": "",
        }


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    found = Host()
    monkeypatch.setattr(journal_file, "FOLDER", str(tmp_path / "fractal-ops"))
    monkeypatch.setattr(program, "locked", lambda *_args, **_more: nullcontext())
    monkeypatch.setattr(program, "read_hold", lambda _unit: found.hold)

    def stage(name: str, then: Any = None, **result: Any) -> Any:
        def work(*_unused: Any, **_more: Any) -> dict[str, Any]:
            if name in found.fails:
                raise FractalError(f"{name} is broken")
            if then:
                then()
            return {"changed": True, **result}

        return work

    def stop_and_hold(_unit: str, _new: Hold, when_held: Callable[[], None]) -> tuple[bool, Hold]:
        stage("stop")()
        found.hold = HOLD
        when_held()
        return True, HOLD

    window = program.Window
    for method, work in {
        "_look": stage("look"),
        "_drain": stage("drain"),
        "_back_up": stage("backup", lambda: setattr(found, "backup", True)),
        "_migrate_file": stage("environment_file", handed_on={"poll_interval": 5}),
        "_give_resource": stage("resources"),
        "_start": stage("start", lambda: setattr(found, "hold", None)),
        "_start_again": stage("start again", lambda: setattr(found, "hold", None)),
        "_installation": lambda _self: None,
        "_left": lambda self: {**found.left(), "stage": self.current},
        "_stand_by": lambda _self, _release="": None,
    }.items():
        monkeypatch.setattr(window, method, work)

    def hop(_self: Any, release: str) -> dict[str, Any]:
        if f"hop {release}" in found.fails:
            raise FractalError("set-db is broken")
        found.revision = "new"
        return {"changed": True}

    monkeypatch.setattr(window, "_hop", hop)
    monkeypatch.setattr(program, "stop_and_hold", stop_and_hold)
    monkeypatch.setattr(program, "note_after", stage("note"))

    def go_back(_installation: Any, _found: Any, _database: Any, noted: Any, **_options: Any) -> None:
        for name in BACKWARDS:
            noted(name, stage(name))
        found.hold, found.revision = None, "old"

    monkeypatch.setattr(program, "go_back", go_back)
    monkeypatch.setattr(program, "sweep", found.swept.append)
    return found


def ended(order: Order = ORDER) -> tuple[list[str], dict[str, Any]]:
    journal = Journal(UNIT)
    run_window(order, journal)
    journal.close()
    events = read_events(UNIT)
    names = [journal_file.key(event) for event in events if event["event"] == "stage"]
    return names, summary(events)


def test_the_stages_come_in_their_order_and_end_upgraded(host: Host) -> None:
    names, told = ended()
    assert names == FORWARDS
    assert told["outcome"] == "upgraded" and told["window_seconds"] is not None
    assert host.hold is None


@pytest.mark.parametrize("refuses", ["see_before", "make_backup", "make_hop"])
def test_what_would_be_refused_later_ends_the_window_before_anything_stops(
    host: Host, monkeypatch: pytest.MonkeyPatch, refuses: str
) -> None:
    """Backup and hop are asked in check mode for just what they will be asked for, and change nothing."""
    asked: list[tuple[Any, ...]] = []

    def work(name: str) -> Callable[..., dict[str, Any]]:
        def told(*given: Any, **more: Any) -> dict[str, Any]:
            asked.append((name, *given[1:], more))
            if name == refuses:
                raise FractalError(f"{name} would be refused")
            return BEFORE if name == "see_before" else {"changed": True}

        return told

    for name in ("see_before", "make_backup", "make_hop"):
        monkeypatch.setattr(program, name, work(name))
    monkeypatch.setattr(program, "would_hold", lambda unit, hold: asked.append(("would_hold", unit, hold.backup)))
    monkeypatch.setattr(program.Window, "_look", LOOK)
    names, told = ended(replace(ORDER, method="copy"))
    assert (names, told["outcome"], told["msg"]) == (["look"], "left", f"{refuses} would be refused")
    assert host.hold is None and told["window_seconds"] is None
    options = {"check_mode": True}
    root, name = f"/b/{UNIT}", "rehearsal"
    expected = [
        ("would_hold", UNIT, ""),
        ("see_before", ORDER.python, "copy", {}),
        ("make_backup", ORDER.python, root, name, "restore", {**options, "method": "copy", "before": BEFORE}),
        ("make_hop", ORDER.python, "2.17.0", "staged", options),
    ]
    assert asked == expected[: {"see_before": 2, "make_backup": 3, "make_hop": 4}[refuses]]


def test_the_look_asks_only_for_what_will_be_done(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """In place the new release does not exist before the hop."""
    asked: list[str] = []
    for name in ("see_before", "make_backup", "make_hop", "would_hold"):
        monkeypatch.setattr(program, name, lambda *_given, name=name, **_more: asked.append(name))
    for strategy, plan in (("in_place", PLAN), ("staged", {**PLAN, "todo": {**TODO, "backup": False}, "hops": []})):
        order = replace(ORDER, strategy=strategy, plan=plan)
        LOOK(program.Window(order, None))  # type: ignore[arg-type]
    assert asked == ["would_hold", "see_before", "make_backup", "would_hold"]


def test_backup_and_file_get_what_was_seen_before_the_stop_and_ask_in_a_window_that_is_resumed(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Any] = []

    def note(name: str) -> Callable[..., Any]:
        def work(*_given: Any, **options: Any) -> Any:
            given.append((name, options.get("before" if name == "make_backup" else "tasks_python")))
            return {"changed": True, "copy_seconds": 0.0} if name == "make_backup" else Task()

        return work

    class Task:
        def refuse_blockers(self) -> None:
            """Nothing is in the way."""

        def apply(self, write: bool) -> bool:
            return write

        def result(self, changed: bool) -> dict[str, Any]:
            return {"changed": changed, "handed_on": {}}

    window = program.Window
    monkeypatch.setattr(window, "_look", lambda self: setattr(self, "before", BEFORE) or {"changed": False})
    monkeypatch.setattr(window, "_back_up", BACK_UP)
    monkeypatch.setattr(window, "_migrate_file", MIGRATE_FILE)
    monkeypatch.setattr(window, "_installation", lambda _self: SimpleNamespace(env_file="/srv/.env"))
    for name in ("make_backup", "env_task"):
        monkeypatch.setattr(program, name, note(name))
    ended()
    assert given == [("make_backup", BEFORE), ("env_task", {"version": "3.11", "interpreter": ORDER.python})]
    host.hold = HOLD
    given.clear()
    ended()
    assert given == [("make_backup", None), ("env_task", None)]


@pytest.mark.parametrize(("copy_seconds", "again"), [(0.4, False), (0.0, True)])
def test_file_and_release_are_seen_while_the_database_is_copied_and_again_where_it_had_to_be_dumped(
    copy_seconds: float, again: bool, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Any] = []
    window = program.Window(ORDER, None)  # type: ignore[arg-type]
    host.hold = HOLD

    def make_backup(*_given: Any, meanwhile: Callable[[], None], **_more: Any) -> dict[str, Any]:
        meanwhile()
        made.append((window.env_task, window.installed))
        return {"copy_seconds": copy_seconds}

    monkeypatch.setattr(program, "make_backup", make_backup)
    monkeypatch.setattr(program, "env_task", lambda **_options: "task")
    monkeypatch.setattr(program, "facts", lambda *_where: BEFORE.environment)
    monkeypatch.setattr(program, "make_hop", lambda *given, **more: {"hop": given[2], **more})
    monkeypatch.setattr(window, "_installation", lambda: SimpleNamespace(env_file="/srv/.env"))
    monkeypatch.setattr(window, "_door", lambda: SimpleNamespace(python=ORDER.python, account=None))
    BACK_UP(window)
    assert made == [("task", "2.16.6")] and (window.env_task is None) == again
    hops = [HOP(window, release) for release in PLAN["hops"]]
    assert [hop["installed"] for hop in hops] == [None if again else "2.16.6", None], "a hop changes it"


def test_what_cannot_be_seen_while_the_database_is_copied_is_said_by_its_own_stage(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuses(**_options: Any) -> Any:
        raise FractalError("There is no environment file.")

    monkeypatch.setattr(program, "env_task", refuses)
    window = program.Window(ORDER, None)  # type: ignore[arg-type]
    monkeypatch.setattr(window, "_installation", lambda: SimpleNamespace(env_file="/srv/.env"))
    window._see_what_follows()
    with pytest.raises(FractalError, match="no environment file"):
        window._migrate_file()


@pytest.mark.parametrize("strategy", ["staged", "in_place"])
def test_children_stand_by_in_the_environments_that_do_not_change(
    strategy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of the old one before the stop; those of a release before the hop to it, where it is prepared."""
    known = tmp_path / "venv/bin/python"
    beside = {release: tmp_path / f"venv-{release}/bin/python" for release in PLAN["hops"]}
    for path in (known, beside["2.18.0"]):
        path.parent.mkdir(parents=True)
        path.touch()
    started: list[tuple[str, list[str]]] = []
    monkeypatch.setattr(
        Door, "stand_by", lambda self, *which: started.append((self.python, [one.__name__ for one in which]))
    )
    monkeypatch.setattr(program.Window, "_door", lambda self: Door(Account.named(None), self.order.python))
    order = replace(ORDER, python=str(known), strategy=strategy)
    window = program.Window(order, None)  # type: ignore[arg-type]
    window._stand_by()
    of_old = [(str(known), ["drain", "copy_database", "read_state"])]
    assert started == (of_old if strategy == "staged" else []), "2.17.0 is not there"
    window._stand_by("2.17.0")
    of_new = [(str(beside["2.18.0"]), ["migrate", "read_after"])]
    assert started == (of_old + of_new if strategy == "staged" else [])


def test_only_what_the_plan_holds_is_done(host: Host) -> None:
    todo = dict.fromkeys(PLAN["todo"], False)
    names, _told = ended(replace(ORDER, plan={"todo": todo, "down": False, "hops": []}))
    assert names == ["look", "environment_file", "resources", "start"], "one that only has not answered is not stopped"
    host.hold = HOLD
    names, _told = ended(replace(ORDER, jobs_in_flight="fail", plan={**PLAN, "todo": {**TODO, "stop": False}}))
    assert "look" not in names[4:] and "drain" not in names[4:], "the service is down already"


def test_with_workers_elsewhere_it_ends_before_the_start_and_goes_on_with_it(host: Host) -> None:
    order = replace(ORDER, workers_follow=True)
    names, told = ended(order)
    assert (names, told["outcome"]) == (FORWARDS[:-1], "waits")
    assert host.hold, "until the workers are switched the service stays held"
    names, told = ended(replace(order, only_start=True))
    assert (names[-1], told["outcome"]) == ("start", "upgraded")


@pytest.mark.parametrize("failed", ["look", "drain"])
def test_before_the_stop_nothing_has_to_be_brought_back(host: Host, failed: str) -> None:
    host.fails = {failed}
    names, told = ended(replace(ORDER, on_failure="rollback"))
    assert names[-1] == failed and told["outcome"] == "left"
    assert "no upgrade is in progress" in told["say"]


@pytest.mark.parametrize("failed", ["backup", "environment_file", "hop 2.17.0"])
@pytest.mark.parametrize("wish", ["stop", "rollback"])
def test_while_the_database_is_as_it_was_the_old_instance_comes_back(host: Host, failed: str, wish: str) -> None:
    host.fails = {failed}
    names, told = ended(replace(ORDER, on_failure=wish))
    assert names[-len(BACKWARDS) - 1 :] == [failed, *BACKWARDS]
    assert told["outcome"] == "back" and "in service" in told["say"]


@pytest.mark.parametrize("failed", ["hop 2.18.0", "resources", "note", "start"])
def test_once_the_database_is_changed_it_depends_on_the_operator(host: Host, failed: str) -> None:
    host.fails = {failed}
    names, told = ended()
    assert (names[-1], told["outcome"]) == (failed, "left")
    assert f"'{failed}' failed" in told["say"] and "platform.rollback" in told["say"]
    host.hold, host.backup, host.revision = None, False, "old"
    _names, told = ended(replace(ORDER, on_failure="rollback"))
    assert told["outcome"] == "back"


def test_a_way_back_that_fails_is_left_to_a_person(host: Host) -> None:
    host.fails = {"hop 2.18.0", "old database"}
    _names, told = ended(replace(ORDER, on_failure="rollback"))
    assert told["outcome"] == "left"
    assert "set-db is broken Going back failed, too: old database is broken" in told["msg"]
    assert host.hold, "it stays held"


def test_a_failure_from_outside_is_decided_by_the_same_table(host: Host) -> None:
    ended(replace(ORDER, workers_follow=True))
    order = replace(ORDER, failure={"stage": "workers", "msg": "no room"}, on_failure="rollback")
    names, told = ended(order)
    assert names[-len(BACKWARDS) :] == BACKWARDS and (told["outcome"], told["msg"]) == ("back", "no room")
    assert host.swept == [UNIT], "what was killed may have left something beside the hold"


def test_only_workers_were_to_change(host: Host) -> None:
    todo = {**dict.fromkeys(TODO, False), "workers": True}
    host.hold = replace(HOLD, backup="")
    order = replace(
        ORDER, plan={"todo": todo, "down": True, "hops": []}, failure={"stage": "workers", "msg": "no room"}
    )
    names, told = ended(order)
    assert (names, told["outcome"]) == (["start again"], "restarted")


def test_a_bug_is_a_failure_like_any_other(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_unused: Any) -> dict[str, Any]:
        raise KeyError("x")

    monkeypatch.setattr(program.Window, "_back_up", broken)
    _names, told = ended()
    assert told["outcome"] == "back" and "KeyError in" in told["msg"]


def test_a_lock_that_is_another_runs_changes_nothing(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_args: Any, **_more: Any) -> Any:
        raise FractalError("The lock was taken over.")

    monkeypatch.setattr(program, "locked", refused)
    names, told = ended()
    assert (names, told["outcome"], told["msg"]) == ([], "left", "The lock was taken over.")
