"""Which Python a new environment is made with."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._releases.path import hops, release
from ansible_collections.fractal_ops.platform.plugins.module_utils._venv import pythons
from ansible_collections.fractal_ops.platform.plugins.module_utils._venv.pythons import (
    Interpreter,
    base_python,
    choose,
    for_the_whole_way,
    found_on_host,
)

OWN = Interpreter("/opt/venv/bin/python3", "3.11.2")


@pytest.fixture
def there() -> Iterator[Path]:
    """A folder that every account can look into, and nobody but root (or this account) can change."""
    folder = Path(tempfile.mkdtemp(prefix="fractal-pythons-", dir="/srv" if os.geteuid() == 0 else None))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def fake(path: Path, version: str, mode: int = 0o755) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    answer = {"prefix": "/p", "base_python": str(path), "version": None, "python_version": version, "is_venv": False}
    path.write_text(f"#!/bin/sh\necho '{json.dumps(answer)}'\n", encoding="utf-8")
    path.chmod(mode)
    return str(path)


def test_the_python_in_use_is_kept_as_long_as_it_runs_the_release(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pythons, "found_on_host", lambda: pytest.fail("nothing has to be looked for"))
    assert base_python(release("2.18.5"), OWN, ["/nowhere"]) == OWN.path


def test_else_a_named_one_else_one_of_the_host_is_taken(there: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = fake(there / "python3.13", "3.13.1")
    monkeypatch.setattr(pythons, "found_on_host", lambda: [Interpreter("/usr/bin/python3.14", "3.14.0")])
    assert base_python(release("2.26.0"), OWN, [mine]) == mine
    assert base_python(release("2.26.0"), OWN, []) == "/usr/bin/python3.14"
    monkeypatch.setattr(pythons, "found_on_host", list)
    with pytest.raises(FractalError, match=r"2\.26\.0 needs Python >= 3\.13 and < 3\.16, and there is none"):
        base_python(release("2.26.0"), OWN, [])


def test_a_named_one_that_does_not_run_is_told(tmp_path: Path) -> None:
    with pytest.raises(FractalError, match="set fractal_pythons"):
        base_python(release("2.26.0"), OWN, [str(tmp_path / "python3.13")])


@pytest.mark.skipif(os.geteuid() != 0, reason="without root nothing is anybody else's")
def test_of_the_host_only_what_nobody_but_root_can_change_counts(there: Path, attacker: Any) -> None:
    good, writable = there / "good", there / "writable"
    fake(good / "python3.13", "3.13.1")
    fake(good / "python3", "3.12.0")  # which one that is, its name does not say
    (good / "python3.14").write_text("#!/bin/sh\nexit 1\n")
    (good / "python3.14").chmod(0o755)
    fake(writable / "python3.13", "3.13.2", 0o777)
    theirs = fake(attacker.theirs / "python3.13", "3.13.3")
    os.chown(theirs, attacker.uid, attacker.gid)
    places = [str(writable), str(attacker.theirs), str(there / "nothing"), str(good)]
    assert found_on_host(places) == [Interpreter(str(good / "python3.13"), "3.13.1")]


def test_no_interpreter_is_no_choice() -> None:
    assert choose(release("2.26.0"), [OWN, Interpreter("/p", "3.12.9")]) is None
    assert choose(release("2.26.0"), [OWN, Interpreter("/p", "3.13.0"), Interpreter("/q", "3.14.0")]) == Interpreter(
        "/p", "3.13.0"
    )


@pytest.mark.parametrize(
    ("start", "target", "said"),
    [
        ("2.16.6", "2.26.0", "3.13"),
        ("2.16.6", "2.25.4", "3.12 or 3.13"),
        ("2.16.6", "2.17.2", "3.11 or 3.12 or 3.13"),
        ("2.18.0", "2.26.0", "3.13 or 3.14"),
    ],
)
def test_what_would_do_for_the_whole_way(start: str, target: str, said: str) -> None:
    assert for_the_whole_way(hops(start, target)) == said
