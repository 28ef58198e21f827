"""Releases side by side: each state that a kill can leave leads on and back."""

import os

import pytest
from ansible_collections.fractal_ops.platform.plugins.module_utils._core import side_by_side as _switch
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.side_by_side import switch, switch_back


@pytest.fixture
def venv(tmp_path):
    """An environment of 2.16.6 in use and one of 2.17.0 beside it."""
    for name, version in (("venv", "2.16.6"), ("venv-2.17.0", "2.17.0"), ("venv-2.17.2", "2.17.2")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "version").write_text(version)
    return str(tmp_path / "venv")


def version_at(path):
    with open(os.path.join(path, "version"), encoding="utf-8") as stream:
        return stream.read()


def tree(path):
    folder = os.path.dirname(path)
    return {
        name: os.readlink(p) if os.path.islink(p := os.path.join(folder, name)) else "dir"
        for name in os.listdir(folder)
    }


def test_switch_and_back_leave_what_was_there(venv):
    before = tree(venv)
    inode = os.stat(venv).st_ino
    assert switch(venv, "2.16.6", "2.17.0") is True
    assert (version_at(venv), version_at(venv + "-2.16.6")) == ("2.17.0", "2.16.6")
    assert switch(venv, "2.16.6", "2.17.0") is False
    assert switch_back(venv, "2.16.6") is True
    assert tree(venv) == before
    assert os.stat(venv).st_ino == inode
    assert switch_back(venv, "2.16.6") is False


def test_a_second_hop_keeps_the_first_release(venv):
    before = tree(venv)
    switch(venv, "2.16.6", "2.17.0")
    assert switch(venv, "2.17.0", "2.17.2") is True
    assert version_at(venv) == "2.17.2"
    assert version_at(venv + "-2.16.6") == "2.16.6"
    assert switch_back(venv, "2.16.6") is True
    assert tree(venv) == before


def test_a_path_that_is_a_link_already_gets_its_old_target_back(tmp_path, venv):
    os.rename(venv, tmp_path / "env-of-2025")
    os.symlink("env-of-2025", venv)
    before = tree(venv)
    switch(venv, "2.16.6", "2.17.0")
    assert version_at(venv) == "2.17.0"
    assert version_at(venv + "-2.16.6") == "2.16.6"
    assert switch_back(venv, "2.16.6") is True
    assert tree(venv) == before


def test_a_path_that_an_earlier_upgrade_switched_is_a_link_again(venv):
    switch(venv, "2.16.6", "2.17.0")
    before = tree(venv)
    original = os.path.realpath(venv)
    switch(venv, "2.17.0", "2.17.2")
    assert switch_back(venv, "2.17.0", original) is True
    assert tree(venv) == before
    assert switch_back(venv, "2.17.0", original) is False


def test_killed_between_link_and_exchange(venv, monkeypatch):
    def killed(*_names):
        raise KeyboardInterrupt

    before = tree(venv)
    monkeypatch.setattr(_switch, "exchange", killed)
    with pytest.raises(KeyboardInterrupt):
        switch(venv, "2.16.6", "2.17.0")
    monkeypatch.undo()
    assert version_at(venv) == "2.16.6"
    assert switch_back(venv, "2.16.6") is True
    assert tree(venv) == before
    with pytest.raises(KeyboardInterrupt):
        monkeypatch.setattr(_switch, "exchange", killed)
        switch(venv, "2.16.6", "2.17.0")
    monkeypatch.undo()
    assert switch(venv, "2.16.6", "2.17.0") is True
    assert version_at(venv) == "2.17.0"


def test_killed_between_exchange_and_clean_up_of_a_switch_back(venv, monkeypatch):
    before = tree(venv)
    switch(venv, "2.16.6", "2.17.0")
    unlink = os.unlink
    monkeypatch.setattr(os, "unlink", lambda *_a: (_unused for _unused in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        switch_back(venv, "2.16.6")
    monkeypatch.setattr(os, "unlink", unlink)
    assert version_at(venv) == "2.16.6"
    assert switch_back(venv, "2.16.6") is True
    assert tree(venv) == before


def test_what_is_in_the_way_is_not_touched(venv):
    os.mkdir(venv + "-2.16.6")
    with pytest.raises(FractalError, match="is in the way"):
        switch(venv, "2.16.6", "2.17.0")
    assert version_at(venv) == "2.16.6"


def test_a_release_that_was_not_prepared_is_refused(venv):
    with pytest.raises(FractalError, match=r"2\.17\.1 was not prepared"):
        switch(venv, "2.16.6", "2.17.1")


def test_going_back_without_the_old_release_is_refused(venv):
    switch(venv, "2.16.6", "2.17.0")
    os.rename(venv + "-2.16.6", venv + "-moved")
    with pytest.raises(FractalError, match="is gone"):
        switch_back(venv, "2.16.6")
    assert version_at(venv) == "2.17.0"


def test_a_folder_in_which_somebody_still_writes_goes_all_the_same(tmp_path, monkeypatch) -> None:
    folder = tmp_path / "venv-1"
    (folder / "lib").mkdir(parents=True)
    really, late = os.rmdir, iter(["a.pyc", "b.pyc"])

    def rmdir(name, **options):
        for one in [next(late, None)] if name == "lib" else []:
            if one:
                (folder / "lib" / one).touch()  # after the folder was listed
        really(name, **options)

    monkeypatch.setattr(os, "rmdir", rmdir)
    assert _switch._remove(str(folder))
    assert not folder.exists() and next(late, None) is None
