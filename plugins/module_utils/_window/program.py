# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""The window as one program on the host: from the hold to a healthy service, or back.

It needs nobody: not the controller, not the connection. Each stage knows from the instance whether it is done, so a
program that was killed is started again. What follows a failure is decided here (`after_failure.py`).
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._backup.copy import copy_database
from ansible_collections.fractal_ops.platform.plugins.module_utils._backup.dump import read_after
from ansible_collections.fractal_ops.platform.plugins.module_utils._backup.make import (
    Before,
    make_backup,
    note_after,
    see_before,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.door import Door, dismiss
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.systemd import read_unit
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.database import (
    Installation,
    find_installation,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._env_file.on_host import EnvTask
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.discovery import discover_server
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.hold import read_hold
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.lock import locked
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.service import (
    bring_up,
    new_hold,
    stop_and_hold,
    sweep,
    would_hold,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.service_side import A_DAY, service_side
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.work_in_flight import drain, settle
from ansible_collections.fractal_ops.platform.plugins.module_utils._resources.run import declare_or_review
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.env_steps import env_task
from ansible_collections.fractal_ops.platform.plugins.module_utils._upgrade.hop import make_hop, migrate, python_beside
from ansible_collections.fractal_ops.platform.plugins.module_utils._upgrade.state import read_state
from ansible_collections.fractal_ops.platform.plugins.module_utils._venv.interpreter import facts
from ansible_collections.fractal_ops.platform.plugins.module_utils._window.after_failure import (
    GO_BACK,
    START,
    after_failure,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._window.go_back import backup_to_go_back_to, go_back
from ansible_collections.fractal_ops.platform.plugins.module_utils._window.journal import (
    BACK,
    BEGAN,
    DECIDED,
    ENDED,
    HEALTHY,
    LEFT,
    RESTARTED,
    STOPS,
    UPGRADED,
    WAITS,
    Journal,
    in_words,
    key,
)

INSTRUCTION = "instruction.json"


@dataclass(frozen=True)
class Order:
    """The whole instruction of a window: what the run that begins it knows, and what the operator wants.

    Attributes:
        unit: Full name of the unit of fractal-server.
        id: Of this program.
        lock: Of the run, under which the program works.
        python: Interpreter that runs fractal-server; ``named_python`` the one that the operator named, if any.
        plan: Of the server (``_run/plan.py``).
        data_migration: Whether one is to come or half done; ``data_stop`` the stop that the database has reached.
        workers_follow: Whether the program ends before the start, as workers on other hosts have to be switched first.
        only_start: Whether only the start is left, as they are switched.
        failure: ``stage`` and ``msg`` of something that has failed outside: only what follows is decided and done.
        environ: Variables that lead pip to its index.
    """

    unit: str
    id: str
    lock: Mapping[str, str]
    controller: str
    python: str
    backup_root: str
    plan: Mapping[str, Any]
    target: str
    named_python: str | None = None
    method: str = "auto"
    proof: str = "restore"
    strategy: str = "staged"
    default_group_name: str = "All"
    oauth_client: str | None = None
    data_migration: bool = True
    data_stop: str | None = None
    url: str | None = None
    timeout: float = 120
    jobs_in_flight: str = "fail"
    jobs_timeout: int = 3600
    on_failure: str = "stop"
    accept_data_loss: bool = False
    hosts: str = ""
    workers_follow: bool = False
    only_start: bool = False
    failure: Mapping[str, str] | None = None
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)


def main(folder: str) -> None:
    """Do what the instruction in a folder says, to its end; remove the folder."""
    with open(os.path.join(folder, INSTRUCTION), encoding="utf-8") as stream:
        order = Order(**json.load(stream))
    os.environ.update(order.environ)
    os.umask(0o022)
    journal = Journal(order.unit)
    run_window(order, journal)
    journal.close()
    shutil.rmtree(folder, ignore_errors=True)


def run_window(order: Order, journal: Journal) -> None:
    """Go through the window, or decide what follows a failure, and note how it ended."""
    journal.note(BEGAN, id=order.id, run=order.lock["run"], controller=order.controller, target=order.target)
    try:
        with locked(order.unit, order.lock, dated=False):  # the run that watches dates it
            ended = Window(order, journal).run()
            dismiss()
    except Exception as error:  # the lock is another run's
        ended = {"outcome": LEFT, "msg": in_words(error), "say": ""}
    journal.note(ENDED, id=order.id, **ended)


class Window:
    """One go through the stages."""

    def __init__(self, order: Order, journal: Journal) -> None:
        """Begin with nothing done."""
        self.order = order
        self.journal = journal
        self.current = ""
        self.before: Before | None = None
        self.env_task: EnvTask | None = None
        self.installed: str | None = None

    def run(self) -> dict[str, Any]:
        """Return how it ended: ``outcome``, and after a failure ``msg`` and ``say``."""
        try:
            if self.order.failure:
                self.current = self.order.failure["stage"]
                raise FractalError(self.order.failure["msg"])
            if not self.order.only_start:
                self._until_start()
                if self.order.workers_follow:
                    return {"outcome": WAITS}
            self._stage("start", self._start)
            return {"outcome": UPGRADED}
        except Exception as error:
            return self._after(in_words(error))

    # -- forwards ---------------------------------------------------------------------------------------------------

    def _until_start(self) -> None:
        order, todo = self.order, self.order.plan["todo"]
        self._stand_by()
        if read_hold(order.unit) is None:
            self._stage("look", self._look)
        if todo["stop"]:
            self._stage("drain", self._drain)
        if order.plan["down"]:
            self._stage("stop", self._stop)
            if order.jobs_in_flight == "abort":
                self._stage("settle", lambda: self._door().call(settle, self._installation()))
        if todo["backup"]:
            self._stage("backup", self._back_up)
        handed_on = self._stage("environment_file", self._migrate_file)["handed_on"]
        for release in order.plan["hops"]:
            self._stage("hop", lambda release=release: self._hop(release), release)
        if handed_on:
            self._stage("resources", lambda: self._give_resource(handed_on))
        hold = read_hold(order.unit)
        if order.plan["hops"] and hold and hold.backup:
            # what differs from this at a rollback is somebody's work
            self._stage("note", lambda: note_after(self._installation(), order.python, hold.backup))

    def _look(self) -> dict[str, Any]:
        """See with the service up that each step can be made: what refuses here would refuse with it down."""
        order, todo = self.order, self.order.plan["todo"]
        would_hold(order.unit, new_hold(order.unit, order.controller, None))
        if todo["backup"]:
            self.before = see_before(self._installation(), order.python, order.method)
            root = os.path.join(order.backup_root, order.unit)
            self._make_backup(root, "rehearsal", check_mode=True)
        if order.plan["hops"] and order.strategy == "staged":  # in place, the new release does not exist yet
            make_hop(self._installation(), order.python, order.plan["hops"][0], order.strategy, check_mode=True)
        return {"changed": False}

    def _drain(self) -> dict[str, Any]:
        order = self.order
        door = service_side(self._installation(), order.python, order.jobs_timeout + 600)
        started = read_unit(order.unit).started_at
        return door.call(drain, self._installation(), started, order.jobs_in_flight, order.jobs_timeout)

    def _stop(self) -> dict[str, Any]:
        order = self.order
        root = order.backup_root if order.plan["todo"]["backup"] else None
        hold = new_hold(order.unit, order.controller, root)
        changed, hold = stop_and_hold(order.unit, hold, lambda: self.journal.note(STOPS))
        return {"changed": changed, "hold": hold.as_dict()}

    def _back_up(self) -> dict[str, Any]:
        order, hold = self.order, read_hold(self.order.unit)
        if hold is None or not hold.backup:
            raise FractalError(f"The hold on {order.unit} is gone. Run the upgrade again.")
        root, run = os.path.split(hold.backup)
        made = self._make_backup(root, run, meanwhile=self._see_what_follows)
        if not made["copy_seconds"]:
            self.env_task = self.installed = None  # a dump takes its time: it is seen again
        return made

    def _see_what_follows(self) -> None:
        """Work out what the next two stages write and switch, so that they need not, while the database is copied."""
        with contextlib.suppress(Exception):  # the stage itself will say it
            self.env_task = self._env_task()
            door = self._door()
            self.installed = facts(door.python, door.account).version

    def _make_backup(self, root: str, run: str, check_mode: bool = False, **more: Any) -> dict[str, Any]:
        order = self.order
        return make_backup(
            self._installation(),
            order.python,
            root,
            run,
            order.proof,
            check_mode=check_mode,
            method=order.method,
            before=self.before,
            **more,
        )

    def _migrate_file(self) -> dict[str, Any]:
        """Migrate the file for the first release; each further one makes its own step, in its hop."""
        task = self.env_task or self._env_task()
        task.refuse_blockers()
        return task.result(task.apply(write=True))

    def _env_task(self) -> EnvTask:
        order, installation, tasks_python = self.order, self._installation(), None
        if self.before:
            version = self.before.environment.python_version.rpartition(".")[0]
            tasks_python = {"version": version, "interpreter": order.python}
        return env_task(
            path=installation.env_file,
            service=order.unit,
            server_python=order.python,
            tasks_python=tasks_python,
            default_group_name=order.default_group_name,
            oauth_client=order.oauth_client,
            data_migration=order.data_migration,
            data_stop=order.data_stop,
            release=[*order.plan["hops"], order.target][0],
        )

    def _stand_by(self, release: str = "") -> None:
        """Let a child stand by in each environment: in the one in use, and in that of the next hop.

        In place the environment itself changes, so nobody may stand by in it.
        """
        order, hops = self.order, self.order.plan["hops"]
        if order.strategy != "staged":
            return
        door = self._door()
        if not release:
            door.stand_by(drain, copy_database, read_state)
        following = hops[hops.index(release) + 1 :] if release else hops
        for one in following[:1]:
            python = python_beside(order.python, one)
            if os.path.exists(python):
                replace(door, python=python).stand_by(migrate, read_after)

    def _hop(self, release: str) -> dict[str, Any]:
        order = self.order
        self._stand_by(release)
        options = {"default_group_name": order.default_group_name, "oauth_client": order.oauth_client}
        first = release == order.plan["hops"][0]  # its step of the file is a stage of its own
        return make_hop(
            self._installation(),
            order.python,
            release,
            order.strategy,
            env_options=options,
            file_is_done=first,
            installed=self.installed if first else None,
        )

    def _give_resource(self, handed_on: Mapping[str, Any]) -> dict[str, Any]:
        """Give the resource what the data migration cannot carry over."""
        wanted: dict[str, Any] = {"resources": [], "profiles": [], "users": [], "workers": []}
        wanted["viewer_paths_before"] = None
        door = self._door()
        told = door.call(declare_or_review, self._installation(), {**wanted, "handed_on": dict(handed_on)}, False)
        return {"changed": bool(told.get("changed")), "changes": told.get("changes", [])}

    def _start(self) -> dict[str, Any]:
        order = self.order
        return bring_up(
            order.unit,
            url=order.url,
            version=order.target,
            timeout=order.timeout,
            when_healthy=lambda: self.journal.note(HEALTHY),
        )

    # -- after a failure --------------------------------------------------------------------------------------------

    def _after(self, why: str) -> dict[str, Any]:
        """Do what the table says, and return what to tell."""
        sweep(self.order.unit)
        left, following = self._decide(tried=False)
        try:
            if following["do"] == GO_BACK:
                self._go_back(left)
                return {"outcome": BACK, "msg": why, "say": following["say"]}
            if following["do"] == START:
                self._stage("start again", lambda: self._start_again(left["found"]["ran_before"]))
                return {"outcome": RESTARTED, "msg": why, "say": following["say"]}
        except Exception as error:
            why = f"{why} Going back failed, too: {in_words(error)}"
            following = self._decide(tried=True)[1]
        return {"outcome": LEFT, "msg": why, "say": following["say"]}

    def _decide(self, tried: bool) -> tuple[dict[str, Any], dict[str, str]]:
        order, left = self.order, self._left()
        following = after_failure(left, order.plan, order.on_failure, tried, order.hosts)
        self.journal.note(DECIDED, do=following["do"], why=following["why"])
        return left, following

    def _left(self) -> dict[str, Any]:
        """Return what the failure left, asked of the host itself; each answer counts for itself."""
        order = self.order
        left: dict[str, Any] = {"found": {}, "instance": None, "database": None, "stage": self.current}
        with contextlib.suppress(Exception):  # whatever it is, the other answers count
            left["found"] = backup_to_go_back_to(order.unit, order.backup_root)
        with contextlib.suppress(Exception):
            left["instance"] = discover_server(order.unit, order.named_python).as_dict()
        with contextlib.suppress(Exception):
            left["database"] = self._door().call(read_state, self._installation())
        return left

    def _go_back(self, left: Mapping[str, Any]) -> None:
        order = self.order
        go_back(
            self._installation(),
            left["found"],
            left["database"] or {},
            self._stage,
            python=order.python,
            named_python=order.named_python,
            controller=order.controller,
            url=order.url,
            timeout=order.timeout,
            accept_data_loss=order.accept_data_loss,
        )

    def _start_again(self, ran_before: bool) -> dict[str, Any]:
        order = self.order
        return bring_up(order.unit, ran_before, url=order.url, timeout=order.timeout)

    # -- shared -----------------------------------------------------------------------------------------------------

    def _stage(self, name: str, work: Any, release: str = "") -> dict[str, Any]:
        self.current = key({"stage": name, "release": release})
        return self.journal.stage(name, work, release)

    def _installation(self) -> Installation:
        """Return the installation as it is now: a stage may have changed where its variables come from."""
        return find_installation({"service": self.order.unit})

    def _door(self) -> Door:
        return service_side(self._installation(), self.order.python, A_DAY)
