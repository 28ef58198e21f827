"""Each instance that must not be upgraded stops in precheck with one clear message, and nothing has changed.

And the ways out: accept a finding, settle users. `make test` runs a part: one case for each thing that can stand in
the way (host, environment, database, release, what only the rehearsal finds), as each takes a whole precheck.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import testinfra
from scenario import SHARED, hosts_of
from testinfra.host import Host

from playbooks import Run, rows, run_playbook, state

testinfra_hosts = hosts_of("fractal_server")

ENV_FILE = "/opt/fractal/server/.fractal_server.env"
JSON_FILE = "/opt/fractal/server/config_slurm.json"
VENV = "/opt/fractal/venv/lib/python3.11/site-packages"


@contextmanager
def broken(host: Host, breaks: str, mends: str) -> Iterator[None]:
    """Break the instance for as long as this context lasts."""
    host.check_output("bash -c %s", breaks)
    try:
        yield
    finally:
        host.check_output("bash -c %s", mends)


def edited(path: str, expression: str) -> tuple[str, str]:
    """Return how to break a file with sed, and how to mend it again."""
    return f"cp -p {path} /root/kept && sed -i {expression} {path}", f"cp -p /root/kept {path}"


def sql(statement: str) -> str:
    """Return the command that runs a statement as PostgreSQL's administrator."""
    return f"cd / && runuser -u postgres -- psql -q -v ON_ERROR_STOP=1 fractal_db <<< {json.dumps(statement)}"


def found(run: Run, host: str = "server") -> dict[str, dict[str, Any]]:
    """Return the findings of the server, its fractal-web included, by id."""
    record = run.reports[host]
    findings = [*record["findings"], *(one for web in record["web"] for one in web["findings"])]
    return {one["id"]: one for one in findings}


CASES = {
    "backend local": (
        *edited(ENV_FILE, "s/^FRACTAL_RUNNER_BACKEND=.*/FRACTAL_RUNNER_BACKEND=local/"),
        [],
        "local",
    ),
    "old release missing": (
        f"mv {VENV}/fractal_server-2.16.6.dist-info /root/",
        f"mv /root/fractal_server-2.16.6.dist-info {VENV}/",
        [],
        "fractal-server is not installed",
    ),
    "database unreachable": (
        "systemctl stop postgresql@15-main",
        "systemctl start postgresql@15-main",
        [],
        "database",
    ),
    "broken JSON": (*edited(JSON_FILE, "1d"), [], "config_slurm.json"),
    "release not to be had": ("true", "true", ["-e", "fractal_wheelhouse=/nonexistent"], "2.17.0"),
    "downgrade": ("true", "true", ["-e", "fractal_target_version=2.16.0"], "newer than the target"),
    "unknown release": ("true", "true", ["-e", "fractal_target_version=9.9.9"], "not on the release path"),
    "role that may not prove the backup": (
        sql("ALTER ROLE fractal NOCREATEDB"),
        sql("ALTER ROLE fractal CREATEDB"),
        [],
        "may not create databases",
    ),
    "blocker that cannot be accepted": (
        "true",
        "true",
        ["-e", "fractal_wheelhouse=/nonexistent", "-e", '{"fractal_accept": ["release.not_offered"]}'],
        "2.17.0",
    ),
    "folders in the viewer that go": (
        "true",
        "true",
        ["-e", "fractal_target_version=2.18.5"],
        "4 user(s) lose folders: alice@example.org loses /data/imaging, /data/shared; ",
    ),
    "unit missing": ("true", "true", ["-e", "fractal_server_service=no-such-unit"], "no-such-unit.service"),
}


# Of a kind with one of the others: make test leaves these out.
LONG = {
    *("backend local", "old release missing", "release not to be had", "downgrade", "unknown release"),
    *("role that may not prove the backup", "folders in the viewer that go"),
}


@pytest.mark.parametrize("case", [pytest.param(one, marks=[pytest.mark.long] * (one in LONG)) for one in CASES])
def test_the_upgrade_is_refused_and_nothing_has_changed(host: Host, case: str) -> None:
    breaks, mends, arguments, reason = CASES[case]
    untouched = (state(host), rows(host))
    with broken(host, breaks, mends):
        before = state(host)
        run = run_playbook("upgrade", *arguments)
        assert state(host) == before
    assert run.code != 0
    assert run.changed == 0
    blockers = [one for one in run.reports["server"]["findings"] if one["severity"] == "blocker"]
    assert [one for one in blockers if reason in one["message"]], blockers
    assert all(one["fix"] for one in blockers)
    assert "Traceback" not in run.output
    assert (state(host), rows(host)) == untouched


@pytest.mark.long
def test_a_way_that_no_python_of_the_host_can_go_is_refused_at_its_beginning(host: Host) -> None:
    """Debian's 3.11 runs the first two releases of it; what would run all of them is said for each that it does not."""
    untouched = (state(host), rows(host))
    run = run_playbook("upgrade", "-e", "fractal_target_version=2.24.4")
    record = run.reports["server"]
    told = {one["subject"]: one for one in record["findings"] if one["id"] == "release.python_unsupported"}
    assert run.code == 2 and run.changed == 0 and set(told) == {"2.23.0", "2.24.4"}
    for one in told.values():
        assert "needs Python >= 3.12 and < 3.15; for /opt/fractal/venv there is 3.11." in one["message"]
        assert "The whole way runs on 3.12 or 3.13." in one["fix"]
    assert record["window_seconds"] is None and "in its window" not in " ".join(run.sent["server"])
    assert host.check_output("ls -d /opt/fractal/venv*") == "/opt/fractal/venv", "nothing was built"
    assert (state(host), rows(host)) == untouched


def test_the_mended_instance_passes(host: Host) -> None:
    run = run_playbook("precheck")
    assert run.code == 0
    assert run.changed == 0
    assert run.reports["server"]["outcome"] == "upgrade planned"


@pytest.mark.long
def test_a_role_that_may_not_prove_the_backup_is_enough_where_none_is_wanted(host: Host) -> None:
    with broken(host, sql("ALTER ROLE fractal NOCREATEDB"), sql("ALTER ROLE fractal CREATEDB")):
        run = run_playbook("precheck", "-e", "fractal_backup_proof=list")
    assert run.code == 0
    assert "database.no_createdb" not in found(run)


@pytest.mark.long
def test_a_finding_can_be_accepted(host: Host) -> None:
    flags = (
        "SET ROLE fractal; CREATE TABLE kept AS SELECT id, is_verified FROM user_oauth; "
        "UPDATE user_oauth SET is_verified = false"
    )
    back = (
        "UPDATE user_oauth SET is_verified = kept.is_verified FROM kept WHERE kept.id = user_oauth.id; DROP TABLE kept"
    )
    with broken(host, sql(flags), sql(back)):
        refused = run_playbook("precheck")
        accepted = run_playbook("precheck", "-e", '{"fractal_accept": ["user.nobody_has_access"]}')
    assert (refused.code, found(refused)["user.nobody_has_access"]["accepted"]) == (2, False)
    assert (accepted.code, found(accepted)["user.nobody_has_access"]["accepted"]) == (0, True)


@pytest.mark.long
def test_users_are_settled_from_the_inventory(host: Host) -> None:
    untouched = rows(host)
    before = host.check_output(
        "bash -c %s",
        'cd / && runuser -u postgres -- psql -qtA fractal_db -c "SELECT s.project_dir FROM user_settings s '
        "JOIN user_oauth u ON u.user_settings_id = s.id WHERE u.email = 'alice@example.org'\"",
    )
    host.check_output(
        "bash -c %s",
        sql("UPDATE user_settings s SET project_dir = NULL FROM user_oauth u WHERE u.user_settings_id = s.id AND "
            "u.email = 'alice@example.org'"),
    )  # fmt: skip
    assert "user.setting_unset" in found(run_playbook("precheck"))
    users = ["-e", json.dumps({"fractal_users": [{"email": "alice@example.org", "project_dir": before}]})]
    predicted = run_playbook("users", *users, "--check", "--diff")
    assert (predicted.code, predicted.changed) == (0, 1)
    assert rows(host) != untouched
    assert [run_playbook("users", *users).changed for _unused in range(2)] == [1, 0]
    assert rows(host) == untouched
    assert run_playbook("precheck").code == 0


@pytest.mark.long
def test_the_oauth_client_to_keep_is_known_to_the_check_of_users(host: Host) -> None:
    account = (
        "INSERT INTO oauthaccount (user_id, oauth_name, access_token, account_id, account_email) "
        "SELECT id, 'github', 't', 'x', 'elsewhere@example.com' FROM user_oauth WHERE email = 'alice@example.org'"
    )
    lines = f"cp -p {ENV_FILE} /root/kept && printf 'OAUTH_GITHUB_CLIENT_%s=x\\n' ID SECRET >> {ENV_FILE}"
    gone = sql("DELETE FROM oauthaccount WHERE oauth_name = 'github'")
    with broken(host, f"{lines} && {sql(account)}", f"cp -p /root/kept {ENV_FILE} && {gone}"):
        both = run_playbook("precheck")
        one = run_playbook("precheck", "-e", "fractal_oauth_client=mock")
    assert both.code == 2
    assert "environment.oauth_several_clients" in found(both)
    assert one.code == 0
    assert found(one)["user.oauth_provider_dropped"]["subject"] == "alice@example.org"


LOST = """
[fractal_server]
lost-server
[fractal_web]
web fractal_server_host=server fractal_web_service=no-such-unit
lost-web fractal_server_host=lost-server
[lost]
lost-server
lost-web
[lost:vars]
ansible_connection=ssh
ansible_host=lost.invalid
"""


@pytest.mark.long
def test_whatever_does_not_answer_is_a_finding_in_one_report(host: Host, tmp_path: Path) -> None:
    inventory = tmp_path / "lost.ini"
    inventory.write_text(LOST, encoding="utf-8")
    with broken(host, "systemctl stop postgresql@15-main", "systemctl start postgresql@15-main"):
        run = run_playbook("precheck", "-i", str(inventory))
    assert run.code == 2
    assert set(run.reports) == {"server", "lost-server"}
    assert {"database.unreachable", "unit.missing"} <= set(found(run))
    lost = run.reports["lost-server"]
    assert [one["id"] for one in lost["findings"]] == ["host.unreachable"]
    assert [one["id"] for one in lost["web"][0]["findings"]] == ["host.unreachable"]
    assert "Traceback" not in run.output


def databases(host: Host) -> str:
    """Return the names of all databases."""
    return host.check_output("bash -c %s", "cd / && runuser -u postgres -- psql -qtA -l | cut -d'|' -f1 | sort")


@pytest.mark.long
def test_the_upgrade_can_be_rehearsed_days_before_and_nothing_is_left(host: Host) -> None:
    untouched = (state(host), rows(host), databases(host))
    run = run_playbook("rehearse", "-e", "fractal_rehearsal_jobs=2")
    assert run.code == 0 and run.reports["server"]["outcome"] == "upgrade planned"
    told = run.reports["server"]["rehearsal"]
    assert told["passed"] and told["predicted_seconds"] > 0
    names = ["stop", "backup", "environment_file", "hop 2.17.0", "note", "start"]
    assert [one["name"] for one in told["stages"]] == names
    assert "Rehearse the upgrade on a copy of the database" in " ".join(run.sent["server"])
    assert (state(host), rows(host), databases(host)) == untouched
    assert host.run("ls -d /run/fractal-rehearsal-* /run/fractal-server.env.rendered").stdout == ""
    assert host.run("pgrep -f '[u]vicorn.Server'").stdout == ""


def test_what_only_the_rehearsal_finds_blocks_the_upgrade(host: Host) -> None:
    refuses = (
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE ''projects are frozen here''; END'; "
        "CREATE TRIGGER refuse BEFORE UPDATE ON projectv2 FOR EACH ROW EXECUTE FUNCTION refuse()"
    )
    untouched = (state(host), rows(host), databases(host))
    with broken(host, sql(refuses), sql("DROP FUNCTION refuse CASCADE")):
        run = run_playbook("upgrade")
        assert state(host) == untouched[0]
    assert run.code != 0 and run.reports["server"]["outcome"] == "blocked"
    told = found(run)["rehearsal.migration_refused"]
    assert "projects are frozen here" in told["message"] and "are as they were" in told["fix"]
    assert "in its window" not in " ".join(run.sent["server"])
    assert (state(host), rows(host), databases(host)) == untouched


@pytest.mark.long
def test_a_hook_that_fails_before_the_window_leaves_everything_as_it_was(host: Host, tmp_path: Path) -> None:
    file = str(SHARED.parent / "refusals" / "files" / "hook.yml")
    hooks = dict.fromkeys(("before_window", "after_window", "on_failure", "after_rollback"), file)
    wanted = {"fractal_hooks": hooks, "fractal_maintenance_page": True, "fractal_rehearsal": False}
    untouched = (state(host), rows(host), databases(host))
    run = run_playbook("upgrade", "-e", json.dumps({**wanted, "kept_in": str(tmp_path)}))
    assert run.code != 0 and run.reports["server"]["outcome"] == "failed"
    why = "The hook before_window failed, so nothing was stopped: the storage is being moved"
    assert run.reports["server"]["failure"] == why
    assert not [task for tasks in run.sent.values() for task in tasks if "its window" in task]
    web = testinfra.get_host(hosts_of("fractal_web")[0])
    assert web.check_output("journalctl -q -u fractal-maintenance-fractal-web.service") == ""
    assert (state(host), rows(host), databases(host)) == untouched
    told = {path.stem: json.loads(path.read_text()) for path in tmp_path.iterdir()}
    assert set(told) == {"before_window", "on_failure"}
    assert (told["on_failure"]["stage"], told["on_failure"]["message"]) == ("before_window", why)
