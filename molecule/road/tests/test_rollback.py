"""After the shared tests: the whole road back in one step, by the copy that PostgreSQL made before the first hop."""

from __future__ import annotations

from typing import Any

from scenario import curl, hosts_of, query
from testinfra.host import Host

from playbooks import rows, run_playbook

testinfra_hosts = hosts_of("fractal_server")

DATABASES = "select oid::bigint, datname from pg_database where datname like 'fractal%'"


def databases(host: Host) -> dict[str, int]:
    """Return the number of each database; it stays when a database gets another name."""
    return {row["datname"]: row["oid"] for row in query(host, DATABASES)}


def test_the_rollback_puts_the_frozen_copy_in_place(host: Host, rows_before: dict[str, Any]) -> None:
    (copy,) = [number for name, number in databases(host).items() if "_frozen_" in name]
    assert run_playbook("rollback", "-e", "fractal_accept_data_loss=true").code == 0
    assert databases(host)["fractal_db"] == copy
    assert rows(host) == rows_before
    assert curl(host, "http://localhost:8000/api/alive/") == {"alive": True, "version": "2.16.6"}
    assert host.check_output("readlink /opt/fractal/venv || echo folder") in ("venv-2.16.6", "folder")
    answer = curl(host, "http://web:5173/alive")
    assert (answer["version"], answer["fractal_server_version"]) == ("1.20.1", "2.16.6")
