"""No folder of the hosts has another owner or mode after an upgrade: the system's and other services' are not ours."""

from __future__ import annotations

from scenario import EPHEMERAL, hosts_of
from testinfra.host import Host

from playbooks import changed_folders, folders, folders_in

testinfra_hosts = hosts_of("fractal_server") + hosts_of("fractal_web")


def test_the_folders_around_fractal_are_as_before(host: Host) -> None:
    name = host.check_output("hostname")
    before = folders_in((EPHEMERAL / f"folders_before_{name}").read_text())
    assert before.keys() > {"/", "/etc/systemd/system", "/opt", "/var/lib", "/var/lib/systemd"}
    assert changed_folders(before, folders(host)) == {}
