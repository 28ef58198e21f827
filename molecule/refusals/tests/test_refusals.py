"""Each instance that must not be upgraded stops in precheck with one clear message, and nothing has changed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from conftest import hosts_of
from testinfra.host import Host

from playbooks import rows, run_playbook, state

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
    "unit missing": ("true", "true", ["-e", "fractal_server_service=no-such-unit"], "no-such-unit.service"),
}


@pytest.mark.parametrize("case", CASES)
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


def test_the_mended_instance_passes(host: Host) -> None:
    run = run_playbook("precheck")
    assert run.code == 0
    assert run.changed == 0
    assert run.reports["server"]["outcome"] == "upgrade planned"
