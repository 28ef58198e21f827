"""Checks of a server that need no server: releases, Python, clients, and that no check stops the others."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.accounts import Account
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.checks import run_checks, tree_size
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.findings import Finding
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.wording import human_size
from ansible_collections.fractal_ops.platform.plugins.module_utils._precheck.backup_root import check_backup_root
from ansible_collections.fractal_ops.platform.plugins.module_utils._precheck.database import check_programs_for_dump
from ansible_collections.fractal_ops.platform.plugins.module_utils._precheck.releases import (
    check_environment,
    check_offered,
    check_programs,
    check_python,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._precheck.server_host import ServerHost
from ansible_collections.fractal_ops.platform.plugins.module_utils._precheck.slurm import check_worker_pythons
from ansible_collections.fractal_ops.platform.plugins.module_utils._precheck.unit import check_unit
from ansible_collections.fractal_ops.platform.plugins.module_utils._releases.path import hops, release
from ansible_collections.fractal_ops.platform.plugins.module_utils._run.state import FINDINGS
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.prechecks import PRECHECKS, checks_on_the_way
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.r2_17_0 import gone_endpoints
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.r2_17_0.gone_endpoints import (
    check_oauth_way_back,
    gone_calls,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._venv.pythons import Interpreter


def unit(**values: Any) -> Any:
    base = {
        "name": "fractal-server.service",
        "active_state": "active",
        "enabled_state": "enabled",
        "needs_reload": False,
        "user": "fractal",
        "restart_policy": "on-failure",
        "umask": "0022",
        "working_directory": "/srv",
        "environment_files": ["/etc/fractal.env"],
    }
    return SimpleNamespace(**{**base, **values})


def host(**values: Any) -> Any:
    base = {
        "account": Account.named(None),
        "params": {"install_strategy": "staged", "target_version": "2.17.2", "workers": []},
        "hops": hops("2.16.6", "2.17.2"),
        "missing_releases": hops("2.16.6", "2.17.2"),
        "python_version": "3.11.2",
        "environment": "/opt/venv",
        "base_python": sys.executable,
        "python": "/opt/venv/bin/python3",
        "version": "2.16.6",
        "is_venv": True,
        "on_slurm": True,
        "backend": "slurm_sudo",
        "values": {},
    }
    made = {**base, **values}
    own = Interpreter(made["base_python"], made["python_version"])
    return SimpleNamespace(**{"interpreters": [own, *made.get("more", ())], **made})


def interpreter(path: Path, version: str) -> None:
    """Make a program that answers as an interpreter would in whose environment fractal-server is installed."""
    answer = {"prefix": "/v", "base_python": "/p", "version": version, "python_version": "3.11.2", "is_venv": True}
    path.write_text(f"#!/bin/sh\necho '{json.dumps(answer)}'\n", encoding="utf-8")
    path.chmod(0o755)


def ids(found: Any) -> list[tuple[str, str]]:
    return [(finding.id, finding.subject) for finding in found]


@pytest.mark.parametrize(
    ("owner", "mode", "wrong"), [(0, 0o755, ""), (65534, 0o700, "nobody"), (0, 0o777, "very account")]
)
def test_a_folder_for_backups_that_others_can_change(tmp_path: Path, owner: int, mode: int, wrong: str) -> None:
    folder = tmp_path / "kept"
    folder.mkdir()
    os.chown(folder, owner, 0)
    folder.chmod(mode)
    for root in (folder, folder / "to be made"):
        found = list(check_backup_root(host(params={"backup_root": str(root)})))
        assert [one.id for one in found] == (["host.backup_root_unsafe"] if wrong else []), found
        assert not wrong or (wrong in found[0].message and str(folder) in found[0].message)


@pytest.mark.parametrize(
    ("version", "good"), [("3.10.9", False), ("3.11.0", True), ("3.13.5", True), ("3.14.0", False)]
)
def test_python_of_each_release_on_the_way(version: str, good: bool) -> None:
    expected = [] if good else [("release.python_unsupported", hop) for hop in ("2.17.0", "2.17.2")]
    assert ids(check_python(host(python_version=version))) == expected


def test_a_python_that_lacks_is_told_with_what_would_do_for_the_whole_way() -> None:
    whole = hops("2.16.6", "2.26.0")
    [finding, other] = check_python(host(hops=whole))
    assert (finding.subject, other.subject) == ("2.23.0", "2.26.0")
    assert "there is 3.11.2 (" in finding.message and "The whole way runs on 3.13." in finding.fix
    there = [Interpreter("/usr/bin/python3.12", "3.12.1")]
    [finding] = check_python(host(hops=whole, more=there))
    assert finding.subject == "2.26.0" and "3.12.1 (/usr/bin/python3.12)" in finding.message
    there.append(Interpreter("/opt/p/bin/python3.13", "3.13.0"))
    assert ids(check_python(host(hops=whole, more=there))) == []


def test_new_environments_can_be_made(tmp_path: Path) -> None:
    assert ids(check_environment(host())) == []
    assert ids(check_environment(host(is_venv=False))) == [("release.not_a_venv", "/opt/venv")]
    assert ids(check_environment(host(is_venv=False, params={"install_strategy": "in_place"}))) == []
    assert ids(check_environment(host(is_venv=False, missing_releases=[]))) == []
    broken = tmp_path / "python"  # like Debian's without the package python3-venv
    broken.write_text(f"#!/bin/sh\nexec {sys.executable} -c 'import no_ensurepip'\n", encoding="utf-8")
    broken.chmod(0o755)
    [finding] = check_environment(host(base_python=str(broken)))
    assert finding.id == "release.no_venv" and "no_ensurepip" in finding.message


def test_environments_without_pip(tmp_path: Path) -> None:
    without = tmp_path / "python"
    without.write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
    without.chmod(0o755)
    params = {"wheelhouse": str(tmp_path), "remote_src": True, "pip_extra_args": []}
    found = check_offered(host(python=str(without), base_python=str(without), params=params))
    assert ids(found) == [("release.not_checked", str(without))]
    found = check_offered(host(python=str(without), missing_releases=[release("2.17.0")], params=params))
    assert ids(found) == [("release.not_offered", "2.17.0")]


def test_wheels_that_lie_on_the_controller_yet_are_not_judged(tmp_path: Path) -> None:
    """Check mode has copied none of them."""
    params = {"wheelhouse": "/of/the/controller", "remote_src": False, "pip_extra_args": []}
    found = list(check_offered(host(missing_releases=[release("2.17.0")], params=params)))
    assert [(one.id, one.severity, one.subject) for one in found] == [
        ("release.not_copied", "info", "/of/the/controller")
    ]


def test_no_password_of_an_index_is_in_the_list_of_processes(tmp_path: Path) -> None:
    """What pip was given in its arguments, every account of the host could read for as long as it runs."""
    said = tmp_path / "said"
    pip = tmp_path / "python"
    pip.write_text(f'#!/bin/sh\necho "$@" >> {said}\necho "environment $PIP_INDEX_URL" >> {said}\n', encoding="utf-8")
    pip.chmod(0o755)
    index = "https://ann:index-canary@pypi.example.org/simple"
    params = {"wheelhouse": None, "remote_src": True, "pip_extra_args": ["--index-url", index, "--pre"]}
    here = host(python=str(pip), missing_releases=[release("2.17.0")], params=params)
    assert ids(check_offered(here)) == []
    asked = said.read_text(encoding="utf-8").splitlines()
    [command] = [line for line in asked if "download" in line]
    assert "canary" not in command and "--pre" in command and f"environment {index}" in asked


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        (90624, ["database.postgres_too_old"]),
        (100000, []),
        (990000, ["database.no_dump_programs"]),  # newer than any pg_dump here
    ],
)
def test_postgres_and_its_programs(version: int, expected: list[str]) -> None:
    connection = MagicMock()
    connection.__enter__.return_value.exec_driver_sql.return_value.scalar_one.return_value = str(version)
    checked = host(connection=lambda: connection, database=SimpleNamespace(where="database 'x'"))
    assert [finding.id for finding in check_programs_for_dump(checked)] == expected


def test_programs_that_a_release_calls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert ids(check_programs(host())) == [("release.program_missing", "unzip")]
    assert ids(check_programs(host(hops=[release("2.17.0")]))) == []


@pytest.mark.parametrize(
    ("worker", "values", "expected"),
    [
        ("/opt/venv/bin/python3", {}, None),
        ("", {}, None),
        ("/opt/venv/bin/python3", {"backend": "slurm_ssh", "on_slurm": False}, "worker.remote"),
        ("/no/python", {}, "worker.broken"),
    ],
)
def test_worker_python(worker: str, values: dict[str, Any], expected: str | None) -> None:
    found = [finding.id for finding in check_worker_pythons(host(worker_pythons=[worker], **values))]
    assert found == ([expected] if expected else [])


def test_worker_python_of_other_versions_and_names(tmp_path: Path) -> None:
    server, worker = tmp_path / "server" / "python3", tmp_path / "worker" / "python3"
    for path, version in ((server, "2.16.6"), (worker, "2.16.5")):
        path.parent.mkdir()
        interpreter(path, version)
    other_name = server.with_name("python")
    other_name.symlink_to(server)

    def found(path: Path) -> list[str]:
        checked = host(worker_pythons=[str(path)], python=str(server))
        return [finding.id for finding in check_worker_pythons(checked)]

    assert found(server) == []
    assert found(other_name) == ["worker.other_path"]
    assert found(worker) == ["worker.other_version", "worker.own_environment"]
    interpreter(worker, "2.16.6")
    assert found(worker) == ["worker.own_environment"]


@pytest.mark.parametrize(
    ("values", "account", "expected"),
    [
        ({}, "fractal", []),
        ({"needs_reload": True}, "fractal", ["unit.needs_reload"]),
        ({"enabled_state": "disabled"}, "fractal", ["unit.not_enabled"]),
        ({"restart_policy": "no"}, "fractal", ["unit.no_restart"]),
        ({"user": "root"}, "root", ["unit.runs_as_root"]),
        ({"user": "no-such-account"}, None, ["unit.account_unknown"]),
        ({"active_state": "failed"}, "fractal", ["unit.not_active"]),
    ],
)
def test_unit(values: dict[str, Any], account: str | None, expected: list[str], tmp_path: Path) -> None:
    env_file = tmp_path / ".fractal_server.env"
    env_file.touch()
    checked = host(
        unit=unit(**values),
        instance=SimpleNamespace(hold=None, workers=1),
        installation=SimpleNamespace(env_file=str(env_file), run_as=values.get("user")),
        service_account=account,
        on_slurm=False,
    )
    assert [finding.id for finding in check_unit(checked)] == expected
    checked.instance.workers = 4
    assert {finding.id for finding in check_unit(checked)} == {*expected, "unit.several_workers"}
    checked.instance.workers = 1
    env_file.unlink()
    assert {finding.id for finding in check_unit(checked)} == {*expected, "unit.no_environment_file"}


@pytest.mark.parametrize("values", [{}, {"backend": "slurm_ssh", "on_slurm": False}], ids=["sudo", "ssh"])
def test_another_environment_of_the_workers_blocks_unless_it_is_upgraded_too(
    tmp_path: Path, values: dict[str, Any]
) -> None:
    worker = tmp_path / "python3"
    interpreter(worker, "2.16.6")

    def found(*workers: dict[str, Any]) -> list[Any]:
        params = {"target_version": "2.17.2", "workers": list(workers)}
        return list(check_worker_pythons(host(worker_pythons=[str(worker)], params=params, **values)))

    [blocker] = found()
    assert blocker.severity == "blocker" and blocker.acceptable
    assert blocker.fix.endswith(f": {worker} -m pip install fractal-server==2.17.2") and "fractal_worker" in blocker.fix
    assert [one.id for one in found({"python": "/other/python3", "version": "2.16.6"})] == [blocker.id]
    assert found({"python": str(worker), "version": "2.16.6"}) == []
    assert [one.id for one in found({"python": str(worker), "version": "2.16.5"})] == ["worker.other_version"]
    assert found({"version": None}) == [], "it could not be read, which is a finding of its own"


@pytest.mark.parametrize(
    ("url", "good"),
    [
        ("https://fractal.example.org/auth/login/oauth2", True),
        ("http://localhost:5173/auth/login/oauth2", True),
        ("http://fractal.example.org/auth/login/oauth2", False),
    ],
)
def test_users_come_back_from_the_provider_over_https(url: str, good: bool) -> None:
    found = list(check_oauth_way_back(host(values={"OAUTH_IDP_REDIRECT_URL": url})))
    assert ids(found) == ([] if good else [("oauth.plain_http", "OAUTH_IDP_REDIRECT_URL")])


def test_calls_of_what_is_gone_are_counted_by_client() -> None:
    log = """
INFO:     10.0.0.5:41234 - "GET /api/settings/ HTTP/1.1" 200 OK
INFO:     10.0.0.5:41235 - "GET /api/settings/ HTTP/1.1" 200 OK
INFO:     10.0.0.6:1 - "PATCH /auth/users/17/settings/ HTTP/1.1" 200 OK
INFO:     10.0.0.6:1 - "GET /admin/v2/job/?status=submitted HTTP/1.1" 200 OK
INFO:     10.0.0.6:1 - "GET /admin/v2/job/17/stop/ HTTP/1.1" 200 OK
INFO:     10.0.0.7:1 - "GET /api/alive/ HTTP/1.1" 200 OK
10.0.0.8 - "GET /auth/current-user/settings/ HTTP/1.0" 200
"""
    assert dict(gone_calls(log)) == {
        ("10.0.0.5", "/api/settings/"): 2,
        ("10.0.0.6", "/auth/users/{id}/settings/"): 1,
        ("10.0.0.6", "/admin/v2/job/"): 1,
        ("10.0.0.8", "/auth/current-user/settings/"): 1,
    }


@pytest.mark.parametrize("called", [True, False])
def test_users_of_fractal_client_are_named_whether_or_not_calls_were_seen(
    called: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = 'INFO:     10.0.0.5:1 - "GET /api/settings/ HTTP/1.1" 200 OK' if called else ""
    monkeypatch.setattr(gone_endpoints, "run", lambda _command: SimpleNamespace(out=log))
    host: Any = SimpleNamespace(unit=unit())
    [finding] = gone_endpoints.check_gone_endpoints(host)
    assert finding.id == ("client.gone_endpoints" if called else "client.api_changes")
    assert "fractal-client" in finding.fix and "2.17" in finding.fix


# --- running checks ---


def good(_host: object) -> Iterator[Finding]:
    yield FINDINGS["plan.blocked"].finding("x", reason="seen")


def broken(_host: object) -> Iterator[Finding]:
    yield FINDINGS["plan.blocked"].finding("x", reason="before")
    raise ValueError("s3cret-canary")


def refused(_host: object) -> Iterator[Finding]:
    raise FractalError("The file /x cannot be read.")


def test_a_check_that_breaks_is_a_finding_and_stops_no_other() -> None:
    found = run_checks(None, [("a", broken), ("b", refused), ("c", refused), ("d", good)])
    assert ids(found) == [("plan.blocked", "x"), ("check.failed", "a"), ("check.failed", "b"), ("plan.blocked", "x")]
    assert "ValueError in test_server.py" in found[1].message and "s3cret" not in found[1].message
    assert "The file /x cannot be read." in found[2].message


@pytest.mark.parametrize(
    ("installed", "target", "stops"),
    [
        ("2.16.6", "2.17.2", ["2.17.0"]),
        ("2.17.0", "2.17.2", []),
        ("2.17.0", "2.17.0", []),
        ("2.17.0", "2.26.0", ["2.18.0", "2.23.0"]),
        ("2.22.14", "2.24.2", ["2.23.0"]),
        ("2.23.1", "2.26.0", []),
        ("2.16.6", "9.9.9", ["2.17.0"]),
        (None, "2.17.2", ["2.17.0"]),
    ],
)
def test_the_stops_on_the_way_tell_what_to_check(
    installed: str | None, target: str, stops: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ServerHost, "version", installed)
    monkeypatch.setattr(ServerHost, "environment", "/venv")
    checked = ServerHost({"target_version": target})
    assert [stop.version for stop in checked.stops] == stops
    own = {name for stop in stops for name, _check in PRECHECKS[stop]}
    assert {name for name, _check in checks_on_the_way(checked)} == {"stops", "rows", *own}


def test_further_questions_to_a_database_that_is_down_say_nothing_and_other_errors_are_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Down:
        def call(self, *_arguments: Any, **_more: Any) -> dict[str, Any]:
            raise FractalError("it is down")

    checked = ServerHost({})
    checked.__dict__["installation"] = None
    monkeypatch.setattr(ServerHost, "door", Down())
    monkeypatch.setattr(ServerHost, "facts", property(lambda _host: Down().call()))
    assert checked.ask_database(dict) == []
    monkeypatch.setattr(ServerHost, "facts", "reachable")
    with pytest.raises(FractalError, match="it is down"):
        checked.ask_database(dict)


def test_sizes(tmp_path: Path) -> None:
    assert [human_size(size) for size in (0, 999, 1500, 2e6, 3.2e9, 5e12)] == [
        "0 B", "999 B", "1.5 kB", "2.0 MB", "3.2 GB", "5.0 TB",
    ]  # fmt: skip
    (tmp_path / "file").write_bytes(b"x" * 100_000)
    os.link(tmp_path / "file", tmp_path / "same")
    empty = tmp_path / "empty"
    empty.mkdir()
    assert 100_000 <= tree_size(str(tmp_path)) < 150_000
