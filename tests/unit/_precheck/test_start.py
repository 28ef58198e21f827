"""What happens at each start, and who else uses what will be upgraded."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.systemd import Unit, parse_unit
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.alive import Alive
from ansible_collections.fractal_ops.platform.plugins.module_utils._precheck import sharing, start
from ansible_collections.fractal_ops.platform.plugins.module_utils._precheck.sharing import (
    Share,
    check_shared,
    comes_up,
    database_of,
    foreign_processes,
    leads_into,
    shared_with,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._precheck.start import check_answers, check_start


def unit(name: str = "other.service", **properties: Any) -> Unit:
    lines = {"LoadState": "loaded", "ActiveState": "active", "WorkingDirectory": "/nowhere", **properties}
    command = lines.pop("command", "/bin/true")
    lines["ExecStart"] = f"{{ path=x ; argv[]={command} ; ignore_errors=no ; pid=0 }}"
    return parse_unit(name, "".join(f"{key}={value}\n" for key, value in lines.items()))


def server(**instance: Any) -> Any:
    known = {
        "service": "fractal-server.service",
        "hold": None,
        "active_state": "active",
        "url": "http://127.0.0.1:8000",
        "version": "2.16.6",
        "address_problem": "",
        "synchroniser": "",
        "environment": "/opt/venv",
        "env_file": "/nowhere/.fractal_server.env",
    }
    return SimpleNamespace(**{**known, **instance})


@pytest.mark.parametrize(
    ("instance", "answer", "expected"),
    [
        ({}, Alive({"version": "2.16.6"}), []),
        ({}, Alive({"version": "2.15.0"}), ["unit.other_version"]),
        ({}, Alive(problem="refused"), ["unit.no_answer"]),
        ({"url": "", "address_problem": "g.py computes 'bind'"}, Alive(problem="unknown"), ["unit.no_answer"]),
        ({"hold": {"run": "r"}}, Alive(problem="refused"), []),
        ({"active_state": "failed"}, Alive(problem="refused"), []),
        ({"active_state": "failed", "address_problem": "g.py"}, Alive(problem="x"), ["unit.address_unknown"]),
    ],
)
def test_the_server_answers_where_it_will_be_waited_for(
    monkeypatch: pytest.MonkeyPatch, instance: dict[str, Any], answer: Alive, expected: list[str]
) -> None:
    monkeypatch.setattr(start, "ask", lambda *_: answer)
    found = list(check_answers(SimpleNamespace(instance=server(**instance))))
    assert [finding.id for finding in found] == expected
    assert all("fractal_server_url" in finding.fix for finding in found)


def test_launchers_that_synchronise_are_refused() -> None:
    host: Any = SimpleNamespace(instance=server(synchroniser="uv run"), unit=unit())
    [finding] = check_start(host)
    assert finding.id == "unit.synchronises" and "'uv run'" in finding.message and "/opt/venv/bin" in finding.fix


def started(env_file: Path, began: float, **properties: Any) -> Any:
    """A unit whose start began ``began`` seconds after the file was written, and took two seconds."""
    there = unit("fractal-server.service", MainPID="1", WorkingDirectory=str(env_file.parent), **properties)
    at = os.stat(env_file).st_mtime + began
    timed = Unit(**{**vars(there), "start_began_at": at, "started_at": at + 2})
    return SimpleNamespace(instance=server(env_file=str(env_file)), unit=timed)


@pytest.mark.parametrize(
    ("command", "began", "expected"),
    [
        ("/usr/local/bin/render", -1.0, ["unit.start_writes_file"]),
        ("/usr/local/bin/render", -900.0, []),
        ("/usr/local/bin/render", 900.0, []),
        ("/bin/cp /etc/f .fractal_server.env", 900.0, ["unit.start_names_file"]),
        ("/bin/sh -c ./render.sh", 900.0, ["unit.start_names_file"]),
        ("/bin/sh -c sleep 1", 900.0, []),
    ],
)
def test_commands_before_the_start(tmp_path: Path, command: str, began: float, expected: list[str]) -> None:
    env_file = tmp_path / ".fractal_server.env"
    env_file.touch()
    (tmp_path / "render.sh").write_text("cat /etc/x > .fractal_server.env\n")
    pre = f"{{ path=x ; argv[]={command} ; ignore_errors=no ; pid=0 }}"
    found = list(check_start(started(env_file, began, ExecStartPre=pre)))
    assert [finding.id for finding in found] == expected
    assert all(command in finding.message for finding in found)


def test_without_a_command_before_the_start_the_files_age_says_nothing(tmp_path: Path) -> None:
    env_file = tmp_path / ".fractal_server.env"
    env_file.touch()
    assert list(check_start(started(env_file, -1.0))) == []


def test_a_file_that_lies_in_memory_is_written_by_somebody(tmp_path: Path) -> None:
    link = tmp_path / ".fractal_server.env"
    link.symlink_to("/run/secrets/fractal.env")
    [finding] = check_start(SimpleNamespace(instance=server(env_file=str(link)), unit=unit()))
    assert finding.id == "unit.start_writes_file" and "/run/secrets" in finding.message


OWN = Share("/opt/venv", "/srv/fractal", ("localhost", "5432", "fractal_db"))
SERVES = "/v/bin/gunicorn fractal_server.main:app"


@pytest.mark.parametrize(
    ("properties", "shared"),
    [
        ({"command": "/opt/venv/bin/fractalctl start"}, ["environment"]),
        ({"command": "/bin/bash -c source /opt/venv/bin/activate && exec gunicorn x"}, ["environment"]),
        (
            {"command": "/opt/venv/bin/python3 /usr/local/bin/report.py", "WorkingDirectory": "/srv/fractal"},
            ["environ"],
        ),
        ({"command": "/opt/venv-old/bin/fractalctl start"}, []),
        ({"command": SERVES, "WorkingDirectory": "/srv/fractal"}, ["directory"]),
        ({"command": "/bin/true", "WorkingDirectory": "/srv/fractal"}, []),
        ({"command": SERVES, "Environment": "POSTGRES_DB=fractal_db POSTGRES_HOST=127.0.0.1"}, ["database"]),
        ({"command": SERVES, "Environment": "POSTGRES_DB=fractal_db POSTGRES_HOST=elsewhere"}, []),
        ({"command": "/v/bin/gunicorn hub:app", "Environment": "POSTGRES_DB=fractal_db"}, []),
    ],
)
def test_what_another_unit_shares(properties: dict[str, Any], shared: list[str]) -> None:
    found = shared_with(unit(**properties), OWN)
    assert len(found) == len(shared) and all(word in told for word, told in zip(shared, found))


def test_a_command_before_the_start_and_a_link_lead_into_the_environment_too(tmp_path: Path) -> None:
    pre = "{ path=x ; argv[]=/opt/venv/bin/alembic upgrade ; ignore_errors=no ; pid=0 }"
    assert shared_with(unit(ExecStartPre=pre), OWN)
    (tmp_path / "venv-2.16.6" / "bin").mkdir(parents=True)
    (tmp_path / "venv").symlink_to(tmp_path / "venv-2.16.6")
    (tmp_path / "fractalctl").symlink_to(tmp_path / "venv-2.16.6" / "bin" / "fractalctl")
    assert leads_into(f"{tmp_path}/fractalctl start", str(tmp_path / "venv"))
    assert leads_into(f"{tmp_path}/venv-2.16.6/bin/gunicorn x:app", str(tmp_path / "venv"))
    assert not leads_into(f"{tmp_path}/other start", str(tmp_path / "venv"))


def test_only_units_that_run_or_will_are_in_the_way() -> None:
    assert comes_up(unit())
    assert comes_up(unit(ActiveState="inactive", UnitFileState="enabled"))
    assert comes_up(unit(ActiveState="inactive", UnitFileState="static", TriggeredBy="other.timer"))
    assert not comes_up(unit(ActiveState="inactive", UnitFileState="disabled"))


def test_the_unit_that_shares_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    own = unit("fractal-server.service", command="/opt/venv/bin/fractalctl start")
    test = unit("fractal-server@test.service", command="/opt/venv/bin/fractalctl start")
    monkeypatch.setattr(sharing, "all_units", lambda: [own, test, unit("cron.service")])
    monkeypatch.setattr(sharing, "foreign_processes", lambda *_: [(7, ["/opt/venv/bin/python3", "-i"])])
    host: Any = SimpleNamespace(instance=server(), unit=own, values={"POSTGRES_DB": "fractal_db"})
    shared, process = check_shared(host)
    assert shared.id == "unit.shared" and "fractal-server@test.service" in shared.message
    assert process.id == "unit.shared_process" and "/opt/venv/bin/python3 -i (process 7)" in process.message


def test_the_local_database_has_many_names() -> None:
    names = ("", "localhost", "127.0.0.1", "::1", "/var/run/postgresql")
    assert {database_of({"POSTGRES_DB": "d", "POSTGRES_HOST": name}) for name in names} == {("localhost", "5432", "d")}
    assert database_of({}) is None


def test_processes_from_the_environment(tmp_path: Path) -> None:
    for pid, command in {
        "5": "/opt/venv/bin/python3 /opt/venv/bin/gunicorn",
        "6": "/opt/venv/bin/python3 -i",
        "7": "/usr/bin/python3 /opt/venv/bin/alembic",
        "8": "/usr/bin/python3 -m http.server /opt/venv/bin/x",
        "9": "/opt/venv/bin/python3 -m fractal_server.app.runner.executors.slurm_common.remote",
        "10": "/opt/venv/bin/python3 -m fractal_server.runner.executors.slurm_common.remote",
    }.items():
        (tmp_path / pid).mkdir()
        (tmp_path / pid / "cmdline").write_bytes(command.replace(" ", "\0").encode() + b"\0")
    (tmp_path / "self").mkdir()
    assert [pid for pid, _command in foreign_processes("/opt/venv", {5}, str(tmp_path))] == [6, 7]
