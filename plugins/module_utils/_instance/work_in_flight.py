# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""Jobs and task collections in flight: refused, waited for, or ended, before a stop of the service kills them.

A job is ended as fractal-server itself does it: its runner finds a file in the job's folder, cancels the SLURM jobs,
and writes the job's log and history (fractal-server 2.16.6, routes/aux/_job.py and
runner/executors/slurm_common/base_slurm_runner.py).
What nobody works on any more gets the same end in the database, once the service is stopped.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
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
_SAID = "Stopped for an upgrade of Fractal."
# what PATCH /admin/v2/job/{id}/ does (fractal-server 2.16.6, routes/admin/v2/job.py), but for units that were done
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


def drain(
    installation: Installation, started: float | None, mode: str, timeout: float, check_mode: bool = False
) -> dict[str, Any]:
    """Return once nothing is in flight that a stop would kill.

    Args:
        installation: Whose work.
        started: When the service was started, in seconds since the epoch; what began before has nobody to work on it.
        mode: ``fail``, ``wait``, or ``abort``.
        timeout: Seconds to wait, except with ``fail``. With ``abort``, what has not ended by then is left to `settle`.
        check_mode: Neither ask anybody to end, nor wait.

    Raises:
        FractalError: Something is in flight, with ``fail`` or after the time, or nothing works on it any more.
    """
    asked: dict[int, Work] = {}
    deadline = time.monotonic() + timeout
    while True:
        work = work_in_flight(installation)
        alive = [one for one in work if started is None or one.since >= started]
        if mode == "abort" and not check_mode:
            asked.update(_ask([one for one in alive if one.folder and one.id not in asked]))
        done = not alive or mode == "fail" or check_mode or time.monotonic() > deadline
        if done:
            break
        time.sleep(_DELAY)
    if work and (mode == "fail" or (mode == "wait" and not check_mode)):
        raise FractalError(_why_not(work, alive, mode))
    stopped = [str(one) for one in asked.values() if one.id not in {left.id for left in work if left.kind == "job"}]
    return {"changed": bool(asked), "stopped": stopped, "left": [str(one) for one in work]}


def settle(installation: Installation, check_mode: bool = False) -> dict[str, Any]:
    """Mark as failed what is still in flight though the service is stopped, as its caller has made sure."""
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


def _ask(jobs: Iterable[Work]) -> dict[int, Work]:
    """Ask the runners of ``jobs`` to end them, as the account of the service; return those that were asked."""
    asked = {}
    for one in jobs:
        with contextlib.suppress(OSError):
            Path(one.folder or "", "shutdown").write_text(_SAID, encoding="utf-8")
            asked[one.id] = one
    return asked


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
