"""The playbooks as they are, on hosts that are pretended: each module is a script that answers what a test says.

What the playbooks and roles do with the answers is real: order, conditions, waves, reports, exit code.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

from conftest import COLLECTION

_AS_THEY_ARE = ("playbooks", "roles", "meta", "galaxy.yml")
_SCRIPT = """\
#!/usr/bin/python
# WANT_JSON
import fcntl, json, sys, time
module, folder = {module!r}, {folder!r}
options = json.load(open(sys.argv[1]))
with open(folder + "/calls", "a") as calls:
    fcntl.flock(calls, fcntl.LOCK_EX)
    print(json.dumps([options.get("service", ""), module, options.get("state", ""), options]), file=calls)
told = json.load(open(folder + "/answers.json"))
answer = {{"at": time.time(), "duration": 0.0}}
for service in ("", options.get("service", "")):
    for state in ("", options.get("state") or ""):
        answer.update(told.get(service, {{}}).get(module + (":" + state if state else ""), {{}}))
print(json.dumps(answer))
"""


class PretendedHosts:
    """A collection whose modules answer what they are told, by the service that they are asked about."""

    def __init__(self, folder: Path) -> None:
        self.root, self._folder = folder / "collections", folder
        self.answers: dict[str, dict[str, Any]] = {"": copy.deepcopy(_GOOD)}
        own = self.root / "ansible_collections" / "fractal_ops" / "platform"
        (own / "plugins" / "modules").mkdir(parents=True)
        for name in _AS_THEY_ARE:
            (own / name).symlink_to(COLLECTION / name)
        for path in (COLLECTION / "plugins").iterdir():
            if path.name != "modules":
                (own / "plugins" / path.name).symlink_to(path)
        for path in (COLLECTION / "plugins" / "modules").glob("*.py"):
            script = _SCRIPT.format(module=path.stem, folder=str(folder))
            (own / "plugins" / "modules" / path.name).write_text(script)

    def tell(self, service: str, module: str, **answer: Any) -> None:
        """Answer this when ``module`` (with ``:STATE`` where that matters) is asked about ``service``."""
        self.answers.setdefault(service, {}).setdefault(module, {}).update(answer)

    def really(self, module: str, constant: str, value: str) -> None:
        """Let a module do what it does, but with another value for a constant, ``ROOM.FILE.NAME`` of module_utils."""
        room, file, name = constant.split(".")
        source = (COLLECTION / "plugins" / "modules" / f"{module}.py").read_text()
        utils = f"ansible_collections.fractal_ops.platform.plugins.module_utils.{room}"
        changed = f"from {utils} import {file}\n{file}.{name} = {value!r}\n\n"
        marker = 'if __name__ == "__main__":'
        script = source.replace(marker, changed + marker)
        assert script != source
        (self.root / "ansible_collections/fractal_ops/platform/plugins/modules" / f"{module}.py").write_text(script)

    def write(self) -> None:
        """Write the answers down, before the playbook begins."""
        (self._folder / "answers.json").write_text(json.dumps(self.answers))

    def calls(self, *modules: str) -> list[tuple[str, str]]:
        """Return of which service what was asked, ``MODULE`` or ``MODULE:STATE``, in order."""
        asked = [(service, f"{name}:{state}" if state else name) for service, name, state, _unused in self._told()]
        return [(service, name) for service, name in asked if name in modules]

    def options(self, module: str) -> list[dict[str, Any]]:
        """Return the options of each call of a module, in order."""
        return [options for _service, name, _state, options in self._told() if name == module]

    def _told(self) -> list[tuple[str, str, str, dict[str, Any]]]:
        return [tuple(json.loads(line)) for line in (self._folder / "calls").read_text().splitlines()]


def server_seen(service: str) -> dict[str, Any]:
    """Return what is seen of a healthy fractal-server 2.16.6."""
    instance = {
        **{"service": service, "version": "2.16.6", "environment": "/venv", "python": "/venv/bin/python3"},
        **{"env_file": "/srv/.env", "url": "http://localhost:8000", "worker_python": "/venv/bin/python3"},
        **{"staged": [], "active_state": "active", "hold": None, "lock": None},
    }
    database = {
        "reachable": True,
        "revision": "981d588fe248",
        "data_migration": "pending",
        "stop": "",
        "role": "fractal",
    }
    return {
        "instance": instance,
        "database": database,
        "environment": {"findings": [], "runner_backend": "local", "steps": ["2.17.0"]},
    }


def web_seen(service: str) -> dict[str, Any]:
    """Return what is seen of a healthy fractal-web 1.20.1."""
    instance = {"service": service, "version": "1.20.1", "active_state": "active", "env_file": "/srv/web.env"}
    return {"instance": {**instance, "url": "http://localhost:5173", "hold": None, "lock": None}}


def _check(identifier: str, status: str) -> dict[str, Any]:
    return {"id": identifier, "subject": identifier, "status": status, "message": f"it {status}", "fix": ""}


PASSED, FAILED = [_check("server.version", "passed")], [_check("server.login", "failed")]
_WINDOW = {
    **{"outcome": "upgraded", "stages": {}, "results": {}, "window_seconds": 12.5},
    **{"msg": "", "say": "", "running_stage": "", "told": False},
}
_GOOD: dict[str, Any] = {
    "fractal_server_precheck": {"findings": []},
    "fractal_user_precheck": {"findings": []},
    "fractal_web_precheck": {"findings": []},
    "fractal_lock": {"lock": {"run": "r", "controller": "c"}},
    "fractal_env_migrate": {"hidden": {}},
    "fractal_window:started": {"id": "x", "seen": 0, "changed": True},
    "fractal_window:attached": {"id": "x", "seen": 0, "changed": False},
    "fractal_window:watched": {"seen": 0, "events": [], "running": False, "window": _WINDOW},
    "fractal_web_release:running": {"health": {"version": "1.21.1"}, "changed": True},
    "fractal_backup_info": {"without_dump": [], "not_packed": [], "folder": "/backups"},
    "fractal_tidy": {"found": [], "failed_items": [], "bytes": 0},
    "fractal_verify": {"checks": PASSED, "findings": [], "server": {}},
    "fractal_web_verify": {"checks": []},
}


def failed_window(why: str) -> dict[str, Any]:
    """Return what the program of a window says that has failed and gone back."""
    return {"window": {**_WINDOW, "outcome": "back", "window_seconds": 3.0, "msg": why, "say": "The old one is back."}}
