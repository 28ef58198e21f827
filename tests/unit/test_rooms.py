"""The rooms of module_utils: who may import whom. Read docs/architecture.md for what each room is for."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

PACKAGE = "ansible_collections.fractal_ops.platform.plugins.module_utils"
ROOT = Path(__file__).resolve().parents[2] / "plugins" / "module_utils"
# From the ground up: a room imports from itself and from those before it.
ROOMS = (
    "_core _releases _venv _env_file _database _instance _backup _precheck _stops _upgrade _resources _verify "
    "_window _run"
).split()


@cache
def modules() -> dict[str, Path]:
    return {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in ROOT.glob("_*/**/*.py")}


def imports(source: str) -> Iterator[str]:
    """Every module of the collection that a source names, also in functions and under TYPE_CHECKING."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(PACKAGE):
            within = (node.module or "")[len(PACKAGE) + 1 :]
            yield within
            yield from (f"{within}.{name.name}".lstrip(".") for name in node.names)
        elif isinstance(node, ast.Import):
            yield from (name.name[len(PACKAGE) + 1 :] for name in node.names if name.name.startswith(PACKAGE + "."))


def test_every_room_has_its_place() -> None:
    assert {path.name for path in ROOT.iterdir() if path.is_dir() and path.name != "__pycache__"} == {*ROOMS}


def test_no_import_goes_up() -> None:
    upward = {
        f"{module} imports {other}"
        for module, path in modules().items()
        for other in imports(path.read_text(encoding="utf-8"))
        if other in modules() and ROOMS.index(other.split(".")[0]) > ROOMS.index(module.split(".")[0])
    }
    assert upward == set()


def test_no_circle_inside_a_room() -> None:
    known = {module: {*imports(path.read_text(encoding="utf-8"))} & {*modules()} for module, path in modules().items()}
    left = {module: others - {module} for module, others in known.items()}
    while leaves := [module for module, others in left.items() if not others & {*left}]:
        for module in leaves:
            del left[module]
    assert not left, "these import each other"


def test_upward_imports_are_seen() -> None:
    source = f"if TYPE_CHECKING:\n    from {PACKAGE}._run import plan\ndef f():\n    import {PACKAGE}._run.state\n"
    assert {"_run.plan", "_run.state"} <= {*imports(source)}
