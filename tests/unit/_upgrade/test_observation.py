"""One look at a host: whatever cannot be seen of it, the rest is told."""

from __future__ import annotations

import getpass
from types import SimpleNamespace
from typing import Any, Callable

import pytest
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._resources.together import state_and_review
from ansible_collections.fractal_ops.platform.plugins.module_utils._upgrade import observation
from ansible_collections.fractal_ops.platform.plugins.module_utils._window import look as look_of
from ansible_collections.fractal_ops.platform.plugins.modules import fractal_observe

SERVER = {
    "service": "fractal-server.service",
    "env_file": "/srv/.fractal_server.env",
    "python": "/v/bin/python3",
    "version": "2.16.6",
    "python_version": "3.11.7",
}
WEB = {"env_file": "/web/.env", "version": "1.20.1", "active_state": "active"}
STATE = {"reachable": True, "revision": "83bc2ad3ffcc", "data_migration": "done", "stop": "2.17.0"}
OPTIONS = dict.fromkeys(
    "service python env_file url backup_root release oauth_client oauth_client_name runner_backend verification".split()
) | {"strategy": "staged", "default_group_name": "All"}  # fmt: skip
PARTS = ("discover_server", "discover_web", "read_state", "env_task", "is_stale", "newest_without_dump")


class Host:
    """A host of which each part answers, or fails as it is told."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {
            "discover_server": SimpleNamespace(as_dict=lambda: dict(SERVER)),
            "discover_web": SimpleNamespace(as_dict=lambda: dict(WEB)),
            "read_state": STATE,
            "is_stale": False,
            "newest_without_dump": ["/backups/fractal-server.service/r"],
        }
        self.asked: dict[str, tuple[Any, ...]] = {}
        self.file: dict[str, Any] = {}
        self.differs, self.steps, self.doors = False, ["2.17.0"], 0
        self.order: list[Any] = []
        self.user = getpass.getuser()

    def part(self, name: str) -> Callable[..., Any]:
        def answer(*given: Any, **options: Any) -> Any:
            self.asked[name] = given
            self.order.append(name)
            if name == "discover_server" and not isinstance(self.answers[name], Exception):
                given[-1](self.user, SERVER["python"])
                self.order.append("discovered")
            if name == "env_task":
                self.file = options
            if isinstance(self.answers.get(name), Exception):
                raise self.answers[name]
            return self if name == "env_task" else self.answers[name]

        return answer

    # the door
    def call(self, function: Callable[..., Any], *given: Any) -> Any:
        self.doors += 1
        return function(*given)

    # the environment file
    @property
    def migration(self) -> SimpleNamespace:
        return SimpleNamespace(steps=self.steps)

    def refuse_blockers(self) -> None:
        if isinstance(self.answers.get("blockers"), Exception):
            raise self.answers["blockers"]

    def apply(self, write: bool) -> bool:
        assert write is False
        return self.differs

    def result(self, changed: bool) -> dict[str, Any]:
        return {"changed": changed, "steps": self.steps, "findings": []}


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Host:
    made = Host()
    for name in PARTS:
        monkeypatch.setattr(observation, name, made.part(name))
    monkeypatch.setattr(observation, "find_installation", lambda options: options["service"])
    monkeypatch.setattr(observation, "service_side", lambda *_where: made)
    monkeypatch.setattr(observation.Door, "stand_by", lambda door, needs: made.order.append((door.python, needs)))
    monkeypatch.setattr(observation, "dismiss", lambda: made.order.append("dismissed"))
    monkeypatch.setattr(look_of, "is_worked_on", lambda _unit: False)
    monkeypatch.setattr(look_of, "read_events", lambda _unit: [])
    return made


def look(kind: str = "server", **options: Any) -> dict[str, Any]:
    return fractal_observe.observe({**OPTIONS, "kind": kind, **options})


def test_one_look_at_a_server_has_all_that_a_plan_needs_and_one_child_asks_the_database(host: Host) -> None:
    seen = look(release="2.17.0", oauth_client="google", url="http://127.0.0.1:1")
    assert seen["instance"] == SERVER and seen["database"] == STATE
    assert seen["environment"] == {"changed": True, "steps": ["2.17.0"], "findings": []}
    assert host.doors == 1
    assert host.asked["discover_server"][:-1] == ("fractal-server", None, "http://127.0.0.1:1", "staged")
    assert host.asked["read_state"] == ("fractal-server",)
    assert seen["backups"] == {"without_dump": []}, "nobody said where backups are"
    assert (host.file["release"], host.file["oauth_client"], host.file["path"]) == (
        *("2.17.0", "google"),
        SERVER["env_file"],
    )
    assert host.file["tasks_python"] == {"version": "3.11", "interpreter": SERVER["python"]}, "asked once"
    assert look(backup_root="/backups")["backups"] == {"without_dump": ["/backups/fractal-server.service/r"]}
    assert host.asked["newest_without_dump"] == ("/backups/fractal-server.service",)


@pytest.mark.parametrize(
    ("database", "migration", "stop"),
    [
        (STATE, False, "2.17.0"),
        ({**STATE, "data_migration": "partial"}, True, "2.17.0"),
        ({**STATE, "data_migration": "pending"}, True, "2.17.0"),
        (FractalError("refused"), True, None),
    ],
)
def test_the_file_is_examined_for_the_database_that_was_seen(
    host: Host, database: Any, migration: bool, stop: str | None
) -> None:
    host.answers["read_state"] = database
    look()
    assert (host.file["data_migration"], host.file["data_stop"]) == (migration, stop)


def test_a_unit_that_leads_to_nothing_is_told_with_its_reason(host: Host) -> None:
    host.answers["discover_server"] = host.answers["discover_web"] = FractalError("The unit is masked.")
    assert look() == look("web") == {"instance": None, "reason": "The unit is masked."}
    assert host.doors == 0 and host.order.count("dismissed") == 1


def test_the_child_is_started_before_the_slow_parts_of_the_discovery(host: Host) -> None:
    look()
    begun = (SERVER["python"], observation.ONLY_STATE.needs)
    assert host.order[:5] == ["discover_server", begun, "discovered", "read_state", "dismissed"]
    host.order.clear()
    look(verification={"version": "2.17.0", "check_email": False})
    assert host.order[1] == (SERVER["python"], state_and_review), "whatever it will be asked"


def test_of_an_account_that_does_not_exist_there_is_no_child_and_the_rest_is_told(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(observation.Account, "named", refuse)
    assert look()["instance"] == SERVER
    assert "dismissed" in host.order and not any(isinstance(one, tuple) for one in host.order)


def refuse(name: str) -> None:
    raise FractalError(f"The account {name} does not exist on this host.")


def test_what_cannot_be_seen_hides_nothing_else(host: Host) -> None:
    host.answers["read_state"] = FractalError("The server refuses.")
    assert look()["database"] == {"reachable": False, "reason": "The server refuses."}
    host.answers["read_state"] = KeyError("tables")
    host.answers["env_task"] = FractalError("There is no environment file.")
    host.answers["newest_without_dump"] = FractalError("/backups can be changed by others.")
    seen = look(backup_root="/backups")
    assert seen["instance"] == SERVER and seen["backups"]["failed"]
    assert seen["database"] == {"failed": True, "msg": "KeyError: 'tables'"}
    assert seen["environment"] == {"failed": True, "msg": "There is no environment file."}
    host.answers["is_stale"] = FileNotFoundError("/web")
    web = look("web")
    assert web["instance"] == WEB and web["environment"]["failed"] and web["process"]["failed"]


def test_a_web_says_whether_its_file_and_its_process_are_as_they_have_to_be(host: Host) -> None:
    seen = look("web", runner_backend="slurm_ssh", oauth_client_name="mock", service="fractal-web@a")
    assert not seen["environment"]["changed"] and seen["process"] == {"stale": False}
    assert host.file["kind"] == "web" and "release" not in host.file and host.file["service"] == "fractal-web@a"
    assert (host.file["runner_backend"], host.file["oauth_client_name"]) == ("slurm_ssh", "mock")
    host.differs, host.answers["is_stale"] = True, True
    seen = look("web")
    assert seen["environment"]["changed"] and seen["process"] == {"stale": True}
    host.answers["blockers"] = FractalError("it cannot be migrated")
    assert look("web")["environment"] == {"failed": True, "msg": "it cannot be migrated"}
