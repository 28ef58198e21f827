"""Checks of a fractal-web host that need none of its services; the others are made on real hosts."""

from __future__ import annotations

import shutil
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.systemd import parse_unit
from ansible_collections.fractal_ops.platform.plugins.module_utils._env_file import on_host as _env_files
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.alive import Alive
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.archives import remember
from ansible_collections.fractal_ops.platform.plugins.module_utils._precheck import web as _web_checks
from ansible_collections.fractal_ops.platform.plugins.module_utils._precheck.web import (
    WebHost,
    check_web,
    running_version,
)

UNIT: Any = SimpleNamespace(name="fractal-web.service", needs_reload=False, user="fractal")


@pytest.fixture(autouse=True)
def services(monkeypatch: pytest.MonkeyPatch, archives_record: Path) -> dict[str, Alive]:
    """systemd's part, which no test host offers, and what answers at an address: by default all is well."""
    said = {"web": Alive({"version": "1.21.1"}), "server": Alive({"version": "2.16.6"})}
    monkeypatch.setattr(_web_checks, "ask", lambda _url, kind, **_options: said[kind])
    monkeypatch.setattr(_web_checks, "run_node", lambda *_: SimpleNamespace(code=0, err=""))
    monkeypatch.setattr(_env_files, "read_unit", lambda name: parse_unit(name, "LoadState=loaded\n"))
    return said


def host(tmp_path: Path, instance: dict[str, Any] | None = None, **values: Any) -> WebHost:
    """Return a host that has nothing to fetch: the release to arrive at is installed."""
    (tmp_path / ".env").write_text("PORT=3000\n", encoding="utf-8")
    (tmp_path / ".env").chmod(0o640)
    described: Any = SimpleNamespace(
        **{
            "active_state": "active",
            "release_directory": str(tmp_path / "web"),
            "node": "/usr/bin/node",
            "node_version": "20.1.0",
            "version": "1.21.1",
            "env_file": str(tmp_path / ".env"),
            "url": "http://127.0.0.1:1",
            "address_problem": "",
            **(instance or {}),
        }
    )
    set_up = {"PUBLIC_FRACTAL_ADMIN_SUPPORT_EMAIL": "help@example.org", **values.pop("values", {})}
    return WebHost(**{"instance": described, "unit": UNIT, "values": set_up, "version": "1.21.1", **values})


def ids(host: WebHost) -> list[tuple[str, str]]:
    return [(finding.id, finding.subject) for finding in check_web(host)]


def test_nothing_to_find(tmp_path: Path) -> None:
    assert ids(host(tmp_path, server_version="2.17.0")) == []


def test_node(tmp_path: Path) -> None:
    assert ids(host(tmp_path, {"node_version": None})) == [("web.node_missing", "/usr/bin/node")]
    found = ids(host(tmp_path, {"node_version": "16.0.0", "version": "1.20.1"}, archive=str(tmp_path / "no.tar.gz")))
    assert found == [("web.node_mismatch", "/usr/bin/node"), ("web.archive_unusable", str(tmp_path / "no.tar.gz"))]
    assert ids(host(tmp_path, {"node_version": "16.0.0"})) == [], "what is installed already needs no other Node"


def test_an_archive_that_lies_on_the_controller_yet_is_not_judged(tmp_path: Path) -> None:
    old = {"version": "1.20.1"}
    archive = "/of/the/controller/node-20-fractal-web-v1.21.1.tar.gz"
    assert ids(host(tmp_path, old, archive=archive, on_controller=True)) == [("web.archive_not_copied", archive)]
    url = "http://127.0.0.1:1/web.tar.gz"
    assert ids(host(tmp_path, old, archive=url, on_controller=True)) == [("web.archive_unusable", url)]


def test_archive_that_cannot_be_fetched_is_told_without_credentials(tmp_path: Path) -> None:
    [finding] = check_web(host(tmp_path, {"version": "1.20.1"}, archive="http://ann:s3cret@127.0.0.1:1/web.tar.gz"))
    assert finding.id == "web.archive_unusable" and "s3cret" not in str(finding.as_dict())


def test_room_for_the_release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stage(instance: dict[str, str], *_: object, keep: bool) -> None:
        assert not keep, "a precheck leaves nothing"
        Path(instance["release_directory"] + "-1.21.1").write_bytes(b"x" * 100_000)

    monkeypatch.setattr(_web_checks, "stage_web_release", stage)  # a full disk is hard to come by
    monkeypatch.setattr(_web_checks.shutil, "disk_usage", lambda _: SimpleNamespace(free=99_000))
    assert shutil.disk_usage("/").free == 99_000
    assert ids(host(tmp_path, {"version": "1.20.1"}, checksum="0" * 64)) == [("web.disk_full", str(tmp_path))]


def test_an_archive_from_the_network_that_nothing_vouches_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_web_checks, "stage_web_release", lambda *_args, **_options: True)
    old, url = {"version": "1.20.1"}, "https://ann:s3cret@example.org/web-1.21.1.tar.gz"
    [finding] = check_web(host(tmp_path, old, archive=url))
    assert (finding.id, finding.severity) == ("web.archive_on_trust", "info") and "s3cret" not in str(finding.as_dict())
    assert ids(host(tmp_path, old, archive=url, checksum="0" * 64)) == []
    assert ids(host(tmp_path, old, archive=str(tmp_path / "web.tar.gz"))) == [], "the operator has put it there"
    remember(url, "0" * 64)
    assert ids(host(tmp_path, old, archive=url)) == [], "and another one by that name is refused"


def test_release_directory_that_is_a_mount_point(tmp_path: Path) -> None:
    assert ids(host(tmp_path, {"release_directory": "/proc"})) == [("web.mount_point", "/proc")]


def test_oauth_over_plain_http_on_the_own_machine_is_fine(tmp_path: Path) -> None:
    for origin, expected in (
        ("http://localhost:5173", []),
        ("http://x.org", ["web.oauth_needs_https"]),
        ("https://x", []),
    ):
        values = {"PUBLIC_OAUTH_CLIENT_NAME": "idp", "ORIGIN": origin}
        assert [name for name, _host in ids(host(tmp_path, values=values))] == expected


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("AUTH_COOKIE_SECURE", ["true", "false", ""], ["True", "1"]),
        ("AUTH_COOKIE_SAME_SITE", ["lax"], ["Lax"]),
        ("LOG_LEVEL_CONSOLE", ["info", "off"], ["INFO", "warning"]),
        ("FRACTAL_HIDE_BASIC_AUTH", ["true"], ["yes"]),
        (
            "PUBLIC_FRACTAL_DATA_URL",
            ["https://x.org/data", "http:x", "HTTP://localhost:3000", "localhost:3000", " https://x"],
            ["x.org/data", "/data", "//x.org", "http://", "https:", "http://?x"],
        ),
    ],
)
def test_values_at_which_the_new_release_does_not_start(
    tmp_path: Path, name: str, good: list[str], bad: list[str]
) -> None:
    """1.21 takes them all."""
    for value in (*good, *bad):
        expected = [("web.value_refused", name)] if value in bad else []
        for version, wanted in (("1.21.1", []), ("1.22.2", expected), ("1.29.6", expected)):
            found = host(tmp_path, {"version": version}, values={name: value}, version=version)
            assert [one for one in ids(found) if one[0] == "web.value_refused"] == wanted, (version, value)


def test_a_refused_address_is_told_without_its_password(tmp_path: Path) -> None:
    values = {"PUBLIC_FRACTAL_DATA_URL": "//ann:s3cret@x.org"}
    found = check_web(host(tmp_path, {"version": "1.22.2"}, values=values, version="1.22.2"))
    assert "web.value_refused" in {one.id for one in found}
    assert "s3cret" not in str([one.as_dict() for one in found])


@pytest.mark.parametrize(
    ("instance", "answer", "expected"),
    [
        ({}, Alive(problem="refused"), ["web.no_answer"]),
        ({"url": "http://u:s3cret@h"}, Alive(problem="refused"), ["web.no_answer"]),
        ({}, Alive({"version": "1.20.1"}, "does not reach its fractal-server"), ["web.other_version"]),
        ({"active_state": "failed"}, Alive(problem="refused"), ["web.unit_not_active"]),
        (
            {"active_state": "failed", "address_problem": "PORT is 'abc', which is no port"},
            Alive(problem="refused"),
            ["web.unit_not_active", "web.address_unknown"],
        ),
    ],
)
def test_fractal_web_answers_where_it_will_be_waited_for(
    tmp_path: Path, services: dict[str, Alive], instance: dict[str, Any], answer: Alive, expected: list[str]
) -> None:
    services["web"] = answer
    found = check_web(host(tmp_path, {"url": "", **instance}))
    assert [finding.id for finding in found] == expected
    assert "s3cret" not in str([finding.as_dict() for finding in found])


def test_a_process_of_the_release_to_arrive_at_was_left_by_an_interrupted_run(
    tmp_path: Path, services: dict[str, Alive]
) -> None:
    services["web"] = Alive({"version": "1.21.1"})
    archive = str(tmp_path / "none.tar.gz")
    assert [name for name, _subject in ids(host(tmp_path, {"version": "1.20.1"}, archive=archive))] == [
        "web.archive_unusable"
    ]


@pytest.mark.parametrize(
    ("running", "answer", "expected"),
    [
        (None, Alive(problem="refused"), ["web.server_unreachable"]),
        ("2.16.6", Alive(problem="refused"), ["web.server_not_reached"]),
        ("2.16.6", Alive({"version": "2.15.0"}), ["web.server_is_another"]),
        (None, Alive({"version": "2.15.0"}), []),
        ("2.16.6", Alive({"version": "2.16.6"}), []),
    ],
)
def test_the_server_is_reached_from_the_web_host(
    tmp_path: Path, services: dict[str, Alive], running: str | None, answer: Alive, expected: list[str]
) -> None:
    services["server"] = answer
    checked = host(tmp_path, values={"FRACTAL_SERVER_HOST": "http://server:8000/"}, running_server=running)
    assert [name for name, _subject in ids(checked)] == expected


def test_only_a_running_server_has_to_answer() -> None:
    server = {"active_state": "active", "hold": None, "version": "2.16.6"}
    assert running_version(server) == "2.16.6"
    assert running_version({**server, "active_state": "inactive"}) is None
    assert running_version({**server, "hold": {"run": "r"}}) is None
    assert running_version(None) is None


@pytest.mark.parametrize(("code", "expected"), [(0, []), (1, ["web.node_cookies"]), (9, [])])
def test_node_that_loses_cookies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, expected: list[str]
) -> None:
    asked: list[tuple[str, ...]] = []

    def run(*arguments: str) -> Any:
        asked.append(arguments)
        return SimpleNamespace(code=code, err="")

    monkeypatch.setattr(_web_checks, "run_node", run)
    values = {"PUBLIC_OAUTH_CLIENT_NAME": "idp", "ORIGIN": "https://x"}
    assert [name for name, _subject in ids(host(tmp_path, values=values))] == expected
    assert asked[0][:3] == ("/usr/bin/node", "fractal", "-e")
    assert ids(host(tmp_path)) == [], "without OAuth no cookie is lost"


def test_nobody_to_ask_for_help(tmp_path: Path) -> None:
    assert [name for name, _subject in ids(host(tmp_path, values={"PUBLIC_FRACTAL_ADMIN_SUPPORT_EMAIL": ""}))] == [
        "web.no_support_address"
    ]


@pytest.mark.parametrize(
    ("server", "version", "expected"),
    [
        ("2.17.0", "1.21.1", []),
        ("2.24.2", "1.29.6", []),
        ("2.26.0", "1.29.6", ["web.pairing_not_listed"]),
        ("2.26.0", "1.29.5", ["web.version_pairing"]),
        (None, "1.29.6", []),
    ],
)
def test_what_belongs_together_and_what_nobody_says(server: str | None, version: str, expected: list[str]) -> None:
    checked: Any = SimpleNamespace(server_version=server, version=version)
    assert [finding.id for finding in _web_checks.check_pairing(checked)] == expected


def test_a_maintenance_page_that_is_wanted_and_cannot_be(tmp_path: Path) -> None:
    found = check_web(host(tmp_path, server_version="2.17.0", no_page="it listens on a Unix socket"))
    assert [one.id for one in found] == ["web.page_impossible"] and "on a Unix socket" in found[0].message


def test_a_page_that_an_earlier_run_left_is_no_other_program_at_the_port(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        stopped = {"active_state": "inactive", "url": f"http://127.0.0.1:{other.getsockname()[1]}"}
        assert [one for one, _unused in ids(host(tmp_path, stopped, page_is_up=True))] == ["web.page_is_up"]
        assert [one for one, _unused in ids(host(tmp_path, stopped))] == ["web.unit_not_active", "web.port_taken"]
