"""fractal_users on a real 2.16.6 database: declared, idempotent, one transaction."""

from __future__ import annotations

from typing import Any, Callable

import pytest
from postgres_cluster import Database
from postgres_seed import add_user

Run = Callable[..., dict[str, Any]]
FLAGS = "SELECT is_active, is_verified FROM user_oauth WHERE email = %s"
SETTINGS = "SELECT {} FROM user_settings s JOIN user_oauth u ON u.user_settings_id = s.id WHERE u.email = %s"


def settle(run_module: Run, database: Database, **options: Any) -> dict[str, Any]:
    return run_module("fractal_users", **database.module_args(), **options)


def state(database: Database) -> list[tuple[Any, ...]]:
    return database.rows(
        "SELECT u.email, u.is_active, u.is_verified, u.is_superuser, to_jsonb(s) FROM user_oauth u "
        "LEFT JOIN user_settings s ON s.id = u.user_settings_id ORDER BY u.id"
    )


def test_named_users_are_brought_to_their_declared_state(seeded_database: Database, run_module: Run) -> None:
    users = [
        {"email": "UMA@example.org", "is_verified": True, "project_dir": "/data/uma", "slurm_user": " uma "},
        {"email": "bob@example.org", "slurm_accounts": ["x"]},
        {"email": "ann@example.org", "is_verified": True},
    ]
    first = settle(run_module, seeded_database, users=users)
    assert first["changed"] and {user["email"] for user in first["users"]} == {"uma@example.org", "bob@example.org"}
    assert seeded_database.rows(FLAGS, "uma@example.org") == [(True, True)]
    columns = SETTINGS.format("project_dir, slurm_user, slurm_accounts")
    assert seeded_database.rows(columns, "uma@example.org") == [("/data/uma", "uma", ["acc-uma"])]
    assert seeded_database.rows(columns, "bob@example.org")[0][2] == ["x"]
    again = settle(run_module, seeded_database, users=users)
    assert not again["changed"] and again["users"] == []


def test_rule_verifies_active_owners_of_projects(seeded_database: Database, run_module: Run) -> None:
    seeded_database.rows("UPDATE user_oauth SET is_verified = false")
    rules = [{"match": {"is_active": True, "owns_project": True}, "set": {"is_verified": True}}]
    result = settle(run_module, seeded_database, rules=rules)
    assert {user["email"] for user in result["users"]} == {"ann@example.org", "bob@example.org"}
    verified = seeded_database.rows("SELECT email FROM user_oauth WHERE is_verified ORDER BY email")
    assert verified == [("ann@example.org",), ("bob@example.org",)]
    assert not settle(run_module, seeded_database, rules=rules)["changed"]


def test_placeholders_and_users_without_settings(new_database: Callable[[], Database], run_module: Run) -> None:
    database = new_database()
    add_user(database, "kim@example.org", user_settings_id=None)
    add_user(database, "lea@example.org", slurm_user="lea01", project_dir=None)
    rules = [
        {"match": {"unset": ["slurm_user"]}, "set": {"slurm_user": "{name}"}},
        {"match": {"unset": ["project_dir"]}, "set": {"project_dir": "/home/{slurm_user}/fractal"}},
    ]
    assert settle(run_module, database, rules=rules)["changed"]
    rows = database.rows(SETTINGS.format("slurm_user, project_dir, slurm_accounts"), "kim@example.org")
    assert rows == [("kim", "/home/kim/fractal", [])]
    rows = database.rows(SETTINGS.format("slurm_user, project_dir"), "lea@example.org")
    assert rows == [("lea01", "/home/lea01/fractal")]


def test_rules_know_the_names_that_are_declared(new_database: Callable[[], Database], run_module: Run) -> None:
    database = new_database()
    add_user(database, "kim@example.org", user_settings_id=None)
    rules = [{"match": {"unset": ["project_dir"]}, "set": {"project_dir": "/home/{slurm_user}/fractal"}}]
    users = [{"email": "kim@example.org", "slurm_user": "kim01"}]
    settle(run_module, database, rules=rules, users=users)
    rows = database.rows(SETTINGS.format("slurm_user, project_dir"), "kim@example.org")
    assert rows == [("kim01", "/home/kim01/fractal")]


def test_named_users_win_over_rules(seeded_database: Database, run_module: Run) -> None:
    rules = [{"match": {"email": "*@EXAMPLE.org"}, "set": {"is_verified": True}}]
    users = [{"email": "ann@example.org", "is_verified": False}]
    settle(run_module, seeded_database, rules=rules, users=users)
    assert seeded_database.rows("SELECT email FROM user_oauth WHERE NOT is_verified") == [("ann@example.org",)]
    assert not settle(run_module, seeded_database, rules=rules, users=users)["changed"]


def test_check_mode_tells_and_changes_nothing(seeded_database: Database, run_module: Run) -> None:
    before = state(seeded_database)
    users = [{"email": "uma@example.org", "is_verified": True, "project_dir": "/data/uma"}]
    result = settle(run_module, seeded_database, users=users, _check=True)
    assert result["changed"] and state(seeded_database) == before
    assert result["diff"]["before"] == {"uma@example.org": {"is_verified": False, "project_dir": None}}
    assert result["diff"]["after"] == {"uma@example.org": {"is_verified": True, "project_dir": "/data/uma"}}


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"users": [{"email": "nobody@example.org", "is_verified": True}]}, "no user nobody@example.org"),
        ({"users": [{"email": "ann@example.org", "project_dir": "relative"}]}, "must be an absolute path"),
        ({"users": [{"email": "ann@example.org", "project_dir": "/a;b"}]}, "must not hold any of"),
        ({"users": [{"email": "ann@example.org", "slurm_accounts": ["a", "a"]}]}, "has repetitions"),
        ({"users": [{"email": "uma@example.org", "project_dir": "/x/{slurm_user}"}]}, "they have no slurm_user"),
        (
            {"rules": [{"match": {"email": "ann@*"}, "set": {"slurm_user": "x{slurm_user}"}}]},
            "contradict each other",
        ),
    ],
)
def test_refused_as_a_whole(options: dict[str, Any], text: str, seeded_database: Database, run_module: Run) -> None:
    options = {"rules": [{"match": {}, "set": {"is_active": True}}], **options}
    before = state(seeded_database)
    result = settle(run_module, seeded_database, **options)
    assert result.get("failed") and text in result["msg"], result
    assert state(seeded_database) == before


def test_refused_where_settings_are_gone(
    seeded_database: Database, fractal_folder: Callable[..., Any], run_module: Run
) -> None:
    fractal_folder(seeded_database).upgrade("2.17.1")
    result = settle(run_module, seeded_database, users=[{"email": "ann@example.org", "is_verified": False}])
    assert result.get("failed") and "fractal_resource_profile" in result["msg"]


def test_role_that_may_only_read_is_told(cluster: Any, seeded_database: Database, run_module: Run) -> None:
    reader = cluster.grant_reader(seeded_database)
    result = settle(run_module, reader, users=[{"email": "uma@example.org", "is_verified": True}])
    assert result.get("failed") and "permission denied" in result["msg"]
    assert reader.password not in str(result["msg"])
