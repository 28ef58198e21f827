"""The examples of modules and roles, run on a real pair of hosts in the order of ``examples.STORY``."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import COLLECTIONS_ROOT
from examples import ROOT, STORY, Play, expected, plays_of, wheel_lines
from host_containers import HostContainer, running_pair
from playbook_runs import PROGRAM, Ran

pytestmark = pytest.mark.xdist_group("examples-pair")  # one pair for all, in this order

Pair = tuple[HostContainer, HostContainer]
_ALIVE = "curl -s http://localhost:8000/api/alive/"
_PREPARE = """
runuser -u postgres -- psql -q -v ON_ERROR_STOP=1 fractal_db <<'SQL'
CREATE ROLE reader LOGIN PASSWORD 'read-only';
GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader;
SQL
# an environment of the workers' own, and an index of one's own, which pip's configuration says
cp -a /opt/fractal/venv /opt/cluster-venv
printf '[global]\\nno-index = true\\nfind-links = /opt/wheelhouse\\n' > /etc/pip.conf
"""


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    yield from running_pair()


@pytest.fixture(autouse=True)
def connections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANSIBLE_SSH_ARGS", f"-F {ROOT}/.cache/ssh/config")
    monkeypatch.setenv("ANSIBLE_PIPELINING", "1")


def inventory(pair: Pair) -> str:
    server, web = (f"{name} ansible_host={host.name}" for name, host in zip(("server", "web"), pair))
    variables = {
        "ansible_python_interpreter": "/usr/bin/python3",
        "reader_password": "read-only",
        "vault_alice": "pw-alice",
        "fractal_accept_data_loss": "true",  # what is written below is lost in the last rollback
        "fractal_web_archive": "/opt/archives/node-18-fractal-web-v1.21.1.tar.gz",
    }
    own = "".join(f"{name}={value}\n" for name, value in variables.items())
    return (
        f"[fractal_server]\n{server}\n[fractal_web]\n{web} __env='{{{{ hostvars.server.__env }}}}'\n[all:vars]\n{own}"
    )


def run(folder: Path, pair: Pair, part: list[Play], *arguments: str) -> Ran:
    (folder / "part.yml").write_text(json.dumps(plays_of(part), indent=1))
    ran = Ran(folder, "part.yml", inventory(pair), *arguments)
    came_to = re.findall(r"^TASK \[(.*?)\] \**\n+(?:.*\n)*?(ok|changed|skipping|fatal)", ran.screen, re.MULTILINE)
    wanted = expected(part)
    assert ran.code == 0, ran.screen + ran.errors
    left = iter(came_to)
    assert [one for one in wanted if one not in left] == [], f"not so, or not in this order: {came_to}"
    return ran


@pytest.fixture
def parts(request: pytest.FixtureRequest) -> list[list[Play]]:
    """What the story tells of a test."""
    return STORY[request.node.name]


def test_wheels_for_hosts_without_a_network(tmp_path: Path, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder is made from the wheels of the bed, as this machine may have no network either."""
    host = pair[0].name
    subprocess.run(["podman", "cp", f"{host}:/opt/wheelhouse", str(tmp_path / "index")], check=True)
    monkeypatch.setenv("PATH", str(PROGRAM.parent), prepend=os.pathsep)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    monkeypatch.setenv("ANSIBLE_COLLECTIONS_PATH", COLLECTIONS_ROOT)
    (tmp_path / "inventory.ini").write_text(inventory(pair))
    for line in wheel_lines():
        done = subprocess.run(["bash", "-c", line], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    made = sorted(path.name for path in (tmp_path / "wheels").iterdir())
    assert any(name.startswith("fractal_server-2.17.0-") for name in made)


def test_examples_for_a_service_that_runs(tmp_path: Path, pair: Pair, parts: list[list[Play]]) -> None:
    pair[0].sh(_PREPARE)
    ran = run(tmp_path, pair, *parts)
    assert ran.report()["outcome"] == "upgrade planned"


def test_examples_of_an_upgrade_by_hand_and_of_the_way_back(
    tmp_path: Path, pair: Pair, parts: list[list[Play]]
) -> None:
    run(tmp_path, pair, *parts)
    assert "2.16.6" in pair[0].sh(_ALIVE)


def test_examples_of_a_window_that_another_run_has_begun(tmp_path: Path, pair: Pair, parts: list[list[Play]]) -> None:
    unit = "systemctl is-active fractal-window-fractal-server.service || true"
    folders = [tmp_path / name for name in ("background", "watched")]
    for folder in folders:
        folder.mkdir()
    with ThreadPoolExecutor() as other:
        upgrade = other.submit(run, folders[0], pair, parts[0], "-e", "fractal_rehearsal=false")
        while not (upgrade.done() or pair[0].sh(unit).strip() == "active"):
            time.sleep(0.1)
        assert not upgrade.done(), upgrade.result().screen
        run(folders[1], pair, parts[1])
        upgrade.result()
    assert "2.17.0" in pair[0].sh(_ALIVE)


def test_examples_for_what_is_upgraded(tmp_path: Path, pair: Pair, parts: list[list[Play]]) -> None:
    run(tmp_path, pair, *parts)
    assert "2.16.6" in pair[0].sh(_ALIVE)
