# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""The files of a rehearsal: a private folder in which a release finds its environment file, and nothing else.

The folder is root's: the service account reads its two files there and can make nothing. What a migration reads beyond
them it reads where it is; data migrations write no file (fractal-server 2.17.0, data_migrations/2_17_0.py, which reads
``.old`` and the SLURM, Pixi or local configuration that it names; fractal-server 2.18.0 and 2.23.0,
data_migrations/, which read none).
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.accounts import Account
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.dotenv import (
    Reader,
    interpolate,
    literal,
    parse,
    plain,
    render,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.dotenv_editing import append
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.systemd import Unit
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.database import (
    SERVER_ENV_FILE,
    Installation,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._env_file.on_host import EnvTask, text_of
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.env_steps import env_task

_PARENT = "/run"  # root's own, and in memory: the files hold secrets
_HEADER = "# Of a rehearsal"
_DATABASE = "POSTGRES_DB"
# What a started server would write to, or find its work by (fractal-server 2.26.0, config/_main.py, whose
# LOG_CONFIG_FILE names log files; fractal-server 2.16.6, config.py).
_NOT_FOR_THE_START = ("LOG_CONFIG_FILE",)
_FOLDERS = ("FRACTAL_TASKS_DIR", "FRACTAL_RUNNER_WORKING_BASE_DIR")


@dataclass(frozen=True)
class Stage:
    """The private folder of one instance's rehearsal; ``account`` is the service's."""

    path: str
    account: Account

    @classmethod
    def of(cls, installation: Installation) -> Stage:
        """Return the folder of an instance; not made yet."""
        place = installation.service or hashlib.sha256(installation.env_file.encode()).hexdigest()[:12]
        return cls(os.path.join(_PARENT, f"fractal-rehearsal-{place}"), Account.named(installation.run_as))

    @property
    def empty_folder(self) -> str:
        """Where a started server is led to instead of to jobs and tasks."""
        return os.path.join(self.path, "empty")

    def open(self) -> None:
        """Make the folder, empty.

        Raises:
            FractalError: It cannot be made.
        """
        self.close()
        try:
            os.mkdir(self.path, 0o700)
            os.chmod(self.path, 0o711)  # whatever the umask says: the account has to reach its files in it
            os.mkdir(self.empty_folder, 0o700)
            os.chown(self.empty_folder, self.account.uid, self.account.gid)
        except OSError as error:
            raise FractalError(f"Cannot make the folder {self.path}: {error.strerror}.") from error

    def close(self) -> None:
        """Remove the folder, also one that a killed rehearsal left."""
        shutil.rmtree(self.path, ignore_errors=True)

    def write(self, name: str, text: str) -> None:
        """Write a file for the service account alone."""
        path = os.path.join(self.path, name)
        try:
            if os.path.lexists(path):
                os.unlink(path)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(text.encode())
                os.fchown(stream.fileno(), self.account.uid, self.account.gid)
        except OSError as error:
            raise FractalError(f"Cannot write {path}: {error.strerror}.") from error


def dress(
    stage: Stage,
    installation: Installation,
    python: str,
    release: str,
    scratch: str,
    state: Mapping[str, Any],
    options: Mapping[str, Any],
) -> Installation:
    """Write the environment file that ``release`` will find, leading to the scratch database; return the installation.

    Raises:
        FractalError: A step of the file is refused.
    """
    task = env_task(
        path=installation.env_file,
        service=installation.service,
        server_python=python,
        release=release,
        data_migration=state["data_migration"] in ("pending", "partial"),
        data_stop=state["stop"] or None,
        **options,
    )
    task.refuse_blockers()
    directory = installation.working_directory
    text = _absolute(task.migration.text, directory)
    stage.write(SERVER_ENV_FILE, append(text, {_DATABASE: literal(scratch)}, _HEADER))
    old = task.migration.old_text if task.migration.old_text is not None else text_of(task.old) if task.old else None
    if old is not None:
        stage.write(SERVER_ENV_FILE + ".old", _absolute(old, directory))
    process = {**_of_the_unit(task, installation), _DATABASE: scratch}
    return replace(installation, env_file=os.path.join(stage.path, SERVER_ENV_FILE), process_environment=process)


def dress_for_the_start(stage: Stage, dressed: Installation) -> Installation:
    """Take from the file of the last hop what leads a started server to files that are not the rehearsal's."""
    with open(dressed.env_file, encoding="utf-8") as stream:
        text = without(stream.read(), _NOT_FOR_THE_START)
    folders = {name: literal(stage.empty_folder) for name in _FOLDERS if name in dressed.variables()}
    stage.write(SERVER_ENV_FILE, append(text, folders, _HEADER) if folders else text)
    process = {name: value for name, value in dressed.process_environment.items() if name not in _NOT_FOR_THE_START}
    return replace(
        dressed, process_environment={**process, **dict.fromkeys({*folders} & {*process}, stage.empty_folder)}
    )


def without(text: str, names: Collection[str]) -> str:
    """Return the text of an environment file without some variables."""
    return render(one for one in parse(text, Reader.DOTENV_1_2) if one.key is None or one.key not in names)


def _absolute(text: str, directory: str) -> str:
    """Return the text with relative paths of files made absolute: what reads them runs in another folder now."""
    values = interpolate(parse(text, Reader.DOTENV_1_2), {}, file_wins=True)
    found = {}
    for name, value in values.items():
        path = plain(value)
        if path and path[0] != "/" and "\0" not in path and os.path.isfile(os.path.join(directory, path)):
            found[name] = literal(os.path.join(directory, path))
    return append(text, found, _HEADER) if found else text


def _of_the_unit(task: EnvTask, installation: Installation) -> dict[str, str]:
    """Return the unit's own variables as they will be: the migrated file is read as a file, not by systemd."""
    values = dict(installation.process_environment)
    if task.unit:
        values = _without_file(task.unit, installation.env_file).process_environment()
    hidden = {*task.migration.hidden}
    return {**{name: value for name, value in values.items() if name not in hidden}, **task.migration.exported}


def _without_file(unit: Unit, env_file: str) -> Unit:
    path = os.path.realpath(env_file)
    required, optional = (
        [one for one in some if os.path.realpath(one) != path] for some in (unit.required_files, unit.optional_files)
    )
    return replace(unit, required_files=required, optional_files=optional)
