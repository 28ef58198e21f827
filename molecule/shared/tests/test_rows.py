"""The rows after an upgrade: all of before, and everybody attached to what 2.17 needs."""

from __future__ import annotations

from typing import Any

from scenario import Target, changed_columns, columns, hosts_of, kept_counts, query
from testinfra.host import Host

testinfra_hosts = hosts_of("fractal_server")


def test_tables_hold_as_many_rows_as_before(
    rows_before: dict[str, Any], rows_after: dict[str, Any], target: Target
) -> None:
    kept = kept_counts(rows_before, target)
    assert {name: rows_after[name]["count"] for name in kept} == kept


def test_kept_columns_hold_the_same_values(
    rows_before: dict[str, Any], rows_after: dict[str, Any], target: Target
) -> None:
    assert changed_columns(rows_before, rows_after, target) == set()
    assert {key for key in columns(rows_after) if target.dropped & {key, (key[0], "*")}} == set(), "not dropped"


def test_snapshot_was_worth_comparing(rows_before: dict[str, Any]) -> None:
    tables = (
        "user_oauth user_settings oauthaccount usergroup linkusergroup projectv2 linkuserprojectv2 datasetv2 workflowv2"
        " workflowtaskv2 taskv2 taskgroupv2 taskgroupactivityv2 jobv2 historyrun historyunit"
    )
    for table in tables.split():
        assert rows_before[table]["count"] > 0, table


def test_one_resource_holds_every_project_and_task_group(host: Host) -> None:
    resources = query(host, "select id, type, jobs_slurm_python_worker from resource")
    assert [(row["type"], row["jobs_slurm_python_worker"]) for row in resources] == [
        ("slurm_sudo", "/opt/fractal/venv/bin/python3")
    ]
    for table in ("projectv2", "taskgroupv2"):
        assert query(host, f"select distinct resource_id from {table}") == [{"resource_id": resources[0]["id"]}]


def test_a_profile_for_each_slurm_user_of_the_active_and_verified(host: Host, seed: dict[str, Any]) -> None:
    wanted = {user["slurm_user"] for user in seed["users"].values() if user["active"] and user["verified"]}
    assert sorted(row["username"] for row in query(host, "select username from profile")) == sorted(wanted)


def test_users_have_profile_project_folder_and_accounts_of_before(
    host: Host, seed: dict[str, Any], target: Target
) -> None:
    rows = query(
        host,
        f"select u.email, u.is_active, u.is_verified, u.is_superuser, u.{target.folders}, u.slurm_accounts, p.username"
        " from user_oauth u left join profile p on p.id = u.profile_id",
    )
    after = {row["email"]: row for row in rows}
    assert after.keys() == {user["email"] for user in seed["users"].values()}
    for user in seed["users"].values():
        row = after[user["email"]]
        flags = {"is_active": user["active"], "is_verified": user["verified"], "is_superuser": user["superuser"]}
        assert {name: row[name] for name in flags} == flags, row
        works = user["active"] and user["verified"]
        folder = user["project_dir"] if works else "/PLACEHOLDER"
        assert row[target.folders] == ([folder] if target.folders == "project_dirs" else folder), row
        if works:
            assert (row["username"], row["slurm_accounts"]) == (user["slurm_user"], user["slurm_accounts"]), row
        else:
            assert row["username"] is None, row
