"""What the viewer shows to each user after an upgrade: what it showed before, or what the report said is lost."""

from __future__ import annotations

import json
from typing import Any

from scenario import EPHEMERAL, Target, hosts_of
from testinfra.host import Host

testinfra_hosts = hosts_of("fractal_server")

LOST = "viewer.folders_lost"


def folders_of_groups(seed: dict[str, Any], name: str) -> set[str]:
    return {path for group in seed["groups"].values() if name in group["members"] for path in group["viewer_paths"]}


def folders_of_projects(seed: dict[str, Any], name: str) -> set[str]:
    return {one["zarr_dir"] for project in seed["projects"] if project["owner"] == name for one in project["datasets"]}


def shown(host: Host, user: dict[str, Any]) -> set[str]:
    """Return the folders that the API allows the viewer to show to a user."""
    url = "http://localhost:8000/auth"
    log_in = f"curl -sf {url}/token/login/ --data-urlencode %s --data-urlencode %s"
    told = host.check_output(log_in, f"username={user['email']}", f"password={user['password']}")
    header = f"Authorization: Bearer {json.loads(told)['access_token']}"
    return {*json.loads(host.check_output(f"curl -sf {url}/current-user/allowed-viewer-paths/ -H %s", header))}


def test_each_user_is_shown_the_own_folders_and_what_the_release_adds(
    host: Host, seed: dict[str, Any], target: Target
) -> None:
    by_groups = target.folders == "project_dir"
    seen = 0
    for name, user in seed["users"].items():
        if user["password"] and user["active"] and user["verified"]:
            added = folders_of_groups(seed, name) if by_groups else folders_of_projects(seed, name)
            assert shown(host, user) == {user["project_dir"], *added}, name
            seen += len(added)
    assert seen > 0


def test_the_report_of_the_upgrade_keeps_who_lost_which_folder(seed: dict[str, Any], target: Target) -> None:
    """The first report is that of the upgrade, later ones are of runs that found nothing to do."""
    first = sorted((EPHEMERAL / "reports" / "server").glob("2*.json"))[0]
    findings = [one for one in json.loads(first.read_text())["findings"] if one["id"] == LOST]
    if target.folders == "project_dir":
        assert findings == []
        return
    (finding,) = findings
    assert finding["accepted"]
    for name, user in seed["users"].items():
        lost = folders_of_groups(seed, name) if user["active"] and user["verified"] else set()
        assert (f"{user['email']} loses {', '.join(sorted(lost))}" in finding["message"]) is bool(lost), name
