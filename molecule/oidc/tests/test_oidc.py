"""Log-in through the provider, before the upgrade (see prepare) and after it."""

from __future__ import annotations

import json
from typing import Any

from conftest import FILES, before
from scenario import hosts_of, query
from testinfra.host import Host

testinfra_hosts = [name for name in hosts_of("fractal_server") if name.endswith("-server")]


def log_in(host: Host, *arguments: str) -> dict[str, Any]:
    words = " ".join(f"'{word}'" for word in arguments)
    script = (FILES / "oauth_log_in.py").read_text()
    result: dict[str, Any] = json.loads(host.check_output(f"python3 -c %s {words}", script))
    return result


def test_an_existing_user_is_the_same_after_the_upgrade(host: Host, seed: dict[str, Any]) -> None:
    old, new = before("server")["oauth"], log_in(host, "carol-sub")
    assert (old["status"], new["status"]) == (204, 204)
    assert old["user"]["id"] == new["user"]["id"] == seed["users"]["carol"]["id"]
    assert new["user"]["profile_id"] is not None and new["projects"] == []
    assert new["user"]["project_dir"] == seed["users"]["carol"]["project_dir"]
    rows = query(host, "select user_id from oauthaccount where account_email = 'carol@example.org'")
    assert rows == [{"user_id": seed["users"]["carol"]["id"]}]


def test_the_new_cookie_is_secure_and_must_come_back(host: Host) -> None:
    assert before("server")["oauth"]["cookies"] == []
    cookie = log_in(host, "carol-sub")["cookies"][0]
    assert cookie.startswith("fastapiusersoauthcsrf=") and "Secure" in cookie
    refused = log_in(host, "carol-sub", "--forget-cookies")
    assert refused["status"] == 400 and "OAUTH_INVALID_STATE" in refused["text"]


def test_the_button_of_fractal_web_leads_in_too(host: Host) -> None:
    assert log_in(host, "carol-sub", "http://web:5173/api/auth/mock/authorize")["status"] == 204


def test_who_was_never_verified_logs_in_and_may_nothing(host: Host) -> None:
    dora = log_in(host, "dora-sub")
    assert (dora["status"], dora["projects"]) == (204, 403)
    assert dora["user"]["profile_id"] is None


def test_nobody_registers_by_logging_in_any_more(host: Host) -> None:
    users = query(host, "select count(*) from user_oauth")
    stranger = log_in(host, "stranger@example.org")
    assert stranger["status"] == 400 and "registering" in stranger["text"]
    assert query(host, "select count(*) from user_oauth") == users
