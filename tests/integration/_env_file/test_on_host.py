"""Environment files before a real systemd: its syntax, and a unit before and after the migration."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.dotenv import (
    Reader,
    assignments,
    encode_for_systemd,
    parse,
)

COLLECTION = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(COLLECTION / "tests" / "unit"))
from systemd_cases import SYSTEMD_CASES

IMAGE = "localhost/fractal-ops/base:12"
_PRINT = "import os, json; print(json.dumps(dict(os.environ)))"
# reads texts, writes what a service sees of each as an EnvironmentFile=
_READ_ALL = f"""
import json, subprocess, sys
seen = []
for text in json.load(sys.stdin):
    with open("/run/case.env", "w", newline="") as stream:
        stream.write(text)
    done = subprocess.run(["systemd-run", "--wait", "--pipe", "--quiet", "--property=EnvironmentFile=/run/case.env",
                           "python3", "-S", "-c", {_PRINT!r}], capture_output=True, text=True, check=True)
    seen.append({{n: v for n, v in json.loads(done.stdout).items() if n in ("A", "B", "C")}})
print(json.dumps(seen))
"""
_MIGRATE = """
import json, sys
sys.path.insert(0, "/collections")
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.env_steps import env_task
options = json.load(sys.stdin)
task = env_task(**options)
task.refuse_blockers()
print(json.dumps(task.result(task.apply(write=True))))
"""

Host = Callable[..., str]


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    """A container with systemd; runs a command in it with the given standard input."""
    if shutil.which("podman") is None:
        pytest.skip("podman is not installed")
    environ = {**os.environ, "CONTAINERS_CONF": str(COLLECTION / "tests" / "bed" / "containers.conf")}

    def podman(*arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
        command = ["podman", *arguments]
        return subprocess.run(command, input=given, capture_output=True, text=True, check=False, env=environ)

    if podman("image", "exists", IMAGE).returncode != 0:
        pytest.skip(f"the image {IMAGE} is not built (tests/bed/build.sh)")
    name = f"env-systemd-{uuid.uuid4().hex[:8]}"
    mount = f"{COLLECTION}:/collections/ansible_collections/fractal_ops/platform:ro"
    started = podman(
        "run", "-d", "--systemd=always", "--pull=never", "--network=none", "-v", mount, "--name", name, IMAGE
    )
    assert started.returncode == 0, started.stderr

    def run(*command: str, given: str = "", check: bool = True) -> str:
        done = podman("exec", "-i", name, *command, given=given)
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    try:
        run("sh", "-c", "until systemctl is-system-running --wait; do :; done", check=False)
        yield run
    finally:
        podman("rm", "-f", "-t", "0", name)


def test_systemd_reads_files_as_the_model_says(host: Host) -> None:
    dice = random.Random(4711)
    fragments = [*"ABC='\"\\\n#; $`é\t", "= ", "\r\n", "x y", "${A}", "A=", "B='", 'C="']
    texts = [
        *SYSTEMD_CASES,
        *("".join(dice.choices(fragments, k=dice.randint(3, 14))) + "\nA=1" for _unused in range(150)),
    ]
    values = ["a b", "q\"u'o", "back\\", "${A}", "`$x`", "two\nlines", "\\n", "é", "", "cr\r."]
    texts += [f"A={encode_for_systemd(value)}\nB=b\n" for value in values]
    # release 252 goes on with a comment that ends in a backslash; 254 and later do not
    texts = [text for text in texts if not any(s.key is None and "\\" in s.text for s in parse(text, Reader.SYSTEMD))]
    seen = json.loads(host("python3", "-c", _READ_ALL, given=json.dumps(texts)))
    for text, found in zip(texts, seen):
        expected = {n: v for n, v in assignments(parse(text, Reader.SYSTEMD)).items() if n in ("A", "B", "C")}
        assert found == expected, text
    assert len(texts) > 100
    assert [found["A"] for found in seen[-len(values) :]] == values


UNIT = """\
[Service]
User=fractal
WorkingDirectory=/srv/fractal
Environment=FRACTAL_RUNNER_BACKEND=slurm "POSTGRES_PASSWORD=pass word" HTTP_PROXY=http://unit
{environment_file}
ExecStart=/usr/bin/python3 -S -c 'import os, json; print("SEEN " + json.dumps(dict(os.environ)))'
StandardOutput=truncate:/run/seen
Type=oneshot
"""
ENV = """\
JWT_SECRET_KEY=jwt
POSTGRES_DB=fractal
FRACTAL_TASKS_DIR=${HOME}/tasks
FRACTAL_RUNNER_WORKING_BASE_DIR=jobs
FRACTAL_SLURM_CONFIG_FILE=slurm.json
HTTP_PROXY=http://file
HTTPS_PROXY="http://u:p@proxy $x"
PATH=/opt/slurm/bin:${PATH}
LIST=${HOME}:${HTTP_PROXY}
"""


@pytest.fixture
def service(host: Host, request: pytest.FixtureRequest) -> str:
    """Name of a unit that prints its environment, with the file of the test in its working directory."""
    name = f"fractal-{uuid.uuid4().hex[:6]}"
    also = "EnvironmentFile=/srv/fractal/.fractal_server.env" if getattr(request, "param", False) else ""
    host(
        "sh",
        "-c",
        "id fractal || useradd -d /home/fractal fractal; rm -rf /srv/fractal; install -d -o fractal /srv/fractal",
    )
    host("sh", "-c", "cat > /srv/fractal/.fractal_server.env", given=ENV)
    host(
        "sh",
        "-c",
        "cd /srv/fractal; echo {} > slurm.json; chown fractal: .fractal_server.env; chmod 644 .fractal_server.env",
    )
    host("sh", "-c", f"cat > /etc/systemd/system/{name}.service", given=UNIT.format(environment_file=also))
    host("systemctl", "daemon-reload")
    return name


def migrate(host: Host, service: str) -> dict[str, Any]:
    drop_in = f"/etc/systemd/system/{service}.service.d/50-fractal-environment.conf"
    options = {"path": "/srv/fractal/.fractal_server.env", "service": service, "server_python": "/usr/bin/python3"}
    found: dict[str, Any] = json.loads(
        host("python3", "-B", "-c", _MIGRATE, given=json.dumps({**options, "drop_in_path": drop_in}))
    )
    return found


def seen_by(host: Host, service: str) -> dict[str, str]:
    host("systemctl", "start", service)
    found: dict[str, str] = json.loads(host("cat", "/run/seen").partition("SEEN ")[2])
    return {name: value for name, value in found.items() if name not in ("INVOCATION_ID", "SYSTEMD_EXEC_PID")}


def test_a_service_keeps_its_environment_and_its_children_theirs(host: Host, service: str) -> None:
    before = seen_by(host, service)
    assert before["FRACTAL_RUNNER_BACKEND"] == "slurm" and "HTTPS_PROXY" not in before
    result = migrate(host, service)
    after = seen_by(host, service)
    # what load_dotenv() of 2.16 put there for child processes, systemd does now; what 2.17 must not see is gone
    assert after["HTTPS_PROXY"] == "http://u:p@proxy $x"
    assert after["LIST"] == "/home/fractal:http://unit"
    assert (after["HTTP_PROXY"], after["PATH"]) == ("http://unit", before["PATH"])
    assert "FRACTAL_RUNNER_BACKEND" not in after and result["hidden"] == ["FRACTAL_RUNNER_BACKEND"]
    new = host("cat", "/srv/fractal/.fractal_server.env")
    assert "FRACTAL_RUNNER_BACKEND=slurm_sudo\n" in new and "POSTGRES_PASSWORD='pass word'\n" in new
    old = host("cat", result["old_path"])
    assert "FRACTAL_TASKS_DIR=/home/fractal/tasks\n" in old
    assert "FRACTAL_RUNNER_WORKING_BASE_DIR=/srv/fractal/jobs\n" in old
    assert host("stat", "-c", "%U %a", "/srv/fractal/.fractal_server.env", result["old_path"]) == "fractal 640\n" * 2
    assert "proxy" not in host("systemctl", "show", "--property=Environment", service)
    assert not migrate(host, service)["changed"]
    assert seen_by(host, service) == after
    # a run that was killed before the new file, and systemd has read its drop-in: the next one ends the same
    host("sh", "-c", "cat > /srv/fractal/.fractal_server.env", given=ENV)
    assert migrate(host, service)["steps"] == ["2.17.0"]
    assert host("cat", "/srv/fractal/.fractal_server.env") == new and host("cat", result["old_path"]) == old
    assert seen_by(host, service) == after


@pytest.mark.parametrize("service", [True], indirect=True)
def test_a_file_that_systemd_reads_too_stays_of_one_meaning(host: Host, service: str) -> None:
    before = seen_by(host, service)
    result = migrate(host, service)
    after = seen_by(host, service)
    assert "FRACTAL_RUNNER_BACKEND" not in after and result["hidden"] == ["FRACTAL_RUNNER_BACKEND"]
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "PATH", "LIST"):
        assert after[name] == before[name]
    told = [finding["subject"] for finding in result["findings"] if finding["id"] == "environment.readers_differ"]
    assert told == ["PATH", "LIST"]
    assert not migrate(host, service)["changed"]
