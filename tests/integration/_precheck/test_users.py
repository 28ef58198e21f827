"""fractal_user_precheck as a whole: access lists, statements, rights, and that it changes nothing."""

from __future__ import annotations

import datetime
from typing import Any, Callable

import pytest
from postgres_cluster import PASSWORD, Cluster, Database
from postgres_seed import add_job, add_project, add_user
from releases_environments import FractalFolder

Run = Callable[..., dict[str, Any]]
Folder = Callable[..., FractalFolder]
NOW = datetime.datetime.now(tz=datetime.timezone.utc)


def ids(result: dict[str, Any], severity: str | None = None) -> set[tuple[str, str]]:
    """Return (id, subject) of the findings."""
    assert "findings" in result, result
    return {(f["id"], f["subject"]) for f in result["findings"] if severity in (None, f["severity"])}


def content(database: Database) -> list[tuple[Any, ...]]:
    """Return a digest of all rows of all tables."""
    tables = [name for (name,) in database.rows("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")]
    return [
        (
            table,
            *database.rows(f"SELECT count(*), md5(string_agg(t::text, '' ORDER BY t::text)) FROM \"{table}\" AS t")[0],
        )
        for table in sorted(tables)
    ]


def test_seeded_instance(seeded_database: Database, fractal_folder: Folder, run_module: Run) -> None:
    add_job(seeded_database, 1, status="submitted", email="ivy@example.org", start_timestamp=NOW)
    add_project(seeded_database, 7, "uma's")
    result = run_module("fractal_user_precheck", env_file=str(fractal_folder(seeded_database).env_file))
    assert ids(result, "blocker") == set()
    assert {("user.not_verified", "uma@example.org"), ("user.not_active", "ivy@example.org")} <= ids(result, "warning")
    assert {("user.profile_shared", "shared"), ("user.names_dropped", "users")} <= ids(result, "info")
    access = result["access"]
    assert access["with_access"] == [f"{name}@example.org" for name in ("ann", "bob", "carl", "dora", "eve")]
    ivy, uma = access["without_access"]
    assert ivy == {
        "email": "ivy@example.org",
        "reasons": ["not active"],
        "is_superuser": False,
        "projects": 0,
        "running_jobs": 1,
        "last_activity": f"{NOW:%Y-%m-%d}",
        "hurt": True,
    }
    assert (uma["projects"], uma["last_activity"], uma["hurt"]) == (1, None, True)


def test_oauth_users(new_database: Callable[[], Database], fractal_folder: Folder, run_module: Run) -> None:
    database = new_database()
    for name, provider, verified in (("kim", "github", True), ("lea", "openid", True), ("max", "openid", False)):
        user = add_user(database, f"{name}@example.org", verified=verified)
        database.insert(
            "oauthaccount",
            user_id=user,
            oauth_name=provider,
            access_token="token-canary",
            account_id=name,
            account_email=f"{name}@idp.org",
        )
    database.rows("UPDATE user_oauth SET hashed_password = '$2b$12$x'")
    values = {f"OAUTH_{client}_CLIENT_{part}": "x" for client in ("GITHUB", "idp") for part in ("ID", "SECRET")}
    folder = fractal_folder(database, **values)
    result = run_module("fractal_user_precheck", env_file=str(folder.env_file), oauth_client="idp")
    assert ids(result, "warning") == {
        ("user.no_superuser", "users"),
        ("user.oauth_never_verified", "max@example.org"),
        ("user.oauth_provider_dropped", "kim@example.org"),
    }
    assert "token-canary" not in str(result) and "$2b$" not in str(result)


def test_role_that_may_only_read_is_enough_and_nothing_changes(
    cluster: Cluster, seeded_database: Database, run_module: Run
) -> None:
    reader = cluster.grant_reader(seeded_database)
    before = content(seeded_database)
    as_owner = run_module("fractal_user_precheck", **seeded_database.module_args(), backend="slurm")
    as_reader = run_module("fractal_user_precheck", **reader.module_args(), backend="slurm")
    assert as_reader["findings"] == as_owner["findings"] and as_reader["access"] == as_owner["access"]
    assert content(seeded_database) == before
    assert PASSWORD not in str(as_reader["findings"])


def test_role_without_rights_is_told(seeded_database: Database, run_module: Run) -> None:
    stranger = seeded_database.as_role("fractal_plain")
    result = run_module("fractal_user_precheck", **stranger.module_args(), backend="slurm")
    assert result.get("failed") and "permission denied" in result["msg"]
    assert PASSWORD not in result["msg"]


def test_number_of_statements_does_not_depend_on_the_number_of_users(
    cluster: Cluster, new_database: Callable[[], Database], run_module: Run
) -> None:
    database = new_database()
    cluster.superuser().rows(f"ALTER DATABASE {database.dbname} SET log_statement = 'all'")

    def statements() -> int:
        log = cluster.folder / "log"
        start = log.stat().st_size
        result = run_module("fractal_user_precheck", **database.module_args(), backend="slurm")
        assert "findings" in result, result
        said = log.read_text()[start:]
        assert said.count("FROM user_oauth") == 1
        return said.count("LOG:  statement: ") + said.count("LOG:  execute ")

    add_user(database, "ann@example.org")
    few = statements()
    database.rows(
        "INSERT INTO user_settings (slurm_accounts, project_dir, slurm_user) "
        "SELECT '[]', '/data', 'u' || n FROM generate_series(1, 100000) AS n"
    )
    database.rows(
        "INSERT INTO user_oauth (email, hashed_password, is_active, is_verified, is_superuser, user_settings_id) "
        "SELECT 'u' || id || '@x.org', 'x', true, true, false, id FROM user_settings WHERE id > 1"
    )
    many = statements()
    print(f"{many} statements, those of connecting included")
    assert few == many < 20


def test_backend_is_asked_for_where_nothing_tells_it(seeded_database: Database, run_module: Run) -> None:
    result = run_module("fractal_user_precheck", **seeded_database.module_args())
    assert result.get("failed") and "option backend" in result["msg"]


def test_another_database_is_told(cluster: Cluster, run_module: Run) -> None:
    result = run_module("fractal_user_precheck", **cluster.superuser().module_args(), backend="slurm")
    assert result.get("failed") and "it is not Fractal's" in result["msg"]


@pytest.mark.parametrize("release", ["2.17.0", "2.17.1"])
def test_after_the_migration(release: str, seeded_database: Database, fractal_folder: Folder, run_module: Run) -> None:
    folder = fractal_folder(seeded_database)
    folder.upgrade(release)
    seeded_database.rows("UPDATE user_oauth SET is_verified = true WHERE email = 'uma@example.org'")
    result = run_module("fractal_user_precheck", _release=release, env_file=str(folder.env_file))
    if release == "2.17.0":  # her old settings are still there and would stop a migration
        assert {i for i, subject in ids(result, "blocker") if subject == "uma@example.org"} == {"user.setting_unset"}
    else:
        assert ids(result, "blocker") == set()
        assert ("user.no_profile", "uma@example.org") in ids(result, "warning")
    assert "eve@example.org" in result["access"]["with_access"]
