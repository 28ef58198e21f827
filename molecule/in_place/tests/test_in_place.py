"""An instance goes up in place and back again; a fractal-web that does not start leaves the old one in service.

The tests follow one another on the same hosts.
"""

from __future__ import annotations

import pytest
import testinfra
from scenario import curl, hosts_of
from testinfra.host import Host

from playbooks import rows, run_playbook, state

testinfra_hosts = hosts_of("fractal_server")

ARCHIVES = "/opt/archives"
VERSIONS = "from importlib.metadata import version as v; print(v('fractal-server'), v('prometheus-client'))"
BREAK = f"""
rm -r /opt/fractal-web-1.21.1 && cd $(mktemp -d) &&
tar -xzf {ARCHIVES}/node-18-fractal-web-v1.21.1.tar.gz && echo 'process.exit(1)' > build/index.js &&
tar -czf {ARCHIVES}/broken.tar.gz *
"""


@pytest.fixture(scope="module")
def web() -> Host:
    """The web host."""
    return testinfra.get_host(hosts_of("fractal_web")[0])


@pytest.fixture(scope="module")
def before() -> tuple[str, dict[str, object]]:
    """What the upgrade found: files, packages and unit, and the rows."""
    server = testinfra.get_host(hosts_of("fractal_server")[0])
    return state(server), rows(server)


@pytest.fixture(scope="module")
def checksum(web: Host) -> str:
    """The option with the checksum of the archive."""
    digest = web.check_output(f"sha256sum {ARCHIVES}/node-18-fractal-web-v1.21.1.tar.gz").split()[0]
    return f"fractal_web_archive_checksum=sha256:{digest}"


def web_versions(web: Host) -> tuple[str, str]:
    """Return the versions of fractal-web and of the server that it reaches."""
    alive = curl(web, "http://localhost:5173/alive")
    return alive["version"], alive["fractal_server_version"]


def test_a_wrong_checksum_is_found_before_anything_changes(host: Host, before: tuple[str, object]) -> None:
    run = run_playbook("upgrade", "-e", f"fractal_web_archive_checksum=sha256:{'0' * 64}")
    assert run.code != 0
    assert run.changed == 0
    (web,) = run.reports["server"]["web"]
    assert [one["fix"] for one in web["findings"] if "has SHA-256" in one["message"]]
    assert (
        run.reports["server"]["failure"] == "Not upgraded, because fractal-web on web cannot be: both belong together."
    )
    assert state(host) == before[0]


def test_gunicorn_and_its_environment_go_up_in_place(host: Host, web: Host, checksum: str, before: object) -> None:
    run = run_playbook("upgrade", "-e", checksum)
    assert run.code == 0
    assert not host.file("/opt/fractal/venv").is_symlink
    assert host.check_output("runuser -u fractal -- /opt/fractal/venv/bin/python3 -c %s", VERSIONS) == "2.17.0 0.25.0"
    assert curl(host, "http://localhost:8000/api/alive/")["version"] == "2.17.0"
    assert "gunicorn" in host.check_output("systemctl show -P ExecStart fractal-server")
    assert web_versions(web) == ("1.21.1", "2.17.0")


def test_nothing_changes_the_second_time(host: Host, checksum: str) -> None:
    run = run_playbook("upgrade", "-e", checksum)
    assert (run.code, run.changed) == (0, 0)


def test_the_copy_made_before_goes_back_in_place(host: Host, web: Host, before: tuple[str, dict[str, object]]) -> None:
    assert run_playbook("rollback").code == 0
    assert (state(host), rows(host)) == before
    assert web_versions(web) == ("1.20.1", "2.16.6")


def test_a_web_release_that_does_not_start_leaves_the_old_one_in_service(host: Host, web: Host) -> None:
    unit = "sha256sum /opt/fractal-web/.env; stat -c '%n %U %G %a' /opt/fractal-web /opt/fractal-web/.env"
    web.check_output("bash -c %s", BREAK)
    found = web.check_output("bash -c %s", unit)
    run = run_playbook(
        "upgrade", "-e", f"fractal_web_archive={ARCHIVES}/broken.tar.gz", "-e", "fractal_start_timeout=20"
    )
    assert run.code != 0
    (reported,) = run.reports["server"]["web"]
    assert "1.20.1 is back in place" in reported["failure"]
    assert web.check_output("bash -c %s", unit) == found
    assert web_versions(web) == ("1.20.1", "2.17.0")
    assert run.reports["server"]["failure"] == ""
