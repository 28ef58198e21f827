# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""What upgrades and rollbacks have left of an instance, and what of it nobody needs any more.

What is judged is what is ours by evidence: databases by their mark and exact name (`_database/scratch.py`), folders
beside a release by what is in them (`_venv/build.py`, `_instance/web_release.py`), backups by their manifest. Anything
else is not even looked at. What a rollback of the newest upgrade needs stays, unless the operator gives that up.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Callable

from ansible_collections.fractal_ops.platform.plugins.module_utils._backup.store import (
    Backup,
    came_from,
    finished_backups,
    left_over_files,
    left_over_folders,
    prune_backups,
    run_of_partial,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.copied import copied_folders
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.side_by_side import (
    release_path,
    remove_beside,
    size_beside,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.database import Installation
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.ours import drop_ours, list_ours
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.scratch import FAILED, FROZEN
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance import web_release
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.hold import read_hold
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.service_side import sensible, service_side
from ansible_collections.fractal_ops.platform.plugins.module_utils._venv import build

COPY, DATABASE, ENVIRONMENT, WEB, BACKUP, LEFT_OVER = "copy", "database", "environment", "web", "backup", "left_over"
FILES = "files"
_RUN = "/run"
_KILLED = "a run that was killed has left it"
_COPIED = "copied from the controller; an upgrade that needs it copies it again"
_UNMARKED = "an early version left it, without a mark that says whose it is; drop it yourself"
_GIVEN_UP = "the way back by it is given up (fractal_tidy_rollback)"


@dataclass(frozen=True)
class Item:
    """One thing of ours: its kind, name or path, size, whether it goes, and why it goes or stays."""

    kind: str
    name: str
    bytes: int
    goes: bool
    why: str

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for Ansible."""
        return asdict(self)


def judge_backups(backups: Sequence[Backup], keep: int, back: Backup | None) -> dict[str, tuple[bool, str]]:
    """Return for each backup, the newest first, by its path, whether it goes, and why; ``back`` is what a rollback
    goes back to.
    """

    def verdict(place: int, backup: Backup) -> tuple[bool, str]:
        if backup is back:
            return False, "a rollback goes back to it"
        return 0 < keep <= place, f"fractal_backup_keep is {keep}" if keep else "fractal_backup_keep is 0: all stay"

    return {backup.path: verdict(place, backup) for place, backup in enumerate(backups)}


def judge_database(
    kind: str, run: str, staying: Sequence[Backup], back: Backup | None, rollback: bool
) -> tuple[bool, str]:
    """Return whether a database of ours goes, and why.

    Args:
        kind: As its mark says.
        run: The run that its mark names.
        staying: The backups that stay.
        back: The one of them that a rollback goes back to.
        rollback: Whether the way back from the newest upgrade is given up.
    """
    if kind == FAILED:
        return True, "a rollback has put it aside"
    if kind != FROZEN:
        return True, _KILLED
    backup = next((one for one in staying if os.path.basename(one.path) == run), None)
    if backup is None:
        return True, "its backup is gone"
    if not backup.has_dump:
        return False, f"{backup.path} holds nothing else until its dump is made: run the upgrade again"
    if backup is not back:
        return True, f"a rollback does not go back to {backup.path}, which has its dump"
    return rollback, _GIVEN_UP if rollback else "a rollback of the newest upgrade gives it back"


def judge_release(version: str, used: bool, wanted_back: bool, rollback: bool) -> tuple[bool, str]:
    """Return whether a release beside the one in use goes, and why.

    Args:
        version: The release.
        used: Whether a process runs from it.
        wanted_back: Whether a rollback of the newest upgrade goes back to it.
        rollback: Whether that way back is given up.
    """
    if used:
        return False, "processes run from it"
    if wanted_back:
        return rollback, _GIVEN_UP if rollback else f"a rollback of the newest upgrade goes back to {version}"
    return True, "it is neither in use nor what a rollback goes back to"


def tidy_server(
    installation: Installation,
    instance: Mapping[str, Any],
    root: str,
    keep: int = 0,
    rollback: bool = False,
    check_mode: bool = False,
) -> dict[str, Any]:
    """Remove what an instance's server no longer needs.

    Args:
        installation: Whose database.
        instance: What was discovered of it.
        root: Folder that holds its backups.
        keep: How many backups stay, 0 for all.
        rollback: Whether to give up the way back from the newest upgrade, too.
        check_mode: Only say what would go.

    Returns:
        See `_result`.

    Raises:
        FractalError: An upgrade is in progress, or what is there cannot be seen. Nothing was removed.
    """
    _refuse_in_progress(str(instance["service"]))
    backups = finished_backups(root)
    back = came_from(backups, str(instance["version"] or ""))
    verdicts = judge_backups(backups, keep, back)
    staying = [backup for backup in backups if not verdicts[backup.path][0]]
    left = left_over_folders(root)
    unfinished = [run for run in map(run_of_partial, left) if run and not os.path.lexists(os.path.join(root, run))]
    door = service_side(installation, str(instance["python"]))
    told = door.call(list_ours, installation, unfinished)
    with sensible():
        databases = [_database(one, staying, back, rollback) for one in told["databases"]]
        unmarked = [Item(DATABASE, str(name), 0, False, _UNMARKED) for name in told["unmarked"]]
    in_run = [f"{_RUN}/{instance['service']}{ending}" for ending in (".env.rendered", ".window")]  # hold secrets
    left += left_over_files(staying)
    left += [path for path in in_run if os.path.lexists(path)]
    items = [
        *databases,
        *unmarked,
        *(Item(BACKUP, path, size_beside(path), *verdict) for path, verdict in verdicts.items()),
        *_environments(instance, back, rollback),
        *(Item(LEFT_OVER, path, size_beside(path), True, _KILLED) for path in left),
        *_copied(),
    ]

    def remove(going: Sequence[Item]) -> dict[str, str]:
        stays = {}
        names = [item.name for item in databases if item in going]
        if names:
            answer = door.call(drop_ours, installation, names, unfinished)
            with sensible():
                stays = {str(name): str(why) for name, why in answer["stays"].items()}
        if any(item.kind == BACKUP for item in going):
            prune_backups(root, keep, os.path.basename(back.path) if back else "")
        folders = [item.name for item in going if item not in databases and item.kind != BACKUP]
        return {**stays, **_remove_folders(folders)}

    return _result(items, remove, check_mode)


def _database(one: Mapping[str, Any], staying: Sequence[Backup], back: Backup | None, rollback: bool) -> Item:
    verdict = judge_database(one["kind"], one["run"], staying, back, rollback)
    kind = {FROZEN: COPY, FAILED: DATABASE}.get(one["kind"], LEFT_OVER)
    return Item(kind, str(one["name"]), int(one["bytes"]), *verdict)


def tidy_web(instance: Mapping[str, Any], rollback: bool = False, check_mode: bool = False) -> dict[str, Any]:
    """Remove what a host of fractal-web no longer needs; see `tidy_server`."""
    _refuse_in_progress(str(instance["service"]))
    directory, env_file = str(instance["release_directory"]), str(instance["env_file"])
    kept = web_release.kept_release(instance)
    items = []
    for version in web_release.releases_of_ours(instance):
        folder = release_path(directory, version)
        if os.path.realpath(directory) == os.path.realpath(folder):
            continue
        verdict = judge_release(version, is_used(folder), version == kept, rollback)
        items.append(Item(WEB, folder, size_beside(folder), *verdict))
        file = release_path(env_file, version)  # as it was, where it lies outside of the folder
        if os.path.isfile(file) and not os.path.islink(file):
            items.append(Item(WEB, file, size_beside(file), *verdict))
    items += [*_left_beside(directory), *_copied()]
    return _result(items, lambda going: _remove_folders(item.name for item in going), check_mode)


def is_used(folder: str) -> bool:
    """Return whether a process of this host runs a program of ``folder``, or works in there."""
    begins = folder.rstrip("/") + "/"
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().decode("utf-8", "surrogateescape").split("\0")
            places = [*words[:2], os.readlink(process / "exe"), os.readlink(process / "cwd") + "/"]
        except OSError:
            continue  # it has ended, or is the kernel's own
        if any(place.startswith(begins) for place in places):
            return True
    return False


def _environments(instance: Mapping[str, Any], back: Backup | None, rollback: bool) -> Iterator[Item]:
    environment = str(instance["environment"])
    then = back.manifest["environment"] if back else {}
    workers = str(instance.get("worker_python") or "")
    for version in build.releases_of_ours(environment):
        folder = release_path(environment, version)
        if os.path.realpath(environment) == os.path.realpath(folder):
            continue
        used = is_used(folder) or workers.startswith(folder + "/")
        wanted_back = then.get("version") == version and then.get("path") == environment
        yield Item(ENVIRONMENT, folder, size_beside(folder), *judge_release(version, used, wanted_back, rollback))
    for folder in build.left_wheels(environment):
        yield Item(LEFT_OVER, folder, size_beside(folder), True, "it was fetched for an upgrade in place")
    yield from _left_beside(environment)


def _left_beside(known: str) -> Iterator[Item]:
    for path in sorted(glob.glob(glob.escape(known) + "-[0-9]*.partial")):
        yield Item(LEFT_OVER, path, size_beside(path), True, _KILLED)


def _copied() -> Iterator[Item]:
    for path in copied_folders():
        yield Item(FILES, path, size_beside(path), True, _COPIED)


def _refuse_in_progress(service: str) -> None:
    hold = read_hold(service)
    if hold is not None:
        raise FractalError(
            f"An upgrade of {service} is in progress since {hold.since} ({hold.controller}), and needs what it has "
            "made. Nothing was removed. Run the upgrade playbook again, or the rollback playbook, then run again."
        )


def _remove_folders(paths: Iterable[str]) -> dict[str, str]:
    """Remove folders and files beside a release; return, by path, why one stays."""
    stays = {}
    for path in paths:
        try:
            remove_beside(path)
        except FractalError as error:
            stays[path] = str(error)
    return stays


def _result(
    items: Sequence[Item], remove: Callable[[Sequence[Item]], dict[str, str]], check_mode: bool
) -> dict[str, Any]:
    """Remove what goes; return ``changed``, what was ``found``, the ``bytes`` that go, and in ``failed_items`` why not.

    What could not be removed counts as staying.
    """
    going = [item for item in items if item.goes]
    stays = remove(going) if going and not check_mode else {}
    told = [replace(item, goes=False, why=stays[item.name]) if item.name in stays else item for item in items]
    gone = [item for item in told if item.goes]
    return {
        "changed": bool(gone),
        "found": [item.as_dict() for item in told],
        "bytes": sum(item.bytes for item in gone),
        "failed_items": [f"{name}: {why}" for name, why in stays.items()],
    }
