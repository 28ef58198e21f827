"""Checks of a fractal-web host that need none of its services; the others are made on real hosts."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.systemd import parse_unit
from ansible_collections.fractal_ops.platform.plugins.module_utils._env_file import on_host as _env_files
from ansible_collections.fractal_ops.platform.plugins.module_utils._precheck import web as _web_checks
from ansible_collections.fractal_ops.platform.plugins.module_utils._precheck.web import WebHost, check_web

UNIT: Any = SimpleNamespace(name="fractal-web.service", needs_reload=False, user="fractal")


@pytest.fixture(autouse=True)
def systemd(monkeypatch: pytest.MonkeyPatch) -> None:
    """systemd's part, which no test host offers."""
    monkeypatch.setattr(_env_files, "read_unit", lambda name: parse_unit(name, "LoadState=loaded\n"))


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
            **(instance or {}),
        }
    )
    return WebHost(**{"instance": described, "unit": UNIT, "values": {}, "version": "1.21.1", **values})


def ids(host: WebHost) -> list[tuple[str, str]]:
    return [(finding.id, finding.subject) for finding in check_web(host)]


def test_nothing_to_find(tmp_path: Path) -> None:
    assert ids(host(tmp_path, server_version="2.17.0")) == []


def test_node(tmp_path: Path) -> None:
    assert ids(host(tmp_path, {"node_version": None})) == [("web.node_missing", "/usr/bin/node")]
    found = ids(host(tmp_path, {"node_version": "16.0.0", "version": "1.20.1"}, archive=str(tmp_path / "no.tar.gz")))
    assert found == [("web.node_mismatch", "/usr/bin/node"), ("web.archive_unusable", str(tmp_path / "no.tar.gz"))]
    assert ids(host(tmp_path, {"node_version": "16.0.0"})) == [], "what is installed already needs no other Node"


def test_archive_that_cannot_be_fetched_is_told_without_credentials(tmp_path: Path) -> None:
    [finding] = check_web(host(tmp_path, {"version": "1.20.1"}, archive="http://ann:s3cret@127.0.0.1:1/web.tar.gz"))
    assert finding.id == "web.archive_unusable" and "s3cret" not in str(finding.as_dict())


def test_room_for_the_release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stage(instance: dict[str, str], *_: object) -> None:
        Path(instance["release_directory"] + "-1.21.1").write_bytes(b"x" * 100_000)

    monkeypatch.setattr(_web_checks, "stage_web_release", stage)  # a full disk is hard to come by
    monkeypatch.setattr(_web_checks.shutil, "disk_usage", lambda _: SimpleNamespace(free=99_000))
    assert shutil.disk_usage("/").free == 99_000
    assert ids(host(tmp_path, {"version": "1.20.1"})) == [("web.disk_full", str(tmp_path))]


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
