# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""From the options of ``fractal_resource_profile`` to its result, in one connection."""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.folders import RemoteFolders
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.verification import Check
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.database import (
    Installation,
    connect,
    installation_settings,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.state import revision_of
from ansible_collections.fractal_ops.platform.plugins.module_utils._releases.path import release
from ansible_collections.fractal_ops.platform.plugins.module_utils._resources.checks import REVIEW_CHECKS
from ansible_collections.fractal_ops.platform.plugins.module_utils._resources.declaration import (
    Change,
    Desired,
    apply_changes,
    changes_between,
    diff,
    lock,
    wanted_state,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._resources.review import (
    State,
    read_state,
    review,
    review_checks,
    review_findings,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._resources.viewer import viewer_access
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.accepts import (
    accepts_of,
    knows_resources,
    paths_before,
    viewer_of,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._venv.interpreter import facts

if TYPE_CHECKING:
    import sqlalchemy as sa

_VERSION_OF_WORKER = "import importlib.metadata as m; print(m.version('fractal-server'))"


def declare_or_review(installation: Installation, params: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Return the result of ``fractal_resource_profile``.

    Raises:
        FractalError: The declaration is refused, or the database cannot be reached or its schema is not known.
    """
    desired = Desired(params["resources"], params["profiles"], params["users"], _told(params["handed_on"]))
    reading = check_mode or not desired
    with connect(installation_settings(installation), read_only=reading) as connection:
        revision = revision_of(connection)
        if reading and not knows_resources(revision):
            return _without_resources(connection, revision, installation)
        if not reading:
            accepts_of(revision)
            lock(connection)
        state = read_state(connection)
        wanted, changes = state, list[Change]()
        if desired:
            wanted = wanted_state(state, desired)
            changes = changes_between(state, wanted)
        if changes and not reading:
            apply_changes(connection, changes)
        after = wanted if reading else read_state(connection)
        result = {
            "changed": bool(changes),
            "changes": [change.as_dict() for change in changes],
            **_reviewed(connection, after, installation, params, reading),
        }
        if not reading:
            connection.commit()
    if desired:
        result["diff"] = diff(state, wanted, changes)
    return result


def only_review(
    installation: Installation, workers: Sequence[Mapping[str, Any]], viewer_paths_before: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Return what there is, and declare nothing. See `declare_or_review`, also for what it raises."""
    nothing: dict[str, Any] = {"resources": [], "profiles": [], "users": [], "handed_on": {}}
    told = {"workers": workers, "viewer_paths_before": viewer_paths_before}
    return declare_or_review(installation, {**nothing, **told}, True)


def _reviewed(
    connection: sa.Connection, state: State, installation: Installation, params: Mapping[str, Any], reading: bool
) -> dict[str, Any]:
    shown = review(state)
    viewer, access = _viewer(connection, installation, params)
    account = installation.run_as if reading else None  # no SSH inside the window
    workers = worker_check(state, params["workers"], account)
    checks = [schema_check(revision_of(connection)), *review_checks(state), workers, access]
    return {
        "review": shown,
        "findings": [finding.as_dict() for finding in review_findings(shown)],
        "checks": [check.as_dict() for check in checks],
        "viewer": viewer,
    }


def _without_resources(connection: sa.Connection, revision: str | None, installation: Installation) -> dict[str, Any]:
    """Return what there is to say at a schema without resources: only what the viewer shows now."""
    if not installation.env_file:
        viewer: dict[str, Any] = {"scheme": None, "paths": {}, "before": None}
    else:
        before = paths_before(connection, revision, installation)
        viewer = {"scheme": viewer_of(revision, installation).scheme, "paths": before or {}, "before": before}
    why = "the installed release knows no resources and profiles"
    skipped = [
        REVIEW_CHECKS[name].skipped("database", why) for name in ("resource_names", "user_profiles", "worker_python")
    ]
    access = REVIEW_CHECKS["viewer_access"].skipped("viewer", "no upgrade has changed what the viewer shows")
    checks = [check.as_dict() for check in (schema_check(revision), *skipped, access)]
    return {"review": None, "changes": [], "findings": [], "checks": checks, "viewer": viewer}


def _viewer(
    connection: sa.Connection, installation: Installation, params: Mapping[str, Any]
) -> tuple[dict[str, Any], Check]:
    if not installation.env_file:
        why = "no environment file was named, so the scheme is unknown"
        skipped = REVIEW_CHECKS["viewer_access"].skipped("viewer", why)
        return {"scheme": None, "paths": {}, "before": None}, skipped
    revision = revision_of(connection)
    viewer = viewer_of(revision, installation)
    after = viewer.paths(connection) or {}
    before = params["viewer_paths_before"]
    if before is None:
        before = paths_before(connection, revision, installation)
    return {"scheme": viewer.scheme, "paths": after, "before": before}, viewer_access(viewer, before, after)


def schema_check(revision: str | None) -> Check:
    """Return the check that the schema is the installed release's; the module runs in the server's environment."""
    rule = REVIEW_CHECKS["schema"]
    try:
        version = importlib.metadata.version("fractal-server")
    except importlib.metadata.PackageNotFoundError:
        return rule.skipped("database", f"{sys.executable} has no fractal-server to compare with")
    try:
        head = release(version).alembic_head
    except FractalError as error:
        return rule.skipped("database", str(error))
    if revision != head:
        return rule.failed("database", f"it is at alembic revision {revision}; fractal-server {version} needs {head}")
    return rule.passed("database", f"alembic revision {revision}, as fractal-server {version} needs")


def worker_check(state: State, workers: Sequence[Mapping[str, Any]], account: str | None = None) -> Check:
    """Return the check that the workers' fractal-server has the server's version.

    Jobs are refused otherwise (fractal-server 2.17.0, runner/executors/slurm_common/base_slurm_runner.py).

    Args:
        state: Resources and profiles.
        workers: What ``fractal_worker_environment`` read.
        account: The account of fractal-server, to ask a cluster as it does where nobody else did; None not to ask.
    """
    rule = REVIEW_CHECKS["worker_python"]
    try:
        own = importlib.metadata.version("fractal-server")
    except importlib.metadata.PackageNotFoundError:
        return rule.skipped("workers", f"{sys.executable} has no fractal-server to compare with")
    wrong: list[str] = []
    seen: list[str] = []
    elsewhere: list[str] = []
    for key, resource in state.resources.items():
        python = resource["jobs_slurm_python_worker"]
        versions = [str(worker["version"]) for worker in workers if worker["python"] == python]
        profile = next((profile for profile in state.profiles.values() if profile["resource_id"] == key), None)
        if resource["type"] == "slurm_ssh" and not versions and account and profile:
            versions = [_version_on_cluster(resource, profile, account)]
        if resource["type"] == "slurm_ssh" and not versions:
            elsewhere.append(f"{python} is on {resource['host']}")
        elif python:
            for version in versions or [worker_version(python)]:
                (seen if version == own else wrong).append(f"{python} has {version}")
    if wrong:
        return rule.failed("workers", f"the server runs {own}, but {'; '.join(wrong)}")
    if seen:
        return rule.passed("workers", f"{'; '.join(seen)}, as the server")
    return rule.skipped("workers", "; ".join(elsewhere) or "no resource runs on SLURM")


def _version_on_cluster(resource: Mapping[str, Any], profile: Mapping[str, Any], account: str) -> str:
    there = RemoteFolders(resource["host"], profile["username"], profile["ssh_key_path"], account, sys.executable)
    try:
        return there.run([resource["jobs_slurm_python_worker"], "-c", _VERSION_OF_WORKER]).strip()
    except FractalError as error:
        return f"no known release ({error})"


def worker_version(python: str) -> str:
    """Return the version of fractal-server that an interpreter finds, or why it finds none."""
    try:
        return facts(python).version or "no fractal-server"
    except FractalError:
        return "no interpreter that runs"


def _told(handed_on: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return what was handed on without the options that nobody gave."""
    return {name: value for name, value in (handed_on or {}).items() if value is not None} or None
