"""The migration on disk: what is read, what is refused, what is written and in which order, and what is shown."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.accounts import Account
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.dotenv import Reader, assignments, parse
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.systemd import parse_unit
from ansible_collections.fractal_ops.platform.plugins.module_utils._env_file import on_host as _env_files
from ansible_collections.fractal_ops.platform.plugins.module_utils._env_file.on_host import EnvTask
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.env_steps import env_task
from cryptography.fernet import Fernet

if TYPE_CHECKING:
    from conftest import Attacker

SLURM = """\
JWT_SECRET_KEY=jwt-secret
POSTGRES_DB=fractal
FRACTAL_RUNNER_BACKEND=slurm
FRACTAL_TASKS_DIR=/data/tasks
FRACTAL_RUNNER_WORKING_BASE_DIR=/data/jobs
FRACTAL_SLURM_CONFIG_FILE=slurm.json
"""
EMAIL = """\
FRACTAL_EMAIL_SENDER=f@example.org
FRACTAL_EMAIL_SMTP_SERVER=smtp
FRACTAL_EMAIL_SMTP_PORT=25
FRACTAL_EMAIL_INSTANCE_NAME=lab
FRACTAL_EMAIL_RECIPIENTS=a@example.org
"""
as_root = pytest.mark.skipif(os.getuid() != 0, reason="needs root: files of other users")


@pytest.fixture
def env(tmp_path: Path) -> Path:
    path = tmp_path / ".fractal_server.env"
    path.write_text(SLURM)
    path.chmod(0o600)
    (tmp_path / "slurm.json").write_text("{}")
    return path


def task(path: Path, **options: Any) -> EnvTask:
    return env_task(path=str(path), **{"server_python": sys.executable, **options})


def migrate(path: Path, **options: Any) -> dict[str, Any]:
    one = task(path, **options)
    one.refuse_blockers()
    return one.result(one.apply(write=True))


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# -- bad input --


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"A=1\nB=2\0\n", "line 2: there is a zero byte"),
        (b"A=1\n# caf\xe9\n", "line 2: the text is not UTF-8"),
        (SLURM.encode() + b"\nX='open\n", "line 8: the quote ' is never closed"),
        (b"x" * 10_000_000, "10000000 bytes"),
        (b"\x7fELF\x02\x01\x01\0\0", "line 1"),
    ],
)
def test_bad_content_is_one_clear_error_and_leaves_all_untouched(env: Path, content: bytes, problem: str) -> None:
    env.write_bytes(content)
    before = files(env.parent)
    with pytest.raises(FractalError) as caught:
        migrate(env)
    assert problem in str(caught.value) and ".fractal_server.env" in str(caught.value)
    assert files(env.parent) == before


def test_a_directory_and_a_missing_file_are_told(tmp_path: Path) -> None:
    with pytest.raises(FractalError, match="is a directory"):
        task(tmp_path)
    with pytest.raises(FractalError, match="There is no environment file"):
        task(tmp_path / "missing")


@as_root
def test_a_file_that_cannot_be_read_is_told(env: Path) -> None:
    os.seteuid(65534)
    try:
        with pytest.raises(FractalError, match="Permission denied"):
            task(env)
    finally:
        os.seteuid(0)


def test_a_wrong_email_key_is_refused(env: Path) -> None:
    token = Fernet(Fernet.generate_key()).encrypt(b"pw").decode()
    pair = f"FRACTAL_EMAIL_PASSWORD={token}\nFRACTAL_EMAIL_PASSWORD_KEY={Fernet.generate_key().decode()}\n"
    env.write_text(SLURM + EMAIL + pair)
    before = files(env.parent)
    with pytest.raises(FractalError, match=r"does not fit FRACTAL_EMAIL_PASSWORD_KEY. It is in line 12\."):
        migrate(env)
    assert files(env.parent) == before


def test_an_interpreter_that_cannot_decrypt_is_told(env: Path, tmp_path: Path) -> None:
    env.write_text(SLURM + EMAIL + "FRACTAL_EMAIL_PASSWORD=x\nFRACTAL_EMAIL_PASSWORD_KEY=y\n")
    bare = tmp_path / "bare"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    bare.chmod(0o755)
    with pytest.raises(FractalError, match="lacks the library 'cryptography'"):
        migrate(env, server_python=str(bare))


def test_a_foreign_old_file_stops_everything(env: Path) -> None:
    old = env.with_name(env.name + ".old")
    old.write_text("SOMETHING=else\n")
    before = files(env.parent)
    with pytest.raises(FractalError, match="not the copy of this environment file"):
        migrate(env)
    assert files(env.parent) == before


# -- writing --


def test_the_second_run_changes_nothing(env: Path) -> None:
    assert migrate(env)["changed"]
    before = files(env.parent)
    assert set(before) == {".fractal_server.env", ".fractal_server.env.old", "slurm.json"}
    again = migrate(env)
    assert not again["changed"] and again["changes"] == [] and again["steps"] == []
    assert files(env.parent) == before


def test_check_mode_predicts_and_writes_nothing(env: Path) -> None:
    before = files(env.parent)
    one = task(env)
    predicted = one.result(one.apply(write=False))
    assert files(env.parent) == before
    assert predicted == migrate(env)


@pytest.mark.parametrize("killed_after", [0, 1, 2, 3])
def test_a_run_that_was_killed_is_continued(
    env: Path, monkeypatch: pytest.MonkeyPatch, killed_after: int, tmp_path: Path
) -> None:
    env.write_text(SLURM + "HTTPS_PROXY=p\n")
    options = {"drop_in_path": str(tmp_path / "unit.d/50.conf")}
    undisturbed = tmp_path / "undisturbed"
    undisturbed.mkdir()
    (undisturbed / env.name).write_text(env.read_text())
    (undisturbed / env.name).chmod(0o600)
    (undisturbed / "slurm.json").write_text("{}")
    migrate(undisturbed / env.name, drop_in_path=str(undisturbed / "unit.d/50.conf"))

    real, calls = _env_files.write_file, []

    def killed(*arguments: Any) -> None:
        if len(calls) == killed_after:
            raise KeyboardInterrupt
        calls.append(arguments)
        real(*arguments)

    monkeypatch.setattr(_env_files, "write_file", killed)
    with pytest.raises(KeyboardInterrupt):
        migrate(env, **options)
    monkeypatch.undo()
    migrate(env, **options)
    for name in (env.name, env.name + ".old", "unit.d/50.env"):
        assert (tmp_path / name).read_bytes() == (undisturbed / name).read_bytes()
    assert not migrate(env, **options)["changed"]


@as_root
@pytest.mark.parametrize(("mode", "expected"), [(0o600, 0o600), (0o640, 0o640), (0o644, 0o640), (0o400, 0o400)])
def test_owner_and_mode_are_kept_and_never_wider(env: Path, mode: int, expected: int) -> None:
    env.chmod(mode)
    os.chown(env, 1234, 5678)
    # as on a host of 2.16, whatever Python runs this test: 2.16 does not know every one, which is a finding of its own
    result = migrate(env, tasks_python={"version": "3.12", "interpreter": sys.executable})
    for path in (env, Path(result["old_path"])):
        found = path.stat()
        assert (found.st_uid, found.st_gid, found.st_mode & 0o7777) == (1234, 5678, expected)
    told = [finding["id"] for finding in result["findings"]]
    assert told == (["environment.file_for_everybody"] if mode == 0o644 else [])


@as_root
def test_a_file_that_is_right_but_too_open_is_closed(env: Path) -> None:
    migrate(env)
    env.chmod(0o664)
    assert migrate(env)["changed"]
    assert env.stat().st_mode & 0o7777 == 0o640


def test_rendered_writes_the_new_file_elsewhere_and_nothing_else(env: Path, tmp_path: Path) -> None:
    before = files(tmp_path)
    one = task(env)
    assert one.render(str(tmp_path / "new"), write=True)
    assert not task(env).render(str(tmp_path / "new"), write=True)
    after = files(tmp_path)
    assert after.pop("new").decode() == one.migration.text
    assert after == before
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o600


def test_a_link_to_the_file_stays_a_link(env: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(env)
    migrate(link)
    assert link.is_symlink()


# -- the unit --


def unit(folder: Path, user: str = "root", **properties: str) -> Any:
    given = {"LoadState": "loaded", "User": user, "WorkingDirectory": str(folder), **properties}
    return parse_unit("fractal-server.service", "".join(f"{key}={value}\n" for key, value in given.items()))


@pytest.fixture
def systemd(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """systemd's part, which no test host offers; tests/integration/test_env_systemd.py has the real one."""
    state: dict[str, Any] = {"calls": [], "UnsetEnvironment": ""}

    def systemctl(*arguments: str) -> str:
        state["calls"].append(arguments[0])
        names = [argument.partition("--property=")[2] for argument in arguments]
        return "".join(str(state.get(name, "")) for name in names if name) + "\n"

    monkeypatch.setattr(_env_files, "read_unit", lambda service: state["unit"])
    monkeypatch.setattr(_env_files, "systemctl", systemctl)
    monkeypatch.setattr(_env_files, "DROP_IN_FOLDER", str(tmp_path / "system"))
    return state


def test_a_later_step_adds_to_the_drop_in_and_takes_nothing_from_it(
    env: Path, tmp_path: Path, systemd: dict[str, Any]
) -> None:
    env.write_text(SLURM + "HTTPS_PROXY=p\n")
    systemd["unit"] = unit(env.parent, Environment="FRACTAL_RUNNER_BACKEND=slurm DB_ECHO=Yes")
    drop_in = tmp_path / "system/fractal-server.service.d/50-fractal-environment.conf"
    given = {"service": "fractal-server", "data_stop": "2.17.0"}
    assert migrate(env, release="2.17.0", **given)["steps"] == ["2.17.0"]
    assert "UnsetEnvironment=FRACTAL_RUNNER_BACKEND\n" in drop_in.read_text() and "DB_ECHO=Yes" in env.read_text()
    for release, steps in (("2.17.1", []), ("2.17.2", ["2.17.2"]), ("2.17.2", [])):
        assert migrate(env, release=release, **given)["steps"] == steps
    assert "UnsetEnvironment=DB_ECHO FRACTAL_RUNNER_BACKEND\n" in drop_in.read_text()
    assert f"EnvironmentFile={drop_in.with_suffix('.env')}\n" in drop_in.read_text()
    assert drop_in.with_suffix(".env").read_text() == "HTTPS_PROXY=p\n" and "DB_ECHO=true\n" in env.read_text()


@pytest.mark.parametrize(
    ("stop", "written"), [(None, True), ("2.17.0", True), ("2.18.0", False)], ids=["not known", "its own", "passed"]
)
def test_the_old_file_is_for_a_data_migration_that_is_still_to_come(env: Path, stop: str | None, written: bool) -> None:
    migrate(env, data_stop=stop)
    assert env.with_name(env.name + ".old").exists() is written


def test_the_drop_in_takes_over_what_2_17_does_not_do(env: Path, tmp_path: Path, systemd: dict[str, Any]) -> None:
    exported = {"HTTPS_PROXY": "http://u:p@x", "PIP_FLAGS": 'a "b" $c \\', "SLURM_CONF": "/etc/slurm.conf"}
    env.write_text(
        SLURM.replace("FRACTAL_RUNNER_BACKEND=slurm\n", "") + "".join(f"{n}='{v}'\n" for n, v in exported.items())
    )
    env.write_text(env.read_text().replace("$c \\'", "$c \\\\${:-}'"))
    systemd["unit"] = unit(env.parent, Environment="FRACTAL_RUNNER_BACKEND=slurm")
    drop_in = tmp_path / "system/fractal-server.service.d/50-fractal-environment.conf"
    result = migrate(env, service="fractal-server")
    assert result["drop_in_path"] == str(drop_in)
    values = drop_in.with_suffix(".env")
    assert assignments(parse(values.read_text(), Reader.SYSTEMD)) == exported
    assert values.stat().st_mode & 0o777 == 0o600 and drop_in.stat().st_mode & 0o777 == 0o644
    text = drop_in.read_text()
    assert f"EnvironmentFile={values}\n" in text and "UnsetEnvironment=FRACTAL_RUNNER_BACKEND\n" in text
    assert "http" not in text
    assert result["hidden"] == ["FRACTAL_RUNNER_BACKEND"]
    assert {c["variable"]: c["action"] for c in result["changes"]}["SLURM_CONF"] == "move"
    assert systemd["calls"].count("daemon-reload") == 1
    assert not migrate(env, service="fractal-server")["changed"]
    assert task(env, service="fractal-server", drop_in_path="").migration.exported == {}


def test_a_reload_that_a_killed_run_owes_is_made_up_for(env: Path, tmp_path: Path, systemd: dict[str, Any]) -> None:
    systemd["unit"] = unit(env.parent)
    migrate(env, service="fractal-server", drop_in_path=str(tmp_path / "x.conf"))
    assert "daemon-reload" not in systemd["calls"]
    systemd["unit"] = unit(env.parent, NeedDaemonReload="yes")
    migrate(env, service="fractal-server", drop_in_path=str(tmp_path / "x.conf"))
    assert "daemon-reload" in systemd["calls"]


def test_a_variable_that_the_unit_takes_away_does_not_count(env: Path, systemd: dict[str, Any]) -> None:
    systemd["unit"] = unit(env.parent, Environment="DB_ECHO=1 HOME=/x")
    systemd["UnsetEnvironment"] = "DB_ECHO"
    assert migrate(env, service="fractal-server")["hidden"] == []


def test_the_drop_in_of_a_killed_run_does_not_count(env: Path, tmp_path: Path, systemd: dict[str, Any]) -> None:
    before = SLURM.replace("FRACTAL_RUNNER_BACKEND=slurm\n", "") + "HTTPS_PROXY=p\n"
    env.write_text(before)
    systemd["unit"] = unit(env.parent, Environment="FRACTAL_RUNNER_BACKEND=slurm")
    migrate(env, service="fractal-server")
    written = files(tmp_path)
    # killed before the new file, and systemd has read the drop-in since
    env.write_text(before)
    values = f"{tmp_path}/system/fractal-server.service.d/50-fractal-environment.env (ignore_errors=no)"
    systemd["unit"] = unit(env.parent, Environment="FRACTAL_RUNNER_BACKEND=slurm", EnvironmentFiles=values)
    systemd["UnsetEnvironment"] = "FRACTAL_RUNNER_BACKEND"
    migrate(env, service="fractal-server")
    assert files(tmp_path) == written


def test_a_missing_unit_is_told(env: Path, systemd: dict[str, Any]) -> None:
    systemd["unit"] = unit(env.parent, LoadState="not-found")
    with pytest.raises(FractalError, match=r"no systemd unit fractal-server\.service"):
        migrate(env, service="fractal-server")


def test_relative_paths_count_from_the_working_directory(env: Path, tmp_path: Path, systemd: dict[str, Any]) -> None:
    env.write_text(SLURM.replace("/data/tasks", "tasks"))
    (tmp_path / "work").mkdir()
    (tmp_path / "work/slurm.json").write_text("{}")
    systemd["unit"] = unit(tmp_path / "work")
    result = migrate(env, service="fractal-server")
    assert f"FRACTAL_TASKS_DIR={tmp_path}/work/tasks\n" in Path(result["old_path"]).read_text()


@as_root
def test_the_service_can_still_read_a_file_that_was_open_for_everybody(env: Path, systemd: dict[str, Any]) -> None:
    env.chmod(0o644)
    systemd["unit"] = unit(env.parent, user="daemon")
    python = "/usr/bin/python3"  # one that the service may run, too
    migrate(env, service="fractal-server", server_python=python)
    found = env.stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (0, 1, 0o640)


# -- showing --

CANARIES = ("canary-jwt", "canary-db", "canary-id", "canary-secret", "canary-mail", "canary-url", "canary-comment")
SECRETS = """\
# POSTGRES_PASSWORD=canary-comment
POSTGRES_PASSWORD='canary-db'   # was: password=canary-comment
OAUTH_GITHUB_CLIENT_ID=canary-id
OAUTH_GITHUB_CLIENT_SECRET=canary-secret
MY_TOKEN=canary-secret
HTTPS_PROXY=http://user:canary-url@proxy:3128
DATABASE=postgresql://fractal:${POSTGRES_PASSWORD}@db/fractal
BACKUP=${FRACTAL_TASKS_DIR}:${POSTGRES_PASSWORD}
OTHER=prefix-canary-secret
"""


def test_no_secret_is_shown(env: Path, tmp_path: Path) -> None:
    key = Fernet.generate_key()
    token = Fernet(key).encrypt(b"canary-mail").decode()
    pair = f"FRACTAL_EMAIL_PASSWORD={token}\nFRACTAL_EMAIL_PASSWORD_KEY={key.decode()}\n"
    text = SLURM.replace("jwt-secret", "canary-jwt") + SECRETS + EMAIL + pair
    env.write_text(text)
    for options in ({}, {"drop_in_path": str(tmp_path / "x.conf")}):
        one = task(env, **options)
        shown = json.dumps([one.result(False), one.diffs()])
        assert "FRACTAL_RUNNER_BACKEND=slurm_sudo" in shown and "********" in shown
        for canary in (*CANARIES, token, key.decode()):
            assert canary not in shown
        assert "FRACTAL_EMAIL_PASSWORD=******** (changed)" in shown
    env.write_text(text.replace("POSTGRES_DB=fractal", "POSTGRES_PORT=x").replace(key.decode(), "canary-mail"))
    with pytest.raises(FractalError) as caught:
        task(env).refuse_blockers()
    assert "FRACTAL_EMAIL_PASSWORD" in str(caught.value) and "POSTGRES_DB" in str(caught.value)
    for canary in (*CANARIES, token):
        assert canary not in str(caught.value)


def test_the_password_is_not_in_the_arguments_of_the_process_that_decrypts_it(
    env: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    real = _env_files.run
    monkeypatch.setattr(_env_files, "run", lambda *a, **k: seen.append((a, k.get("environ"))) or real(*a, **k))
    key = Fernet.generate_key()
    token = Fernet(key).encrypt("pässword".encode()).decode()
    assert _env_files.decrypt_password(sys.executable, Account.named(None), token, key.decode()) == "pässword"
    assert seen and token not in str(seen) and key.decode() not in str(seen)


# -- web --

WEB = (
    "# web\nFRACTAL_SERVER_HOST=http://s:8000\nFRACTAL_RUNNER_BACKEND=slurm\nPUBLIC_OAUTH_CLIENT_NAME=GitHub\n"
    "A=x y # z\n"
)
WEB_NEW = (
    "# web\nFRACTAL_SERVER_HOST=http://s:8000\nFRACTAL_RUNNER_BACKEND=slurm_sudo\nPUBLIC_OAUTH_CLIENT_NAME=github\n"
    "A=x y # z\n\n# Added by the upgrade to fractal-web 1.21\nFRACTAL_DEFAULT_GROUP_NAME=All\n"
)


def test_the_web_file_follows_the_server(env: Path) -> None:
    env.write_text(WEB)
    result = migrate(env, kind="web", runner_backend="slurm_sudo", oauth_client_name="github")
    assert env.read_text() == WEB_NEW
    assert result["steps"] == ["2.17.0"] and result["old_path"] == ""
    assert sorted(os.listdir(env.parent)) == [".fractal_server.env", "slurm.json"]
    again = migrate(env, kind="web", runner_backend="slurm_sudo", oauth_client_name="github")
    assert not again["changed"] and again["steps"] == []


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({}, "PUBLIC_OAUTH_CLIENT_NAME=github\n"),
        ({"oauth_client_name": "okta"}, "PUBLIC_OAUTH_CLIENT_NAME=okta\n"),
        ({"oauth_client_name": ""}, ""),
        ({"runner_backend": "slurm_ssh"}, "FRACTAL_RUNNER_BACKEND=slurm_ssh\n"),
        ({"default_group_name": ""}, "FRACTAL_RUNNER_BACKEND=slurm_sudo\n"),
    ],
)
def test_web_options(env: Path, options: dict[str, str], line: str) -> None:
    env.write_text(WEB)
    migrate(env, kind="web", **options)
    assert line in env.read_text()
    assert ("PUBLIC_OAUTH" in env.read_text()) == (options.get("oauth_client_name") != "")
    assert ("GROUP_NAME" in env.read_text()) == (options.get("default_group_name") != "")


@pytest.mark.parametrize(
    ("name", "added"),
    [("okta", "PUBLIC_OAUTH_CLIENT_NAME=okta\n"), ("", "PUBLIC_OAUTH_CLIENT_NAME=''\n"), ("github", "")],
)
def test_what_the_unit_of_the_web_sets_counts_too(env: Path, systemd: dict[str, Any], name: str, added: str) -> None:
    env.write_text("FRACTAL_DEFAULT_GROUP_NAME=All\n")
    files = f"{env} (ignore_errors=no)"
    environment = "PUBLIC_OAUTH_CLIENT_NAME=github FRACTAL_RUNNER_BACKEND=slurm_sudo"
    systemd["unit"] = unit(env.parent, Environment=environment, EnvironmentFiles=files)
    result = migrate(env, kind="web", service="fractal-web", runner_backend="slurm_sudo", oauth_client_name=name)
    assert env.read_text().partition("1.21\n")[2] == added
    assert result["findings"] == []
    assert not migrate(env, kind="web", service="fractal-web", oauth_client_name=name)["changed"]


def test_a_value_of_the_unit_that_wins_over_the_web_file_is_refused(env: Path, systemd: dict[str, Any]) -> None:
    env.write_text("PORT=1\n")  # read by node --env-file
    systemd["unit"] = unit(env.parent, Environment="FRACTAL_RUNNER_BACKEND=slurm")
    with pytest.raises(FractalError, match="The unit itself sets FRACTAL_RUNNER_BACKEND"):
        migrate(env, kind="web", service="fractal-web")
    assert env.read_text() == "PORT=1\n"


def test_a_log_in_that_the_web_does_not_offer_is_told_not_added(env: Path) -> None:
    env.write_text("FRACTAL_RUNNER_BACKEND=slurm\n")
    result = migrate(env, kind="web", oauth_client_name="github")
    assert [finding["id"] for finding in result["findings"]] == ["environment.web_oauth_absent"]
    assert "OAUTH" not in env.read_text()


def test_a_half_migrated_web_file_is_completed(env: Path) -> None:
    env.write_text("FRACTAL_DEFAULT_GROUP_NAME=All\nFRACTAL_RUNNER_BACKEND=slurm\n")
    assert migrate(env, kind="web")["steps"] == ["2.17.0"]
    assert env.read_text() == "FRACTAL_DEFAULT_GROUP_NAME=All\nFRACTAL_RUNNER_BACKEND=slurm_sudo\n"


def test_an_open_quote_in_a_web_file_is_told_by_its_line(env: Path) -> None:
    env.write_text("A=1\nB='open\nC=2\n")
    with pytest.raises(FractalError, match="line 2: a quote is never closed"):
        migrate(env, kind="web")


def test_a_place_that_root_must_not_write_is_told_before_the_window(attacker: Attacker) -> None:
    path = attacker.theirs / ".fractal_server.env"
    attacker.does(path.write_text, SLURM)
    old = attacker.theirs / ".fractal_server.env.old"
    attacker.does(os.symlink, attacker.roots / "folder" / "zz.conf", old)
    with pytest.raises(FractalError, match=r"env\.old is a link that leads nowhere"):
        task(path)
    attacker.does(old.unlink)
    attacker.does(path.unlink)
    attacker.does(os.symlink, attacker.roots / "folder" / "important", path)
    (attacker.roots / "folder" / "important").write_text(SLURM)
    for write in (False, True):
        with pytest.raises(FractalError, match="Permission denied"):
            task(path).apply(write=write)
    assert (attacker.roots / "folder" / "important").read_text() == SLURM
