"""SLURM over SSH after the upgrade: profiles, earlier work, the verification, and the release of the workers."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import testinfra
from testinfra.host import Host

OIDC = Path(__file__).resolve().parents[2] / "oidc" / "tests" / "conftest.py"
_spec = importlib.util.spec_from_file_location("verification_conftest", OIDC)
assert _spec and _spec.loader
common = sys.modules["verification_conftest"] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(common)
EPHEMERAL, hosts_of, query, verify = common.EPHEMERAL, common.hosts_of, common.query, common.verify

testinfra_hosts = hosts_of("fractal_server")
ACCOUNT = ("-e", "fractal_verify_email=bob@example.org", "-e", "fractal_verify_password=pw-bob")
WORKERS = "/opt/fractal/workers/bin/python3"
SEED = json.loads((EPHEMERAL / "seed.json").read_text())


@pytest.fixture(scope="module")
def cluster() -> Host:
    return testinfra.get_host(hosts_of("cluster")[0])


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


def test_the_verification_runs_a_job_on_the_cluster_and_leaves_nothing(host: Host, cluster: Host) -> None:
    listing = "find /home/bob -mindepth 1 -not -path '*/.*' | sort"
    before = cluster.check_output(listing)
    code, checks = verify(*ACCOUNT)
    found = checks["server"]
    assert code == 0 and {n for n, check in found.items() if check["status"] == "failed"} == set()
    assert "as bob on cluster (SLURM job" in found["job_execution"]["message"]
    assert "/home/bob/tasks/" in found["task_collection"]["message"]
    assert found["probe_removed"]["status"] == "passed"
    assert found["worker_python"]["status"] == "skipped", "only the cluster knows its own environment"
    assert cluster.check_output(listing) == before
    assert query(host, "select name from projectv2 where name like 'fractal verify%'") == []


def workers(state: str, release: str) -> str:
    """Bring the cluster's environment to a state with the module, and return what Ansible says."""
    options = f"python={WORKERS} state={state} release={release}"
    command = ["ansible", "-i", os.environ["MOLECULE_INVENTORY_FILE"], "cluster"]
    command += ["-m", "fractal_ops.platform.fractal_worker_environment", "-a", options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def old_workers() -> Iterator[None]:
    """The cluster goes back to the old release, as in a rollback."""
    assert "CHANGED" in workers("original", "2.16.6")
    yield
    assert "CHANGED" in workers("switched", "2.17.0")


def test_the_workers_path_and_extra_packages_are_those_of_before(cluster: Host) -> None:
    assert "CHANGED" not in workers("switched", "2.17.0")
    code = "import sys; from importlib.metadata import version as v; print(sys.executable, v('fractal-server'), "
    found = cluster.check_output(f"{WORKERS} -c %s", code + "v('prometheus-client'))")
    assert found == f"{WORKERS} 2.17.0 0.25.0"
    cluster.check_output(f"runuser -u bob -- {WORKERS} -m fractal_server.runner.versions")


def test_workers_of_the_old_release_fail_the_job(old_workers: None) -> None:
    code, checks = verify(*ACCOUNT)
    job = checks["server"]["job_execution"]
    assert code != 0 and job["status"] == "failed"
    assert "Fractal-server version mismatch" in job["message"] and "2.16.6" in job["message"]
    assert checks["server"]["task_collection"]["status"] == checks["server"]["probe_removed"]["status"] == "passed"


def playbook(*arguments: str) -> str:
    command = ["ansible-playbook", "-i", os.environ["MOLECULE_INVENTORY_FILE"], *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    print(done.stdout, done.stderr)
    assert done.returncode == 0
    return done.stdout


def test_renaming_the_resource_and_upgrading_again_changes_nothing(host: Host, tmp_path: Path) -> None:
    play = {
        "hosts": "fractal_server",
        "gather_facts": False,
        "tasks": [
            {
                "fractal_ops.platform.fractal_resource_profile": {
                    "resources": [{"name": "The cluster", "previous_name": "Resource Name"}],
                    "profiles": [{"name": "Alice", "username": "alice"}],
                },
                "vars": {"ansible_python_interpreter": "/opt/fractal/venv/bin/python3"},
            }
        ],
    }
    (tmp_path / "rename.yml").write_text(json.dumps([play]))
    playbook(str(tmp_path / "rename.yml"))
    assert "changed=0" in playbook(str(tmp_path / "rename.yml"))
    rows = [query(host, f"select * from {table} order by id") for table in ("resource", "profile", "projectv2")]
    assert [row["name"] for row in rows[0]] == ["The cluster"]
    again = playbook("fractal_ops.platform.upgrade", "-e", f"fractal_report_dir={tmp_path}")
    assert [line for line in again.splitlines() if line.startswith("server ")][-1].split()[3] == "changed=0"
    assert [query(host, f"select * from {table} order by id") for table in ("resource", "profile", "projectv2")] == rows
