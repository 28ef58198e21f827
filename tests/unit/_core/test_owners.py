"""Where root works, and what another account can make of it: nothing that it could not do by itself."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.fractal_ops.platform.plugins.module_utils._core import files, owners
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.files import (
    make_folders,
    make_link,
    read_file,
    remove_file,
    write_file,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.owners import (
    act_as,
    locate,
    open_as,
    owner_of,
    refuse_unless_root_only,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from conftest import Attacker


def write(path: Path, attacker: Attacker, content: bytes = b"new") -> None:
    write_file(str(path), content, attacker.uid, attacker.gid, 0o640)


# -- whose a path is ---------------------------------------------------------------------------------------------------


def test_roots_links_are_followed_and_the_first_foreign_folder_decides(attacker: Attacker) -> None:
    (attacker.roots / "folder" / "link").symlink_to("../../theirs/deep/er")
    place = locate(str(attacker.roots / "folder/link/file"))
    assert (place.path, place.owner and place.owner.name) == (f"{attacker.theirs}/deep/er/file", attacker.name)
    assert locate(str(attacker.roots / "canary")).owner is None
    assert locate(f"{attacker.theirs}/../roots/canary").owner is not None, "a folder of theirs may be a link tomorrow"


def test_a_group_of_one_is_that_account_and_of_many_is_refused(attacker: Attacker) -> None:
    folder = attacker.roots / "folder"
    folder.chmod(0o775)
    os.chown(folder, 0, attacker.gid)
    owner = owner_of(str(folder / "x"))
    assert owner is not None and owner.uid == attacker.uid
    os.chown(folder, 0, 100)
    with pytest.raises(FractalError, match="chmod g-w"):
        owner_of(str(folder / "x"))
    folder.chmod(0o777)
    with pytest.raises(FractalError, match="chmod o-w"):
        owner_of(str(folder / "x"))


def test_in_a_shared_folder_each_entry_is_its_makers_and_links_are_not_followed(attacker: Attacker) -> None:
    shared = attacker.roots / "folder"
    shared.chmod(0o1777)
    attacker.does(os.mkdir, shared / "a")
    attacker.does(os.symlink, attacker.roots, shared / "b")
    owner = owner_of(str(shared / "a" / "x"))
    assert owner is not None and owner.uid == attacker.uid
    assert owner_of(str(shared / "important")) is None
    with pytest.raises(FractalError, match="not followed"):
        owner_of(str(shared / "b" / "canary"))


def test_links_in_a_circle_are_told(attacker: Attacker) -> None:
    (attacker.roots / "folder" / "a").symlink_to("b")
    (attacker.roots / "folder" / "b").symlink_to("a")
    with pytest.raises(FractalError, match="too many links"):
        locate(str(attacker.roots / "folder" / "a"))


# -- working as that account -------------------------------------------------------------------------------------------


def test_a_child_has_no_more_than_the_accounts_rights(attacker: Attacker) -> None:
    owner = owner_of(str(attacker.theirs))
    assert act_as(owner, lambda: [os.getuid(), os.geteuid(), os.getgid(), os.getegid()]) == [
        attacker.uid,
        attacker.uid,
        attacker.gid,
        attacker.gid,
    ]
    assert 0 not in act_as(owner, os.getgroups)
    with pytest.raises(PermissionError):
        open_as(owner, str(attacker.roots / "canary"), os.O_RDONLY)
    with pytest.raises(FractalError, match="ended from outside"):
        act_as(owner, lambda: os.kill(os.getpid(), signal.SIGKILL))
    with pytest.raises(FractalError, match="did not finish"):
        act_as(owner, lambda: os.kill(os.getpid(), signal.SIGSTOP), timeout=0.1)
    with pytest.raises(FractalError, match="told"):
        act_as(owner, _refuse)
    with pytest.raises(RuntimeError, match="KeyError"):
        act_as(owner, lambda: {}["bug"])


def _refuse() -> None:
    raise FractalError("told")


# -- files -------------------------------------------------------------------------------------------------------------


def test_a_file_in_their_folder_gets_the_owner_asked_for(attacker: Attacker) -> None:
    write_file(str(attacker.theirs / "env"), b"A=1", 0, attacker.gid, 0o640)
    found = read_file(str(attacker.theirs / "env"), 10)
    assert found is not None and (found.content, found.uid, found.mode) == (b"A=1", 0, 0o640)
    write(attacker.theirs / "env", attacker)
    assert os.listdir(attacker.theirs) == ["env"] and (attacker.theirs / "env").stat().st_uid == attacker.uid


def test_roots_link_to_a_file_elsewhere_keeps_working(attacker: Attacker) -> None:
    (attacker.roots / "folder" / "env").symlink_to("important")
    write_file(str(attacker.roots / "folder" / "env"), b"new", 0, 0, 0o600)
    assert (attacker.roots / "folder" / "important").read_bytes() == b"new"
    assert (attacker.roots / "folder" / "env").is_symlink()


def test_their_link_leads_where_they_may_write_themselves(attacker: Attacker) -> None:
    attacker.does(os.mkdir, attacker.theirs / "conf")
    attacker.does(os.symlink, "conf/env", attacker.theirs / "env")
    write(attacker.theirs / "env", attacker)
    assert (attacker.theirs / "conf" / "env").read_bytes() == b"new" and (attacker.theirs / "env").is_symlink()


@pytest.mark.parametrize("target", ["canary", "folder/new.conf", "folder", "../roots/canary"])
def test_their_link_never_leads_root(attacker: Attacker, target: str) -> None:
    path = attacker.theirs / ".fractal_server.env.old"
    attacker.does(os.symlink, attacker.roots / target, path)
    with pytest.raises(FractalError, match=f"belongs to the account {attacker.name}"):
        write(path, attacker)
    if target.endswith("canary"):
        with pytest.raises(FractalError, match="Cannot read"):
            read_file(str(path), 100)
    assert remove_file(str(path)) is True, "the link goes, not what it leads to"
    assert attacker.untouched()


def test_a_parent_that_became_a_link_never_leads_root(attacker: Attacker) -> None:
    attacker.does(os.symlink, attacker.roots / "folder", attacker.theirs / "d")
    path = attacker.theirs / "d" / "important"
    for work in (
        lambda: remove_file(str(path)),
        lambda: write(path, attacker),
        lambda: make_link(str(path), "/etc/passwd"),
        lambda: make_folders(str(attacker.theirs / "d" / "made" / "here")),
    ):
        with pytest.raises(FractalError, match="Permission denied"):
            work()
    assert attacker.untouched()


def test_a_second_name_of_roots_file_is_not_read(attacker: Attacker) -> None:
    os.link(attacker.roots / "canary", attacker.theirs / "env")  # as where fs.protected_hardlinks is off
    with pytest.raises(FractalError, match="may not"):
        read_file(str(attacker.theirs / "env"), 100)
    write(attacker.theirs / "env", attacker)
    assert attacker.untouched() and (attacker.theirs / "env").read_bytes() == b"new"


def test_roots_own_file_in_their_folder_is_read(attacker: Attacker) -> None:
    (attacker.theirs / "env").write_text("A=1")
    (attacker.theirs / "env").chmod(0o600)
    found = read_file(str(attacker.theirs / "env"), 100)
    assert found is not None and found.content == b"A=1"


def test_pipes_and_big_files_are_refused_at_once(attacker: Attacker) -> None:
    attacker.does(os.mkfifo, attacker.theirs / "pipe")
    with pytest.raises(FractalError, match="no regular file"):
        read_file(str(attacker.theirs / "pipe"), 100)
    attacker.does(lambda: os.truncate(os.open(attacker.theirs / "big", os.O_CREAT | os.O_RDWR), 1 << 40))
    with pytest.raises(FractalError, match="1099511627776 bytes"):
        read_file(str(attacker.theirs / "big"), 1 << 20)
    attacker.does(os.symlink, "/dev/zero", attacker.theirs / "zero")
    with pytest.raises(FractalError, match="no regular file"):
        read_file(str(attacker.theirs / "zero"), 100)


@pytest.mark.parametrize("moment", ["open", "fchown", "rename"])
def test_names_swapped_while_root_writes_do_not_lead_it_away(
    attacker: Attacker, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    attacker.does(os.mkdir, attacker.theirs / "server")
    real = getattr(os, moment)

    def swapped(*arguments: Any, **options: Any) -> Any:
        if os.getuid() == 0 and (attacker.theirs / "server").is_dir() and not (attacker.theirs / "moved").exists():
            attacker.does(_swap, attacker)
        return real(*arguments, **options)

    monkeypatch.setattr(files.os, moment, swapped)
    write(attacker.theirs / "server" / "env", attacker)
    monkeypatch.undo()
    assert (attacker.theirs / "server").is_symlink() and os.listdir(attacker.theirs / "moved") == ["env"]
    assert attacker.untouched()


def _swap(attacker: Attacker) -> None:
    os.rename(attacker.theirs / "server", attacker.theirs / "moved")
    os.symlink(attacker.roots / "folder", attacker.theirs / "server")


def test_a_program_that_swaps_all_the_time_gains_nothing(attacker: Attacker) -> None:
    attacker.does(os.mkdir, attacker.theirs / "server")
    attacker.does(os.symlink, attacker.roots / "folder", attacker.theirs / "link")
    exchange = (
        "import ctypes; c = ctypes.CDLL(None).renameat2\n"
        f"while True: c(-100, b'{attacker.theirs}/server', -100, b'{attacker.theirs}/link', 2)"
    )
    swapper = subprocess.Popen(["python3", "-c", exchange], user=attacker.uid, group=attacker.gid, extra_groups=[])
    written = 0
    try:
        for _unused in range(60):
            try:
                write(attacker.theirs / "server" / "env", attacker)
                written += 1
                remove_file(str(attacker.theirs / "server" / "important"))
            except FractalError:
                pass
    finally:
        swapper.kill()
        swapper.wait()
    assert attacker.untouched() and written


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_others_can_reach_what_is_put_into_a_new_folder_whatever_the_umask_is(attacker: Attacker, mask: int) -> None:
    before = os.umask(mask)
    try:
        for place in (attacker.roots / "folder", attacker.theirs):
            make_folders(str(place / "d" / "e"))
            assert [(place / name).stat().st_mode & 0o7777 for name in ("d", "d/e")] == [0o755, 0o755]
        assert os.umask(mask) == mask
    finally:
        os.umask(before)


NAMES = st.sampled_from(["a", "b", "new\nline", "sp ace", "*", "..", "-rf"])
PLACES = ["a", "..", "../..", "../roots", "ROOTS", "ROOTS/folder", "ROOTS/canary", "/", "nowhere", "b"]
TARGETS = st.sampled_from(PLACES)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(NAMES, st.sampled_from(["folder", "link", "pipe", "file"]), TARGETS), max_size=6), st.data())
def test_whatever_they_plant_root_does_nothing_to_what_is_its_own(
    attacker: Attacker, planted: list[tuple[str, str, str]], data: st.DataObject
) -> None:
    tree = attacker.theirs / os.urandom(4).hex()
    attacker.does(_plant, tree, planted, str(attacker.roots))
    path = tree
    for name in data.draw(st.lists(NAMES, min_size=1, max_size=4)):
        path = path / name
    for work in (
        lambda: read_file(str(path), 100),
        lambda: write(path, attacker, b"attacker's"),
        lambda: make_link(str(path), "x"),
        lambda: remove_file(str(path)),
        lambda: make_folders(str(path)),
    ):
        try:
            found = work()
        except FractalError:
            continue
        assert getattr(found, "content", b"") != b"root's"
    assert attacker.untouched()


def _plant(tree: Path, planted: list[tuple[str, str, str]], roots: str) -> None:
    os.mkdir(tree)
    where = tree
    for name, kind, target in planted:
        path = where / name
        if os.path.lexists(path):
            continue
        if kind == "folder":
            path.mkdir()
            where = path
        elif kind == "link":
            path.symlink_to(target.replace("ROOTS", roots))
        elif kind == "pipe":
            os.mkfifo(path)
        else:
            path.write_text("theirs")


# -- folders that must be root's ---------------------------------------------------------------------------------------


def test_a_folder_that_another_account_can_change_does_not_do_for_backups(attacker: Attacker) -> None:
    good = attacker.roots / "folder" / "backups"
    refuse_unless_root_only(str(good), "backups")
    for bad in (attacker.theirs, attacker.theirs / "not" / "yet", attacker.theirs / ".." / "roots"):
        with pytest.raises(FractalError, match=f"account {attacker.name} can change it"):
            refuse_unless_root_only(str(bad), "backups")
    (attacker.roots / "folder").chmod(0o1777)
    with pytest.raises(FractalError, match="every account can make files"):
        refuse_unless_root_only(str(good), "backups")
    (attacker.roots / "folder").chmod(0o775)
    subprocess.run(["chgrp", "users", attacker.roots / "folder"], check=True)
    with pytest.raises(FractalError, match="other accounts can write in it"):
        refuse_unless_root_only(str(good), "backups")


def test_an_access_list_counts(attacker: Attacker, monkeypatch: pytest.MonkeyPatch) -> None:
    (attacker.roots / "folder").chmod(0o775)
    refuse_unless_root_only(str(attacker.roots / "folder"), "backups")
    monkeypatch.setattr(owners.os, "getxattr", lambda *_a, **_k: b"user:someone:rwx")
    with pytest.raises(FractalError, match="other accounts can write in it"):
        refuse_unless_root_only(str(attacker.roots / "folder"), "backups")
