"""Each point of the upgrade page's clean-up list: its check passes on the upgraded instances, and fails when broken."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from conftest import execute, named
from scenario import query

from playbooks import Run, run_playbook

ENV = "/opt/fractal/server/.fractal_server.env"
WEB_ENV = "/opt/fractal-web/.env"


def of(checks: dict[str, dict[str, str]], status: str) -> set[str]:
    return {name for name, check in checks.items() if check["status"] == status}


@pytest.fixture(scope="module")
def good() -> Run:
    return run_playbook("verify")


def test_every_check_of_the_upgraded_instances_passes(good: Run) -> None:
    checks = good.checks
    assert good.code == 0
    assert of(checks["server"], "failed") == of(checks["closed"], "failed") == set()
    assert of(checks["server"], "skipped") == {"settings", "viewer_urls"}
    assert of(checks["closed"], "skipped") == {"settings", "login_oauth", "email"}


def test_the_job_ran_on_slurm_as_the_user(good: Run) -> None:
    for name in ("server", "closed"):
        message = good.checks[name]["job_execution"]["message"]
        assert "as alice on" in message and "SLURM job" in message


def test_the_probe_left_nothing(good: Run) -> None:
    for host in (named("fractal_server", "server"), named("fractal_server", "closed")):
        assert query(host, "select name from projectv2 where name like 'fractal verify%'") == []
        assert query(host, "select id from taskgroupv2 where pkg_name like 'fractal-verify%'") == []
        jobs = query(host, "select working_dir, working_dir_user from jobv2 where project_id is null")
        assert jobs, "the probe's jobs keep their records"
        for folder in [path for job in jobs for path in job.values()]:
            assert not host.file(folder).exists and not host.file(folder + ".zip").exists
        assert host.run("ls -d /home/alice/fractal/fractal_verify_probe* /opt/fractal/tasks/*/fractal-verify*").rc != 0


@pytest.fixture
def broken() -> Iterator[None]:
    """Break the instance ``server`` at every point; mend it afterwards."""
    server, web = named("fractal_server", "server"), named("fractal_web", "web")
    server.check_output(f"cp -p {ENV} /root/env")
    web.check_output(f"cp -p {WEB_ENV} /root/env")
    server.check_output(
        "sed -i -e 's/^OAUTH_CLIENT_ID=.*/OAUTH_CLIENT_ID=changed/' -e '/^FRACTAL_DATA_AUTH_SCHEME/d'"
        f" -e 's/^FRACTAL_EMAIL_PASSWORD=.*/FRACTAL_EMAIL_PASSWORD=changed/' {ENV}"
    )
    bob = "select profile_id from user_oauth where email = 'bob@example.org'"
    profile = query(server, bob)[0]["profile_id"]
    execute(server, "update user_oauth set profile_id = null where email = 'bob@example.org'")
    execute(server, "update resource set jobs_slurm_python_worker = 'python3'")
    web.check_output(
        f"sed -i -e 's/^PUBLIC_OAUTH_CLIENT_NAME=.*/PUBLIC_OAUTH_CLIENT_NAME=Mock/' -e '/DEFAULT_GROUP/d' {WEB_ENV}"
    )
    web.check_output(f"echo PUBLIC_FRACTAL_DATA_URL=http://server:9/ >> {WEB_ENV}; systemctl restart fractal-web")
    yield
    server.check_output(f"cp -p /root/env {ENV}; rm /root/env")
    execute(server, f"update user_oauth set profile_id = {profile} where email = 'bob@example.org'")
    execute(server, "update resource set jobs_slurm_python_worker = '/opt/fractal/venv/bin/python3'")
    web.check_output(f"cp -p /root/env {WEB_ENV}; rm /root/env; systemctl restart fractal-web")


def test_what_is_broken_is_found_at_each_point_and_only_there(broken: None) -> None:
    run = run_playbook("verify")
    assert run.code != 0
    checks = run.checks
    server = checks["server"]
    assert of(checks["closed"], "failed") == set(), "the other instance is none of this one's business"
    assert of(server, "failed") >= {
        "web_release",  # no default group
        "web_login_page",  # another client than the server's
        "login_oauth",  # another client id than the one sent
        "resource_names",  # an interpreter that 2.17 refuses
        "user_profiles",  # bob has no profile
        "task_collection",  # refused with the resource
        "viewer_access",  # the scheme was forgotten
        "viewer_urls",  # nothing answers
        "email",  # another password
    }
    assert server["job_execution"]["status"] == "skipped"
    assert "bob@example.org" in server["user_profiles"]["message"]
    assert all(check["fix"] for check in server.values() if check["status"] == "failed")


@pytest.fixture
def no_sbatch() -> Iterator[None]:
    """Take from fractal-server the right to submit as the users."""
    server = named("fractal_server", "server")
    server.check_output("cp -p /etc/sudoers.d/fractal /root/sudoers")
    server.check_output("sed -i 's/sbatch/sbatch-gone/' /etc/sudoers.d/fractal")
    yield
    server.check_output("cp -p /root/sudoers /etc/sudoers.d/fractal; rm /root/sudoers")


def test_a_job_that_cannot_be_submitted_fails_its_check(no_sbatch: None) -> None:
    run = run_playbook("verify", "--limit", "server,localhost")
    assert run.code != 0
    assert run.checks["server"]["task_collection"]["status"] == "passed"
    job = run.checks["server"]["job_execution"]
    assert job["status"] == "failed" and "password is required" in job["message"]


def test_a_password_that_is_not_taken_fails_its_check() -> None:
    run = run_playbook("verify", "--limit", "closed,localhost", "-e", "fractal_verify_password=wrong")
    assert run.code != 0
    closed = run.checks["closed"]
    assert of(closed, "failed") == {"login_password"}
    assert {"current_user", "task_collection", "job_execution", "viewer_paths"} <= of(closed, "skipped")
