"""The whole road in one run: foretold by check mode, walked hop by hop, each with its share of the window."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from scenario import EPHEMERAL, hosts_of, query
from testinfra.host import Host

testinfra_hosts = hosts_of("fractal_server")

HOPS = {
    "2.17.0": ["Switch to fractal-server", "Migrate the schema to", "Migrate the data for"],
    "2.18.0": ["Switch to fractal-server", "Migrate the schema to", "Migrate the data for"],
    "2.23.0": ["Switch to fractal-server", "Migrate the schema to", "Migrate the data for"],
    "2.26.0": ["Switch to fractal-server", "Migrate the schema to"],
}
TITLES = [f"{title} {release}" for release, titles in HOPS.items() for title in titles]


@pytest.fixture(scope="module")
def upgrade() -> dict[str, Any]:
    """The record of the upgrade; later ones are of runs that found nothing to do."""
    first = sorted((EPHEMERAL / "reports" / "server").glob("2*.json"))[0]
    record: dict[str, Any] = json.loads(first.read_text())
    return record


def test_the_bed_is_debian_13(host: Host) -> None:
    told = host.check_output("cat /etc/debian_version; python3 --version; psql --version; systemctl --version")
    assert re.search(r"^13\.[^$]*Python 3\.13\.[^$]*PostgreSQL\) 17\.[^$]*systemd 257", told), told


def test_a_node_that_is_too_old_was_found_before_anything_changed(rows_before: dict[str, Any]) -> None:
    record = json.loads((EPHEMERAL / "too_old" / "server" / "latest.json").read_text())
    assert record["window_seconds"] is None and not [one for one in record["stages"] if one["seconds"] is not None]
    (web,) = record["web"]
    assert web["outcome"] == "blocked"
    (finding,) = [one for one in web["findings"] if one["severity"] == "blocker"]
    assert finding["id"] == "web.node_mismatch" and "Node 20" in finding["message"] and "Node 24" in finding["fix"]


def test_check_mode_predicted_every_hop(upgrade: dict[str, Any]) -> None:
    told = (EPHEMERAL / "predicted.txt").read_text()
    stages = re.search(r"^STAGES\n(.*?)\n\n", told, re.DOTALL | re.MULTILINE)
    assert stages is not None and "server: upgrade planned" in told
    predicted = re.findall(r"^(\S.*?)  +pending  ", stages[1], re.MULTILINE)
    assert predicted == [stage["title"] for stage in upgrade["stages"] if stage["seconds"] is not None]
    assert [title for title in predicted if title in TITLES] == TITLES


def test_the_window_is_told_with_the_share_of_each_hop(
    upgrade: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    window, shares = upgrade["window_seconds"], dict.fromkeys(HOPS, 0.0)
    for stage in upgrade["stages"]:
        if stage["release"] in shares:
            assert stage["seconds"] is not None, stage
            shares[stage["release"]] += stage["seconds"]
    assert upgrade["outcome"] == "upgraded" and all(shares.values()) and sum(shares.values()) < window
    with capsys.disabled():
        told = ", ".join(f"{release} {seconds:.1f} s" for release, seconds in shares.items())
        print(f"\n[bed]   road: the service was down for {window} s, of which {told}")


def test_the_rehearsal_walked_every_hop_on_a_copy(upgrade: dict[str, Any]) -> None:
    told = upgrade["rehearsal"]
    walked = [stage["name"].removeprefix("hop ") for stage in told["stages"] if stage["name"].startswith("hop ")]
    assert told["passed"] and walked == [*HOPS]


def test_the_data_migration_of_2_23_0_gave_versions_to_what_had_none(host: Host, seed: dict[str, Any]) -> None:
    """The task that somebody had added by hand, and its group; what was collected keeps its version."""
    for table in ("taskv2", "taskgroupv2"):
        rows = query(host, f"select version, count(*) from {table} where version = '0' group by 1")
        assert rows == [{"version": "0", "count": 1}], table
    collected = query(host, "select distinct version from taskgroupv2 where version <> '0'")
    assert collected == [{"version": "1.0.0"}]


def test_the_resource_has_the_pythons_of_before(host: Host) -> None:
    """2.17.0's data migration knows no 3.13, so it got it under another name, which nobody is to be offered."""
    (resource,) = query(host, "select tasks_python_config from resource")
    python = resource["tasks_python_config"]
    assert python["versions"] == {"3.13": "/usr/bin/python3.13"} and python["default_version"] == "3.13"


def test_every_release_of_the_road_is_beside_the_known_path(host: Host) -> None:
    found = host.check_output("cd /opt/fractal && ls -d venv*").split()
    assert {f"venv-{release}" for release in ("2.16.6", *HOPS)} <= {*found}, found
    assert host.check_output("readlink -f /opt/fractal/venv") == "/opt/fractal/venv-2.26.0"
