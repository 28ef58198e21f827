"""What the playbooks say, keep and return, whatever --limit leaves and whichever host is lost."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from playbook_runs import GONE, HERE, PAIR, Ran


def ran(folder: Path, playbook: str, inventory: str, *arguments: str) -> Ran:
    return Ran(folder, f"fractal_ops.platform.{playbook}", inventory, *arguments)


@pytest.mark.parametrize(
    ("playbook", "limit"), [("precheck", "server"), ("precheck", "fractal_web"), ("verify", "web")]
)
def test_a_part_of_an_instance_is_reported_and_fails_the_run(tmp_path: Path, playbook: str, limit: str) -> None:
    run = ran(tmp_path, playbook, PAIR, "--limit", limit)
    name = "server" if limit == "server" else "web"
    record = run.report(name)
    assert run.code == 2 and record["outcome"] in ("blocked", "failed")
    assert record["run"]["limit"] == limit and record["run"]["playbook"] == playbook
    assert f"Report: {run.folder}/{name}/{record['run']['id']}.html" in run.screen
    assert "unit.missing" in run.screen and "=> {" not in run.screen.partition("TASK [Write the reports]")[0]


@pytest.mark.parametrize(
    ("playbook", "limit", "sentence"),
    [
        ("upgrade", "server", "web serves fractal-web of server, but is not in this run: both belong together."),
        ("rollback", "web", "web serves fractal-web of server, which is not in this run: both belong together."),
    ],
)
def test_half_an_instance_is_never_changed(tmp_path: Path, playbook: str, limit: str, sentence: str) -> None:
    run = ran(tmp_path, playbook, PAIR.replace(HERE, GONE), "--limit", limit)
    assert run.code != 0 and run.plays == 1 and "Connection refused" not in run.screen
    assert sentence in " ".join(run.screen.split()) and "--limit: server,web" in run.screen


@pytest.mark.parametrize(("playbook", "limit"), [("upgrade", []), ("users", ["--limit", "server"])])
def test_misspelt_groups_are_told_before_any_host_is_contacted(tmp_path: Path, playbook: str, limit: list[str]) -> None:
    both = PAIR.replace(HERE, GONE).replace("fractal_server]", "fractal_servers]").replace("_web]", "-web]")
    run = ran(tmp_path, playbook, both, *limit)
    said = " ".join(run.screen.split())
    assert run.code != 0 and run.plays == 1 and "Connection refused" not in run.screen
    assert "The inventory has no host in the group fractal_server. Did you mean it by fractal_servers?" in said
    assert "The group fractal-web means nothing here. Did you mean fractal_web?" in said


@pytest.mark.parametrize("tags", [("--tags", "window"), ("--skip-tags", "untagged")])
@pytest.mark.parametrize("playbook", ["precheck", "upgrade"])
def test_a_run_of_some_tasks_is_refused_before_any_host_is_contacted(
    tmp_path: Path, playbook: str, tags: tuple[str, str]
) -> None:
    run = ran(tmp_path, playbook, PAIR, *tags)
    assert run.code != 0 and run.plays == 1 and run.sent == {}
    assert f"only some of its tasks ({tags[1]})" in run.screen


@pytest.mark.parametrize(
    ("playbook", "task"), [("upgrade", "Upgrade fractal-server"), ("users", "*"), ("status", "No such task")]
)
def test_a_run_from_a_task_on_is_refused_before_any_host_is_contacted(tmp_path: Path, playbook: str, task: str) -> None:
    """Ansible itself would end well where no task has that name."""
    run = ran(tmp_path, playbook, PAIR, "--start-at-task", task)
    assert run.code != 0 and run.plays == 0 and run.sent == {} and not run.folder.exists()
    assert "Nothing was done, as --start-at-task leaves out" in " ".join(run.errors.split())


def test_a_role_in_another_playbook_may_come_after_the_task_that_is_begun_at(tmp_path: Path) -> None:
    name = "Look"
    tasks = [{"name": "First", "ansible.builtin.fail": {"msg": "not left out"}}]
    tasks += [{"name": name, "ansible.builtin.include_role": {"name": "fractal_ops.platform.precheck"}}]
    play = {"hosts": "fractal_server", "gather_facts": False, "tasks": tasks}
    (tmp_path / "own.yml").write_text(json.dumps([play]))
    run = Ran(tmp_path, "own.yml", PAIR, "--start-at-task", name)
    assert run.code == 0 and run.sent == {"server": ["fractal_ops.platform.fractal : Look at the host"]}


def test_skipping_tags_that_no_task_has_leaves_nothing_out(tmp_path: Path) -> None:
    """Molecule skips two of its own in whatever it runs."""
    run = ran(tmp_path, "precheck", PAIR, "--skip-tags", "molecule-notest,notest")
    assert run.plays > 1 and "only some of its tasks" not in run.screen


def test_a_web_group_that_is_misspelt_does_not_leave_the_web_out(tmp_path: Path) -> None:
    run = ran(tmp_path, "upgrade", PAIR.replace("[fractal_web]", "[fractal_webs]"))
    assert run.code != 0 and run.plays == 1 and "Did you mean fractal_web?" in run.screen


def test_a_server_that_is_misspelt_is_told(tmp_path: Path) -> None:
    run = ran(tmp_path, "precheck", PAIR.replace("\nweb ", "\nweb fractal_server_host=servr "))
    assert run.code != 0 and run.plays == 1
    assert "fractal_server_host: servr, but fractal_server has no such host. Did you mean server?" in " ".join(
        run.screen.split()
    )


def test_a_machine_that_is_both_belongs_to_itself_also_beside_others(tmp_path: Path) -> None:
    """With more than one server, too, nothing needs to be said of it; a variable of the whole group changes nothing."""
    hosts = f"one {HERE} fractal_web_service=lost-one\ntwo {HERE} fractal_web_service=lost-two\n"
    inventory = f"[fractal_server]\n{hosts}[fractal_web]\none\ntwo fractal_server_host=one\n"
    run = ran(tmp_path, "precheck", inventory)
    for name in ("one", "two"):
        (web,) = run.report(name)["web"]
        assert (web["name"], web["server"]) == (name, name)
        assert f"lost-{name}" in web["findings"][0]["message"]


@pytest.mark.parametrize("playbook", ["precheck", "upgrade", "verify", "rollback"])
def test_hosts_that_cannot_be_reached_are_in_the_report(tmp_path: Path, playbook: str) -> None:
    run = ran(tmp_path, playbook, PAIR.replace(HERE, GONE))
    record = run.report()
    assert run.code == 2 and record["outcome"] == ("failed" if playbook == "rollback" else "blocked")
    assert {one["id"] for one in record["findings"]} == {"host.unreachable"}
    assert [one["id"] for web in record["web"] for one in web["findings"]] == ["host.unreachable"]
    assert "Connection refused" in record["findings"][0]["message"]


def test_why_nobody_may_become_root_is_in_the_report(tmp_path: Path) -> None:
    sudo = tmp_path / "sudo"
    sudo.write_text("#!/bin/sh\necho 'sudo: a password is required' >&2\nexit 1\n")
    sudo.chmod(0o755)
    inventory = PAIR.replace("ansible_become=false", f"ansible_become_exe={sudo} ansible_become_user=nobody")
    record = ran(tmp_path, "precheck", inventory).report()
    assert [one["id"] for one in record["findings"]] == ["host.unusable"]
    assert "a password is required" in record["findings"][0]["message"]


def test_a_host_without_python_is_in_the_report(tmp_path: Path) -> None:
    record = ran(tmp_path, "precheck", PAIR.replace(sys.executable, "/nonexistent/python3")).report()
    assert [one["id"] for one in record["findings"]] == ["host.unusable"]


LOST_LATER = """\
- hosts: fractal_server
  gather_facts: false
  tasks:
    - name: Be an upgraded server
      ansible.builtin.set_fact:
        __server_failure: ""
        __server_state:
          {instance: {version: 2.17.0}, target: 2.17.0, failure: "", findings: [], plan: {stages: [], window: false}}
- hosts: fractal_web
  gather_facts: false
  tasks:
    - block:
        - name: Run the new release
          fractal_ops.platform.fractal_web_release:
            state: running
      rescue:
        - name: Keep why
          ansible.builtin.set_fact:
            __web_server: server
            __web_failure: "{{ ansible_failed_result.msg }}"
- import_playbook: fractal_ops.platform.report
  vars:
    __run_playbook: upgrade
"""


def test_the_only_host_of_a_play_that_is_lost_in_it_costs_no_report(tmp_path: Path) -> None:
    """Ansible would end the playbook there: no host would be left."""
    (tmp_path / "lost.yml").write_text(LOST_LATER)
    run = Ran(tmp_path, "lost.yml", PAIR.replace(f"web {HERE}", f"web {GONE}"))
    record = run.report()
    assert run.code == 2 and "unreachable=1" not in run.screen
    assert (record["outcome"], record["server_outcome"]) == ("failed", "up to date")
    assert [web["outcome"] for web in record["web"]] == ["failed"]
    assert "Connection refused" in record["web"][0]["failure"]


@pytest.mark.parametrize("playbook", ["precheck", "upgrade", "verify", "rollback"])
def test_a_host_is_looked_at_with_one_task(tmp_path: Path, playbook: str) -> None:
    """What there is to judge or to do comes after it; here is no instance."""
    look = ["fractal_ops.platform.fractal : Look at the host"]
    assert ran(tmp_path, playbook, PAIR).sent == {"server": look, "web": look}


def test_a_host_that_is_both_is_looked_at_as_both(tmp_path: Path) -> None:
    both = f"[fractal_server]\nhost {HERE}\n[fractal_web]\nhost {HERE}\n"
    run = ran(tmp_path, "precheck", both)
    looks = ("Look at the host", "Look at fractal-web with what its server says")
    assert run.sent == {"host": [f"fractal_ops.platform.fractal : {look}" for look in looks]}
    record = run.report("host")
    assert [record["server_outcome"], record["web"][0]["outcome"]] == ["blocked", "blocked"]


AFTER_A_WINDOW = """\
- hosts: fractal_server
  gather_facts: false
  tasks:
    - name: Be an upgraded server
      ansible.builtin.set_fact:
        __server_failure: ""
        __server_upgrade_window: {window: {outcome: upgraded, stages: {}, results: {}}}
        __server_state:
          {instance: {version: 2.17.0}, target: 2.17.0, failure: "", findings: [], plan: {stages: [], window: false}}
    - name: Run the hooks that follow the window
      ignore_unreachable: true
      block:
        - ansible.builtin.include_role:
            name: fractal_ops.platform.fractal
            tasks_from: hooks.yml
- import_playbook: fractal_ops.platform.report
  vars:
    __run_playbook: upgrade
"""
HOOK = """\
- name: Lose the host
  ansible.builtin.command: {argv: ["true"]}
  vars: {ansible_connection: ssh, ansible_host: 127.0.0.1, ansible_port: 1, ansible_ssh_retries: 0}
- name: Keep what the hook is told
  ansible.builtin.copy: {content: "{{ fractal_event | to_json }}", dest: "{{ inventory_dir }}/told.json", mode: "0600"}
- name: Fail where the test asks for it
  ansible.builtin.fail: {msg: it was asked to}
  when: fails | bool
"""


@pytest.mark.parametrize("fails", [False, True])
def test_a_hook_costs_no_report_though_it_loses_the_only_host_or_fails(tmp_path: Path, fails: bool) -> None:
    (tmp_path / "after.yml").write_text(AFTER_A_WINDOW)
    (tmp_path / "hook.yml").write_text(HOOK)
    hooks = json.dumps({"fractal_hooks": {"after_window": f"{tmp_path}/hook.yml"}, "fails": fails})
    run = Ran(tmp_path, "after.yml", PAIR.partition("[fractal_web]")[0], "-e", hooks)
    record = run.report()
    assert record["left"] == (["The hook after_window failed: it was asked to"] if fails else [])
    assert bool(run.code) == fails and record["failure"] == ""
    told = json.loads((tmp_path / "told.json").read_text())
    assert (told["hook"], told["instance"], told["outcome"]) == ("after_window", "server", "upgraded")


def test_every_run_is_kept_and_the_latest_is_led_to(tmp_path: Path) -> None:
    runs = [ran(tmp_path, playbook, PAIR).report()["run"] for playbook in ("precheck", "verify")]
    folder = tmp_path / "fractal-reports"
    assert runs[0]["id"] != runs[1]["id"] and len({*(folder / "server").glob("2*.json")}) == 2
    assert (folder / "server" / "latest.html").resolve().stem == runs[1]["id"]
    index = (folder / "index.html").read_text()
    assert all(f"server/{run['id']}.html" in index for run in runs)
    assert all((folder / "server" / f"{run['id']}.{kind}").exists() for run in runs for kind in ("json", "md", "html"))


def test_a_folder_that_cannot_be_written_is_refused_before_any_host_is_contacted(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    run = ran(tmp_path, "upgrade", PAIR.replace(HERE, GONE), "-e", f"fractal_report_dir={tmp_path}/file/reports")
    assert run.code != 0 and run.plays == 1 and "Connection refused" not in run.screen
    assert f"Cannot make the folder {tmp_path}/file/reports" in run.screen


def test_figures_are_written_for_prometheus(tmp_path: Path) -> None:
    (tmp_path / "metrics").mkdir()
    ran(tmp_path, "precheck", PAIR, "-e", f"fractal_metrics_dir={tmp_path}/metrics")
    text = (tmp_path / "metrics" / "fractal_ops_server.prom").read_text()
    assert 'fractal_ops_run_outcome{instance_name="server",playbook="precheck",outcome="blocked"} 1\n' in text
    assert 'fractal_ops_findings{instance_name="server",playbook="precheck",severity="blocker"} 2\n' in text


def test_check_mode_shows_and_writes_nothing(tmp_path: Path) -> None:
    run = ran(tmp_path, "upgrade", PAIR, "--check")
    assert run.code == 2 and "unit.missing" in run.screen
    assert not run.folder.exists()
