"""The strategy in place: what a pip that was killed leaves, and how one goes on or back from there."""

import os
import shutil
import sys
import venv
from pathlib import Path

import pytest
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.database import Installation
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.service_side import service_side
from ansible_collections.fractal_ops.platform.plugins.module_utils._venv import strategies
from ansible_collections.fractal_ops.platform.plugins.module_utils._venv.build import package_lines
from ansible_collections.fractal_ops.platform.plugins.module_utils._venv.strategies import (
    prepared_releases,
    python_to_ask,
    restore_in_place,
    switch_to,
)
from environments import installed

RELEASE = "lib/python3.11/site-packages/fractal_server-2.17.0.dist-info"


def test_what_was_prepared_for_the_other_strategy_does_not_count(tmp_path):
    environment = str(tmp_path / "venv")
    installed(tmp_path / "venv-2.17.0", "2.17.0")
    assert prepared_releases(environment, "2.16.6", "staged") == ["2.17.0"]
    assert prepared_releases(environment, "2.16.6", "in_place") == []
    (tmp_path / "venv-2.17.1.wheels").mkdir()
    assert prepared_releases(environment, "2.16.6", "in_place") == [], "without the copy there is no way back"
    (tmp_path / "venv-2.16.6").mkdir()
    assert prepared_releases(environment, "2.16.6", "in_place") == ["2.17.1"]
    assert prepared_releases(environment, "2.16.6", "staged") == ["2.17.0"]
    shutil.rmtree(tmp_path / "venv-2.17.0")
    assert prepared_releases(environment, None, "in_place") == [], "a folder that holds no release is no copy"
    shutil.rmtree(tmp_path / "venv-2.16.6")
    installed(tmp_path / "venv-2.16.6", "2.16.6")
    assert prepared_releases(environment, None, "in_place") == ["2.17.1"], "pip was killed between two releases"


def environment(path, *packages):
    """Make an environment that holds packages, as far as their lists go."""
    venv.create(path, with_pip=False)
    for name in packages:
        folder = path / f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages/{name}-1.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
    return {"environment": str(path), "python": str(path / "bin" / "python"), "version": "2.16.6"}


def test_an_upgrade_in_place_is_taken_back_also_if_pip_did_not_get_to_fractal_server(tmp_path):
    half = environment(tmp_path / "venv", "Fractal", "new")
    environment(tmp_path / "venv-2.16.6", "Fractal", "old")
    before = ["Fractal==1", "old==1"]
    assert restore_in_place(half, "2.16.6", before) is True
    assert package_lines(half["python"]) == before
    assert [path.name for path in tmp_path.iterdir()] == ["venv"]
    assert restore_in_place(half, "2.16.6", before) is False


def test_an_environment_that_is_as_it_was_stays(tmp_path):
    untouched = environment(tmp_path / "venv", "old")
    environment(tmp_path / "venv-2.16.6", "half")  # what a rollback left that was killed: it must not come back
    assert restore_in_place(untouched, "2.16.6", ["old==1"]) is False
    assert package_lines(untouched["python"]) == ["old==1"]


def test_half_a_package_is_taken_back_though_its_name_is_there(tmp_path):
    """pip takes the scripts away first, and the list of what is installed last."""
    about = environment(tmp_path / "venv", "old")
    installed(tmp_path / "venv", "2.16.6")
    shutil.copytree(tmp_path / "venv", tmp_path / "venv-2.16.6", symlinks=True)
    script = tmp_path / "venv/bin/fractalctl"
    script.unlink()
    before = package_lines(about["python"])
    assert restore_in_place(about, "2.16.6", before, check_mode=True) is True and not script.exists()
    assert restore_in_place(about, "2.16.6", before) is True and script.exists()
    assert restore_in_place(about, "2.16.6", before) is False


@pytest.fixture
def pip(monkeypatch):
    """Note how each pip found the environment: which releases, and whether a script of them."""
    found = []

    def look(command, _environ, _purpose, _owner):
        environment = Path(command[0]).parents[1]
        names = sorted(one.name for one in environment.glob("lib/*/site-packages/fractal_server*"))
        found.append((names, (environment / "bin/fractalctl").exists(), command[-1]))

    monkeypatch.setattr(strategies, "run_tool", look)
    return found


def beside(tmp_path, *versions):
    for version in versions:
        installed(tmp_path / f"venv-{version}", version)


def go_on(tmp_path, version):
    return switch_to(str(tmp_path / "venv/bin/python3"), version, "2.17.0", "in_place", {})


WHOLE = (["fractal_server", "fractal_server-2.16.6.dist-info"], True, "fractal-server==2.17.0")


@pytest.mark.parametrize("half", ["its list is not written", "its script is gone", "between two releases", "no mess"])
def test_after_a_killed_pip_the_next_one_begins_with_the_copy(tmp_path, pip, half):
    beside(tmp_path, "2.9.0", "2.16.6", "2.17.1")
    between = half == "between two releases"
    version = None if between else "2.16.6" if half == "no mess" else "2.17.0"
    packages = installed(tmp_path / "venv", version or "2.17.0")
    if half == "its script is gone":
        (tmp_path / "venv/bin/fractalctl").unlink()
    elif half != "no mess":
        (tmp_path / "venv" / RELEASE / "RECORD").unlink()
    if between:
        (tmp_path / "venv" / RELEASE).rmdir()
        (packages / "~ractal_server").mkdir()
    assert go_on(tmp_path, version) is True
    assert pip == [WHOLE]
    assert sorted(one.name for one in tmp_path.iterdir()) == ["venv", "venv-2.16.6", "venv-2.17.1", "venv-2.9.0"]
    assert (tmp_path / "venv-2.16.6/bin/fractalctl").exists(), "a rollback needs the copy"


def test_what_pip_has_installed_is_not_installed_again(tmp_path, pip):
    installed(tmp_path / "venv", "2.17.0")
    beside(tmp_path, "2.16.6")
    assert go_on(tmp_path, "2.17.0") is False and pip == []


def test_a_package_that_pip_took_away_comes_back_with_the_copy(tmp_path, pip):
    """The next pip would bring it, but nobody can ask the database before; the copy can."""
    for name in ("venv", "venv-2.16.6"):
        package = installed(tmp_path / name, "2.16.6") / "SQLAlchemy-2.0.dist-info"
        package.mkdir()
        (package / "RECORD").write_text("SQLAlchemy-2.0.dist-info/RECORD,,\n")
    python, copy = (str(tmp_path / name / "bin/python3") for name in ("venv", "venv-2.16.6"))
    shutil.rmtree(next((tmp_path / "venv").glob("lib/*/*/SQL*")))
    assert python_to_ask(python) == python, "no upgrade in place was prepared"
    (tmp_path / "venv-2.17.0.wheels").mkdir()
    assert python_to_ask(python) == service_side(Installation(""), python).python == copy
    assert go_on(tmp_path, "2.16.6") is True and pip == [WHOLE]
    assert python_to_ask(python) == python, "it is whole again"


def test_an_environment_that_cannot_be_looked_at_is_asked_itself(tmp_path, monkeypatch):
    installed(tmp_path / "venv", "2.16.6")
    (tmp_path / "venv-2.17.0.wheels").mkdir()

    def fails(*_given, **_more):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(strategies, "act_as", fails)
    assert python_to_ask(str(tmp_path / "venv/bin/python3")) == str(tmp_path / "venv/bin/python3")


def test_after_a_pip_that_failed_the_environment_is_whole_again(tmp_path, monkeypatch):
    installed(tmp_path / "venv", "2.16.6")
    beside(tmp_path, "2.16.6")
    script = tmp_path / "venv/bin/fractalctl"

    def fails(*_given):
        script.unlink()
        raise FractalError("pip was killed")

    monkeypatch.setattr(strategies, "run_tool", fails)
    with pytest.raises(FractalError, match="pip was killed"):
        go_on(tmp_path, "2.16.6")
    assert script.exists()
    monkeypatch.setattr(strategies, "_begin_with", lambda *_given: pytest.fail("it is whole"))
    monkeypatch.setattr(strategies, "run_tool", lambda *_given: None)
    assert go_on(tmp_path, "2.16.6") is True


def test_a_release_that_lies_staged_is_no_copy(tmp_path, pip):
    """It has packages that the one in use lacks, and is not what to begin with."""
    installed(tmp_path / "venv", "2.16.6")
    beside(tmp_path, "2.16.6", "2.17.0")
    (tmp_path / "venv-2.17.0/lib/python3.11/site-packages/new-1.dist-info").mkdir()
    (tmp_path / "venv-2.17.0/lib/python3.11/site-packages/new-1.dist-info/RECORD").write_text(
        "new-1.dist-info/RECORD,,\n"
    )
    python = str(tmp_path / "venv/bin/python3")
    (tmp_path / "venv-2.17.0.wheels").mkdir()
    assert python_to_ask(python) == python
    assert go_on(tmp_path, "2.16.6") is True and pip == [WHOLE]


@pytest.mark.parametrize("copies", [[], ["2.15.0"], ["2.16.6"]])
def test_of_an_environment_that_somebody_has_changed_himself_nothing_is_said(tmp_path, pip, copies):
    """A file was mended by hand, so no copy is as its list says either; or there is none."""
    packages = installed(tmp_path / "venv", "2.17.0")
    (packages / "fractal_server/main.py").write_text("mended\n")
    beside(tmp_path, *copies)
    for version in copies:
        (tmp_path / f"venv-{version}/lib/python3.11/site-packages/fractal_server/main.py").write_text("mended\n")
    assert go_on(tmp_path, "2.17.0") is False and pip == []
    python = str(tmp_path / "venv/bin/python3")
    assert python_to_ask(python) == python
    if copies == ["2.16.6"]:
        about = {"environment": str(tmp_path / "venv"), "python": sys.executable}
        assert restore_in_place(about, "2.16.6", package_lines(sys.executable)) is False


def test_a_copy_that_cannot_be_made_leaves_the_environment_as_it_is(tmp_path, pip, monkeypatch):
    installed(tmp_path / "venv", "2.17.0")
    os.unlink(tmp_path / "venv" / RELEASE / "RECORD")
    beside(tmp_path, "2.16.6")

    def full(*_given, **_more):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(strategies.shutil, "copytree", full)
    with pytest.raises(FractalError, match="No space left"):
        go_on(tmp_path, "2.17.0")
    assert pip == [] and sorted(one.name for one in tmp_path.iterdir()) == ["venv", "venv-2.16.6"]
