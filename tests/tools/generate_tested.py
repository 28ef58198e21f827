"""Write what README.md says under "Tested with" and "Included": python tests/tools/generate_tested.py.

It is taken from what the tests themselves are made of: the locked lists of tests/requirements, the two beds of
tests/bed/lib.sh, the playbooks, roles and modules.
"""

from __future__ import annotations

import pathlib
import re
from collections.abc import Iterator

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGE = ROOT / "README.md"
# What comes with the Debian of each bed; tests/bed/lib.sh says which beds there are.
DEBIAN = {
    "bookworm": "Debian 12: Python 3.11, PostgreSQL 15, SLURM 22.05, systemd 252",
    "trixie": "Debian 13: Python 3.13, PostgreSQL 17, SLURM 24.11, systemd 257",
}
# Modules that serve people; the others serve the roles.
USABLE_ALONE = {
    "fractal_env_migrate": "environment files",
    "fractal_user_precheck": "users before the upgrade",
    "fractal_users": "settling them",
    "fractal_resource_profile": "resources and profiles",
    "fractal_verify": "checks of a running server",
    "fractal_observe": "what is there",
}


def cores() -> list[tuple[str, str, bool]]:
    """Return the lines of ansible-core, each with its oldest Python and whether it is a candidate so far."""
    found = []
    for path in (ROOT / "tests" / "requirements").glob("core-*.txt"):
        line, python = re.fullmatch(r"core-([\d.]+)-py([\d.]+)", path.stem).groups()  # type: ignore[union-attr]
        found.append((line, python, "rc" in re.search(r"^ansible-core==(\S+)", path.read_text(), re.M)[1]))  # type: ignore[index]
    return sorted(found, key=lambda row: [int(part) for part in row[0].split(".")])


def beds() -> Iterator[tuple[str, list[str]]]:
    """Yield the Debian of each bed, in words, and the releases that hosts are upgraded to there."""
    text = (ROOT / "tests" / "bed" / "lib.sh").read_text()
    for suite, releases in re.findall(r'SUITE=(\w+) .*RELEASES="([\d. ]+)"', text):
        yield DEBIAN[suite], releases.split()


def tested() -> str:
    """Return the list of what is tested with what."""
    on = ", ".join(f"{line}{' (candidate)' if early else ''} from Python {python}" for line, python, early in cores())
    oldest = re.search(r"host-py([\d.]+)\.txt", str(next((ROOT / "tests/requirements").glob("host-py*.txt"))))[1]  # type: ignore[index]
    rows = [
        f'- **ansible-core** {on} (`make matrix`); "Use it" on the oldest and the newest (`make readme`).',
        f"- **Hosts' Python** {oldest} to 3.13.",
    ]
    for debian, releases in beds():
        rows.append(f"- **{debian}**: fractal-server 2.16.6 to 2.17.0, and up to {releases[-1]} in one run.")
    return "\n".join(rows)


def included() -> str:
    """Return the list of what the collection holds."""
    modules = {path.stem for path in (ROOT / "plugins" / "modules").glob("*.py")}
    missing = set(USABLE_ALONE) - modules
    if missing:
        raise ValueError(f"USABLE_ALONE in tests/tools/generate_tested.py names modules that are not there: {missing}")
    playbooks = sorted({path.stem for path in (ROOT / "playbooks").glob("*.yml")} - {"begin", "report"})
    roles = [
        f"[`{path.name}`](roles/{path.name}/README.md)"
        for path in sorted((ROOT / "roles").iterdir())
        if "main" in yaml.safe_load((path / "meta" / "argument_specs.yml").read_text())["argument_specs"]
    ]
    alone = ", ".join(f"`{name}` ({what})" for name, what in USABLE_ALONE.items())
    return "\n".join(
        [
            f"- [Playbooks](docs/playbooks.md): {', '.join(f'`{name}`' for name in playbooks)}.",
            f"- Roles, each usable alone: {', '.join(roles)}; `fractal` holds the defaults of all.",
            f"- Modules, usable alone: {alone}; and those that the roles use.",
        ]
    )


def render() -> str:
    """Return the page with what is between its marks made anew."""
    text = PAGE.read_text(encoding="utf-8")
    for name, content in (("tested", tested()), ("included", included())):
        text, times = re.subn(
            rf"(<!-- {name}: [^\n]*-->\n).*?(<!-- /{name} -->)", rf"\1\n{content}\n\n\2", text, flags=re.DOTALL
        )
        if times != 1:
            raise ValueError(f"README.md needs one pair of marks <!-- {name}: ... --> and <!-- /{name} -->")
    return text


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
