# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""A real task collection and a real job, through the API as any user does it; what they made is removed again.

The job's last task removes its images with the user's own rights. Results are read through the API, as image
attributes, so that no file system has to be shared.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.folders import LocalFolders, RemoteFolders
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.http_client import Api
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.verification import Check
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.verification_rows import PROJECT as NAME
from ansible_collections.fractal_ops.platform.plugins.module_utils._verify.checks import CHECKS
from ansible_collections.fractal_ops.platform.plugins.module_utils._verify.probe_package import (
    SOURCES,
    TASKS,
    build_wheel,
)

if TYPE_CHECKING:
    from ansible_collections.fractal_ops.platform.plugins.module_utils._verify.session import Session

POLL = 1.0  # seconds between two looks at a job or an activity
STOP_TIMEOUT = 120  # seconds for a stopped job to end, and for the server to pack a job's folder
_SHOWN = 1500  # characters of a log, from its end


@dataclass
class Made:
    """What the probe has made so far, and so what is to be removed."""

    project: int | None = None
    group: dict[str, Any] = field(default_factory=dict)
    job: dict[str, Any] = field(default_factory=dict)
    zarr_dir: str = ""


def probe(session: Session, sources: Mapping[str, str] | None, timeout: float) -> list[Check]:
    """Return the checks of task collection, of a job, and of the removal. ``timeout`` is in seconds, for each."""
    missing = [name for name in SOURCES if name not in (sources or {})]
    why = f"the probe package lacks {', '.join(missing)}" if missing else _why_not(session)
    if why:
        return [CHECKS[name].skipped(NAME, why) for name in ("task_collection", "job_execution", "probe_removed")]
    made = Made()
    stamp = str(int(time.time()))
    collected = _attempt("task_collection", lambda: _collect(session.api, made, sources or {}, stamp, timeout))
    if made.group.get("task_list"):
        ran = _attempt("job_execution", lambda: _run(session, made, stamp, timeout))
    else:
        ran = CHECKS["job_execution"].skipped(NAME, "there is no collected task to run")
    return [collected, ran, _removed(session, made)]


def _why_not(session: Session) -> str:
    """Return why nothing can be run for the account, or not removed again; else an empty text."""
    if not session.folder:
        return "the account has no project folder"
    try:
        session.user_folders()
    except FractalError as error:
        return f"what a job makes could not be removed again: {error}"
    return ""


def _collect(api: Api, made: Made, sources: Mapping[str, str], stamp: str, timeout: float) -> Check:
    rule = CHECKS["task_collection"]
    name, wheel = build_wheel(sources, f"1.{stamp}.0")
    start = time.monotonic()
    activity = api.upload("/api/v2/task/collect/pip/?private=true", name, wheel)
    activity = _wait(api, f"/api/v2/task-group/activity/{activity['id']}/", ("OK", "failed"), timeout)
    if activity["status"] != "OK":
        return rule.failed(NAME, f"the collection is {activity['status']}: {_end(activity.get('log'))}")
    made.group = api.get(f"/api/v2/task-group/{activity['taskgroupv2_id']}/")
    tasks = [task["name"] for task in made.group["task_list"]]
    if tasks != list(TASKS):
        return rule.failed(NAME, f"tasks {', '.join(tasks)} were collected instead of {', '.join(TASKS)}")
    took = time.monotonic() - start
    return rule.passed(NAME, f"{name} collected in {took:.0f} s into {made.group['path']}")


def _run(session: Session, made: Made, stamp: str, timeout: float) -> Check:
    api, rule = session.api, CHECKS["job_execution"]
    made.project = api.post("/api/v2/project/", {"name": f"{NAME} {stamp}"})["id"]
    base = f"/api/v2/project/{made.project}"
    own = {"folder": session.folder, "name": f"fractal_verify_probe_{stamp}"}
    made.zarr_dir = os.path.join(own["folder"], own["name"])
    told = {name: text.format(**own) for name, text in session.release.dataset.items()}
    dataset = api.post(f"{base}/dataset/", {"name": "probe", **told})["id"]
    workflow = api.post(f"{base}/workflow/", {"name": "probe"})["id"]
    for task in made.group["task_list"]:
        if session.release.takes_lists_of_tasks:
            api.post(f"{base}/workflow/{workflow}/wftask/", [{"task_id": task["id"]}])
        else:
            api.post(f"{base}/workflow/{workflow}/wftask/", {}, task_id=task["id"])
    start = time.monotonic()
    made.job = api.post(f"{base}/job/submit/", {}, workflow_id=workflow, dataset_id=dataset)
    made.job = _wait(api, f"{base}/job/{made.job['id']}/", ("done", "failed"), timeout)
    took = time.monotonic() - start
    if made.job["status"] != "done":
        return rule.failed(NAME, f"job {made.job['id']} is {made.job['status']}: {_end(made.job.get('log'))}")
    images = api.post(f"{base}/dataset/{dataset}/images/query/", {})["items"]
    facts = images[0]["attributes"] if images else {}
    problem = _wrong_result(facts, session.profile.get("username"), session.variables.get("FRACTAL_RUNNER_BACKEND", ""))
    if problem:
        return rule.failed(NAME, f"job {made.job['id']} is done, but {problem}")
    return rule.passed(
        NAME,
        f"job {made.job['id']} ran in {took:.0f} s as {facts['user']} on {facts['host']} "
        f"(SLURM job {facts['slurm_job']}, Python {facts['python']})",
    )


def _wrong_result(facts: Mapping[str, Any], username: str | None, backend: str) -> str:
    """Return what is wrong with what the tasks wrote, or an empty text."""
    if not facts or facts.get("read_back") != facts.get("user"):
        return "its tasks did not read back what they wrote"
    if username and facts["user"] != username:
        return f"its tasks ran as {facts['user']}, not as the profile's username {username}"
    if backend.startswith("slurm") and facts["slurm_job"] == "none":
        return "its tasks did not run inside a SLURM job"
    return ""


def _removed(session: Session, made: Made) -> Check:
    """Remove all that was made, in the order that references allow, and tell what stays."""
    rule, left = CHECKS["probe_removed"], []
    steps: tuple[tuple[str, Callable[[], None]], ...] = (
        (f"job {made.job.get('id')}", lambda: _stop(session.api, made)),
        (f"project {made.project}", lambda: _delete_project(session.api, made)),
        (f"task group {made.group.get('id')}", lambda: _delete_group(session.api, made)),
        ("folders", lambda: _remove_folders(session, made)),
    )
    for what, step in steps:
        try:
            step()
        except FractalError as error:
            left.append(f"{what}: {error}")
    if left:
        return rule.failed(NAME, f"still there: {'; '.join(left)}")
    return rule.passed(NAME, "project, dataset, workflow, task group and folders are gone; the job's record stays")


def _stop(api: Api, made: Made) -> None:
    """Stop a job that still runs, as it keeps the project from being deleted."""
    if made.job.get("status") != "submitted":
        return
    path = f"/api/v2/project/{made.project}/job/{made.job['id']}/"
    api.answer("GET", f"{path}stop/")  # only SLURM backends know it; without it the job ends by itself
    made.job = _wait(api, path, ("done", "failed"), STOP_TIMEOUT)


def _delete_project(api: Api, made: Made) -> None:
    if made.project is not None:
        api.delete(f"/api/v2/project/{made.project}/")


def _delete_group(api: Api, made: Made) -> None:
    """Delete the task group, which removes its environment too.

    Source: fractal-server 2.17.0, tasks/v2/local/delete.py and tasks/v2/ssh/delete.py.
    """
    if not made.group:
        return
    activity = api.post(f"/api/v2/task-group/{made.group['id']}/delete/", {})
    activity = _wait(api, f"/api/v2/task-group/activity/{activity['id']}/", ("OK", "failed"), STOP_TIMEOUT)
    if activity["status"] != "OK":
        raise FractalError(f"{made.group['path']}: {_end(activity.get('log'))}")


def _remove_folders(session: Session, made: Made) -> None:
    """Remove the job's folders on the server, and the user's ones where the user has them."""
    on_server, own = made.job.get("working_dir"), made.job.get("working_dir_user")
    server_folders, user_folders = LocalFolders(session.instance.user), session.user_folders()
    if on_server:
        _wait_until(lambda: os.path.exists(on_server + ".zip"))  # the server packs the folder after the job has ended
        server_folders.remove(on_server)
        server_folders.remove_file(on_server + ".zip")
    if own and own != on_server:
        user_folders.remove(own)
    if made.job.get("status") == "failed":  # else its last task has done it
        user_folders.remove(made.zarr_dir)
    if made.group:  # Fractal leaves the folder above the versions
        tasks = user_folders if isinstance(user_folders, RemoteFolders) else server_folders
        tasks.remove_empty(os.path.dirname(made.group["path"]))


def _wait(api: Api, path: str, ends: tuple[str, ...], timeout: float) -> dict[str, Any]:
    """Return what is at ``path`` when its status is one of ``ends``, or when the time is over."""
    deadline = time.monotonic() + timeout
    while True:
        data: dict[str, Any] = api.get(path)
        if data["status"] in ends or time.monotonic() > deadline:
            return data
        time.sleep(POLL)


def _wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + STOP_TIMEOUT
    while not condition() and time.monotonic() < deadline:
        time.sleep(POLL)


def _attempt(name: str, work: Callable[[], Check]) -> Check:
    try:
        return work()
    except FractalError as error:
        return CHECKS[name].failed(NAME, str(error))


def _end(log: Any) -> str:
    """Return the end of a log; of Python's tracebacks only what was raised."""
    kept, frames = [], False
    for line in str(log or "no log").strip().splitlines():
        if line.strip() == "Traceback (most recent call last):":
            frames = True
        elif not frames or not line.startswith(" "):
            frames = False
            kept.append(line)
    text = "\n".join(kept)
    return text if len(text) <= _SHOWN else "…" + text[-_SHOWN:]
