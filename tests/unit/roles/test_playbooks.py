"""The playbooks as Ansible runs them: a host that is lost ends its own part, not the run."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
PLAYBOOKS = sorted((ROOT / "playbooks").glob("*.yml"))
PLAYS = [(path.name, play) for path in PLAYBOOKS for play in yaml.safe_load(path.read_text())]
WITH_REPORT = ("precheck.yml", "rehearse.yml", "rollback.yml", "upgrade.yml", "verify.yml")


MODULES = sorted(path.stem for path in (ROOT / "plugins" / "modules").glob("*.py"))


@pytest.mark.parametrize("module", [name for name in MODULES if name != "fractal_report"])
def test_each_module_makes_a_lost_host_a_failed_task(module: str) -> None:
    """Only a failed task is rescued; a host that Ansible calls unreachable is taken out of the run."""
    routes = yaml.safe_load((ROOT / "meta" / "runtime.yml").read_text())["plugin_routing"]["modules"]
    action = routes[module]["action_plugin"].removeprefix("fractal_ops.platform.")
    source = (ROOT / "plugins" / "action" / f"{action}.py").read_text()
    inherits = "class ActionModule(RunModule)" in source and "fractal_observe import" in source
    assert action == "fractal_observe" or inherits


@pytest.mark.parametrize("module", [name for name in MODULES if name != "fractal_report"])
def test_each_module_that_may_take_files_of_the_controller_gets_them_copied(module: str) -> None:
    routes = yaml.safe_load((ROOT / "meta" / "runtime.yml").read_text())["plugin_routing"]["modules"]
    takes = "REMOTE_SRC_ARGUMENT" in (ROOT / "plugins" / "modules" / f"{module}.py").read_text()
    copies = routes[module]["action_plugin"] == "fractal_ops.platform.fractal_server_environment"
    assert copies == takes


def groups_of(hosts: str) -> set[str]:
    """The groups that a play works on, also of one that does without hosts at rest."""
    waves = r"(?:hostvars .*waves\(groups\) \| flatten\s+or )?"
    but = r"hostvars .*but_(?:at_rest|to_prepare)\(groups(?:, '\w+')?\)"
    some = re.fullmatch(rf"\{{\{{ {waves}(\[.*\]) \+ {but} \}}\}}", hosts)
    return set(ast.literal_eval(some[1]) if some else hosts.split(":"))


@pytest.mark.parametrize(("name", "play"), [one for one in PLAYS if one[0] in WITH_REPORT and "hosts" in one[1]])
def test_each_play_before_the_report_keeps_why_a_host_takes_no_further_part(name: str, play: dict[str, Any]) -> None:
    assert groups_of(play["hosts"]) <= {"fractal_server", "fractal_web"}
    work = [task for task in play["tasks"] if "block" in task]
    assert work and all("rescue" in task for task in work)


@pytest.mark.parametrize("name", [*WITH_REPORT, "users.yml", "status.yml", "review.yml", "tidy.yml"])
def test_each_playbook_begins_with_what_it_refuses_and_ends_with_the_report(name: str) -> None:
    own = [play for playbook, play in PLAYS if playbook == name]
    assert own[0]["ansible.builtin.import_playbook"] == "begin.yml"
    assert own[0]["vars"] == {"__run_playbook": name[: -len(".yml")]}
    if name in WITH_REPORT:
        assert own[-1]["ansible.builtin.import_playbook"] == "report.yml" and own[-1]["vars"] == own[0]["vars"]


@pytest.mark.parametrize("playbook", ["rollback", "upgrade"])
def test_the_report_is_written_though_no_host_can_be_reached(playbook: str, tmp_path: Path) -> None:
    inventory = tmp_path / "inventory.ini"
    nowhere = "ansible_host=127.0.0.1 ansible_port=1 ansible_connection=ssh"
    inventory.write_text(f"[fractal_server]\nserver {nowhere}\n[fractal_web]\nweb {nowhere}\n")
    path = str(ROOT / "playbooks" / f"{playbook}.yml")
    done = subprocess.run(
        ["ansible-playbook", "-i", str(inventory), path, "-e", f"fractal_report_dir={tmp_path / 'reports'}"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "ANSIBLE_LOCAL_TEMP": str(tmp_path), "ANSIBLE_NOCOLOR": "1", "ANSIBLE_SSH_RETRIES": "0"},
    )
    assert done.returncode != 0
    record = json.loads((tmp_path / "reports" / "server" / "latest.json").read_text())
    expected = "failed" if playbook == "rollback" else "blocked"
    assert (record["outcome"], record["web"][0]["outcome"]) == (expected, expected), done.stdout[-3000:]
    assert f"server: {expected}" in done.stdout.rpartition("Fail where an instance failed")[2] + done.stderr
    assert "undefined" not in done.stdout + done.stderr


def blocks(tasks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every block of a play, also within others."""
    found = [task for task in tasks if "block" in task]
    return found + [
        one for task in found for part in ("block", "rescue", "always") for one in blocks(task.get(part, []))
    ]


def test_the_hooks_after_a_window_cannot_cost_the_report() -> None:
    """What a host that is lost in a hook would cost otherwise: tests/integration/_run/test_playbooks.py."""
    following = yaml.safe_load((ROOT / "roles/fractal/tasks/following_hooks.yml").read_text())
    found = []
    for tasks in (following, *(play.get("tasks", []) for _name, play in PLAYS)):
        for block in blocks(tasks):
            included = [task.get("ansible.builtin.include_role", {}).get("tasks_from") for task in block["block"]]
            included += [task.get("ansible.builtin.include_tasks") for task in block["block"]]
            found += [block] if "hooks.yml" in included else []
    assert len(found) == 2 and all(block.get("ignore_unreachable") for block in found)
