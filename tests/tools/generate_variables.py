"""Write docs/variables.md from the roles' argument specs: python tests/tools/generate_variables.py."""

from __future__ import annotations

import pathlib
from typing import Any

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "variables.md"
HEAD = """# Variables

All are optional. Set them in the inventory: for all hosts, for one group, or for one host. Any other variable that
begins with `fractal_` is taken for a mistyped one: every playbook names them all and changes nothing, unless
`fractal_accept` holds `variable.unknown`.
This page is made from the argument specs of the roles (`python tests/tools/generate_variables.py`).

| variable | default | roles | meaning |
|---|---|---|---|
"""


def options_of_roles() -> dict[str, dict[str, dict[str, Any]]]:
    """Return the options of each role by its name."""
    specs = sorted(ROOT.glob("roles/*/meta/argument_specs.yml"))
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for path in specs:
        for entry_point in yaml.safe_load(path.read_text())["argument_specs"].values():
            public = {name: option for name, option in entry_point["options"].items() if not name.startswith("__")}
            found.setdefault(path.parts[-3], {}).update(public)
    return found


def render() -> str:
    """Return the page."""
    by_variable: dict[str, list[str]] = {}
    described: dict[str, dict[str, Any]] = {}
    for role, options in options_of_roles().items():
        for name, option in options.items():
            by_variable.setdefault(name, []).append(role)
            described[name] = option
    rows = []
    for name in sorted(by_variable):
        option = described[name]
        meaning = (
            " ".join(option["description"]).replace("C(", "`").replace(")", "`")
            if "C(" in str(option)
            else " ".join(option["description"])
        )
        default = option.get("default")
        shown = (
            "set by the caller"
            if option.get("required")
            else ""
            if default in ("", [])
            else f"`{str(default).lower() if isinstance(default, bool) else default}`"
        )
        rows.append(f"| `{name}` | {shown.replace('|', chr(92) + '|')} | {', '.join(by_variable[name])} | {meaning} |")
    return HEAD + "\n".join(rows) + "\n"


if __name__ == "__main__":
    PAGE.write_text(render())
