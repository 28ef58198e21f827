"""Two instances in one inventory: one that fails leaves the other one alone, and is upgraded once it is mended."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from conftest import execute, named
from scenario import query
from testinfra.host import Host

from playbooks import rows, run_playbook, state

WORKERS = "/opt/fractal/workers/bin/python3"


def release_of(host: Host, python: str = "/opt/fractal/venv/bin/python3") -> str:
    code = "from importlib.metadata import version; print(version('fractal-server'))"
    found: str = host.check_output(f"runuser -u fractal -- {python} -c %s", code)
    return found


def alive(host: Host) -> str:
    version: str = json.loads(host.check_output("curl -sf http://localhost:8000/api/alive/"))["version"]
    return version


@pytest.fixture(scope="module")
def both() -> tuple[Host, Host]:
    return named("fractal_server", "server"), named("fractal_server", "closed")


@pytest.fixture(scope="module")
def old(both: tuple[Host, Host]) -> None:
    """Both instances are back at 2.16."""
    assert run_playbook("rollback", "-e", "fractal_accept_data_loss=true").code == 0
    assert [alive(host) for host in both] == ["2.16.6", "2.16.6"]
    assert release_of(both[1], WORKERS) == "2.16.6" and not both[1].file("/opt/fractal/workers").is_symlink


@pytest.fixture
def table_in_the_way(old: None, both: tuple[Host, Host]) -> Iterator[None]:
    """The migration of one instance's schema breaks inside its window."""
    execute(both[1], "create table profile (); alter table profile owner to fractal")
    yield
    execute(both[1], "drop table profile")


def test_one_fails_and_the_other_is_upgraded(table_in_the_way: None, both: tuple[Host, Host]) -> None:
    good, bad = both
    before = (state(bad), rows(bad))
    run = run_playbook("upgrade")
    assert run.code != 0
    assert (run.reports["server"]["outcome"], run.reports["closed"]["outcome"]) == ("upgraded", "failed")
    assert "profile" in run.reports["closed"]["failure"]
    assert "old instance is back in service" in run.reports["closed"]["failure"]
    assert [check["id"] for check in run.reports["server"]["checks"] if check["status"] == "failed"] == []
    assert [web["outcome"] for web in run.reports["server"]["web"]] == ["upgraded"]
    assert (alive(good), alive(bad)) == ("2.17.0", "2.16.6")
    assert (release_of(bad), release_of(bad, WORKERS)) == ("2.16.6", "2.16.6")
    assert (state(bad), rows(bad)) == before


def test_the_mended_one_is_upgraded_and_the_other_is_left_alone(old: None, both: tuple[Host, Host]) -> None:
    good, mended = both
    before = (
        state(good),
        query(good, "select * from resource"),
        good.check_output("systemctl show -P MainPID fractal-server"),
    )
    run = run_playbook("upgrade")
    assert run.code == 0
    assert (run.reports["server"]["outcome"], run.reports["closed"]["outcome"]) == ("up to date", "upgraded")
    assert (alive(mended), release_of(mended), release_of(mended, WORKERS)) == ("2.17.0",) * 3
    after = (
        state(good),
        query(good, "select * from resource"),
        good.check_output("systemctl show -P MainPID fractal-server"),
    )
    assert after == before
