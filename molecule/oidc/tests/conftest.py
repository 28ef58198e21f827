"""What this scenario's tests share with the others', and a way to run the verification again."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

SHARED = Path(__file__).resolve().parents[2] / "shared"
_spec = importlib.util.spec_from_file_location("shared_conftest", SHARED / "tests" / "conftest.py")
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


def verify(*arguments: str) -> tuple[int, dict[str, dict[str, dict[str, str]]]]:
    """Run the verification playbook; return its exit code and every check, by server and id."""
    folder = EPHEMERAL / "verify-reports"
    command = ["ansible-playbook", "-i", os.environ["MOLECULE_INVENTORY_FILE"], "fractal_ops.platform.verify"]
    done = subprocess.run(
        [*command, "-e", f"fractal_report_dir={folder}", *arguments], capture_output=True, text=True, check=False
    )
    print(done.stdout, done.stderr)
    found = {}
    for path in folder.glob("*.json"):
        record = json.loads(path.read_text())
        checks = [*record["checks"], *[check for web in record["web"] for check in web["checks"]]]
        found[record["name"]] = {check["id"]: check for check in checks}
    return done.returncode, found
