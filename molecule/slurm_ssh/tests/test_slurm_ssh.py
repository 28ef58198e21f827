"""SLURM over SSH after the upgrade: profiles, earlier work, the verification, and the release of the workers."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import testinfra
import yaml
from scenario import EPHEMERAL, hosts_of, query
from testinfra.host import Host

from playbooks import Run, run_playbook

testinfra_hosts = hosts_of("fractal_server")
ACCOUNT = ("-e", "fractal_verify_email=bob@example.org", "-e", "fractal_verify_password=pw-bob")
WORKERS = "/opt/fractal/workers/bin/python3"
SEED = json.loads((EPHEMERAL / "seed.json").read_text())


@pytest.fixture(scope="module")
def cluster() -> Host:
    return testinfra.get_host(hosts_of("fractal_worker")[0])


def send(host: Host, method: str, path: str, token: str = "", form: dict[str, str] | None = None) -> Any:
    """Return the JSON that the server's API answers."""
    data = f"-d '{urllib.parse.urlencode(form)}'" if form else "-H 'Content-Type: application/json' -d '{}'"
    data = data if method == "POST" else ""
    text = host.check_output(
        f"curl -s -X {method} -H 'Authorization: Bearer {token}' {data} 'http://localhost:8000{path}'"
    )
    return json.loads(text)


def run_again(host: Host, name: str) -> dict[str, Any]:
    """Submit a seeded workflow, of the old task group, on its dataset again, and return how the job ended."""
    user = SEED[name]
    form = {"username": user["email"], "password": user["password"]}
    token = send(host, "POST", "/auth/token/login/", form=form)["access_token"]
    job = send(host, "POST", user["submit"], token)
    deadline = time.monotonic() + 240
    while job["status"] == "submitted" and time.monotonic() < deadline:
        time.sleep(1)
        job = send(host, "GET", f"{user['base']}/job/{job['id']}/", token)
    found: dict[str, Any] = job
    return found


def release_of(host: Host, python: str) -> str:
    code = "import sys; from importlib.metadata import version; print(sys.executable, version('fractal-server'))"
    found: str = host.check_output(f"runuser -u fractal -- {python} -c %s", code)
    return found.removeprefix(f"{python} ")


def run_with_cluster(told: dict[str, str] | None, playbook: str, *arguments: str) -> Run:
    """Run a playbook with an inventory that says something else of the cluster, or nothing of it."""
    path = Path(os.environ["MOLECULE_INVENTORY_FILE"])
    inventory = yaml.safe_load(path.read_text())
    if told is None:
        del inventory["fractal_worker"]
    else:
        inventory["fractal_worker"]["hosts"]["cluster"].update(told)
    other = path.with_name("other_inventory.yml")
    other.write_text(yaml.safe_dump(inventory))
    return run_playbook(playbook, *arguments, inventory=other)


def blockers(run: Run) -> list[str]:
    return [one["id"] for one in run.reports["server"]["findings"] if one["severity"] == "blocker"]


def stages(run: Run) -> dict[str, dict[str, Any]]:
    return {stage["name"]: stage for stage in run.reports["server"]["stages"]}


def test_resource_and_profiles_have_what_2_16_had(host: Host) -> None:
    resource = query(host, "select type, host, jobs_slurm_python_worker, tasks_pixi_config from resource")
    assert [(r["type"], r["host"], r["jobs_slurm_python_worker"]) for r in resource] == [
        ("slurm_ssh", "cluster", "/opt/fractal/workers/bin/python3")
    ]
    assert resource[0]["tasks_pixi_config"]["SLURM_CONFIG"]["mem"] == "500M"
    fields = "username, ssh_key_path, jobs_remote_dir, tasks_remote_dir"
    assert query(host, f"select {fields} from profile order by username") == [
        {
            "username": name,
            "ssh_key_path": f"/home/fractal/.ssh/{name}",
            "jobs_remote_dir": f"/home/{name}/jobs",
            "tasks_remote_dir": f"/home/{name}/tasks",
        }
        for name in ("alice", "bob")
    ]


def test_the_verification_runs_a_job_on_the_cluster_and_leaves_nothing(host: Host, cluster: Host) -> None:
    listing = "find /home/bob -mindepth 1 -not -path '*/.*' | sort"
    before = cluster.check_output(listing)
    run = run_playbook("verify", *ACCOUNT)
    found = run.checks["server"]
    assert run.code == 0 and {n for n, check in found.items() if check["status"] == "failed"} == set()
    assert "as bob on cluster (SLURM job" in found["job_execution"]["message"]
    assert "/home/bob/tasks/" in found["task_collection"]["message"]
    assert found["probe_removed"]["status"] == found["worker_python"]["status"] == "passed"
    assert cluster.check_output(listing) == before
    assert query(host, "select name from projectv2 where name like 'fractal verify%'") == []
    assert query(host, "select count(*) from jobv2 where project_dump ->> 'name' like 'fractal verify%'") == [
        {"count": 1}
    ]
    assert run_playbook("rollback", "--check").code == 0, "nobody has worked since the upgrade: no consent is needed"


@pytest.mark.parametrize("name", ["alice", "bob"])
def test_work_of_2_16_runs_again_as_its_user(host: Host, cluster: Host, name: str) -> None:
    assert cluster.file(SEED[name]["group"]).user == name, "the task group is where it was"
    stamps = f"/home/{name}/zarr/*.zarr/stamp.json"
    old = cluster.check_output(f"stat -c %Y {stamps}")
    job = run_again(host, name)
    assert job["status"] == "done", job["log"]
    assert cluster.check_output(f"stat -c '%U %Y' {stamps}").split()[0] == name
    assert cluster.check_output(f"stat -c %Y {stamps}") > old
    stamp = json.loads(cluster.check_output(f"cat {stamps}"))
    assert (stamp["user"], stamp["host"]) == (name, "cluster")


def test_the_workers_path_and_extra_packages_are_those_of_before(cluster: Host) -> None:
    assert release_of(cluster, WORKERS) == "2.17.0"
    code = "from importlib.metadata import version; print(version('prometheus-client'))"
    assert cluster.check_output(f"{WORKERS} -c %s", code) == "0.25.0"
    cluster.check_output(f"runuser -u bob -- {WORKERS} -m fractal_server.runner.versions")


def test_the_page_names_what_a_person_has_to_look_at() -> None:
    remaining = "\n".join(run_playbook("verify").reports["server"]["remaining"])
    assert "still called 'Resource Name'" in remaining and "previous_name: Resource Name" in remaining
    assert "still called 'Profile alice'" in remaining


@pytest.fixture
def old_workers() -> Iterator[None]:
    """The cluster has the old release, as after a rollback by hand."""
    command = ["ansible", "-i", os.environ["MOLECULE_INVENTORY_FILE"], "cluster", "--become"]
    command += ["-m", "fractal_ops.platform.fractal_worker_environment"]
    command += ["-a", f"python={WORKERS} state=original release=2.16.6"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "CHANGED" in done.stdout, done.stdout + done.stderr
    yield


def test_workers_of_the_old_release_are_found_and_the_upgrade_brings_them_along(
    old_workers: None, host: Host, cluster: Host
) -> None:
    run = run_playbook("verify", *ACCOUNT)
    found = run.checks["server"]
    assert run.code != 0
    assert found["worker_python"]["status"] == "failed" and "has 2.16.6" in found["worker_python"]["message"]
    assert found["job_execution"]["status"] == "failed"
    assert "Fractal-server version mismatch" in found["job_execution"]["message"]
    assert found["task_collection"]["status"] == found["probe_removed"]["status"] == "passed"
    asked = run_with_cluster(None, "verify").checks["server"]["worker_python"]
    assert (asked["status"], asked["message"]) == ("failed", found["worker_python"]["message"])

    predicted = run_playbook("upgrade", "--check")
    assert predicted.code == 0 and "server: upgrade planned" in predicted.output
    assert re.search("Switch the workers.*pending.*cluster has 2.16.6", predicted.output)
    assert release_of(cluster, WORKERS) == "2.16.6"
    rows = query(host, "select * from resource")

    cluster.check_output("mkdir /opt/fractal/workers-2.16.6")
    failed = run_playbook("upgrade")
    assert failed.code != 0 and failed.reports["server"]["outcome"] == "failed"
    assert "The workers on cluster: /opt/fractal/workers-2.16.6 is in the way" in failed.reports["server"]["failure"]
    assert "fractal-server is back in service (only the workers were to change)" in failed.reports["server"]["failure"]
    assert host.service("fractal-server").is_running
    cluster.check_output("rmdir /opt/fractal/workers-2.16.6")

    done = run_playbook("upgrade", *ACCOUNT)
    assert done.code == 0 and done.reports["server"]["outcome"] == "upgraded"
    assert {name for name, stage in stages(done).items() if stage["state"] == "pending"} == {"stop", "workers", "start"}
    assert stages(done)["workers"]["seconds"] is not None
    assert done.checks["server"]["worker_python"]["status"] == "passed"
    assert done.checks["server"]["job_execution"]["status"] == "passed"
    assert query(host, "select * from resource") == rows


def test_renaming_the_resource_and_upgrading_again_changes_nothing(host: Host, tmp_path: Path) -> None:
    declaration = {
        "resources": [{"name": "The cluster", "previous_name": "Resource Name"}],
        "profiles": [{"name": "Alice", "username": "alice"}],
    }
    task = {"fractal_ops.platform.fractal_resource_profile": declaration}
    play = {"hosts": "fractal_server", "gather_facts": False, "become": True, "tasks": [task]}
    (tmp_path / "rename.yml").write_text(json.dumps([play]))
    command = ["ansible-playbook", "-i", os.environ["MOLECULE_INVENTORY_FILE"], str(tmp_path / "rename.yml")]
    assert "changed=1" in subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "changed=0" in subprocess.run(command, capture_output=True, text=True, check=True).stdout
    tables = ("resource", "profile", "projectv2", "taskgroupv2", "user_oauth")
    rows = [query(host, f"select * from {table} order by id") for table in tables]
    assert [row["name"] for row in rows[0]] == ["The cluster"]
    again = run_playbook("upgrade")
    assert again.code == 0 and again.changed == 0 and again.reports["server"]["outcome"] == "up to date"
    assert {name: len(tasks) for name, tasks in again.sent.items()} == {"server": 2, "cluster": 2}, again.sent
    assert [query(host, f"select * from {table} order by id") for table in tables] == rows
    assert "Resource Name" not in "\n".join(again.reports["server"]["remaining"])


def test_the_workers_go_back_and_forth_with_the_server(host: Host, cluster: Host) -> None:
    back = run_playbook("rollback", "-e", "fractal_accept_data_loss=true")
    assert back.code == 0
    assert release_of(host, "/opt/fractal/venv/bin/python3") == release_of(cluster, WORKERS) == "2.16.6"
    assert not cluster.file("/opt/fractal/workers").is_symlink, "what it was before: a folder"
    assert run_again(host, "alice")["status"] == "done"

    refused = run_with_cluster(None, "precheck")
    [blocker] = [one for one in refused.reports["server"]["findings"] if one["severity"] == "blocker"]
    assert refused.code != 0 and blocker["id"] == "worker.remote"
    assert f"{WORKERS} -m pip install fractal-server==2.17.0" in blocker["fix"]
    assert run_with_cluster(None, "precheck", "-e", '{"fractal_accept": ["worker.remote"]}').code == 0

    forth = run_playbook("upgrade", *ACCOUNT)
    assert forth.code == 0 and forth.reports["server"]["outcome"] == "upgraded"
    assert forth.checks["server"]["job_execution"]["status"] == "passed"
    assert release_of(cluster, WORKERS) == "2.17.0"


@pytest.mark.parametrize(
    ("told", "found"),
    [
        ({"fractal_worker_python": "/nowhere/bin/python3"}, ["worker.unusable"]),
        ({"ansible_host": "nowhere.invalid"}, ["host.unreachable"]),
        ({"fractal_server_host": "sever"}, ["run.server_unknown"]),
        ({"fractal_worker_pyhton": WORKERS}, ["variable.unknown"]),
    ],
)
def test_what_is_wrong_with_the_cluster_stops_an_upgrade_before_its_first_change(
    host: Host, told: dict[str, str], found: list[str]
) -> None:
    run = run_with_cluster(told, "upgrade", "-e", "fractal_target_version=2.17.2")
    assert run.code != 0 and run.changed == 0 and blockers(run) == found
    assert "Traceback" not in run.output
    assert send(host, "GET", "/api/alive/")["version"] == "2.17.0"
