"""Every scenario has the facts and fixtures of scenario.py; this one knows its two instances by name, too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import testinfra
from scenario import EPHEMERAL, hosts_of
from testinfra.host import Host

pytest_plugins = ["scenario"]

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
