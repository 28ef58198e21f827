"""The examples of the filters, run by Ansible on pretended hosts after what gives them their facts in a playbook."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import yaml
from conftest import COLLECTION
from examples import role_example
from playbook_runs import HERE, Ran
from pretended_hosts import PretendedHosts, server_seen, web_seen

PAGES = sorted((COLLECTION / "plugins" / "filter").glob("*.yml"))
SERVER, WEB = server_seen("fractal-server"), web_seen("fractal-web")
SERVER["database"].update(size_bytes=8_000_000, jobs_in_flight=0, activities_in_flight=0)
BACKUP = {"path": "/b/1", "version": "2.16.6", "revision": "981d588fe248", "created": "2026-11-01T00:00:00Z"}
INVENTORY = f"[fractal_server]\nserver {HERE}\nanother {HERE}\n[fractal_web]\nweb fractal_server_host=server {HERE}\n"
# What stands in an example for what a task before it has registered.
REGISTERED: dict[str, dict[str, Any]] = {
    "server_state": {"__seen": SERVER},
    "this_run": {"__server": SERVER},
    "way_back": {"found": {"backup": BACKUP, "hold": None, "ran_before": True}, "observed": SERVER},
    "web_state": {"__seen": WEB},
    "worker_problems": {"__fractal_workers": [{"host": "cluster1", "failed": True, "msg": "no room"}]},
}
# A part of what each shows; the plays show the hosts that they have.
SHOWS = {
    "but_at_rest": "ok: [server]",
    "but_to_prepare": "ok: [web]",
    "failure": "Fail as a task may: non-zero return code",
    "following_hooks": '"msg": []',
    "hook_event": '"hook": "after_window"',
    "hosts_of_instance": '"msg": "server,web"',
    "mistyped": '"findings": []',
    "not_begun": '"msg": {}',
    "refused": '"msg": []',
    "report_records": '"outcome": "upgrade planned"',
    "review_lines": '"server',
    "server_state": '"target": "2.17.0"',
    "status_lines": "2.16.6",
    "target_release": '"msg": "2.26.0"',
    "this_run": "ok: [server]",
    "tidy_lines": '"server',
    "waves": "ok: [web]",
    "way_back": "ok: [server]",
    "web_state": '"version": "1.21.1"',
    "web_version": '"msg": "1.21.1"',
    "wheels": "fractal-server==2.18.5",
    "whole_run": "ok: [localhost]",
    "why_server_waits": '"msg": ""',
    "why_web_waits": '"msg": ""',
    "worker_hosts": '"msg": []',
    "worker_problems": "cluster1: no room",
}


def as_plays(name: str, example: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the example of a filter as something to run: a play as it is, a task in a play of one host."""
    common = {"gather_facts": False, "become": False}
    if "hosts" in example:
        return [{**example, **common, "tasks": [{"name": name, "ansible.builtin.debug": {}}]}]
    task = {**example, "name": name, "vars": REGISTERED.get(name, {})}
    if name == "failure":
        fails = {"name": "Fail as a task may", "ansible.builtin.command": "false"}
        task = {"block": [fails], "rescue": [task]}
    host = {"web_state": "web", "why_web_waits": "web", "refused": "server:web"}.get(name, "server")
    return [{"name": name, "hosts": host, **common, "tasks": [task]}]


def test_each_example_shows_what_it_is_for(tmp_path: Path) -> None:
    pretended = PretendedHosts(tmp_path)
    pretended.tell("fractal-server", "fractal_observe", **SERVER)
    pretended.tell("fractal-web", "fractal_observe", **WEB)
    pretended.write()
    begin = {"import_playbook": "fractal_ops.platform.begin", "vars": {"__run_playbook": "upgrade"}}
    playbook = [begin, *({**play, "become": False} for play in role_example("precheck"))]
    for page in PAGES:
        for example in yaml.safe_load(yaml.safe_load(page.read_text())["EXAMPLES"]):
            playbook += as_plays(page.stem, example)
    (tmp_path / "filters.yml").write_text(json.dumps(playbook, indent=1))
    options = ("--limit", "server,web,localhost", "-e", '{"fractal_hooks": {}, "fractal_serial": 1}')
    ran = Ran(tmp_path, "filters.yml", INVENTORY, *options, collections=pretended.root)
    assert ran.code == 0, ran.screen + ran.errors
    assert {page.stem for page in PAGES} == set(SHOWS)
    shown: dict[str, str] = defaultdict(str)
    for part in ran.screen.split("\nTASK ["):
        shown[part.partition("]")[0]] += part.partition("]")[2]
    assert {name: word for name, word in SHOWS.items() if word not in shown[name]} == {}, ran.screen
