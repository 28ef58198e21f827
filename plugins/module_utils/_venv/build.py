# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""Python environments: building the next release's beside the one in use.

All of it is done with the rights of the account that the environment in use belongs to: the new one is its own from the
first file on, and nothing that it may have planted there is done by root.
"""

from __future__ import annotations

import contextlib
import csv
import glob
import json
import os
import re
import urllib.parse
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.accounts import Account
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.files import read_file, umask
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.masking import mask_urls
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.owners import (
    account_named,
    act_as,
    owner_of,
    owner_of_program,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.programs import run
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.side_by_side import (
    make_beside,
    release_path,
    remove_beside,
    rename_beside,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._releases.path import release
from ansible_collections.fractal_ops.platform.plugins.module_utils._venv.pip import out_of_sight, requirements
from ansible_collections.fractal_ops.platform.plugins.module_utils._venv.pythons import Interpreter, base_python

_ALWAYS_THERE = frozenset({"pip", "setuptools", "wheel", "fractal-server"})
# Importing needs settings, which nobody has checked yet: their absence says that the code is there.
_IMPORT_ALL = """
try:
    import fractal_server.main
except Exception as error:
    if not type(error).__module__.startswith("pydantic"):
        raise
"""
_LARGEST_RECORD = 16 << 20  # bytes
_LONGEST = 24 * 3600.0  # seconds for a program: a network may be slow, but nothing goes on for ever
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")  # of a distribution (PEP 508)
_BEGINNING = 1024  # bytes of a script, in which it says what runs it
_SOME_SETTINGS = {"POSTGRES_DB": "x", "JWT_SECRET_KEY": "x", "FRACTAL_RUNNER_BACKEND": "local"}
_LIST_DISTRIBUTIONS = """
import importlib.metadata as m, json
print(json.dumps([{"name": d.metadata["Name"], "version": d.version, "requires": d.requires or [],
                   "direct_url": d.read_text("direct_url.json")} for d in m.distributions() if d.metadata["Name"]]))
"""


def remove_partial(environment: str, check_mode: bool = False) -> list[str]:
    """Remove what a killed preparation left beside ``environment``; return the paths."""
    found = sorted(glob.glob(glob.escape(environment) + "-*.partial"))
    return found if check_mode else remove_beside(*found)


def staged_releases(environment: str) -> list[str]:
    """Return the versions of fractal-server whose complete environments lie beside ``environment``.

    The one in use, to which it may be a link, is none: nobody switches to it, and to look at all its files takes time.
    """
    found, in_use = [], os.path.realpath(environment)
    for folder in glob.glob(glob.escape(environment) + "-*"):
        version = folder[len(environment) + 1 :]
        if re.fullmatch(r"[0-9][0-9A-Za-z.+]*", version) and folder != in_use and not os.path.islink(folder):
            try:
                complete = act_as(owner_of(folder), is_complete, folder, version, timeout=60)
            except (FractalError, OSError):
                complete = False  # nothing that can be switched to
            found += [version] if complete else []
    return sorted(found)


def releases_of_ours(environment: str) -> list[str]:
    """Return the versions beside ``environment`` that this collection has built there, or moved aside.

    The scripts of such a one name the path that it is to have, or had. What was made at its own place names that.
    """
    found = []
    for folder in glob.glob(glob.escape(environment) + "-*"):
        version = folder[len(environment) + 1 :]
        if re.fullmatch(r"[0-9][0-9A-Za-z.+]*", version) and not os.path.islink(folder):
            with contextlib.suppress(FractalError, OSError):
                if act_as(owner_of(folder), _takes_the_place_of, folder, version, environment, timeout=60):
                    found.append(version)
    return sorted(found)


def _takes_the_place_of(folder: str, version: str, environment: str) -> bool:
    if not holds(folder, version):
        return False
    with open(os.path.join(folder, "bin", "fractalctl"), "rb") as script:
        return os.fsencode(environment + "/bin/") in script.read(_BEGINNING)


def left_wheels(environment: str) -> list[str]:
    """Return the folders with wheels that were fetched for an upgrade in place."""
    return sorted(glob.glob(glob.escape(environment) + "-[0-9]*.wheels"))


def holds(folder: str, version: str) -> bool:
    """Return whether a folder, no link, holds a release."""
    names = f"lib*/python*/site-packages/fractal_server-{version}.dist-info"
    return bool(glob.glob(os.path.join(glob.escape(folder), names))) and not os.path.islink(folder)


def is_complete(folder: str, version: str | None = None) -> bool:
    """Return whether an environment holds fractal-server, in a given version, and every file of every package.

    A power cut leaves files empty whose names are there; a pip that was killed has not yet written a list of files
    (``RECORD``), or has taken away what is in one.
    """
    here = glob.escape(folder)
    if not glob.glob(
        os.path.join(here, f"lib*/python*/site-packages/fractal_server-{version or '*'}.dist-info/RECORD")
    ):
        return False
    records = glob.glob(os.path.join(here, "lib*/python*/site-packages/*.dist-info/RECORD"))
    return all(_as_recorded(record) for record in records)


def _as_recorded(record: str) -> bool:
    packages = os.path.dirname(os.path.dirname(record))
    found = read_file(record, _LARGEST_RECORD)
    text = found.content.decode("utf-8", "replace") if found else ""
    for row in csv.reader(text.splitlines()):
        if len(row) != 3:
            return False
        path, _digest, size = row
        if not size.isdigit() or path.startswith("/"):
            continue
        try:
            found_size = os.stat(os.path.join(packages, path)).st_size
            if found_size != int(size) and not path.startswith(".."):  # scripts are changed when they are moved
                return False
        except (OSError, ValueError):
            return False
    return bool(text)


@umask(0o022)
def build_environment(
    instance: Mapping[str, Any],
    version: str,
    pip_arguments: Sequence[str],
    environ: Mapping[str, str],
    pythons: Iterable[str] = (),
) -> dict[str, Any]:
    """Build the environment of ``version`` beside the instance's own, ready to take its path.

    Every script in it names the path that the environment will have after the switch, so that ``sys.executable`` of
    the running server stays the same text: fractal-server compares it with the worker interpreter
    (fractal-server 2.17.0, runner/executors/slurm_common/base_slurm_runner.py).

    Args:
        instance: Whose environment.
        version: The release.
        pip_arguments: The operator's own.
        environ: Environment of pip.
        pythons: Further interpreters, for a release that does not run on the one in use.

    Raises:
        FractalError: pip cannot install the release or a package that the old environment had in addition, or the
            release cannot be imported.
    """
    final = str(instance["environment"])
    target = release_path(final, version)
    partial = target + ".partial"
    if os.path.lexists(target) and not holds(target, version):
        raise FractalError(f"{target} is in the way: it holds no fractal-server {version}. Move it elsewhere.")
    remove_beside(partial, target)  # of a build that was killed, or that a power cut damaged
    wanted = requirements(version, pip_arguments)
    arguments, environ = out_of_sight(pip_arguments, environ)
    try:
        owner = make_beside(partial, final)
        own = Interpreter(str(instance["base_python"]), str(instance.get("python_version", "")))
        base = base_python(release(version), own, pythons) if own.version else own.path
        make = [base, "-m", "venv", "--prompt", os.path.basename(final), partial]
        if _uses_system_site_packages(final):
            make.insert(3, "--system-site-packages")
        run_tool(make, environ, "create a virtual environment", owner)
        python = os.path.join(partial, "bin", os.path.basename(str(instance["python"])))
        act_as(owner, _keep_name, python)
        install = [python, "-m", "pip", "install", "--disable-pip-version-check", "--no-input", *arguments]
        run_tool([*install, *wanted], environ, f"install fractal-server {version}", owner)
        carried = additional_packages(distributions(str(instance["python"])), distributions(python))
        if owner is None:
            _refuse_foreign_sources(carried)
        if carried:
            listed = os.path.join(partial, "carried-over.txt")  # an address may hold a password
            lines = "".join(f"{one}\n" for one in [*wanted, *carried])
            act_as(owner, _write_for_oneself, listed, lines)
            shown = [mask_urls(one) for one in carried]
            run_tool([*install, "--requirement", listed], environ, "carry over " + ", ".join(shown), owner)
            act_as(owner, os.unlink, listed)
        act_as(owner, relocate, partial, final)
        _try_out(python, instance, version)
        rename_beside(partial, target)
    finally:
        remove_beside(partial)
    return {"path": target, "version": version, "carried_over": [mask_urls(one) for one in carried]}


def _refuse_foreign_sources(carried: Iterable[str]) -> None:
    """Refuse to install for root, which runs what is there, from a path that another account can change.

    Raises:
        FractalError: One is; says whose it is, and what to do.
    """
    for requirement in carried:
        name, _at, source = requirement.partition(" @ ")
        path = urllib.parse.urlsplit(source.partition("+")[2] or source)
        if path.scheme != "file":
            continue
        folder = urllib.parse.unquote(path.path.partition("@")[0])
        owner = owner_of_program(folder)
        if owner is not None:
            raise FractalError(
                f"{name} was installed from {folder}, which the account {owner.name} can change, and the environment "
                "is root's: installing it again would let root run what lies there. Give the environment to "
                f"{owner.name}, or the folder to root (chown -R root: {folder}), or uninstall {name}."
            )


def _keep_name(python: str) -> None:
    """Let the interpreter be found by the name that unit and workers know, such as python3.11, whatever it is."""
    if not os.path.lexists(python):
        os.symlink("python3", python)


def _write_for_oneself(path: str, text: str) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as stream:
        stream.write(text)


def _try_out(python: str, instance: Mapping[str, Any], version: str) -> None:
    """See that the account that will run the release can: all of it is imported, as that account."""
    user = account_named(str(instance["user"])) if instance.get("user") else None
    environ = {"PATH": os.environ.get("PATH", os.defpath), **_SOME_SETTINGS}
    run_tool([python, "-I", "-B", "-c", _IMPORT_ALL], environ, f"import fractal-server {version}", user)


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
    try:
        return [_checked(one) for one in json.loads(output)]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise FractalError(
            f"Cannot list the packages of {python}: its answer makes no sense. Repair its environment."
        ) from error


def _checked(said: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an interpreter says of a distribution, after its shape was checked: anybody may have written it.

    Raises:
        ValueError: It has not.
    """
    source = said["direct_url"]
    texts = [said["name"], said["version"], *said["requires"], *([source] if source else [])]
    if source:
        direct = json.loads(source)
        commit = direct.get("vcs_info") or {}
        texts += [direct["url"], *([commit["vcs"], commit["commit_id"]] if commit else [])]
    if not all(isinstance(text, str) for text in texts) or not _NAME.fullmatch(said["name"]):
        raise ValueError("no distribution")
    return {name: said[name] for name in ("name", "version", "requires", "direct_url")}


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


def run_tool(
    command: Sequence[str], environ: Mapping[str, str], purpose: str, owner: Account | None = None, cwd: str = "/"
) -> str:
    """Run a program of an environment and return its standard output. Nobody has put modules where it starts.

    Args:
        command: The program and its arguments.
        environ: Its variables.
        purpose: What for, as in "Cannot ...".
        owner: The account to run it as. The default is one's own, unless another account can change the program: then
            that one.
        cwd: The folder to run it in.

    Raises:
        FractalError: It fails; the text holds the last lines of its output, without credentials in URLs.
    """
    owner = owner or owner_of_program(command[0])
    if owner:
        environ = {**environ, "HOME": owner.home, "USER": owner.name, "LOGNAME": owner.name}
    return run(command, account=owner, environ=environ, cwd=cwd, timeout=_LONGEST).must(purpose)


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
    found = read_file(os.path.join(environment, "pyvenv.cfg"), 1 << 16)
    text = found.content.decode("utf-8", "replace") if found else ""
    return bool(re.search(r"^include-system-site-packages\s*=\s*true", text, re.MULTILINE | re.IGNORECASE))
