"""After the shared tests: only the backup leads back over the stops, and it does."""

from __future__ import annotations

from typing import Any

from scenario import curl, hosts_of
from testinfra.host import Host

from playbooks import rows, run_playbook

testinfra_hosts = hosts_of("fractal_server")
DATABASES = "runuser -u postgres -- psql -XAtc \"SELECT datname FROM pg_database WHERE datname LIKE '%\\_%\\_%'\""


def beside(host: Host) -> set[str]:
    """Return the releases and databases of this collection's beside those in use."""
    releases = host.check_output("find /opt/fractal -maxdepth 1 -name 'venv-*'").split()
    return {*releases, *host.check_output(DATABASES).split()}


def test_tidying_up_takes_what_no_rollback_needs_and_leaves_the_rest(host: Host) -> None:
    before = beside(host)
    predicted = run_playbook("tidy", "--check")
    assert predicted.code == 0 and "would go" in predicted.output and beside(host) == before
    tidied = run_playbook("tidy")
    assert tidied.code == 0 and tidied.changed == 1
    assert before - beside(host) == {"/opt/fractal/venv-2.17.0", "/opt/fractal/venv-2.18.0"}
    assert any("_frozen_" in name for name in beside(host)) and "/opt/fractal/venv-2.16.6" in beside(host)
    assert run_playbook("tidy").changed == 0


def test_the_rollback_brings_every_row_and_column_back(host: Host, rows_before: dict[str, Any]) -> None:
    run = run_playbook("rollback", "-e", "fractal_accept_data_loss=true", "-e", "hook_to_fail=after_rollback")
    record = run.reports["server"]
    assert run.code != 0 and record["outcome"] == "rolled back"  # a hook that fails undoes nothing, and is told
    assert record["left"] == ["The hook after_rollback failed: the test asked for it"]
    assert rows(host) == rows_before
    assert curl(host, "http://localhost:8000/api/alive/") == {"alive": True, "version": "2.16.6"}
    answer = curl(host, "http://web:5173/alive")
    assert (answer["version"], answer["fractal_server_version"]) == ("1.20.1", "2.16.6")


def test_and_after_the_rollback_only_the_old_instance_is_left(host: Host) -> None:
    assert any("_failed_" in name for name in beside(host))
    tidied = run_playbook("tidy")
    assert tidied.code == 0 and not [name for name in beside(host) if name.startswith("/opt") or "_failed_" in name]
    assert curl(host, "http://localhost:8000/api/alive/")["alive"]
    assert run_playbook("tidy").changed == 0
