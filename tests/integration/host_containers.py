"""Hosts of the test bed as containers with systemd, in which modules run under a Python of theirs."""

from __future__ import annotations

import io
import json
import os
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ansible
import pytest

ROOT = Path(__file__).resolve().parents[2]
BED = ROOT / "tests" / "bed"
_LIBRARY = "/opt/precheck-test"
_RUNNER = """
import json, runpy, sys
from ansible.module_utils.testing import patch_module_args
with patch_module_args(json.load(sys.stdin)):
    runpy.run_module("ansible_collections.fractal_ops.platform.plugins.modules." + sys.argv[1], run_name="__main__")
"""


@dataclass(frozen=True)
class HostContainer:
    """One running container."""

    name: str
    python: str

    def sh(self, script: str) -> str:
        """Run a shell script, which must not fail, and return what it says."""
        done = subprocess.run(
            ["podman", "exec", "-i", self.name, "bash", "-eu"],
            input=script,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def module(self, module: str, **options: Any) -> dict[str, Any]:
        """Run one of the collection's modules and return its result."""
        environment = [f"--env=PYTHONPATH={_LIBRARY}", "--env=PYTHONDONTWRITEBYTECODE=1"]
        done = subprocess.run(
            ["podman", "exec", "-i", *environment, self.name, self.python, "-c", _RUNNER, module],
            input=json.dumps(options),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stdout and not done.stderr, done.stdout + done.stderr
        result: dict[str, Any] = json.loads(done.stdout)
        return result

    def findings(self, module: str, **options: Any) -> set[tuple[str, str]]:
        """Run a module and return (id, subject) of its findings."""
        result = self.module(module, **options)
        assert "findings" in result, result
        return {(finding["id"], finding["subject"]) for finding in result["findings"]}

    def receive(self, archive: bytes) -> None:
        """Unpack an archive of :func:`library`."""
        command = ["podman", "exec", "-i", self.name, "sh", "-c", f"mkdir -p {_LIBRARY} && tar -C {_LIBRARY} -x"]
        subprocess.run(command, input=archive, check=True)


def running_pair() -> Iterator[tuple[HostContainer, HostContainer]]:
    """Yield a server and a web host of their own, as the test bed prepares them; skip where it was not built."""
    images = [f"localhost/fractal-ops/{kind}:prepared" for kind in ("server", "web")]
    for image in images:
        if subprocess.run(["podman", "image", "exists", image], check=False).returncode != 0:
            pytest.skip(f"there is no image {image}: run 'make bed'")
    pair = f"precheck-{os.getpid()}"
    environment = {**os.environ, "CONTAINERS_CONF": str(BED / "containers.conf")}
    try:
        started = subprocess.run(
            [BED / "run_pair.sh", pair], capture_output=True, text=True, env=environment, check=False
        )
        assert started.returncode == 0, started.stderr
        hosts = (
            HostContainer(f"{pair}-server", "python3"),
            HostContainer(f"{pair}-web", "python3"),
        )
        archive = library()
        for host in hosts:
            host.receive(archive)
        yield hosts
    finally:
        subprocess.run([BED / "stop_pair.sh", pair], capture_output=True, env=environment, check=False)


def library() -> bytes:
    """Return Ansible and this collection as a tar archive."""
    buffer = io.BytesIO()

    def wanted(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
        return None if "__pycache__" in member.name else member

    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.add(Path(ansible.__file__).parent, "ansible", filter=wanted)
        tar.add(ROOT / "plugins", "ansible_collections/fractal_ops/platform/plugins", filter=wanted)
    return buffer.getvalue()
