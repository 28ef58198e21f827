# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""The planner: what is done, what is to do, and what stands in the way, read from the instance itself.

A pure function of what was observed. Roles, check mode, resume and report all follow the list that it returns.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._releases.path import (
    RELEASES,
    hops,
    release,
    release_at_head,
    stops_between,
    version_key,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._releases.release import Release
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.data_migrations import why_not_implemented

DONE, PENDING = "done", "pending"


class StageName(str, Enum):
    """The stages, in the order in which they are done."""

    STAGE = "stage"
    STOP = "stop"
    BACKUP = "backup"
    ENVIRONMENT_FILE = "environment_file"
    INSTALL = "install"
    SCHEMA = "schema"
    DATA = "data"
    WORKERS = "workers"
    START = "start"
    ARCHIVE = "archive"


@dataclass(frozen=True)
class Stage:
    """One step of the procedure: ``state`` is ``done`` or ``pending``, ``reason`` says why."""

    name: str
    title: str
    state: str
    reason: str
    release: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for Ansible."""
        return asdict(self)


@dataclass(frozen=True)
class ServerPlan:
    """The stages of one fractal-server, and the releases that it goes through."""

    start: str
    target: str
    hops: list[str]
    stages: list[Stage]
    blocked: str = ""

    @property
    def pending(self) -> bool:
        """Whether anything is left to do of the upgrade itself."""
        return self._left_but("archive")

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for Ansible."""
        finished = bool(self.stages) and not self.pending
        return {
            **asdict(self),
            "pending": self.pending,
            "finished": finished,
            "window": self._opens_window(),
            "down": self._needs_the_service_down(),
            "todo": self.todo(),
        }

    def todo(self) -> dict[str, bool]:
        """Return of each stage whether anything of it is left to do: a mistyped name is none of these."""
        left = {stage.name for stage in self.stages if stage.state == PENDING}
        return {name.value: name.value in left for name in StageName}

    def _opens_window(self) -> bool:
        return self._left_but("stage", "archive")

    def _needs_the_service_down(self) -> bool:
        """Return whether more is to do than to start the service: one that only has not answered yet is not stopped."""
        return self._left_but("stage", "start", "archive")

    def _left_but(self, *names: str) -> bool:
        return any(stage.state == PENDING and stage.name not in names for stage in self.stages)


def plan_server(
    instance: Mapping[str, Any],
    database: Mapping[str, Any],
    target: str,
    workers: Iterable[Mapping[str, Any]] = (),
    steps: Iterable[str] = (),
    without_dump: Iterable[str] = (),
) -> ServerPlan:
    """Return the plan for one server.

    Args:
        instance: What ``fractal_observe`` returned as ``instance``.
        database: What it returned as ``database``.
        target: The release to arrive at.
        workers: ``host``, ``version`` and ``staged`` of each environment of the workers that is not the server's own.
        steps: The releases up to the target whose step of the environment file is not done.
        without_dump: Backups that are a frozen copy alone: an upgrade that was killed after its window left them so.
    """
    try:
        wanted = release(target)
        at = _schema_release(database, instance.get("version"), target)
        route = hops(at.version, wanted.version)
    except FractalError as error:
        return ServerPlan(start=str(instance.get("version")), target=target, hops=[], stages=[], blocked=str(error))
    data_migration = database["data_migration"]
    if at.is_stop and data_migration in ("pending", "partial"):
        route = [at, *[hop for hop in route if hop is not at]]
    blocked = why_not_implemented(route) or _contradiction(instance, at, route)
    if blocked:
        return ServerPlan(start=at.version, target=target, hops=[], stages=[], blocked=blocked)
    return ServerPlan(
        start=at.version if at.version == instance["version"] else str(instance["version"]),
        target=target,
        hops=[hop.version for hop in route],
        stages=[*_stages(instance, database, at, route, wanted, list(workers), list(steps)), *_archive(without_dump)],
    )


def _schema_release(database: Mapping[str, Any], installed: str | None, target: str) -> Release:
    """Return the release at which the database's schema stands; of several, what is installed, or is to be."""
    if not database.get("reachable", True):
        raise FractalError(f"The database cannot be reached: {database.get('reason', 'no reason given')}")
    found = release_at_head(database.get("revision"), installed, target)
    if found is None:
        raise FractalError(
            f"The database is at alembic revision {database.get('revision')}, which belongs to no release from "
            f"{RELEASES[0].version} on. Bring the instance to fractal-server {_last_before_stops()} first (its own "
            "set-db), or check POSTGRES_DB."
        )
    return found


def _last_before_stops() -> str:
    first = next(number for number, known in enumerate(RELEASES) if known.is_stop)
    return RELEASES[first - 1].version


def _contradiction(instance: Mapping[str, Any], at: Release, route: list[Release]) -> str:
    """Return why package and schema cannot be brought together, or an empty text."""
    version = instance.get("version")
    if version is None:
        return (
            f"fractal-server is not installed in {instance['environment']}. Reinstall the release that the database "
            f"belongs to ({at.version}), or run the rollback playbook."
        )
    newest = max([at, *route], key=lambda known: version_key(known.version)).version
    if version_key(version) > version_key(newest):
        return (
            f"fractal-server {version} is installed, which is newer than the target; the database is at {at.version}. "
            "Set fractal_target_version to that release or a later one."
        )
    skipped = stops_between(at.version, version)
    if skipped and version != skipped[0].version:
        return (
            f"fractal-server {version} is installed over a {at.version} database: the stop at {skipped[0].version}, "
            f"the only release with the data migration, was skipped. Reinstall {at.version} in "
            f"{instance['environment']} and run again."
        )
    return ""


def _stages(
    instance: Mapping[str, Any],
    database: Mapping[str, Any],
    at: Release,
    route: list[Release],
    wanted: Release,
    workers: list[Mapping[str, Any]],
    steps: list[str],
) -> list[Stage]:
    why_backup = "the database changes"
    if all(hop.alembic_head == at.alembic_head and not hop.is_stop for hop in route):
        why_backup = "the release changes"
    hold = instance.get("hold") or {}
    held = hold.get("phase") == "held"
    installed = instance["version"] == wanted.version
    state = f"the service is {instance['active_state']}{' and held' if held else ''}"
    stopped = held and instance["active_state"] != "active"
    half_forgotten = instance.get("half_forgotten", False)
    # a hold that is "starting" has not seen it answer
    running = instance["active_state"] == "active" and not hold and not half_forgotten
    behind = [worker for worker in workers if worker["version"] != wanted.version]
    window = bool(route) or not installed or bool(steps) or bool(behind)
    there = {instance["version"], *instance["staged"]}
    missing = [hop.version for hop in route or [wanted] if hop.version not in there]
    missing += [f"{wanted.version} on {one['host']}" for one in behind if wanted.version not in one["staged"]]
    stages = [
        _stage("stage", "Prepare the new environments", bool(missing), f"to build: {', '.join(missing)}", "all built"),
        _stage("stop", "Stop fractal-server", window and not stopped, state, "not needed"),
        _stage("backup", "Back up, prove the backup", bool(route), why_backup, "it does not change"),
        _stage(
            "environment_file",
            "Migrate the environment file",
            bool(steps),
            f"{instance['env_file']} is to be changed for {', '.join(steps)}",
            f"{instance['env_file']} is as {wanted.version} needs it",
        ),
    ]
    head = at.alembic_head
    for hop in route:
        stages += [
            _stage(
                "install",
                f"Switch to fractal-server {hop.version}",
                instance["version"] != hop.version,
                f"installed: {instance['version']}",
                "installed",
                hop.version,
            ),
            _stage(
                "schema",
                f"Migrate the schema to {hop.version}",
                hop.alembic_head != head,
                f"the schema is at {database['revision']}, its head is {hop.alembic_head}",
                f"the schema is at {hop.alembic_head}",
                hop.version,
            ),
        ]
        head = hop.alembic_head
        if hop.is_stop:
            stages.append(
                _stage(
                    "data",
                    f"Migrate the data for {hop.version}",
                    True,
                    f"data migration: {database['data_migration'] if hop is at else 'pending'}",
                    "",
                    hop.version,
                )
            )
    if not route:
        stages.append(
            _stage(
                "install",
                f"Switch to fractal-server {wanted.version}",
                not installed,
                f"installed: {instance['version']}",
                "installed",
                wanted.version,
            )
        )
    if workers:
        stages.append(
            _stage(
                "workers",
                "Switch the workers' environments",
                bool(behind),
                ", ".join(f"{one['host']} has {one['version'] or 'no known release'}" for one in behind),
                ", ".join(f"{one['host']} has {one['version']}" for one in workers),
                wanted.version,
            )
        )
    stages.append(
        _stage(
            "start",
            "Start fractal-server",
            window or not running,
            "the upgrade that started it was killed" if half_forgotten else "the service starts with the new release",
            state,
            wanted.version,
        )
    )
    return stages


def _archive(without_dump: Iterable[str]) -> list[Stage]:
    """Return the stage that is there only where an earlier run has not done it: it needs nothing but a live service."""
    waiting = ", ".join(without_dump)
    title = "Make the dump of the frozen copy"
    return [_stage("archive", title, True, f"without a dump: {waiting}", "")] if waiting else []


def _stage(name: str, title: str, pending: bool, why_pending: str, why_done: str, at: str = "") -> Stage:
    return Stage(name, title, PENDING if pending else DONE, why_pending if pending else why_done, at)
