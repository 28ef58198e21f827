"""The maintenance page: when it has to go, what it answers, and that fractal-web comes back."""

from __future__ import annotations

import ast
import http.client
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.systemd import Unit, parse_unit
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance import maintenance, page_program
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.address import Address
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.maintenance import (
    TEXT,
    Page,
    page_unit,
    program_source,
    put_up,
    server_of,
    take_away,
    why_no_page,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.page_program import HEADER, Watch
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.web import WebInstance
from hypothesis import given
from hypothesis import strategies as st

PAGE = Page("<p>soon</p>", "http://server:8000", 300, 1800)


def looks(watch: Watch, text: str) -> int | None:
    """Return after how many looks, one a second, the page goes; ``u`` is an answer, ``.`` none."""
    for number, look in enumerate(text):
        if watch.is_over(look == "u", float(number)):
            return number
    return None


def test_the_page_stays_while_the_server_is_down_and_goes_when_it_is_back() -> None:
    assert looks(Watch(300, 30), "u" * 60 + "." * 4000) is None
    assert looks(Watch(300, 30), "u" * 60 + "." * 40 + "u" * 31) == 130
    assert looks(Watch(300, 30), "." * 40 + "u" * 31) == 70  # down before the page was up


def test_an_answer_that_is_lost_is_no_window() -> None:
    assert looks(Watch(300, 30), "u" * 60 + ".." + "u" * 100) is None


def test_a_server_that_nobody_stops_keeps_its_web() -> None:
    assert looks(Watch(300, 30), "u" * 100 + "." + "u" * 200) == 300


def test_a_server_that_comes_up_and_falls_again_has_not_ended_its_window() -> None:
    assert looks(Watch(300, 30), "." * 10 + "u" * 20 + "." + "u" * 29) is None


@given(st.text("u.", max_size=400))
def test_the_page_goes_only_at_an_answer_and_never_stays_with_a_server_that_is_up(text: str) -> None:
    gone = looks(Watch(50, 10), text + "u" * 51)
    assert gone is not None and (text + "u" * 51)[gone] == "u"


@pytest.fixture
def listener(monkeypatch: pytest.MonkeyPatch) -> Iterator[page_program.Listener]:
    monkeypatch.setattr(page_program.Page, "content", b"<p>soon</p>")
    server = page_program.Listener("127.0.0.1", 0)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_whatever_is_asked_is_answered_with_the_page(listener: page_program.Listener, method: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", listener.server_address[1], timeout=10)
    connection.request(method, "/api/v2/project/", body=b"x" * 100_000 if method == "POST" else None)
    answer = connection.getresponse()
    assert answer.status == 503 and answer.getheader("Retry-After") == "60" and answer.getheader(HEADER)
    assert answer.read() == (b"" if method == "HEAD" else b"<p>soon</p>")
    connection.close()


def test_the_program_is_one_file_that_needs_nothing_but_its_python() -> None:
    names = {
        name
        for node in ast.walk(ast.parse(program_source()))
        for name in (
            [one.name for one in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert {name.split(".")[0] for name in names} <= {*sys.stdlib_module_names}


def free_port(host: str) -> int:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize(
    ("host", "answers", "silent"),
    [
        ("127.0.0.1", ["127.0.0.1"], ["[::1]"]),
        ("::1", ["[::1]"], ["127.0.0.1"]),
        ("::", ["[::1]", "127.0.0.1"], []),  # both kinds, as Node has it
        ("localhost", ["localhost"], []),
    ],
)
def test_the_program_answers_as_it_is_started_on_a_host(
    tmp_path: Path, host: str, answers: list[str], silent: list[str]
) -> None:
    port = free_port("127.0.0.1" if host == "localhost" else host)
    (tmp_path / "program.py").write_text(program_source())
    (tmp_path / "page.html").write_text(TEXT)
    order = {"page": str(tmp_path / "page.html"), "addresses": [[host, port]], "server": ""}
    (tmp_path / "order.json").write_text(json.dumps({**order, "patience": 1, "grace": 1}))
    program = [sys.executable, "-I", "-B", str(tmp_path / "program.py"), str(tmp_path / "order.json")]
    with subprocess.Popen(program) as process:
        try:
            for one in answers:
                maintenance._wait(lambda one=one: maintenance._is_page(f"http://{one}:{port}"), "no page")
            assert not any(maintenance._is_page(f"http://{one}:{port}") for one in silent)
            assert process.poll() is None  # without a server to look at, only systemd's deadline ends it
        finally:
            process.kill()


# -- on a host


def unit(state: str = "active", triggers: str = "") -> Unit:
    return parse_unit("fractal-web.service", f"LoadState=loaded\nActiveState={state}\nTriggeredBy={triggers}\n")


def instance(url: str = "http://127.0.0.1:5173") -> WebInstance:
    texts = dict.fromkeys(
        ("user", "group", "release_directory", "env_file", "unit_file", "active_state", "enabled_state", "node"), ""
    )
    return WebInstance(
        service="fractal-web.service", environment_files=[], drop_ins=[], node_version=None, version=None, url=url,
        lock=None, **texts,
    )  # fmt: skip


class Host:
    """A host with a fractal-web, and what was done to it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        self.unit, self.up, self.done = unit(), False, []
        self.addresses, self.answers = [Address("0.0.0.0", 5173)], True
        self.command: list[str] = []
        monkeypatch.setattr(maintenance, "read_unit", lambda _: self.unit)
        monkeypatch.setattr(maintenance, "page_is_up", lambda _: self.up)
        monkeypatch.setattr(maintenance, "open_addresses", lambda *_: self.addresses)
        monkeypatch.setattr(maintenance, "_write_program", lambda *_: "/run/page")
        monkeypatch.setattr(maintenance, "_is_page", lambda _: self.answers)
        monkeypatch.setattr(maintenance, "_PATIENCE", 0.2)
        monkeypatch.setattr(maintenance, "run", self.run)
        monkeypatch.setattr(maintenance, "start", self.start)

    def run(self, command: list[str]) -> Any:
        self.command, self.up = command, True
        self.done.append("page")
        return type("Done", (), {"must": lambda *_: ""})

    def start(self, _unit: str) -> bool:
        self.up = False
        self.done.append("web")
        return True


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Host:
    return Host(monkeypatch, tmp_path)


def test_the_page_and_fractal_web_are_never_both(host: Host) -> None:
    assert put_up(instance(), PAGE) and host.done == ["page"]
    told = [word.partition("=")[2] for word in host.command if word.startswith("--property=")]
    assert {"Conflicts=fractal-web.service", "After=fractal-web.service", "User=nobody"} <= {*told}
    assert {"RuntimeMaxSec=1800", "CapabilityBoundingSet="} <= {*told}
    assert any(one.startswith("ExecStopPost=+/") and "start fractal-web.service" in one for one in told)
    assert f"--unit={page_unit('fractal-web.service')}" in host.command and "--collect" in host.command
    assert not put_up(instance(), PAGE)  # it is up
    assert take_away("fractal-web") and host.done == ["page", "web"]
    assert not take_away("fractal-web")


def test_only_a_port_that_needs_it_gets_the_right_to_it(host: Host) -> None:
    host.addresses = [Address("::", 80)]
    put_up(instance(), PAGE)
    assert "--property=AmbientCapabilities=CAP_NET_BIND_SERVICE" in host.command


def test_a_page_that_does_not_answer_gives_its_place_back(host: Host) -> None:
    host.answers = False
    with pytest.raises(FractalError, match=r"does not answer where fractal-web.service did.* runs again"):
        put_up(instance(), PAGE)
    assert host.done == ["page", "web"]


def test_a_fractal_web_that_does_not_run_is_left_alone(host: Host) -> None:
    host.unit = unit("inactive")
    assert not put_up(instance(), PAGE) and host.done == []


@pytest.mark.parametrize(
    ("found", "url", "reason"),
    [
        (unit(triggers="fractal-web.socket"), "http://127.0.0.1:5173", "fractal-web.socket listens for it"),
        (unit(), "http+unix://%2Frun%2Fweb.sock", "on a Unix socket"),
        (unit(triggers="fractal-web.timer"), "http://127.0.0.1:5173", ""),
    ],
)
def test_where_no_page_can_answer_it_is_said_and_nothing_done(host: Host, found: Unit, url: str, reason: str) -> None:
    host.unit = found
    assert reason in why_no_page(found, instance(url)) and bool(why_no_page(found, instance(url))) == bool(reason)
    if reason:
        with pytest.raises(FractalError, match="Nothing was changed"):
            put_up(instance(url), PAGE)
        assert host.done == []


def test_a_page_whose_place_is_not_known_is_refused(host: Host) -> None:
    host.addresses = []
    assert why_no_page(unit(), instance()) and not why_no_page(unit("inactive"), instance())


def test_no_password_is_handed_on() -> None:
    assert server_of({"FRACTAL_SERVER_HOST": "http://server:8000/"}) == "http://server:8000"
    for other in ("http://anna:s3cret@server", "file:///etc"):
        assert server_of({"FRACTAL_SERVER_HOST": other}) == "" == server_of({})
