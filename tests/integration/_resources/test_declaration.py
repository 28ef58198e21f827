"""Resources and profiles in a real database, as fractal-server's own data migration left it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any, Callable

import pytest
from playbook_runs import PAIR, Ran
from postgres_cluster import Database
from pretended_hosts import PretendedHosts
from releases_environments import FractalFolder

pytest_plugins = ["verification_services"]
Run = Callable[..., dict[str, Any]]
MODULE = "fractal_resource_profile"
RENAME = [{"name": "cluster", "previous_name": "Resource Name"}]


@pytest.fixture
def run(migrated: FractalFolder, run_module: Run) -> Run:
    """The module on that instance, in the environment of 2.17.0."""

    def call(**options: Any) -> dict[str, Any]:
        return run_module(MODULE, **{"_release": "2.17.0", "env_file": str(migrated.env_file), **options})

    return call


def execute(database: Database, *statements: str) -> None:
    with database.connect() as connection:
        for statement in statements:
            connection.execute(statement)


def rows(folder: FractalFolder, query: str) -> list[Any]:
    return folder.database.rows(query)


def test_the_review_changes_nothing_and_tells_who_has_no_profile_and_why(run: Run, migrated: FractalFolder) -> None:
    result = run()
    assert result["changed"] is False and "diff" not in result
    review = result["review"]
    assert [r["name"] for r in review["resources"]] == ["Resource Name"]
    assert review["resources"][0]["placeholder"] is True
    assert (review["resources"][0]["projects"], review["resources"][0]["task_groups"]) == (4, 2)
    assert {p["name"]: p["users"] for p in review["profiles"]} == {
        "Profile ann": ["ann@example.org"],
        "Profile bob": ["bob@example.org"],
        "Profile eve": ["eve@example.org"],
        "Profile shared": ["carl@example.org", "dora@example.org"],
    }
    assert {user["email"]: user["reason"] for user in review["without_access"]} == {
        "ivy@example.org": "not active, no profile, no project folder",
        "uma@example.org": "not verified, no profile, no project folder",
    }
    assert {f["id"] for f in result["findings"]} == {
        "resource_name_placeholder",
        "profile_name_placeholder",
        "user_without_access",
    }
    states = {check["id"]: check["status"] for check in result["checks"]}
    assert states["schema"] == states["resource_names"] == states["user_profiles"] == "passed"


def test_the_playbook_review_shows_what_is_in_the_database(run: Run, migrated: FractalFolder, tmp_path: Path) -> None:
    """The module's answer is of a real database, the host is pretended."""
    before = rows(migrated, "SELECT md5(string_agg(p::text, '' ORDER BY id)) FROM profile p")
    hosts = PretendedHosts(tmp_path)
    hosts.tell("fractal-server", MODULE, **run())
    hosts.write()
    ran = Ran(tmp_path, "fractal_ops.platform.review", PAIR, collections=hosts.root)
    said = " ".join(ran.screen.split())
    for text in (
        "resource 'Resource Name' (slurm_sudo): 4 profile(s), 4 project(s), 2 task group(s)",
        "profile 'Profile shared' on 'Resource Name'",
        "carl@example.org, dora@example.org",
        "has no fractal-server. Install the server's release",
        "no access ivy@example.org: not active, no profile, no project folder",
    ):
        assert text in said, ran.screen
    assert ran.code == 0 and said.count("to do ") == 7, ran.screen
    assert rows(migrated, "SELECT md5(string_agg(p::text, '' ORDER BY id)) FROM profile p") == before


def test_a_declaration_is_one_transaction_and_idempotent(run: Run, migrated: FractalFolder) -> None:
    wish = {
        "resources": [{**RENAME[0], "interpreters": {"3.13": "/usr/bin/python3.13"}, "jobs_poll_interval": 5}],
        "profiles": [
            {"name": "ann", "username": "ann"},
            {"name": "carl", "previous_name": "Profile shared"},
            {"name": "dora", "username": "dora"},
        ],
        "users": [
            {"email": "dora@example.org", "profile": "dora", "slurm_accounts": ["x", "y"]},
            {"email": "UMA@example.org", "profile": "ann", "project_dir": "/data/uma", "is_verified": True},
        ],
    }
    predicted = run(_check=True, **wish)
    assert predicted["changed"] and rows(migrated, "SELECT name FROM resource") == [("Resource Name",)]
    done = run(**wish)
    assert done["changes"] == predicted["changes"] and done["diff"] == predicted["diff"]
    python = done["diff"]["after"]["resource Resource Name"]["tasks_python_config"]
    assert python["versions"]["3.13"] == "/usr/bin/python3.13"
    assert rows(migrated, "SELECT name, jobs_poll_interval FROM resource") == [("cluster", 5)]
    assert {p["name"]: p["users"] for p in done["review"]["profiles"]} == {
        "ann": ["ann@example.org", "uma@example.org"],
        "Profile bob": ["bob@example.org"],
        "Profile eve": ["eve@example.org"],
        "carl": ["carl@example.org"],
        "dora": ["dora@example.org"],
    }
    assert rows(migrated, "SELECT slurm_accounts FROM user_oauth WHERE email = 'dora@example.org'") == [(["x", "y"],)]
    again = run(**wish)
    assert again["changed"] is False and again["changes"] == []


def test_a_refused_declaration_writes_nothing(run: Run, migrated: FractalFolder) -> None:
    result = run(resources=RENAME, users=[{"email": "nobody@example.org", "is_active": False}])
    assert result["failed"] and "nobody@example.org" in result["msg"]
    assert rows(migrated, "SELECT name FROM resource") == [("Resource Name",)]


def test_a_failing_statement_leaves_nothing_behind(run: Run, migrated: FractalFolder) -> None:
    execute(
        migrated.database,
        "CREATE FUNCTION refuse() RETURNS trigger AS $$ BEGIN RAISE 'refused by the test'; END $$ LANGUAGE plpgsql",
        "CREATE TRIGGER refuse BEFORE UPDATE ON user_oauth FOR EACH ROW EXECUTE FUNCTION refuse()",
    )
    result = run(resources=RENAME, users=[{"email": "ann@example.org", "slurm_accounts": ["new"]}])
    assert result["failed"] and "refused by the test" in result["msg"]
    assert rows(migrated, "SELECT name FROM resource") == [("Resource Name",)]


def test_an_empty_list_of_accounts_is_stored(run: Run, migrated: FractalFolder) -> None:
    assert run(users=[{"email": "bob@example.org", "slurm_accounts": []}])["changed"]
    assert rows(migrated, "SELECT slurm_accounts FROM user_oauth WHERE email = 'bob@example.org'") == [([],)]


def test_resources_and_profiles_are_created_and_removed(run: Run, migrated: FractalFolder) -> None:
    new = {
        "name": "gpu",
        "create": True,
        "type": "slurm_sudo",
        "interpreters": {"3.11": "/usr/bin/python3.11"},
        "default_python_version": "3.11",
        "tasks_local_dir": "/t",
        "jobs_local_dir": "/j",
        "jobs_runner_config": migrated.slurm_config,
        "jobs_slurm_python_worker": "/usr/bin/python3",
    }
    profile = {"name": "gpu-eve", "username": "eve", "resource": "gpu"}
    result = run(resources=[new], profiles=[{"name": "Profile eve"}, profile])
    assert [c["action"] for c in result["changes"]] == ["create", "create"], result
    assert run(resources=[new], profiles=[{"name": "Profile eve"}, profile])["changed"] is False
    absent = {"state": "absent"}
    gone = run(resources=[{"name": "gpu", **absent}], profiles=[{"name": "gpu-eve", **absent}])
    assert [c["action"] for c in gone["changes"]] == ["delete", "delete"]
    assert rows(migrated, "SELECT count(*) FROM resource") == [(1,)]


def test_what_the_old_file_hands_on_is_put_back_once(run: Run, migrated: FractalFolder) -> None:
    handed_on = {"tasks_python": {"3.13": "/usr/bin/python3.13"}, "default_version": "3.13", "poll_interval": 5}
    assert rows(migrated, "SELECT jobs_poll_interval FROM resource") == [(15,)]
    assert run(handed_on=handed_on)["changed"]
    assert rows(migrated, "SELECT jobs_poll_interval, tasks_python_config->>'default_version' FROM resource") == [
        (5, "3.13")
    ]
    assert run(handed_on=handed_on)["changed"] is False


def test_fractal_accepts_what_was_written(run: Run, migrated: FractalFolder, release_python: Any) -> None:
    """The release's own models read the rows back; this is what its API does before every job."""
    run(
        resources=[{**RENAME[0], "interpreters": {"3.12": "/usr/bin/python3.12"}, "pip_cache_dir": "/var/cache/pip"}],
        profiles=[{"name": "new", "username": "newcomer"}],
    )
    resource = rows(migrated, "SELECT row_to_json(resource) FROM resource")[0][0]
    profile = rows(migrated, "SELECT row_to_json(profile) FROM profile WHERE name = 'new'")[0][0]
    script = (
        "import json, sys; from fractal_server.app.schemas.v2.resource import cast_serialize_resource as r; "
        "from fractal_server.app.schemas.v2.profile import cast_serialize_profile as p; "
        "a, b = json.load(sys.stdin); r(a); p(b)"
    )
    done = subprocess.run(
        [release_python("2.17.0"), "-c", script],
        input=json.dumps([resource, profile]),
        cwd=migrated.path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_a_2_16_database_has_no_review_and_takes_no_declaration(
    seeded_database: Database, fractal_folder: Callable[..., FractalFolder], run_module: Run
) -> None:
    execute(
        seeded_database,
        """INSERT INTO usergroup (name, timestamp_created, viewer_paths) VALUES ('All', now(), '["/all"]')""",
    )
    folder = fractal_folder(seeded_database, FRACTAL_VIEWER_AUTHORIZATION_SCHEME="viewer-paths")
    result = run_module(MODULE, env_file=str(folder.env_file))
    assert result["review"] is None and result["viewer"]["before"]["ann@example.org"] == ["/data/ann"]
    refused = run_module(MODULE, env_file=str(folder.env_file), resources=RENAME)
    assert refused["failed"] and "run the upgrade first" in refused["msg"]


# --- each check fails when what it looks at is broken ---


def check_of(result: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(check for check in result["checks"] if check["id"] == name)
    return found


def test_the_schema_check_fails_for_another_release(run: Run) -> None:
    assert check_of(run(), "schema")["status"] == "passed"
    failed = check_of(run(_release="2.17.2"), "schema")
    assert failed["status"] == "failed" and "e0e717ae2f26" in failed["message"]


def test_the_worker_check_compares_versions(run: Run, release_python: Any) -> None:
    wrong = check_of(run(), "worker_python")
    assert wrong["status"] == "failed" and "/usr/bin/python3 has no fractal-server" in wrong["message"]
    own = release_python("2.17.0")
    right = run(resources=[{"name": "Resource Name", "jobs_slurm_python_worker": own}])
    assert check_of(right, "worker_python")["status"] == "passed"
    old = run(resources=[{"name": "Resource Name", "jobs_slurm_python_worker": release_python("2.16.6")}])
    assert check_of(old, "worker_python")["message"].endswith("has 2.16.6")


def test_the_users_check_fails_for_an_entitled_user_without_profile(run: Run, migrated: FractalFolder) -> None:
    assert check_of(run(), "user_profiles")["status"] == "passed"
    execute(migrated.database, "UPDATE user_oauth SET profile_id = NULL WHERE email = 'eve@example.org'")
    failed = check_of(run(), "user_profiles")
    assert failed["status"] == "failed" and "eve@example.org: no profile" in failed["message"]


def test_the_names_check_fails_for_a_resource_that_fractal_would_refuse(run: Run, migrated: FractalFolder) -> None:
    assert check_of(run(), "resource_names")["status"] == "passed"
    execute(migrated.database, "UPDATE resource SET jobs_runner_config = '{}'")
    failed = check_of(run(), "resource_names")
    assert failed["status"] == "failed" and "default_slurm_config" in failed["message"]


# --- viewer, for each scheme ---


def with_scheme(folder: FractalFolder, *lines: str) -> None:
    """Add lines to the new environment file, as the migration of the file should have done."""
    with Path(folder.env_file).open("a", encoding="utf-8") as stream:
        stream.write("\n".join(lines) + "\n")


def test_viewer_a_forgotten_scheme_shows_as_lost_folders(run: Run, migrated: FractalFolder) -> None:
    failed = check_of(run(), "viewer_access")
    assert failed["status"] == "failed"
    assert "ann@example.org no longer sees /data/ann" in failed["message"]
    assert "has to be called FRACTAL_DATA_AUTH_SCHEME" in failed["message"]
    with_scheme(migrated, "FRACTAL_DATA_AUTH_SCHEME=viewer-paths")
    assert check_of(run(), "viewer_access")["status"] == "passed"


def test_viewer_paths_of_groups_are_compared(run: Run, migrated: FractalFolder) -> None:
    with_scheme(migrated, "FRACTAL_DATA_AUTH_SCHEME=viewer-paths")
    execute(
        migrated.database,
        """INSERT INTO usergroup (name, timestamp_created, viewer_paths) VALUES ('lab', now(), '["/lab"]')""",
        "INSERT INTO linkusergroup (group_id, user_id, timestamp_created) "
        "SELECT max(g.id), min(u.id), now() FROM usergroup g, user_oauth u WHERE u.email = 'ann@example.org'",
    )
    result = run()
    assert result["viewer"]["paths"]["ann@example.org"] == ["/data/ann", "/lab"]
    before = {"ann@example.org": ["/data/ann", "/lab", "/gone"], "bob@example.org": ["/data/../data//bob/"]}
    failed = check_of(run(viewer_paths_before=before), "viewer_access")
    assert failed["status"] == "failed" and "ann@example.org no longer sees /gone" in failed["message"]
    assert "bob" not in failed["message"]


def test_viewer_users_folders_follow_the_profile(run: Run, migrated: FractalFolder) -> None:
    migrated.old_env_file.write_text(
        migrated.old_env_file.read_text().replace("=viewer-paths", "=users-folders\nFRACTAL_VIEWER_BASE_FOLDER=/base")
    )
    with_scheme(migrated, "FRACTAL_DATA_AUTH_SCHEME=users-folders", "FRACTAL_DATA_BASE_FOLDER=/base")
    result = run()
    assert result["viewer"]["paths"]["carl@example.org"] == ["/base/shared", "/data/carl"]
    assert check_of(result, "viewer_access")["status"] == "passed"
    run(profiles=[{"name": "Profile shared", "username": "other"}])
    failed = check_of(run(), "viewer_access")
    assert failed["status"] == "failed" and "carl@example.org no longer sees /base/shared" in failed["message"]
    assert "2.17 after the profile's username" in failed["message"]


def test_viewer_none_shows_nothing_before_and_after(run: Run, migrated: FractalFolder) -> None:
    migrated.old_env_file.write_text(migrated.old_env_file.read_text().replace("=viewer-paths", "=none"))
    result = run()
    assert set(map(tuple, result["viewer"]["paths"].values())) == {()}
    assert check_of(result, "viewer_access")["status"] == "passed"


def test_viewer_is_skipped_when_nothing_is_known_of_before(run: Run, migrated: FractalFolder) -> None:
    migrated.set_db("2.17.2")
    skipped = check_of(run(_release="2.17.2"), "viewer_access")
    assert skipped["status"] == "skipped" and "does not tell them any more" in skipped["message"]
    known = check_of(run(_release="2.17.2", viewer_paths_before={"ann@example.org": []}), "viewer_access")
    assert known["status"] == "passed"


def test_the_worker_check_takes_what_was_read_on_the_cluster(run: Run) -> None:
    here = {"python": "/usr/bin/python3", "version": "2.17.0"}
    assert check_of(run(workers=[here]), "worker_python")["status"] == "passed"
    failed = check_of(run(workers=[here, {**here, "version": "2.16.6"}]), "worker_python")
    assert failed["status"] == "failed" and failed["message"].endswith("/usr/bin/python3 has 2.16.6")
