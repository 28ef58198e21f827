"""The probe task package: what is in the wheel, and what its tasks do when Fractal calls them."""

from __future__ import annotations

import getpass
import json
import subprocess
import sys
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.fractal_ops.platform.plugins.module_utils._verify.probe_package import (
    SOURCES,
    TASKS,
    build_wheel,
)

FOLDER = Path(__file__).parents[3] / "roles/verify/files/probe"
PROBE = {name: (FOLDER / name).read_text(encoding="utf-8") for name in SOURCES}


def test_the_role_ships_every_source_and_nothing_else() -> None:
    assert {path.name for path in FOLDER.iterdir() if path.is_file()} == set(SOURCES)


def test_the_same_sources_give_the_same_bytes() -> None:
    assert build_wheel(PROBE, "1.5.0") == build_wheel(dict(reversed(PROBE.items())), "1.5.0")
    assert build_wheel(PROBE, "1.5.0")[1] != build_wheel(PROBE, "1.6.0")[1]


def test_pip_installs_the_wheel_without_an_index(tmp_path: Path) -> None:
    name, content = build_wheel(PROBE, "1.5.0")
    (tmp_path / name).write_bytes(content)
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--no-index",
        "--target",
        str(tmp_path / "t"),
        str(tmp_path / name),
    ]
    done = subprocess.run([*command, "-q"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "t/fractal_verify_probe/create.py").read_text() == PROBE["create.py"]


def test_the_first_task_is_a_converter() -> None:
    wheel = zipfile.ZipFile(BytesIO(build_wheel(PROBE, "1.5.0")[1]))
    manifest = json.loads(wheel.read("fractal_verify_probe/__FRACTAL_MANIFEST__.json"))
    assert [task["type"] for task in manifest["task_list"]] == ["converter_non_parallel", "parallel", "non_parallel"]
    assert [task["name"] for task in manifest["task_list"]] == list(TASKS)
    names = set(wheel.namelist())
    for task in manifest["task_list"]:
        script = task.get("executable_non_parallel") or task["executable_parallel"]
        assert f"fractal_verify_probe/{script}" in names


def run(task: str, folder: Path, **args: Any) -> subprocess.CompletedProcess[str]:
    """Call a task as Fractal does; its result is ``folder/out.json``."""
    (folder / "args.json").write_text(json.dumps(args))
    command = [sys.executable, str(FOLDER / task), "--args-json", str(folder / "args.json")]
    return subprocess.run(
        [*command, "--out-json", str(folder / "out.json")], capture_output=True, text=True, check=False
    )


def test_the_tasks_write_read_back_and_remove(tmp_path: Path) -> None:
    zarr_dir = tmp_path / "home" / "project" / "probe"
    (tmp_path / "home").mkdir()
    assert run("create.py", tmp_path, zarr_dir=str(zarr_dir)).returncode == 0
    image = json.loads((tmp_path / "out.json").read_text())["image_list_updates"][0]
    assert image["zarr_url"] == str(zarr_dir / "probe.zarr") and image["attributes"]["user"] == getpass.getuser()
    assert run("read.py", tmp_path, zarr_url=image["zarr_url"]).returncode == 0
    update = json.loads((tmp_path / "out.json").read_text())["image_list_updates"][0]
    assert update["attributes"] == {"read_back": getpass.getuser()}
    assert run("remove.py", tmp_path, zarr_dir=str(zarr_dir), zarr_urls=[image["zarr_url"]]).returncode == 0
    assert list((tmp_path / "home").iterdir()) == [], "not even the folder that was not there before"


@pytest.mark.parametrize("foreign", ["other.txt", "probe.zarr/other.txt"])
def test_the_last_task_leaves_what_it_did_not_write(tmp_path: Path, foreign: str) -> None:
    run("create.py", tmp_path, zarr_dir=str(tmp_path / "probe"))
    (tmp_path / "probe" / foreign).write_text("mine")
    assert run("remove.py", tmp_path, zarr_dir=str(tmp_path / "probe"), zarr_urls=[]).returncode != 0
    assert (tmp_path / "probe" / foreign).exists()
