"""Up and back on a machine that is server and web host, with its database on another host.

First with a role that may create databases, so with a rehearsal and a frozen copy; then with one that may not, so with
neither. The tests follow one another on the same hosts.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
import testinfra
from scenario import SHARED, TARGETS, changed_columns, curl, hosts_of, kept_counts, query
from testinfra.host import Host

import playbooks
from playbooks import changed_folders, folders, rows, run_playbook

testinfra_hosts = hosts_of("fractal_server")

TARGET = TARGETS["2.17.0"]
VENV = "/opt/fractal/venv"
WEB = "cd /opt/fractal-web && sha256sum .env build/index.js && stat -c '%n %U %G %a' . .env build build/index.js"
THEIRS = "select md5(string_agg(t::text, ',' order by n)) as digest, count(*) as count from statistics.runs t"
OWNERS = """
select c.relname as name, pg_get_userbyid(c.relowner) as owner, c.relacl::text as privileges
from pg_class c where c.relnamespace = 'statistics'::regnamespace and c.relkind in ('r', 'v') order by 1
"""
VIEWS = "select viewname, definition from pg_views where schemaname = 'statistics'"
PSQL = "runuser -u postgres -- psql -qX -d fractal_db -c %s"
CERTIFICATES = "/etc/postgresql/15/main"
RESTART = "systemctl restart postgresql@15-main"
IMPOSTOR = f"""
cd {CERTIFICATES} && mkdir true && cp -p server.* true
openssl req -new -newkey rsa:2048 -nodes -subj /CN=elsewhere -keyout server.key 2> /dev/null |
  openssl x509 -req -days 2 -CA true/server.crt -CAkey true/server.key -CAcreateserial -out server.crt 2> /dev/null
chown postgres: server.* && {RESTART}
"""
TRUE = f"cd {CERTIFICATES} && cp -p true/* . && rm -r true && {RESTART}"
WITHOUT_COPY = ["-e", json.dumps({"fractal_rehearsal": False, "fractal_backup_proof": "list"})]


@pytest.fixture(scope="module")
def database() -> Host:
    """The host of PostgreSQL."""
    return testinfra.get_host(hosts_of("postgresql")[0])


def state(server: Host) -> str:
    """Return what an upgrade could change on the machine besides rows."""
    return playbooks.state(server) + str(server.check_output("bash -c %s", WEB))


def theirs(database: Host) -> list[Any]:
    """Return what the other team has in the database."""
    return [query(database, THEIRS), query(database, OWNERS), query(database, VIEWS)]


@pytest.fixture(scope="module")
def before(database: Host) -> dict[str, Any]:
    """What the first run found."""
    server = testinfra.get_host(hosts_of("fractal_server")[0])
    return {
        "state": state(server),
        "folders": folders(server),
        "rows": rows(database),
        "theirs": theirs(database),
    }


def is_as_before(server: Host, database: Host, before: dict[str, Any]) -> None:
    """Assert that nothing on the machine or in the database differs."""
    assert changed_folders(before["folders"], folders(server)) == {}
    assert state(server) == before["state"]
    assert rows(database) == before["rows"]
    assert theirs(database) == before["theirs"]
    web = curl(server, "http://localhost:5173/alive")
    assert (web["version"], web["fractal_server_version"]) == ("1.20.1", "2.16.6")


def is_upgraded(server: Host, database: Host, before: dict[str, Any]) -> None:
    """Assert that both are at their releases, that no row is lost, and that nothing else of the machine was touched."""
    assert changed_folders(before["folders"], folders(server)) == {}
    web = curl(server, "http://localhost:5173/alive")
    assert (web["version"], web["fractal_server_version"]) == (TARGET.web, TARGET.version)
    after = rows(database)
    kept = kept_counts(before["rows"], TARGET)
    assert {name: after[name]["count"] for name in kept} == kept
    assert changed_columns(before["rows"], after, TARGET) == set()
    assert theirs(database) == before["theirs"]


def test_the_precheck_finds_nothing_in_the_way_and_rehearses(
    host: Host, database: Host, before: dict[str, Any]
) -> None:
    run = run_playbook("precheck")
    assert run.code == 0 and run.reports["server"]["outcome"] == "upgrade planned"
    assert [one["name"] for one in run.reports["server"]["web"]] == ["server"]
    is_as_before(host, database, before)


def test_both_halves_of_the_machine_are_upgraded(host: Host, database: Host, before: dict[str, Any]) -> None:
    run = run_playbook("upgrade")
    assert run.code == 0 and run.reports["server"]["outcome"] == "upgraded"
    is_upgraded(host, database, before)


def test_nobody_else_is_taken_for_the_database(host: Host, database: Host, before: dict[str, Any]) -> None:
    """With a certificate of the same authority for another name there is no connection: no weaker way is tried."""
    assert query(database, "select count(*) from pg_hba_file_rules where type in ('host', 'hostnossl')") == [
        {"count": 0}
    ]
    database.check_output("bash -euc %s", IMPOSTOR)
    run = run_playbook("precheck")
    database.check_output("bash -euc %s", TRUE)
    assert run.code == 2
    (told,) = [one for one in run.reports["server"]["findings"] if one["id"].startswith("database.")]
    assert told["severity"] == "blocker" and 'does not match host name "database"' in told["message"]


def test_the_new_environment_can_be_used_by_those_who_run_jobs(host: Host) -> None:
    """Root's umask is 077; the environment on the disk is the service account's, and read by SLURM's users."""
    code = "import fractal_server; print(fractal_server.__VERSION__)"
    assert host.check_output(f"runuser -u alice -- {VENV}/bin/python3 -c %s", code) == TARGET.version
    assert host.check_output(f"stat -Lc %U {VENV}") == "fractal"


def test_nothing_changes_the_second_time(host: Host) -> None:
    run = run_playbook("upgrade")
    assert (run.code, run.changed, run.reports["server"]["outcome"]) == (0, 0, "up to date")


def test_the_way_back_is_exact(host: Host, database: Host, before: dict[str, Any]) -> None:
    assert run_playbook("rollback").code == 0
    is_as_before(host, database, before)


def test_a_role_that_may_not_create_databases_is_told_before_anything(
    host: Host, database: Host, before: dict[str, Any]
) -> None:
    """Neither could it make the other team's view again, which has to go with the table that it reads."""
    database.check_output(PSQL, "alter role fractal nocreatedb")
    run = run_playbook("upgrade")
    assert run.code == 2 and run.changed == 0
    blockers = {one["id"]: one["message"] for one in run.reports["server"]["findings"] if one["severity"] == "blocker"}
    assert blockers.keys() == {"database.no_createdb", "database.no_way_back"}
    assert "view statistics.jobs of statistics" in blockers["database.no_way_back"]
    is_as_before(host, database, before)


def test_without_the_view_a_dump_is_the_way_back(host: Host, database: Host, before: dict[str, Any]) -> None:
    database.check_output(PSQL, "drop view statistics.jobs")
    before["theirs"] = theirs(database)
    run = run_playbook("upgrade", *WITHOUT_COPY)
    assert run.code == 0 and run.reports["server"]["outcome"] == "upgraded"
    is_upgraded(host, database, before)


def test_jobs_of_before_run_again(host: Host) -> None:
    jobs = json.loads(host.check_output("python3 -c %s", (SHARED / "files" / "run_jobs.py").read_text()))
    assert [(job["status"], job["stamped_by"]) for job in jobs] == [("done", "alice"), ("done", "bob")]


def test_jobs_since_then_are_given_up_only_with_consent(host: Host, database: Host, before: dict[str, Any]) -> None:
    assert run_playbook("rollback", *WITHOUT_COPY).code == 2
    assert curl(host, "http://localhost:8000/api/alive/")["version"] == TARGET.version
    assert run_playbook("rollback", *WITHOUT_COPY, "-e", "fractal_accept_data_loss=true").code == 0
    is_as_before(host, database, before)
