# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""Jobs and task collections in flight: refused, waited for, or ended, before a stop of the service kills them.

A job is ended as fractal-server itself does it: its runner finds a file in the job's folder, cancels the SLURM jobs,
and writes the job's log and history (2.16.6, routes/aux/_job.py, runner/executors/slurm_common/base_slurm_runner.py).
What nobody works on any more gets the same end in the database, once the service is stopped.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.accounts import Account
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.systemd import read_unit
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.database import (
    Installation,
    connect,
    installation_settings,
)

_DELAY = 2.0  # seconds between two looks
_SHOWN = 10
_WORK = """
SELECT 'job', id, start_timestamp, working_dir, user_email FROM jobv2 WHERE status = 'submitted'
UNION ALL
SELECT 'task collection', a.id, a.timestamp_started, NULL, u.email
FROM taskgroupactivityv2 AS a JOIN user_oauth AS u ON u.id = a.user_id WHERE a.status IN ('pending', 'ongoing')
ORDER BY 1, 2
"""
_ASK = """
import json, os, sys
for folder in json.load(sys.stdin):
    try:
        with open(os.path.join(folder, "shutdown"), "w") as stream:
            stream.write("Stopped for an upgrade of Fractal.")
    except OSError as error:
        print(folder, error.strerror, sep=": ")
"""
_SAID = "Stopped for an upgrade of Fractal."
# what PATCH /admin/v2/job/{id}/ does (2.16.6, routes/admin/v2/job.py), but for units of the history that were done
_SETTLE = (
    """UPDATE historyunit SET status = 'failed' WHERE status = 'submitted' AND history_run_id IN
       (SELECT r.id FROM historyrun AS r JOIN jobv2 AS j ON j.id = r.job_id WHERE j.status = 'submitted')""",
    """UPDATE historyrun SET status = 'failed' WHERE status = 'submitted' AND job_id IN
       (SELECT id FROM jobv2 WHERE status = 'submitted')""",
    f"""UPDATE jobv2 SET status = 'failed', end_timestamp = now(), log = concat_ws(E'\\n', log, '{_SAID}')
        WHERE status = 'submitted'""",
    f"""UPDATE taskgroupactivityv2 SET status = 'failed', timestamp_ended = now(),
               log = concat_ws(E'\\n', log, '{_SAID}') WHERE status IN ('pending', 'ongoing')""",
)


@dataclass(frozen=True)
class Work:
    """One job or task collection in flight."""

    kind: str
    id: int
    since: float
    folder: str | None
    email: str

    def __str__(self) -> str:
        """Return it for a message."""
        return f"{self.kind} {self.id} of {self.email}"


def drain(installation: Installation, mode: str, timeout: float, check_mode: bool = False) -> dict[str, Any]:
    """Return once nothing is in flight that a stop would kill.

    Args:
        installation: Whose work.
        mode: ``fail``, ``wait``, or ``abort``.
        timeout: Seconds to wait, except with ``fail``. With ``abort``, what has not ended by then is left to `settle`.
        check_mode: Neither ask anybody to end, nor wait.

    Raises:
        FractalError: Something is in flight, with ``fail`` or after the time, or nothing works on it any more.
    """
    started = read_unit(installation.service).started_at if installation.service else None
    asked: dict[int, Work] = {}
    deadline = time.monotonic() + timeout
    while True:
        work = work_in_flight(installation)
        alive = [one for one in work if started is None or one.since >= started]
        if mode == "abort" and not check_mode:
            asked.update(_ask(installation, [one for one in alive if one.folder and one.id not in asked]))
        done = not alive or mode == "fail" or check_mode or time.monotonic() > deadline
        if done:
            break
        time.sleep(_DELAY)
    if work and (mode == "fail" or (mode == "wait" and not check_mode)):
        raise FractalError(_why_not(work, alive, mode))
    stopped = [str(one) for one in asked.values() if one.id not in {left.id for left in work if left.kind == "job"}]
    return {"changed": bool(asked), "stopped": stopped, "left": [str(one) for one in work]}


def settle(installation: Installation, check_mode: bool = False) -> dict[str, Any]:
    """Mark as failed what is still in flight though the service is stopped.

    Raises:
        FractalError: The service runs.
    """
    if installation.service and read_unit(installation.service).active_state not in ("inactive", "failed"):
        raise FractalError(f"{installation.service} runs, so its work in flight cannot be marked as failed. Stop it.")
    work = work_in_flight(installation)
    if work and not check_mode:
        with connect(installation_settings(installation)) as connection:
            for statement in _SETTLE:
                connection.exec_driver_sql(statement)
            connection.commit()
    return {"changed": bool(work), "stopped": [str(one) for one in work], "left": []}


def work_in_flight(installation: Installation) -> list[Work]:
    """Return all jobs and task collections in flight."""
    with connect(installation_settings(installation), read_only=True) as connection:
        rows = connection.exec_driver_sql(_WORK).all()
    return [Work(kind, number, since.timestamp(), folder, email) for kind, number, since, folder, email in rows]


def _ask(installation: Installation, jobs: list[Work]) -> dict[int, Work]:
    """Ask the runners of ``jobs`` to end them; return those that were asked."""
    if not jobs:
        return {}
    account = Account.named(installation.run_as)  # the folders may be on a file system that root may not write to
    done = subprocess.run(
        [sys.executable, "-I", "-B", "-c", _ASK],
        input=json.dumps([one.folder for one in jobs]),
        capture_output=True,
        text=True,
        check=False,
        env=dict(account.environment),
        cwd="/",
        **account.subprocess_options,
    )
    if done.returncode != 0:
        raise FractalError(f"The jobs in flight cannot be asked to end: {done.stderr.strip()}")
    refused = {line.rpartition(": ")[0] for line in done.stdout.splitlines()}
    return {one.id: one for one in jobs if one.folder not in refused}


def _why_not(work: list[Work], alive: list[Work], mode: str) -> str:
    dead = [one for one in work if one not in alive]
    text = f"In flight: {_listed(work)}." if mode == "fail" else f"Still in flight: {_listed(work)}."
    if dead:
        text += (
            f" Nothing works on these any more, as fractal-server was started since: {_listed(dead)}. They do not end."
        )
    later = (
        "Run the upgrade later or with a longer fractal_jobs_timeout, or end them with fractal_jobs_in_flight: abort"
    )
    choices = "Wait for their end, or set fractal_jobs_in_flight to wait or abort" if mode == "fail" else later
    return f"{text} {choices}."


def _listed(work: Iterable[Work]) -> str:
    names = [str(one) for one in work]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
