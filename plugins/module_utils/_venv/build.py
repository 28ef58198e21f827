# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""Python environments: building the next release's beside the one in use."""

from __future__ import annotations

import glob
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.masking import mask_urls
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.programs import ENDS_WITH_US
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.side_by_side import (
    exchange,
    own_like,
    release_path,
)

_ALWAYS_THERE = frozenset({"pip", "setuptools", "wheel", "fractal-server"})
_LIST_DISTRIBUTIONS = """
import importlib.metadata as m, json
print(json.dumps([{"name": d.metadata["Name"], "version": d.version, "requires": d.requires or [],
                   "direct_url": d.read_text("direct_url.json")} for d in m.distributions() if d.metadata["Name"]]))
"""


def _at(path: str, environment: str, copy: str) -> str:
    return os.path.join(copy, os.path.relpath(path, environment))


def remove_partial(environment: str) -> list[str]:
    """Remove what a killed preparation left beside ``environment``; return the paths."""
    found = glob.glob(glob.escape(environment) + "-*.partial")
    for path in found:
        shutil.rmtree(path)
    return sorted(found)


def staged_releases(environment: str) -> list[str]:
    """Return the versions of fractal-server whose complete environments lie beside ``environment``."""
    found = []
    for folder in glob.glob(glob.escape(environment) + "-*"):
        version = folder[len(environment) + 1 :]
        installed = f"lib*/python*/site-packages/fractal_server-{version}.dist-info"
        if glob.glob(os.path.join(glob.escape(folder), installed)) and not os.path.islink(folder):
            found.append(version)
    return sorted(found)


def build_environment(
    instance: Mapping[str, Any], version: str, pip_arguments: Sequence[str], environ: Mapping[str, str]
) -> dict[str, Any]:
    """Build the environment of ``version`` beside the instance's own, ready to take its path.

    Every script in it names the path that the environment will have after the switch, so that ``sys.executable`` of
    the running server stays the same text: fractal-server compares it with the worker interpreter
    (2.17.0, runner/executors/slurm_common/base_slurm_runner.py).

    Raises:
        FractalError: pip cannot install the release or a package that the old environment had in addition.
    """
    final = str(instance["environment"])
    target = release_path(final, version)
    partial = target + ".partial"
    shutil.rmtree(partial, ignore_errors=True)
    old_umask = os.umask(0o022)
    try:
        make = [str(instance["base_python"]), "-m", "venv", "--prompt", os.path.basename(final), partial]
        if _uses_system_site_packages(final):
            make.insert(3, "--system-site-packages")
        run_tool(make, environ, "create a virtual environment")
        python = os.path.join(partial, "bin", os.path.basename(str(instance["python"])))
        install = [python, "-m", "pip", "install", "--disable-pip-version-check", "--no-input", *pip_arguments]
        run_tool([*install, f"fractal-server=={version}"], environ, f"install fractal-server {version}")
        carried = additional_packages(distributions(str(instance["python"])), distributions(python))
        if carried:
            run_tool([*install, f"fractal-server=={version}", *carried], environ, "carry over " + ", ".join(carried))
        relocate(partial, final)
        own_like(partial, final)
        os.rename(partial, target)
    finally:
        os.umask(old_umask)
        shutil.rmtree(partial, ignore_errors=True)
    return {"path": target, "version": version, "carried_over": carried}


def prepared_in_place(environment: str, installed: str | None) -> list[str]:
    """Return the versions whose wheels were fetched for an upgrade in place, if what is installed was copied aside."""
    if installed is None or not os.path.isdir(release_path(environment, installed)):
        return []
    suffix = ".wheels"
    found = glob.glob(glob.escape(environment) + "-*" + suffix)
    return sorted(folder[len(environment) + 1 : -len(suffix)] for folder in found)


def prepared_releases(environment: str, installed: str | None, strategy: str) -> list[str]:
    """Return the versions that lie prepared for the installation strategy; what was prepared for another is no use."""
    return prepared_in_place(environment, installed) if strategy == "in_place" else staged_releases(environment)


def prepare_in_place(
    instance: Mapping[str, Any], version: str, pip_arguments: Sequence[str], environ: Mapping[str, str]
) -> dict[str, Any]:
    """Fetch the wheels of ``version`` and copy the environment aside, so that the window needs no network.

    Raises:
        FractalError: pip cannot fetch the release, or there is no room for the copy.
    """
    environment, python = str(instance["environment"]), str(instance["python"])
    copy, wheels = release_path(environment, str(instance["version"])), release_path(environment, version) + ".wheels"
    fetch = [python, "-B", "-m", "pip", "download", "--disable-pip-version-check", "--no-input", *pip_arguments]
    try:
        if os.path.isdir(copy) and _package_lines_or_none(_at(python, environment, copy)) != package_lines(python):
            shutil.rmtree(copy)  # left by a rollback that was killed
        if not os.path.isdir(copy):
            shutil.copytree(environment, copy + ".partial", symlinks=True)
            os.rename(copy + ".partial", copy)
        if not os.path.isdir(wheels):
            run_tool([*fetch, "--dest", wheels + ".partial", f"fractal-server=={version}"], environ, f"fetch {version}")
            os.rename(wheels + ".partial", wheels)
    except (OSError, shutil.Error) as error:
        raise FractalError(f"Cannot copy {environment} to {copy}: {error}") from error
    finally:
        shutil.rmtree(copy + ".partial", ignore_errors=True)
        shutil.rmtree(wheels + ".partial", ignore_errors=True)
    return {"path": wheels, "version": version, "carried_over": []}


def install_in_place(instance: Mapping[str, Any], version: str, environ: Mapping[str, str]) -> bool:
    """Upgrade the environment itself with pip from the prepared wheels, as the official procedure does.

    Raises:
        FractalError: pip fails; the copy that was made before is untouched.
    """
    wheels = release_path(str(instance["environment"]), version) + ".wheels"
    install = [str(instance["python"]), "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
    run_tool(
        [*install, "--no-index", "--find-links", wheels, f"fractal-server=={version}"], environ, f"install {version}"
    )
    return True


def restore_in_place(instance: Mapping[str, Any], version: str, packages: Sequence[str]) -> bool:
    """Undo :func:`install_in_place`: the copy made before takes the environment's place. Return whether it did.

    Args:
        instance: Whose environment.
        version: The release to go back to.
        packages: What was installed then (see `package_lines`); pip may have been killed before fractal-server's turn.
    """
    environment, python = str(instance["environment"]), str(instance["python"])
    copy = release_path(environment, version)
    if os.path.islink(environment) or os.path.islink(copy) or not os.path.isdir(copy):
        return False
    if _package_lines_or_none(python) == list(packages):
        return False
    exchange(copy, environment)
    shutil.rmtree(copy)  # what pip made of it; a half of that is not taken for a copy, see `prepare_in_place`
    return True


def package_lines(python: str) -> list[str]:
    """Return what is installed in the environment of ``python``, as ``pip freeze`` would.

    Raises:
        FractalError: The interpreter does not run.
    """
    lines = []
    for one in distributions(python):
        source = json.loads(one["direct_url"])["url"] if one.get("direct_url") else ""
        lines.append(f"{one['name']} @ {mask_urls(source)}" if source else f"{one['name']}=={one['version']}")
    return sorted(lines, key=str.lower)


def _package_lines_or_none(python: str) -> list[str] | None:
    try:
        return package_lines(python)
    except FractalError:
        return None


def additional_packages(old: Iterable[Mapping[str, Any]], new: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return pip requirements for what the old environment had beyond fractal-server's needs and the new one lacks."""
    by_name = {canonical_name(package["name"]): package for package in old}
    needed = _closure(by_name, "fractal-server")
    present = {canonical_name(package["name"]) for package in new}
    extra = [package for name, package in by_name.items() if name not in needed | present | _ALWAYS_THERE]
    return sorted(_requirement(package) for package in extra)


def canonical_name(name: str) -> str:
    """Return a distribution's name in its normal form (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def distributions(python: str) -> list[dict[str, Any]]:
    """Return what is installed in the environment of ``python``: name, version, requirements, direct URL.

    Raises:
        FractalError: The interpreter does not run.
    """
    output = run_tool([python, "-I", "-B", "-c", _LIST_DISTRIBUTIONS], os.environ, "list the installed packages")
    found: list[dict[str, Any]] = json.loads(output)
    return found


def relocate(environment: str, final: str) -> None:
    """Make the scripts of a virtual environment name ``final`` as their place."""
    texts = [Path(environment, "pyvenv.cfg"), *Path(environment, "bin").iterdir()]
    for path in texts:
        if path.is_symlink() or not path.is_file():
            continue
        content = path.read_bytes()
        if b"\0" in content[:4096] or environment.encode() not in content:
            continue
        mode = path.stat().st_mode
        path.write_bytes(content.replace(environment.encode(), final.encode()))
        path.chmod(mode)


def run_tool(command: Sequence[str], environ: Mapping[str, str], purpose: str, **options: Any) -> str:
    """Run a program and return its standard output.

    Raises:
        FractalError: It fails; the text holds the last lines of its output, without credentials in URLs.
    """
    try:
        done = subprocess.run(
            list(command),
            env=dict(environ),
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            check=False,
            **{**ENDS_WITH_US, **options},
        )
    except OSError as error:
        raise FractalError(f"Cannot {purpose}: {command[0]}: {error.strerror}.") from error
    if done.returncode != 0:
        tail = "\n".join((done.stderr.strip() or done.stdout.strip()).splitlines()[-8:])
        program = os.path.basename(command[0])
        raise FractalError(f"Cannot {purpose} ({program} ended with {done.returncode}):\n{mask_urls(tail)}")
    output: str = done.stdout
    return output


def _closure(by_name: Mapping[str, Mapping[str, Any]], root: str) -> set[str]:
    needed: set[str] = set()
    todo = [root]
    while todo:
        name = todo.pop()
        if name in needed or name not in by_name:
            continue
        needed.add(name)
        for requirement in by_name[name]["requires"]:
            package, _unused, marker = requirement.partition(";")
            if "extra" not in marker:
                match = re.match(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)", package)
                if match:
                    todo.append(canonical_name(match.group(1)))
                todo += _extras_needed(package, by_name)
    return needed


def _extras_needed(requirement: str, by_name: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the packages that ``name[extra,…]`` asks for besides the name itself."""
    match = re.match(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*\[([^\]]*)\]", requirement)
    if not match or canonical_name(match.group(1)) not in by_name:
        return []
    extras = [extra.strip() for extra in match.group(2).split(",")]
    found = []
    for line in by_name[canonical_name(match.group(1))]["requires"]:
        package, _unused, marker = line.partition(";")
        if any(re.search(rf"""extra\s*==\s*['"]{re.escape(extra)}['"]""", marker) for extra in extras):
            name = re.match(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)", package)
            found += [canonical_name(name.group(1))] if name else []
    return found


def _requirement(package: Mapping[str, Any]) -> str:
    if package.get("direct_url"):
        direct = json.loads(package["direct_url"])
        commit = direct.get("vcs_info", {})
        prefix = f"{commit['vcs']}+" if commit else ""
        suffix = f"@{commit['commit_id']}" if commit else ""
        return f"{package['name']} @ {prefix}{direct['url']}{suffix}"
    return f"{package['name']}=={package['version']}"


def _uses_system_site_packages(environment: str) -> bool:
    try:
        text = Path(environment, "pyvenv.cfg").read_text(encoding="utf-8")
    except OSError:
        return False
    return bool(re.search(r"^include-system-site-packages\s*=\s*true", text, re.MULTILINE | re.IGNORECASE))
