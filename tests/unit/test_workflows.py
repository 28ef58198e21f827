"""The workflows for GitHub, as far as they can be judged here: what they call is there, what they use is pinned."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
TARGETS = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
# What prepares a machine that is bare; the rest is a target, so that it can be run on any other machine, too.
PREPARES = ("apt-get", "git")


def steps(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the steps of all jobs."""
    for job in yaml.safe_load(path.read_text())["jobs"].values():
        yield from job["steps"]


def called(script: str) -> Iterator[list[str]]:
    """Yield the commands of a step, as words, without what sets the account and its variables."""
    for part in re.split(r"&&|\n", script):
        words = shlex.split(part, comments=True)
        while words and (words[0] in ("sudo", "env") or re.match(r"\w+=", words[0])):
            words.pop(0)
        if words:
            yield words


def unknown(script: str) -> list[str]:
    """Return what a step calls that is not there, or that nobody else could run."""
    wrong = []
    for program, *arguments in called(script):
        if program == "make":
            wrong += [f"make {word}" for word in arguments if "=" not in word and word not in TARGETS]
        elif "/" in program:
            wrong += [] if os.access(ROOT / program, os.X_OK) else [program]
        elif program not in PREPARES:
            wrong.append(program)
    return wrong


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_what_a_workflow_calls_is_there(path: Path) -> None:
    scripts = [step["run"] for step in steps(path) if "run" in step]
    assert any("make" in script for script in scripts)
    assert [one for script in scripts for one in unknown(script)] == []


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_actions_are_pinned_to_a_commit(path: Path) -> None:
    """A tag of somebody else's can be moved."""
    uses = re.findall(r"uses: (.*)", path.read_text())
    assert uses and [one for one in uses if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v[\d.]+", one)] == []


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_may_only_read(path: Path) -> None:
    assert yaml.safe_load(path.read_text())["permissions"] == {"contents": "read"}


def test_only_a_tag_that_is_pushed_publishes() -> None:
    publish = [step["env"]["PUBLISH"] for step in steps(ROOT / ".github/workflows/release.yml") if "env" in step]
    assert publish == ["${{ github.event_name == 'push' && 'yes' || '' }}"]
    on = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text())[True]  # YAML reads the word "on" so
    assert set(on["push"]) == {"tags"}


@pytest.mark.parametrize("script", ["make none", "sudo env A=b make lint none", ".ci/none", "pip install x"])
def test_what_is_not_there_is_found(script: str) -> None:
    assert unknown(script)
