"""Releases of fractal-web: what is unpacked, what goes along, what comes back."""

import hashlib
import io
import json
import os
import pathlib
import shutil
import tarfile
import time
from types import SimpleNamespace

import pytest
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance import web_release as _web_release
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.archives import archive_name
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.web_release import (
    MARK,
    belongs_to,
    is_stale,
    official_archive,
    releases_of_ours,
    runs_older_state,
    stage_web_release,
    switch_web_release,
    switch_web_release_back,
)

pytestmark = pytest.mark.usefixtures("archives_record")


def make_archive(path, version="1.21.1", entries=()):
    files = {"package.json": json.dumps({"version": version}), "build/index.js": "//", "LICENSE": "x", **dict(entries)}
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content.encode()))
    return str(path)


@pytest.fixture
def web(tmp_path):
    """fractal-web 1.20.1 with its environment file in the release folder."""
    folder = tmp_path / "fractal-web"
    (folder / "build").mkdir(parents=True)
    (folder / "package.json").write_text('{"version": "1.20.1"}')
    (folder / ".env").write_text("PORT=1\n")
    (folder / ".env").chmod(0o600)
    return {"version": "1.20.1", "release_directory": str(folder), "env_file": str(folder / ".env")}


def test_a_release_is_unpacked_beside_the_one_in_use_and_only_once(tmp_path, web):
    archive = make_archive(tmp_path / "a.tar.gz")
    digest = "sha256:" + hashlib.sha256(pathlib.Path(archive).read_bytes()).hexdigest()
    assert stage_web_release(web, "1.21.1", archive, digest) is True
    assert sorted(os.listdir(tmp_path / "fractal-web-1.21.1")) == [MARK, "LICENSE", "build", "package.json"]
    assert stage_web_release(web, "1.21.1", "/no/longer/needed", None) is False
    assert sorted(os.listdir(tmp_path)) == ["a.tar.gz", "fractal-web", "fractal-web-1.21.1"]


@pytest.mark.parametrize(
    ("version", "entries", "checksum", "reason"),
    [
        ("1.21.0", {}, None, "is not fractal-web 1.21.1"),
        ("1.21.1", {}, "0" * 64, "has SHA-256"),
        ("1.21.1", {"../evil": "x"}, None, "does not belong in a release"),
        ("1.21.1", {"/evil": "x"}, None, "does not belong in a release"),
    ],
)
def test_a_wrong_archive_is_refused_and_leaves_nothing(tmp_path, web, version, entries, checksum, reason):
    archive = make_archive(tmp_path / "a.tar.gz", version, entries)
    with pytest.raises(FractalError, match=reason):
        stage_web_release(web, "1.21.1", archive, checksum)
    assert sorted(os.listdir(tmp_path)) == ["a.tar.gz", "fractal-web"]


def test_another_archive_by_the_same_name_is_refused_unless_it_is_named(tmp_path, web, archives_record):
    """The next time it is unpacked: after a rollback and a tidying up, or for another instance of the host."""
    archive = make_archive(tmp_path / "a.tar.gz")
    stage_web_release(web, "1.21.1", archive, None)
    assert archives_record.stat().st_mode & 0o777 == 0o600 and archives_record.parent.stat().st_mode & 0o777 == 0o700
    shutil.rmtree(tmp_path / "fractal-web-1.21.1")
    assert stage_web_release(web, "1.21.1", archive, None) is True, "the same one is fine"
    shutil.rmtree(tmp_path / "fractal-web-1.21.1")
    make_archive(tmp_path / "a.tar.gz", entries={"build/extra.js": "evil()"})
    digest = hashlib.sha256(pathlib.Path(archive).read_bytes()).hexdigest()
    for keep in (True, False):  # the upgrade, and the precheck before it
        with pytest.raises(FractalError, match=f"a.tar.gz is not the archive .* its SHA-256 is {digest}") as refused:
            stage_web_release(web, "1.21.1", archive, None, keep=keep)
        assert f"fractal_web_archive_checksum to sha256:{digest}" in str(refused.value)
    assert sorted(os.listdir(tmp_path)) == ["a.tar.gz", "fractal-web"]
    assert stage_web_release(web, "1.21.1", archive, f"sha256:{digest}") is True
    shutil.rmtree(tmp_path / "fractal-web-1.21.1")
    assert stage_web_release(web, "1.21.1", archive, None) is True, "from now on it is the one that is known"


def test_what_is_only_looked_at_is_not_remembered(tmp_path, web, archives_record):
    stage_web_release(web, "1.21.1", make_archive(tmp_path / "a.tar.gz"), None, keep=False)
    assert not archives_record.exists()


def test_a_damaged_record_of_archives_is_told(tmp_path, web, archives_record):
    archives_record.parent.mkdir()
    for content in ("", "[]", '{"a.tar.gz": 1}', '{"a.tar.gz": {"sha256": "x"}}'):
        archives_record.write_text(content)
        with pytest.raises(FractalError, match="is damaged"):
            stage_web_release(web, "1.21.1", make_archive(tmp_path / "a.tar.gz"), None)
    assert not (tmp_path / "fractal-web-1.21.1").exists()


@pytest.mark.parametrize(
    "archive", ["/a/node-20.tar.gz", "https://u:p@x.org/v1/node-20.tar.gz?token=secret", "node-20.tar.gz"]
)
def test_an_archive_is_known_by_its_file_name(archive):
    assert archive_name(archive) == "node-20.tar.gz"


def test_a_broken_or_missing_archive_is_refused(tmp_path, web):
    (tmp_path / "broken.tar.gz").write_bytes(b"not an archive")
    with pytest.raises(FractalError, match="not a whole tar archive"):
        stage_web_release(web, "1.21.1", str(tmp_path / "broken.tar.gz"), None)
    with pytest.raises(FractalError, match="does not exist"):
        stage_web_release(web, "1.21.1", str(tmp_path / "missing.tar.gz"), None)
    with pytest.raises(FractalError, match="Cannot fetch"):
        stage_web_release(web, "1.21.1", "file:///nonexistent/a.tar.gz", None)


def test_switch_takes_the_operators_files_along_and_back_leaves_the_old_ones(tmp_path, web):
    stage_web_release(web, "1.21.1", make_archive(tmp_path / "a.tar.gz"), None)
    assert switch_web_release(web, "1.21.1") is True
    env = tmp_path / "fractal-web" / ".env"
    assert env.read_text() == "PORT=1\n"
    assert env.stat().st_mode & 0o777 == 0o600
    env.write_text("PORT=1\nFRACTAL_DEFAULT_GROUP_NAME=All\n")
    assert switch_web_release(web, "1.21.1") is False
    assert switch_web_release_back(web, "1.20.1") is True
    assert env.read_text() == "PORT=1\n"
    assert json.loads((tmp_path / "fractal-web" / "package.json").read_text())["version"] == "1.20.1"


def test_which_releases_are_ours(tmp_path, web):
    for name in ("1.19.0", "1.18.0"):  # the operator's own, one of them with a mark that says nothing
        (tmp_path / f"fractal-web-{name}").mkdir()
        (tmp_path / f"fractal-web-{name}" / "package.json").write_text(json.dumps({"version": name}))
    (tmp_path / "fractal-web-1.18.0" / MARK).write_text("[]")
    stage_web_release(web, "1.21.1", make_archive(tmp_path / "a.tar.gz"), None)
    assert releases_of_ours(web) == ["1.21.1"]
    switch_web_release(web, "1.21.1")
    new = {**web, "version": "1.21.1"}
    assert releases_of_ours(new) == ["1.20.1", "1.21.1"]
    stage_web_release(new, "1.22.0", make_archive(tmp_path / "b.tar.gz", "1.22.0"), None)
    switch_web_release(new, "1.22.0")
    assert releases_of_ours({**web, "version": "1.22.0"}) == ["1.20.1", "1.21.1", "1.22.0"]
    assert json.loads((tmp_path / "fractal-web-1.22.0" / MARK).read_text()) == {"moves_aside": ""}


def test_it_stays_only_with_a_server_whose_release_it_was_switched_to(tmp_path, web):
    stage_web_release(web, "1.21.1", make_archive(tmp_path / "a.tar.gz"), None)
    assert not belongs_to(web, "2.16.6"), "a switch that was killed may have to be taken back"
    switch_web_release(web, "1.21.1")
    new = {**web, "version": "1.21.1"}
    assert belongs_to(new, "2.17.0")
    assert not belongs_to(new, "2.16.6")
    assert not belongs_to(new, None)


def test_an_environment_file_elsewhere_comes_back_too(tmp_path, web):
    env = tmp_path / "web.env"
    env.write_text("PORT=1\n")
    web["env_file"] = str(env)
    stage_web_release(web, "1.21.1", make_archive(tmp_path / "a.tar.gz"), None)
    switch_web_release(web, "1.21.1")
    env.write_text("changed\n")
    assert switch_web_release_back(web, "1.20.1") is True
    assert env.read_text() == "PORT=1\n"
    assert not (tmp_path / "web.env-1.20.1").exists()


def test_a_process_older_than_its_environment_file_is_noticed(web):
    now = time.time() + 5
    os.utime(web["env_file"], (now + 100, now + 100))
    assert runs_older_state(web, now) is True
    assert runs_older_state(web, now + 200) is False
    assert runs_older_state(web, None) is False


def test_a_process_of_the_release_that_was_switched_away_from_is_noticed_both_ways(tmp_path, web):
    stage_web_release(web, "1.21.1", make_archive(tmp_path / "a.tar.gz"), None)
    os.utime(web["env_file"], (1, 1))
    started = time.time()
    while os.lstat(web["release_directory"]).st_ctime <= started:
        switch_web_release(web, "1.21.1")
        os.utime(web["env_file"], (1, 1))
        assert runs_older_state(web, started - 0.1) is True
        switch_web_release_back(web, "1.20.1")
    assert not os.path.islink(web["release_directory"])
    assert runs_older_state(web, started) is True, "the new release still runs"


def test_the_official_archive_follows_node():
    assert official_archive("1.21.1", "18.20.4").endswith("/v1.21.1/node-18-fractal-web-v1.21.1.tar.gz")


@pytest.fixture
def foreign(attacker):
    """fractal-web 1.20.1 whose folder is its account's, in a folder of root's; and one release archive."""
    folder = attacker.theirs.parent / "fractal-web"
    folder.mkdir()
    os.chown(folder, attacker.uid, attacker.gid)
    attacker.does((folder / "build").mkdir)
    attacker.does((folder / "package.json").write_text, '{"version": "1.20.1"}')
    (folder / ".env").write_text("PORT=1\n")  # root's own, as systemd reads it
    (folder / ".env").chmod(0o600)
    web = {"version": "1.20.1", "release_directory": str(folder), "env_file": str(folder / ".env")}
    return {**web, "user": attacker.name}


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_a_new_release_is_the_accounts_whatever_the_umask(attacker, foreign, tmp_path, umask):
    old = os.umask(umask)
    try:
        stage_web_release(foreign, "1.21.1", make_archive(tmp_path / "a.tar.gz"), None)
        switch_web_release(foreign, "1.21.1")
    finally:
        os.umask(old)
    new = pathlib.Path(foreign["release_directory"])
    assert new.is_symlink() and (new / "build").stat().st_mode & 0o777 == 0o755
    assert {path.lstat().st_uid for path in new.resolve().rglob("*") if path.name != ".env"} == {attacker.uid}
    assert ((new / ".env").stat().st_uid, (new / ".env").stat().st_mode & 0o777) == (0, 0o600)
    assert attacker.untouched()


def test_a_release_that_the_service_cannot_reach_is_not_switched_to(attacker, foreign, tmp_path):
    stage_web_release(foreign, "1.21.1", make_archive(tmp_path / "a.tar.gz"), None)
    (attacker.theirs.parent / "fractal-web-1.21.1" / "build").chmod(0o700)
    os.chown(attacker.theirs.parent / "fractal-web-1.21.1" / "build", 0, 0)
    with pytest.raises(FractalError, match=r"cannot read .*build/index.js: Permission denied"):
        switch_web_release(foreign, "1.21.1")
    assert not os.path.islink(foreign["release_directory"])


@pytest.mark.parametrize("kind", ["file", "folder", "in a folder", "link"])
def test_own_files_are_not_copied_through_planted_links(attacker, foreign, tmp_path, kind):
    stage_web_release(foreign, "1.21.1", make_archive(tmp_path / "a.tar.gz"), None)
    old, new = pathlib.Path(foreign["release_directory"]), attacker.theirs.parent / "fractal-web-1.21.1"
    if kind == "file":
        attacker.does((old / "payload").write_text, "* * * * * root evil")
        attacker.does(os.symlink, attacker.roots / "folder" / "cron", new / "payload")
    elif kind == "link":
        attacker.does(os.symlink, attacker.roots / "canary", old / "payload")
        attacker.does(os.mkdir, new / "payload")
    else:
        attacker.does((old / "payload").mkdir)
        attacker.does((old / "payload" / "important").write_text, "evil")
        attacker.does((old / "payload" / "secret").symlink_to, attacker.roots / "canary")
        if kind == "folder":
            attacker.does(os.symlink, attacker.roots / "folder", new / "payload")
        else:
            attacker.does((new / "payload").mkdir)
            attacker.does(os.symlink, attacker.roots / "folder" / "important", new / "payload" / "important")
    try:
        switch_web_release(foreign, "1.21.1")
    except FractalError:
        assert kind == "link"  # something of its own is in the way
    else:
        assert (new / "payload").is_symlink() is (kind == "link")
    assert attacker.untouched()


def test_an_archive_cannot_write_through_its_own_links(tmp_path, web):
    through_two = [("a/b/d", "../.."), ("l", "a/b/d/../.."), ("l/evil", None)]
    for number, links in enumerate(([("x", "/tmp")], [("x", "..")], through_two)):
        path = tmp_path / f"{number}.tar.gz"
        make_archive(path)
        with tarfile.open(path, "w:gz") as tar:
            for name, target in links:
                member = tarfile.TarInfo(name)
                member.type, member.linkname = (tarfile.SYMTYPE, target) if target else (tarfile.REGTYPE, "")
                tar.addfile(member, io.BytesIO())
        with pytest.raises(FractalError, match="does not belong in a release"):
            stage_web_release(web, "1.21.1", str(path), None)
    assert sorted(os.listdir(tmp_path)) == ["0.tar.gz", "1.tar.gz", "2.tar.gz", "fractal-web"]


def test_what_is_checked_is_what_is_unpacked(attacker, foreign):
    os.mkfifo(attacker.theirs / "archive")
    with pytest.raises(FractalError, match="is no file"):
        stage_web_release(foreign, "1.21.1", str(attacker.theirs / "archive"), None)
    attacker.does(os.unlink, attacker.theirs / "archive")
    attacker.does(os.symlink, attacker.roots / "canary", attacker.theirs / "archive")
    with pytest.raises(FractalError, match="Permission denied"):
        stage_web_release(foreign, "1.21.1", str(attacker.theirs / "archive"), None)


def test_a_folder_of_somebody_else_is_not_replaced(tmp_path, web):
    (tmp_path / "fractal-web-1.21.1").mkdir()
    (tmp_path / "fractal-web-1.21.1" / "precious").write_text("x")
    with pytest.raises(FractalError, match="is in the way"):
        stage_web_release(web, "1.21.1", make_archive(tmp_path / "a.tar.gz"), None)
    assert (tmp_path / "fractal-web-1.21.1" / "precious").exists()


@pytest.mark.parametrize(
    ("state", "started", "answers", "stale"),
    [
        ("active", 200, "1.20.1", False),
        ("active", -200, "1.20.1", True),
        ("active", 200, "1.19.0", True),
        ("active", 200, None, True),
        ("inactive", -200, None, False),
    ],
    ids=["as it has to be", "older than its file", "another release", "hangs", "does not run"],
)
def test_a_process_that_is_not_what_lies_there_is_stale(monkeypatch, web, state, started, answers, stale):
    at = time.time() + started
    monkeypatch.setattr(_web_release, "read_unit", lambda name: SimpleNamespace(started_at=at, name=name))
    monkeypatch.setattr(_web_release, "running_version", lambda url, kind: answers)
    about = {**web, "active_state": state, "service": "fractal-web.service", "url": "http://127.0.0.1:1"}
    assert is_stale(about, "1.20.1") is stale
