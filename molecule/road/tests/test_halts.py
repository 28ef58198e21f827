"""The same road with a halt: up to a release, on from there to the end, and back one upgrade at a time.

The tests follow one another on the same hosts, after the rollback to 2.16.6.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from scenario import SHARED, Target, changed_columns, curl, hosts_of, kept_counts, query
from testinfra.host import Host

from playbooks import rows, run_playbook

testinfra_hosts = hosts_of("fractal_server")

FOLDERS = "select email, {} as folders from user_oauth"
# What an operator says of fractal-web there. 1.21.1 has no archive for the Node that 2.26 asks for: the old one stays.
HALTS = {
    "2.17.2": {"fractal_web_version": "1.20.1"},
    "2.18.5": {"fractal_web_archive": "/opt/archives/node-24-fractal-web-v1.22.2.tar.gz"},
}


def folders(host: Host, column: str) -> dict[str, list[str]]:
    """Return the project folders of each user, in either form."""
    rows = query(host, FOLDERS.format(column))
    return {row["email"]: row["folders"] if column == "project_dirs" else [row["folders"]] for row in rows}


def must_refuse_what_a_skipped_script_leaves(host: Host) -> None:
    """As if somebody had run set-db of 2.18.0 and of 2.18.5 by hand, and no update-db-data: nobody has a folder."""
    psql = "runuser -u postgres -- psql -qX -v ON_ERROR_STOP=1 -d fractal_db -c %s"
    kept = "CREATE TABLE kept AS SELECT id, project_dirs FROM user_oauth; UPDATE user_oauth SET project_dirs = '{}'"
    back = "UPDATE user_oauth u SET project_dirs = k.project_dirs FROM kept k WHERE k.id = u.id; DROP TABLE kept"
    host.check_output(psql, kept)
    refused = run_playbook("upgrade")
    host.check_output(psql, back)
    (told,) = [one for one in refused.reports["server"]["findings"] if one["id"] == "migration.skipped"]
    assert refused.code == 2 and refused.changed == 0 and "in its window" not in " ".join(refused.sent["server"])
    assert "2.18.0 was skipped" in told["message"] and "alice@example.org" in told["message"] and told["fix"]


@pytest.mark.parametrize("release", HALTS)
def test_the_road_can_be_walked_from_a_halt(
    release: str, host: Host, seed: dict[str, Any], rows_before: dict[str, Any], target: Target
) -> None:
    options = {"fractal_target_version": release, "fractal_rehearsal": False, **HALTS[release]}
    there = run_playbook("upgrade", "-e", json.dumps(options))
    assert there.code == 0 and there.reports["server"]["to"] == release
    before = rows(host)
    wanted = kept_counts(rows_before, target)
    assert {name: before[name]["count"] for name in wanted} == wanted
    of_users = folders(host, "project_dir" if release == "2.17.2" else "project_dirs")
    if release == "2.18.5":
        must_refuse_what_a_skipped_script_leaves(host)
        assert rows(host) == before

    done = run_playbook("upgrade", "-e", json.dumps({"fractal_rehearsal": False}))
    assert done.code == 0 and (done.reports["server"]["from"], done.reports["server"]["to"]) == (release, "2.26.0")
    after = rows(host)
    assert changed_columns(before, after, target) == set()
    assert folders(host, "project_dirs") == of_users
    again = run_playbook("upgrade")
    assert again.code == 0 and again.changed == 0

    jobs = json.loads(host.check_output("python3 -c %s", (SHARED / "files" / "run_jobs.py").read_text()))
    assert [(job["status"], job["stamped_by"]) for job in jobs] == [("done", "alice"), ("done", "bob")], jobs

    for version, backup in ((release, done), ("2.16.6", there)):
        path = backup.reports["server"]["backup"]
        back = run_playbook("rollback", "-e", "fractal_accept_data_loss=true", "-e", f"fractal_backup={path}")
        assert back.code == 0
        assert curl(host, "http://localhost:8000/api/alive/") == {"alive": True, "version": version}
        assert rows(host) == (before if version == release else rows_before)
