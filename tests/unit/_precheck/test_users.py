"""Who has access after the upgrade, who is hurt without any error, and how they log in. Rows in, findings out."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.wording import examples
from ansible_collections.fractal_ops.platform.plugins.module_utils._precheck.user_rows import UserRow
from ansible_collections.fractal_ops.platform.plugins.module_utils._precheck.users import (
    UserContext,
    UserReport,
    check_users,
    user_context,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._releases.backends import backend_of
from ansible_collections.fractal_ops.platform.plugins.module_utils._releases.oauth import clients
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.users import USER_CHECKS

GOOD = UserRow(
    id=1,
    email="ann@example.org",
    is_active=True,
    is_superuser=True,
    is_verified=True,
    has_username=False,
    has_password=True,
    oauth=None,
    projects=0,
    running_jobs=0,
    last_activity=None,
    recent=False,
    profile_id=None,
    settings_id=1,
    project_dir="/data/ann",
    slurm_user="ann",
    slurm_accounts=[],
    ssh_host=None,
    ssh_username=None,
    ssh_private_key_path=None,
    ssh_tasks_dir=None,
    ssh_jobs_dir=None,
)
SUDO = UserContext("slurm_sudo")


def bob(**values: Any) -> UserRow:
    return GOOD._replace(
        **{"id": 2, "email": "bob@example.org", "is_superuser": False, "settings_id": 2, "slurm_user": "bob", **values}
    )


def report(*rows: UserRow, context: UserContext = SUDO) -> UserReport:
    return check_users([GOOD, *rows], context, USER_CHECKS)


def found(result: UserReport) -> set[tuple[str, str]]:
    return {(finding.id, finding.subject) for finding in result.findings}


def test_nothing_to_find() -> None:
    result = report(bob())
    assert result.findings == []
    assert result.access() == {"with_access": ["ann@example.org", "bob@example.org"], "without_access": []}


@pytest.mark.parametrize(
    ("values", "rule", "reasons"),
    [
        ({"is_verified": False}, "user.not_verified", ["not verified"]),
        (
            {"is_verified": False, "oauth": [["openid", "bob@example.org"]]},
            "user.oauth_never_verified",
            ["not verified"],
        ),
        ({"is_verified": False, "is_superuser": True}, "user.superuser_not_verified", ["not verified"]),
        ({"is_active": False, "projects": 2}, "user.not_active", ["not active"]),
        (
            {"is_active": False, "is_verified": False, "running_jobs": 1},
            "user.off_with_stake",
            ["not active", "not verified"],
        ),
    ],
)
def test_who_loses_access_is_told_with_what_they_have_at_stake(
    values: dict[str, Any], rule: str, reasons: list[str]
) -> None:
    result = report(bob(**values))
    assert found(result) == {(rule, "bob@example.org")}
    [lost] = result.without_access
    assert lost["email"] == "bob@example.org" and lost["reasons"] == reasons
    assert lost["hurt"] == bool(values.get("projects") or values.get("running_jobs"))
    assert result.findings[0].severity == "warning"


def test_stake_is_in_the_text() -> None:
    row = bob(is_verified=False, projects=3, running_jobs=1, last_activity="2026-11-01", recent=True)
    [finding] = report(row).findings
    assert "(owns 3 project(s), has 1 running job(s), was active on 2026-11-01)" in finding.message


def test_old_activity_is_no_stake_but_is_told() -> None:
    result = report(bob(is_verified=False, last_activity="2020-01-01"))
    assert result.without_access[0]["last_activity"] == "2020-01-01" and not result.without_access[0]["hurt"]


def test_idle_users_share_one_finding() -> None:
    rows = [bob(id=n, email=f"u{n}@example.org", is_active=False) for n in range(2, 15)]
    [finding] = report(*rows).findings
    assert (finding.id, finding.severity) == ("user.idle_without_access", "info")
    assert "13 more users" in finding.message and "and 3 more" in finding.message


def test_nobody_and_no_superuser() -> None:
    result = check_users([GOOD._replace(is_verified=False, is_superuser=False)], SUDO, USER_CHECKS)
    assert {"user.nobody_has_access", "user.no_superuser"} <= {finding.id for finding in result.findings}


# --- log-in ---

KEPT = UserContext("slurm_sudo", oauth_clients=["github", "idp"], kept_oauth_client="idp")


@pytest.mark.parametrize(
    ("values", "context", "expected"),
    [
        ({"oauth": [["openid", "other@idp.org"]]}, KEPT, set()),
        ({"oauth": [["github", "bob@github.org"]]}, KEPT, {("user.oauth_provider_dropped", "bob@example.org")}),
        ({"oauth": [["github", "BOB@example.org"]]}, KEPT, {("user.oauth_provider_changes", "users")}),
        ({"oauth": [["github", "bob@github.org"]]}, SUDO, set()),
        ({"has_password": False}, SUDO, {("user.no_login", "bob@example.org")}),
        ({"has_password": False, "oauth": [["openid", "x@y.org"]]}, KEPT, set()),
        ({"has_password": False, "is_active": False}, SUDO, {("user.idle_without_access", "users")}),
    ],
)
def test_log_in(values: dict[str, Any], context: UserContext, expected: set[tuple[str, str]]) -> None:
    assert found(report(bob(**values), context=context)) == expected


def test_several_openid_providers_cannot_be_told_apart() -> None:
    context = UserContext("slurm_sudo", oauth_clients=["a", "b"], kept_oauth_client="a")
    assert found(report(bob(oauth=[["openid", "x@y.org"]]), context=context)) == {
        ("user.oauth_origin_unknown", "OAuth")
    }


# --- what the migration takes and changes silently ---


def test_shared_profile_and_odd_settings() -> None:
    row = bob(slurm_user="ann", project_dir="/data/../data//bob$/")
    assert found(report(row)) == {
        ("user.profile_shared", "ann"),
        ("user.folder_rewritten", "bob@example.org"),
        ("user.project_dir_characters", "bob@example.org"),
    }
    assert found(report(bob(slurm_user=" bob"))) == {("user.setting_padded", "bob@example.org")}
    assert found(report(bob(has_username=True))) == {("user.names_dropped", "users")}


def test_placeholder_folder_would_look_like_a_user_who_was_left_out() -> None:
    assert found(report(bob(project_dir="/PLACEHOLDER/"))) >= {("user.setting_invalid", "bob@example.org")}


SSH = {
    "ssh_host": "h1",
    "ssh_username": "bob",
    "ssh_private_key_path": "/k",
    "ssh_tasks_dir": "/t",
    "ssh_jobs_dir": "/j",
}


def ssh_report(hosts: dict[str, int], **values: Any) -> UserReport:
    ann = GOOD._replace(**{**SSH, "ssh_username": "ann"})
    context = UserContext("slurm_ssh", ssh_hosts=hosts, viewer_scheme="users-folders")
    return check_users(
        [ann._replace(slurm_user="ann"), bob(**{**SSH, "slurm_user": "bob", **values})], context, USER_CHECKS
    )


def test_users_of_another_ssh_host_would_be_moved() -> None:
    result = ssh_report({"h1": 2, "h2": 1}, ssh_host="h2")
    assert found(result) == {("user.ssh_host_lost", "bob@example.org")}
    assert result.findings[0].severity == "blocker" and result.findings[0].acceptable


def test_equally_frequent_ssh_hosts() -> None:
    assert found(ssh_report({"h1": 1, "h2": 1}, ssh_host="h2")) == {("user.ssh_hosts_tied", "ssh_host")}
    assert ("user.ssh_host_empty", "ssh_host") in found(ssh_report({"h1": 1, "": 1}, ssh_host=""))
    assert found(ssh_report({"h1": 2})) == set()


def test_viewer_folder_of_ssh_users() -> None:
    assert found(ssh_report({"h1": 2}, slurm_user="robert")) == {("user.viewer_folder_changes", "bob@example.org")}


# --- after the schema migration ---


def test_users_with_a_profile_are_left_alone_and_the_others_are_checked() -> None:
    context = UserContext("slurm_sudo", migrated=True)
    done, left = bob(profile_id=1, project_dir=None), bob(id=3, email="eve@example.org", slurm_user=None)
    assert found(report(done, left, context=context)) == {("user.setting_unset", "eve@example.org")}


def test_without_old_settings_only_profiles_count() -> None:
    context = UserContext("slurm_sudo", has_settings=False)
    result = check_users([GOOD._replace(profile_id=1), bob()], context, USER_CHECKS)
    assert found(result) == {("user.no_profile", "bob@example.org")}
    assert result.without_access[0]["reasons"] == ["no profile"]


def test_an_upgrade_that_comes_later_takes_nothing_from_those_without_access() -> None:
    context = UserContext("slurm_sudo", has_settings=False, oauth_clients=["idp"], kept_oauth_client="idp")
    lost = bob(is_verified=False, projects=2, oauth=[["github", "bob@github.org"]], has_username=True)
    result = check_users([GOOD._replace(profile_id=1), lost], context, USER_CHECKS)
    assert found(result) == set() and result.without_access[0]["reasons"] == ["not verified"]


# --- context ---


def test_oauth_clients_of_both_releases() -> None:
    old = {"OAUTH_GITHUB_CLIENT_ID": "", "OAUTH_GITHUB_CLIENT_SECRET": "", "OAUTH_my-idp_CLIENT_ID": "", "OTHER": ""}
    assert [client.name for client in clients(old)] == ["GITHUB", "my-idp"]
    assert [client.name for client in clients({"OAUTH_CLIENT_NAME": "idp", "OAUTH_CLIENT_ID": ""})] == ["idp"]
    assert user_context({"OAUTH_A_CLIENT_ID": ""}, None, None).kept_oauth_client == "A"
    assert user_context(old, None, None).kept_oauth_client is None
    assert user_context(old, None, "my-idp").kept_oauth_client == "my-idp"


def test_backends() -> None:
    assert user_context({"FRACTAL_RUNNER_BACKEND": "slurm"}, None, None).backend == "slurm_sudo"
    assert user_context({}, None, None).backend == "local"
    assert user_context({}, "slurm_ssh", None).backend == "slurm_ssh"
    with pytest.raises(FractalError, match="must be one of"):
        backend_of("pbs")


def test_examples() -> None:
    assert examples(["a", "b"]) == "a, b"
    assert examples([str(n) for n in range(12)]).endswith("9 and 2 more")
