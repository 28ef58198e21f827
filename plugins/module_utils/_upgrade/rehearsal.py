# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""The rehearsal: the whole migration on a copy of the database, while users work; what refuses there refuses before.

One snapshot is dumped, restored and compared. Each release on the way then migrates the restored database, in its own
environment and as the service account, and proves it by its rows, with the code of the real hop. The last release is
started on it, on a port of its own, and asked. Everything is dropped at the end, also what a killed rehearsal left.

What the instance has is only read: the database's name is another one in the file and in the variables of all that
runs, and before a server is started on the copy, everything in it that leads to jobs, tasks or clusters is replaced.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

from ansible_collections.fractal_ops.platform.plugins.module_utils._backup.copy import no_room
from ansible_collections.fractal_ops.platform.plugins.module_utils._backup.dump import (
    dump_and_prove,
    keep_out_of_the_way,
    read_after,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._backup.store import explained
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.accounts import Account
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.door import Door
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.findings import Finding
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.http_client import Api, ApiError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.side_by_side import release_path
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.database import Installation
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.server import data_folder
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.service_side import (
    A_DAY,
    sensible,
    service_side,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._precheck.disk import Need, shortages
from ansible_collections.fractal_ops.platform.plugins.module_utils._releases.path import release
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.data_migrations import why_not_implemented
from ansible_collections.fractal_ops.platform.plugins.module_utils._upgrade.hop import migrate
from ansible_collections.fractal_ops.platform.plugins.module_utils._upgrade.prediction import (
    copy_speed,
    predict,
    whole,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._upgrade.rehearsal_database import (
    RUN,
    begin,
    drop_rehearsal,
    put_out_of_reach,
    time_a_copy,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._upgrade.rehearsal_files import (
    Stage,
    dress,
    dress_for_the_start,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._upgrade.rehearsal_findings import FINDINGS
from ansible_collections.fractal_ops.platform.plugins.module_utils._upgrade.trial_server import (
    TrialServer,
    log_in_and_list,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._venv.interpreter import installed_version

_RESTORED = 1.2  # a restored database and its write-ahead log, compared with the original
_WITH_COPY = 2.4  # and a copy of it beside it
_IN_PLACE = (
    "the migrations and the start of {releases}, as fractal_install_strategy=in_place has no environment of a release "
    "before the downtime"
)
_NO_ACCOUNT = "log-in, as no user is active, verified and has a profile after the migration"


@dataclass(frozen=True)
class Wanted:
    """What is to be rehearsed, and how.

    Attributes:
        hops: The releases on the way; the last one is the target.
        strategy: ``staged``, or ``in_place``, which has no environments before the window.
        backup_root: Folder whose disk takes the dump.
        method: How the window will back up; see `make_backup`.
        jobs: How many parts to restore at once.
        start_timeout: Seconds that the new release has to answer in.
        email: Account to log in with; without it, a token is made for a user of the instance.
        password: Its password.
        env_options: What the operator says about the environment file, see `EnvTask`.
    """

    hops: list[str]
    strategy: str = "staged"
    backup_root: str = "/var/backups/fractal"
    method: str = "auto"
    jobs: int = 1
    start_timeout: float = 120
    email: str = ""
    password: str = field(default="", repr=False)
    env_options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def target(self) -> str:
        """The release to arrive at."""
        return self.hops[-1]


class _RefusedError(Exception):
    """Something refuses; it is a finding."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.message)
        self.finding = finding


def rehearse(
    installation: Installation, python: str | None, wanted: Wanted, check_mode: bool = False
) -> dict[str, Any]:
    """Rehearse an upgrade. Nothing of it is left, however it ends.

    Args:
        installation: Whose database and environment file.
        python: Interpreter that runs fractal-server, by default the unit's; the environments are beside its own.
        wanted: What to rehearse.
        check_mode: Do nothing, and say so in ``skipped``.

    Returns:
        ``passed`` (whether all that could be rehearsed went well), ``findings``, ``target`` and the ``revision`` of the
        database before it; what was measured (``seconds`` of each step, ``size_bytes``, ``dump_bytes``,
        ``copy_bytes_per_second``, ``projects``); and what follows: ``predicted`` seconds of each stage of the window,
        and of all of it (``predicted_seconds``), empty and None unless everything was rehearsed.

    Raises:
        FractalError: It cannot even be begun, or what it made cannot be dropped.
    """
    if check_mode:
        return {"skipped": True, "msg": "Check mode: a rehearsal makes databases, so nothing was rehearsed."}
    reason = why_not_implemented(map(release, wanted.hops))
    if reason:
        raise FractalError(reason)
    keep_out_of_the_way()
    door = service_side(installation, python, A_DAY)
    stage = Stage.of(installation)
    with door.standing_by(begin), _nothing_left(door, installation, stage):
        told = door.call(begin, installation)
        with sensible():
            before = _Before(
                dict(told["state"]),
                int(told["size_bytes"]),
                int(told["postmaster"]),
                str(told["why_not"]),
                [str(one) for one in told["why_no_copy"]],
            )
            rehearsal = _Rehearsal(installation, door, stage, wanted, before)
        try:
            rehearsal.play()
        except _RefusedError as refused:
            rehearsal.findings.append(refused.finding)
    return rehearsal.result()


@contextlib.contextmanager
def _nothing_left(door: Door, installation: Installation, stage: Stage) -> Iterator[None]:
    """Remove the folder that a killed rehearsal left, and at the end all that this one made."""
    stage.close()
    try:
        yield
    finally:
        stage.close()
        door.call(drop_rehearsal, installation)


@dataclass(frozen=True)
class _Before:
    """What was asked of the database before it began."""

    state: dict[str, Any]
    size: int
    postmaster: int
    why_not: str
    why_no_copy: list[str]


@dataclass
class _Rehearsal:
    installation: Installation
    door: Door
    stage: Stage
    wanted: Wanted
    before: _Before
    findings: list[Finding] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    dump_bytes: int = 0
    copied_bytes: int = 0
    projects: int | None = None
    complete: bool = False

    def play(self) -> None:
        """Play all of it, as far as it can be.

        Raises:
            _RefusedError: Something refuses.
        """
        if self.before.why_not:
            self._find("rehearsal.not_possible", self._name, reason=self.before.why_not)
            return
        copies = self.wanted.method != "dump" and not self.before.why_no_copy
        copies = copies and not no_room(self.before.size, self.before.postmaster)
        self.findings += shortages(self._needs(copies))
        if self.findings:
            return
        scratch, contents = self._dump_and_restore()
        if copies:
            self._time_a_copy(scratch)
        if self.wanted.strategy == "in_place":
            self._find("rehearsal.in_part", self._name, reason=_IN_PLACE.format(releases=", ".join(self.wanted.hops)))
            return
        self.stage.open()
        for version in self.wanted.hops:
            dressed, python = self._hop(version, scratch)
        began = time.monotonic()
        self.door.call(read_after, dressed, contents)
        self._add("note", time.monotonic() - began)
        self._start(dressed, python)
        self.complete = True

    def result(self) -> dict[str, Any]:
        """Return what `rehearse` does."""
        size, seconds = self.before.size, self.seconds
        predicted = predict(seconds, self.wanted.hops, size, self.copied_bytes) if self.complete else {}
        return {
            "changed": False,
            "passed": not any(one.severity == "blocker" for one in self.findings),
            "findings": [one.as_dict() for one in self.findings],
            "target": self.wanted.target,
            "revision": self.before.state["revision"],
            "seconds": seconds,
            "size_bytes": size,
            "dump_bytes": self.dump_bytes,
            "copy_bytes_per_second": copy_speed(seconds, self.copied_bytes),
            "projects": self.projects,
            "predicted": predicted,
            "predicted_seconds": whole(predicted) if predicted else None,
        }

    @property
    def _name(self) -> str:
        return self.installation.service or self.installation.env_file

    def _find(self, rule: str, subject: str, **values: str) -> None:
        self.findings.append(FINDINGS[rule].finding(subject, **values))

    def _refuse(self, rule: str, subject: str, error: FractalError, **values: str) -> NoReturn:
        raise _RefusedError(FINDINGS[rule].finding(subject, reason=str(error), **values)) from error

    def _needs(self, copies: bool) -> list[Need]:
        folder, size = data_folder(self.before.postmaster), self.before.size
        found = [Need(self.wanted.backup_root, size, "the dump of the rehearsal")]
        if folder:
            purpose = "the database of the rehearsal" + (" and a copy of it" if copies else "")
            found.append(Need(folder, size * (_WITH_COPY if copies else _RESTORED), purpose))
        return found

    def _dump_and_restore(self) -> tuple[str, dict[str, Any]]:
        """Return the name of the restored database, and the contents of the snapshot that it was compared with."""
        folder = _existing(self.wanted.backup_root)
        with explained("write", folder), tempfile.TemporaryFile(dir=folder) as dump:  # nobody else ever sees its name
            number = dump.fileno()
            if self.wanted.jobs > 1:
                account = self.stage.account
                os.fchown(number, account.uid, account.gid)
            try:
                told = replace(self.door, fds=(number,)).call(
                    dump_and_prove,
                    self.installation,
                    RUN,
                    "restore",
                    number,
                    os.path.join(folder, "the dump of the rehearsal"),
                    keep=True,
                    jobs=self.wanted.jobs,
                )
            except FractalError as error:
                self._refuse("rehearsal.backup_refused", self._name, error)
            self.dump_bytes = os.fstat(number).st_size
        with sensible():
            self.seconds.update(dump=float(told["dump_seconds"]), proof=float(told["proof_seconds"]))
            return str(told["scratch"]), dict(told["contents"])

    def _time_a_copy(self, scratch: str) -> None:
        told = self.door.call(time_a_copy, self.installation, scratch)
        if "refused" in told:
            self._find("rehearsal.in_part", self._name, reason=f"the frozen copy of the database: {told['refused']}")
            return
        with sensible():
            self.seconds.update(copy=float(told["copy_seconds"]), compare=float(told["compare_seconds"]))
            self.copied_bytes = int(told["copied_bytes"])

    def _hop(self, version: str, scratch: str) -> tuple[Installation, str]:
        """Migrate the restored database to a release; return its installation there, and its interpreter."""
        python = self._python_of(version)
        began = time.monotonic()
        try:
            dressed = dress(
                self.stage,
                self.installation,
                self.door.python,
                version,
                scratch,
                self.before.state,
                self.wanted.env_options,
            )
        except FractalError as error:
            self._refuse("rehearsal.environment_refused", version, error)
        migrating = time.monotonic()
        try:
            told = replace(self.door, python=python).call(migrate, dressed, python, version)
        except FractalError as error:
            self._refuse("rehearsal.migration_refused", version, error)
        ended = time.monotonic()
        with sensible():
            stages = {part: float(told[part]["duration"]) for part in ("schema", "data") if told[part]}
        if "environment" in self.seconds:
            # a further hop makes its own step of the file, for which a child more asks the database; that which
            # migrates stands by
            child = max(0.0, ended - migrating - sum(stages.values()))
            self._add(f"switch {version}", migrating - began + child)
        else:
            self._add("environment", migrating - began)
        for part, duration in stages.items():
            self._add(f"{part} {version}", duration)
        return dressed, python

    def _python_of(self, version: str) -> str:
        """Return the interpreter of a release: the one in use, or the one prepared beside it.

        Raises:
            FractalError: It was not prepared.
        """
        python = self.door.python
        if installed_version(python, Account.named(self.installation.run_as)) == version:
            return python
        environment, name = os.path.dirname(os.path.dirname(python)), os.path.basename(python)
        found = os.path.join(release_path(environment, version), "bin", name)
        if not os.access(found, os.X_OK):
            raise FractalError(
                f"fractal-server {version} is not prepared beside {environment}, so it cannot be rehearsed. Run the "
                "playbook rehearse, or fractal_server_environment, which build its environment."
            )
        return found

    def _start(self, dressed: Installation, python: str) -> None:
        """Start the last release on the migrated database, ask it, and stop it."""
        version = self.wanted.target
        told = self.door.call(put_out_of_reach, dressed, self.stage.empty_folder)
        account = told.get("account")
        server = None
        try:
            with TrialServer(dress_for_the_start(self.stage, dressed), python) as server:
                self._add("start", server.answers(version, self.wanted.start_timeout))
                self._log_in(server, dressed.variables(), account)
        except FractalError as error:
            self._refuse("rehearsal.start_refused", version, error)
        self._add("stop", server.stop_seconds)

    def _log_in(self, server: TrialServer, variables: Mapping[str, str], account: Mapping[str, Any] | None) -> None:
        api, given = Api(server.url), bool(self.wanted.email and self.wanted.password)
        subject = self.wanted.email if given else str(account["email"]) if account else ""
        try:
            if given and variables.get("FRACTAL_DISABLE_BASIC_AUTH") != "true":
                api.log_in(self.wanted.email, self.wanted.password)
                account = None
            elif account is None:
                self._find("rehearsal.in_part", self._name, reason=_NO_ACCOUNT)
                return
            self.projects = log_in_and_list(api, variables, account)
        except ApiError as error:
            said = FractalError(f"{error}.{server.last_words()}" if error.status >= 500 else str(error))
            self._refuse("rehearsal.log_in_refused", subject, said, release=self.wanted.target)

    def _add(self, step: str, seconds: float) -> None:
        self.seconds[step] = round(self.seconds.get(step, 0.0) + seconds, 3)


def _existing(folder: str) -> str:
    """Return the folder, or the nearest one above it that is there: on the same disk, as far as one can know."""
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    return folder
