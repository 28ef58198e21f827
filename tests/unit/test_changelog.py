"""The changelog tells of this release, and names modules, roles and playbooks that there are."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").replace("\\", "")
RELEASES: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "changelogs" / "changelog.yaml").read_text())["releases"]
THERE = {
    "module": {path.stem for path in (ROOT / "plugins" / "modules").glob("*.py")},
    "role": {path.name for path in (ROOT / "roles").iterdir()},
    "playbook": {path.stem for path in (ROOT / "playbooks").glob("*.yml")} - {"begin", "report"},  # parts of the others
}


def told(kind: str) -> set[str]:
    """Return what all releases together have brought of a kind and not removed again."""
    rows: list[dict[str, Any]] = []
    gone = ""
    for release in RELEASES.values():
        rows += release.get("modules", []) if kind == "module" else release.get("objects", {}).get(kind, [])
        gone += str(release["changes"].get("removed_features", ""))
    return {row["name"] for row in rows if not re.search(rf"\b{row['name']}\b", gone)}


@pytest.mark.parametrize("kind", THERE)
def test_it_names_what_there_is(kind: str) -> None:
    coming = "".join(path.read_text() for path in (ROOT / "changelogs").glob("fragments/*.y*ml"))
    unknown, missing = told(kind) - THERE[kind], THERE[kind] - told(kind)
    assert not unknown, f"the changelog names a {kind} that is gone; say so under removed_features"
    new = {name for name in missing if not (name in coming or _is_new(kind, name))}
    assert not new, f"no release and no fragment brings this {kind}"
    assert all(f"* {name} - " in PAGE for name in told(kind)), "run: antsibull-changelog generate"


def _is_new(kind: str, name: str) -> bool:
    """Return whether a module says itself that a coming release brings it: antsibull-changelog takes it from there."""
    if kind != "module":
        return False
    text = (ROOT / "plugins" / "modules" / f"{name}.py").read_text()
    added = re.search(r"^version_added: (\S+)$", text, re.MULTILINE)
    return bool(added) and _key(added[1]) > max(map(_key, RELEASES))  # type: ignore[index]


def test_it_names_no_other_module() -> None:
    """Also not in the words of a release."""
    assert set(re.findall(r"\bfractal_(?!ops\b)[a-z_]+", PAGE)) <= THERE["module"]


def test_the_version_is_the_newest_that_it_tells_of_or_a_coming_one() -> None:
    version = yaml.safe_load((ROOT / "galaxy.yml").read_text())["version"]
    newest = max(RELEASES, key=_key)
    assert _key(version) >= _key(newest) and f"## v{newest}" in PAGE


def _key(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
