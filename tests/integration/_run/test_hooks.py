"""Hooks of the operator in a whole upgrade."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from playbook_runs import HERE, Ran
from pretended_hosts import PretendedHosts, server_seen

LOSE = """\
- name: Lose the host
  ansible.builtin.command: {argv: ["true"]}
  vars: {ansible_connection: ssh, ansible_host: 127.0.0.1, ansible_port: 1, ansible_ssh_retries: 0}
  when: inventory_hostname == 's1'
"""


def upgrade(folder: Path, names: list[str], hook: str) -> tuple[Ran, PretendedHosts]:
    hosts = PretendedHosts(folder)
    for name in names:
        hosts.tell(name, "fractal_observe", **server_seen(name))
    hosts.write()
    (folder / "hook.yml").write_text(hook)
    said = {"fractal_hooks": {"before_window": f"{folder}/hook.yml"}, "fractal_rehearsal": False, "fractal_serial": [1]}
    inventory = "".join(["[fractal_server]\n", *(f"{name} fractal_server_service={name} {HERE}\n" for name in names)])
    name = "fractal_ops.platform.upgrade"
    return Ran(folder, name, inventory, "-e", json.dumps(said), collections=hosts.root), hosts


@pytest.mark.parametrize("names", [["s1"], ["s1", "s2"]])
def test_a_hook_that_loses_the_only_host_of_its_wave_costs_no_report(tmp_path: Path, names: list[str]) -> None:
    """Ansible ends the playbook there, for the waves after it, too."""
    ran, hosts = upgrade(tmp_path, names, LOSE)
    record = ran.report("s1")
    assert ran.code == 4 and hosts.calls("fractal_window:started") == []
    assert (record["outcome"], record["failure"]) == (
        "failed",
        "The hook before_window lost the host. Nothing was stopped.",
    )
    assert f"Should this run end here, its report is {ran.folder}/s1/{record['run']['id']}.html" in ran.screen
    assert "s1/" in (ran.folder / "index.html").read_text()
    for name in names[1:]:
        assert ran.report(name)["failure"].startswith("The run did not get to its end on this host")


def test_what_was_kept_for_that_case_is_not_the_report_of_a_run_that_goes_on(tmp_path: Path) -> None:
    ran, _hosts = upgrade(tmp_path, ["s1"], "- ansible.builtin.debug: {msg: it is due}\n")
    assert ran.code == 0 and ran.report("s1")["outcome"] == "upgraded"
    assert len([*(ran.folder / "s1").glob("2*.json")]) == 1 and ran.screen.count("== s1: ") == 1


@pytest.mark.parametrize(("hook", "told"), [("fail: {msg: not tonight}", False), ("debug: {msg: it is due}", True)])
def test_only_a_window_of_this_run_is_noted_as_told(tmp_path: Path, hook: str, told: bool) -> None:
    """One that a hook has forbidden is skipped; an earlier one may still have to be told."""
    ran, hosts = upgrade(tmp_path, ["s1"], f"- ansible.builtin.{hook}\n")
    assert bool(hosts.calls("fractal_window:started")) == told == (ran.code == 0)
    assert [call["told"] for call in hosts.options("fractal_lock") if "told" in call] == [told]
