"""What this scenario's tests share with the others'."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import testinfra
from testinfra.host import Host

SHARED = Path(__file__).resolve().parents[2] / "shared" / "tests"
sys.path.append(str(SHARED))
_spec = importlib.util.spec_from_file_location("shared_conftest", SHARED / "conftest.py")
assert _spec and _spec.loader
shared = sys.modules["shared_conftest"] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(shared)

EPHEMERAL, hosts_of, query, seed, server = (
    shared.EPHEMERAL,
    shared.hosts_of,
    shared.query,
    shared.seed,
    shared.server,
)
FILES = Path(__file__).resolve().parents[1] / "files"


def before(name: str) -> dict[str, Any]:
    """Return what ``prepare`` recorded of a host on 2.16."""
    recorded: dict[str, Any] = json.loads((EPHEMERAL / f"before_{name}.json").read_text())
    return recorded


def named(group: str, name: str) -> Host:
    """Return a host of the scenario, to run commands on."""
    return testinfra.get_host(next(host for host in hosts_of(group) if host.endswith(f"-{name}")))


def execute(host: Host, statement: str) -> None:
    """Change the Fractal database."""
    host.check_output("runuser -u postgres -- psql -qX -d fractal_db -c %s", statement)
