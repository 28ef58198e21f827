"""Hosts without a network: wheels and archive lie on the controller, and are copied to where they are needed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from playbook_runs import GONE, HERE, PAIR, Ran
from pretended_hosts import PretendedHosts, server_seen, web_seen

ARCHIVE = "node-20-fractal-web-v1.21.1.tar.gz"
TAKES_WHEELS = ("fractal_server_precheck", "fractal_server_environment", "fractal_worker_environment")
TAKES_ARCHIVE = ("fractal_web_precheck", "fractal_web_release")
INVENTORY = f"""\
{PAIR}[fractal_worker]
worker fractal_worker_python=/cluster/bin/python3
[all:vars]
{chr(10).join(HERE.split())}
fractal_rehearsal=false
"""


class Offline:
    """A pair of hosts and a worker, with files on the controller; what is copied goes to ``cache``."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.cache, self.wheels = folder, folder / "cache", folder / "wheels"
        self.hosts = PretendedHosts(folder)
        self.hosts.really("fractal_copied_files", "_core.copied.FOLDER", str(self.cache))
        self.hosts.tell("fractal-server", "fractal_observe", **server_seen("fractal-server"))
        self.hosts.tell("fractal-web", "fractal_observe", **web_seen("fractal-web"))
        worker = {"python": "/cluster/bin/python3", "environment": "/cluster", "version": "2.16.6", "staged": []}
        self.hosts.tell("", "fractal_worker_environment", worker={**worker, "python_version": "3.11"})
        self.wheels.mkdir()
        for name in ("fractal_server-2.17.0-py3-none-any.whl", "bcrypt-4.0.1-py3-none-any.whl"):
            (self.wheels / name).write_bytes(name.encode() * 1000)
        (folder / ARCHIVE).write_bytes(b"\xff\xfe an archive")

    def run(self, playbook: str, *arguments: str, **variables: Any) -> Ran:
        self.hosts.write()
        files = {"fractal_wheelhouse": str(self.wheels), "fractal_web_archive": str(self.folder / ARCHIVE)}
        said = json.dumps({**files, "fractal_remote_src": False, **variables})
        name = f"fractal_ops.platform.{playbook}"
        return Ran(self.folder, name, INVENTORY, "-e", said, *arguments, collections=self.hosts.root)

    def copied(self) -> dict[str, bytes]:
        return {one.name: one.read_bytes() for one in self.cache.glob("*/*")}

    def source(self, module: str, option: str) -> list[str]:
        """Return where a module was told to take its files from, in each call in which it was to take some."""
        states = ("staged", None)
        return [told[option] for told in self.hosts.options(module) if told.get("state", None) in states]


@pytest.fixture
def offline(tmp_path: Path) -> Offline:
    return Offline(tmp_path)


def test_every_host_gets_what_it_needs_before_it_is_needed(offline: Offline) -> None:
    ran = offline.run("upgrade")
    assert ran.code == 0 and ran.report()["outcome"] == "upgraded", ran.screen
    wheels = {one.name: one.read_bytes() for one in offline.wheels.iterdir()}
    assert offline.copied() == {**wheels, ARCHIVE: (offline.folder / ARCHIVE).read_bytes()}
    for module in TAKES_WHEELS:
        for folder in offline.source(module, "wheelhouse"):
            assert Path(folder).parent == offline.cache and {one.name for one in Path(folder).iterdir()} == {*wheels}
    for module in TAKES_ARCHIVE:
        for path in filter(None, offline.source(module, "archive")):
            assert Path(path).parent.parent == offline.cache and Path(path).name == ARCHIVE
    assert all(offline.source(module, "wheelhouse") for module in TAKES_WHEELS)
    assert all(offline.source(module, "archive") for module in TAKES_ARCHIVE)
    assert not any("copied" in task for tasks in ran.sent.values() for task in tasks), "no task of its own"


def test_check_mode_copies_nothing_and_the_checks_know_it(offline: Offline) -> None:
    ran = offline.run("upgrade", "--check")
    assert not offline.cache.exists(), ran.screen
    (server,) = offline.hosts.options("fractal_server_precheck")
    (web,) = offline.hosts.options("fractal_web_precheck")
    assert (server["wheelhouse"], server["remote_src"]) == (str(offline.wheels), False)
    assert (web["archive"], web["remote_src"]) == (str(offline.folder / ARCHIVE), False)
    offline.run("precheck")
    offline.run("precheck", "--check")
    again = offline.hosts.options("fractal_server_precheck")[-1]
    assert Path(again["wheelhouse"]).parent == offline.cache and again["remote_src"] is True


def test_what_lies_on_the_hosts_is_left_to_them(offline: Offline) -> None:
    url = "https://mirror.example.org/web.tar.gz"
    ran = offline.run("precheck", fractal_remote_src=True, fractal_wheelhouse="/opt/wheels")
    assert ran.code == 0 and not offline.cache.exists()
    offline.run("precheck", fractal_web_archive=url)
    assert offline.source("fractal_server_precheck", "wheelhouse")[0] == "/opt/wheels"
    assert offline.source("fractal_web_precheck", "archive") == [str(offline.folder / ARCHIVE), url]


def test_what_the_controller_has_not_is_refused_before_any_host_is_contacted(offline: Offline) -> None:
    ran = offline.run("upgrade", fractal_wheelhouse="/nonexistent")
    said = " ".join(ran.screen.split())
    assert ran.code != 0 and ran.plays == 1 and ran.sent == {}
    assert "The variable fractal_wheelhouse names /nonexistent, which cannot be read on the controller" in said


def test_a_host_that_is_lost_meanwhile_is_in_the_report(tmp_path: Path) -> None:
    """The connection refuses the question, and it is the module's own failure."""
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels" / "a.whl").touch()
    said = json.dumps({"wheelhouse": str(tmp_path / "wheels"), "remote_src": False, "releases": ["2.17.0"]})
    play = f"""\
- hosts: fractal_server
  gather_facts: false
  tasks:
    - fractal_ops.platform.fractal_server_environment: {said}
      ignore_errors: true
      register: told
    - ansible.builtin.copy: {{content: "{{{{ told | to_json }}}}", dest: "{tmp_path}/told.json", mode: "0600"}}
      delegate_to: localhost
"""
    (tmp_path / "own.yml").write_text(play)
    ran = Ran(tmp_path, "own.yml", f"[fractal_server]\nserver {GONE}\n")
    told = json.loads((tmp_path / "told.json").read_text())
    assert ran.code == 0 and told["no_connection"] is True and "Connection refused" in told["msg"]
