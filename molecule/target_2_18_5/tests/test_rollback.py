"""After the shared tests: only the backup leads back over the stops, and it does."""

from __future__ import annotations

from typing import Any

from scenario import curl, hosts_of
from testinfra.host import Host

from playbooks import rows, run_playbook

testinfra_hosts = hosts_of("fractal_server")


def test_the_rollback_brings_every_row_and_column_back(host: Host, rows_before: dict[str, Any]) -> None:
    assert run_playbook("rollback", "-e", "fractal_accept_data_loss=true").code == 0
    assert rows(host) == rows_before
    assert curl(host, "http://localhost:8000/api/alive/") == {"alive": True, "version": "2.16.6"}
    answer = curl(host, "http://web:5173/alive")
    assert (answer["version"], answer["fractal_server_version"]) == ("1.20.1", "2.16.6")
