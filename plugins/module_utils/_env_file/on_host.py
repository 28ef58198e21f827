# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""The migration of an environment file on a host: what it reads, and what it writes in which order."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.accounts import Account
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.dotenv import Reader, encode_for_systemd
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.files import (
    FileState,
    check_writable,
    make_folders,
    narrow_mode,
    read_file,
    write_file,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.masking import mask_document, mask_values
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.programs import NOT_THERE, run
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.systemd import Unit, read_unit, systemctl
from ansible_collections.fractal_ops.platform.plugins.module_utils._env_file.draft import Context
from ansible_collections.fractal_ops.platform.plugins.module_utils._env_file.migration import (
    EnvMigration,
    migrate_server,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._env_file.rules import FINDINGS, EnvStep
from ansible_collections.fractal_ops.platform.plugins.module_utils._releases.path import version_key
from ansible_collections.fractal_ops.platform.plugins.module_utils._venv.interpreter import facts

LARGEST = 1024 * 1024  # bytes; a real environment file has a few thousand
WIDEST = 0o640
DROP_IN_FOLDER, DROP_IN_NAME = "/etc/systemd/system", "50-fractal-environment.conf"

_HIDES = "UnsetEnvironment="

_DECRYPT = """
import json, sys
from cryptography.fernet import Fernet
given = json.load(sys.stdin)
json.dump(Fernet(given["key"]).decrypt(given["token"]).decode("utf-8"), sys.stdout)
"""


def text_of(state: FileState) -> str:
    """Return a file's text.

    Raises:
        FractalError: It is no text in UTF-8; says in which line.
    """
    try:
        text = state.content.decode("utf-8")
        position = text.find("\0")
        if position < 0:
            return text
        line, problem = text.count("\n", 0, position) + 1, "there is a zero byte"
    except UnicodeDecodeError as error:
        line, problem = state.content.count(b"\n", 0, error.start) + 1, "the text is not UTF-8"
    raise FractalError(f"{state.path}, line {line}: {problem}. This is no environment file; it is unchanged.")


def decrypt_password(python: str, account: Account, token: str, key: str) -> str:
    """Return the e-mail password of an encrypted pair, with the cryptography library beside fractal-server.

    Raises:
        FractalError: The key does not fit, or the interpreter lacks the library. The text holds no secret.
    """
    command = [python, "-I", "-B", "-c", _DECRYPT]
    done = run(command, account=account, input=json.dumps({"token": token, "key": key}))
    if done.code == NOT_THERE:
        raise FractalError(f"{python} does not run ({done.last_words()})")
    if done.code == 0:
        with contextlib.suppress(ValueError):
            return str(json.loads(done.out))
    if "ModuleNotFoundError" in done.err:
        raise FractalError(f"{python} lacks the library 'cryptography', which fractal-server has")
    raise FractalError("it does not fit FRACTAL_EMAIL_PASSWORD_KEY")


@dataclass
class EnvTask:
    """One file to migrate, with the options of the module ``fractal_env_migrate``.

    ``steps`` are those of the server's file in the order of their releases; ``migrate_web`` migrates fractal-web's.
    ``data_stop`` is the stop that the database has reached, so that the data migrations before it are over.

    Raises:
        FractalError: The file is missing or cannot be read, or the unit does not exist.
    """

    path: str
    steps: Sequence[EnvStep]
    migrate_web: Callable[..., EnvMigration]
    kind: str = "server"
    release: str | None = None
    old_path: str | None = None
    service: str | None = None
    server_python: str | None = None
    worker_python: str | None = None
    tasks_python: Mapping[str, str] | None = None
    default_group_name: str = "All"
    runner_backend: str | None = None
    oauth_client: str | None = None
    oauth_client_name: str | None = None
    drop_in_path: str | None = None
    data_migration: bool = True
    data_stop: str | None = None
    written: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Read everything and work out the migration."""
        found = read_file(self.path, LARGEST)
        if found is None:
            raise FractalError(f"There is no environment file {self.path}.")
        self.found = found
        self.text = text_of(found)
        self.unit = self._read_unit()
        if self.drop_in_path is None and self.unit and self.kind == "server":
            self.drop_in_path = os.path.join(DROP_IN_FOLDER, self.unit.name + ".d", DROP_IN_NAME)
        if self.drop_in_path and not self.drop_in_path.endswith(".conf"):
            raise FractalError(f"drop_in_path must end in .conf, systemd ignores {self.drop_in_path}.")
        self.old_path = self.old_path or self.path + ".old"
        self.old = read_file(self.old_path, LARGEST) if self.kind == "server" else None
        if self.old is None and os.path.islink(self.old_path):
            raise FractalError(f"{self.old_path} is a link that leads nowhere. Remove it.")
        self.migration = self._migrate()
        self.gid, self.mode = self._owner_and_mode()
        self.new_files = self._new_files()

    # -- reading -------------------------------------------------------------------------------------------------

    def _read_unit(self) -> Unit | None:
        if not self.service:
            return None
        unit = read_unit(self.service)
        if unit.load_state != "loaded":
            raise FractalError(f"There is no systemd unit {unit.name} on this host.")
        return unit

    def _migrate(self) -> EnvMigration:
        if self.kind == "web":
            unit, unit_wins = self._unit_of_web(), not self._is_read_by_systemd()
            given = (self.default_group_name, self.runner_backend, self.oauth_client_name)
            return self.migrate_web(self.text, *given, unit, unit_wins)
        python, account = self.server_python, Account.named(self.unit.user if self.unit else None)
        tasks_python = None
        if self.tasks_python:
            tasks_python = (self.tasks_python["version"], self.tasks_python["interpreter"])
        elif python:
            tasks_python = (facts(python, account).python_version.rpartition(".")[0], python)
        directory = self.unit.working_directory if self.unit else os.path.dirname(os.path.abspath(self.path))
        context = Context(
            directory=directory,
            process=self._process_environment(),
            process_is_known=self.unit is not None,
            read_by_systemd=self._is_read_by_systemd(),
            can_override=bool(self.drop_in_path),
            worker_python=self.worker_python or python,
            tasks_python=tasks_python,
            default_group_name=self.default_group_name,
            oauth_client=self.oauth_client,
            data_pending=self._data_pending(),
            hidden=frozenset(self._hidden_so_far()),
            decrypt=(lambda token, key: decrypt_password(python, account, token, key)) if python else None,
            readable=lambda path: os.access(path, os.R_OK) and os.path.isfile(path),
        )
        return migrate_server(self.text, context, self.steps, text_of(self.old) if self.old else None, self.release)

    def _data_pending(self) -> frozenset[str]:
        """Return the releases whose data migration is still to come, as far as they have a step here."""
        reached = version_key(self.data_stop) if self.data_stop else ()
        releases = [step.release for step in self.steps if self.data_migration]
        return frozenset(one for one in releases if version_key(one) >= reached)

    def _is_read_by_systemd(self) -> bool:
        files = self.unit.environment_files if self.unit else []
        return any(os.path.realpath(path) == os.path.realpath(self.path) for path in files)

    def _unit_of_web(self) -> dict[str, str]:
        """Return what fractal-web's unit sets besides the file."""
        if self.unit is None:
            return {}
        path = os.path.realpath(self.path)
        files = [
            [p for p in some if os.path.realpath(p) != path]
            for some in (self.unit.required_files, self.unit.optional_files)
        ]
        return replace(self.unit, required_files=files[0], optional_files=files[1]).process_environment()

    def _process_environment(self) -> dict[str, str]:
        """Return what the service finds in its environment before it looks at the file, as far as it is sure."""
        if self.unit is None:
            return {}
        # what an earlier run has put into the drop-in does not count: the file is to be seen as it was then
        values_file, hidden = self._values_file(), self._hidden_so_far()
        files = [path for path in self.unit.required_files if path != values_file]
        values = replace(self.unit, required_files=files).process_environment(also_unset=True)
        for name in systemctl("show", "--value", "--property=UnsetEnvironment", self.unit.name).split():
            if name not in hidden:
                values.pop(name, None)
        try:
            user = pwd.getpwnam(self.unit.user)
        except KeyError:
            return values
        return {"HOME": user.pw_dir, "USER": user.pw_name, "LOGNAME": user.pw_name, "SHELL": user.pw_shell, **values}

    def _values_file(self) -> str:
        return (self.drop_in_path or "")[: -len(".conf")] + ".env"

    def _hidden_so_far(self) -> list[str]:
        found = read_file(self.drop_in_path, LARGEST) if self.drop_in_path else None
        lines = text_of(found).splitlines() if found else []
        return [name for line in lines if line.startswith(_HIDES) for name in line[len(_HIDES) :].split()]

    # -- writing -------------------------------------------------------------------------------------------------

    def _owner_and_mode(self) -> tuple[int, int]:
        """Return group and mode of the new file: never wider, yet the service can still read it."""
        found, mode = self.found, narrow_mode(self.found.mode, WIDEST)
        if mode == found.mode:
            return found.gid, mode
        gid = found.gid
        user = self._user() if self.unit else None
        if found.mode & 0o004 and user is not None and user.pw_uid not in (0, found.uid):
            groups = os.getgrouplist(user.pw_name, user.pw_gid)
            if gid not in groups or not found.mode & 0o040:
                gid, mode = user.pw_gid, mode | 0o040
        subject, was = os.path.basename(self.path), f"{found.mode:04o}"
        finding = FINDINGS["environment.file_for_everybody"].finding(subject, mode=was, narrowed=f"{mode:04o}")
        self.migration.findings.append(finding)
        return gid, mode

    def _user(self) -> pwd.struct_passwd | None:
        try:
            return pwd.getpwnam(self.unit.user) if self.unit else None
        except KeyError:
            return None

    def _new_files(self) -> list[FileState]:
        """Return the files to write, in this order: what the next step relies on comes before it."""
        migration, uid = self.migration, self.found.uid
        files = []
        if self.old_path and migration.old_text is not None:
            files.append(FileState(self.old_path, migration.old_text.encode(), uid, self.gid, self.mode))
        if self.drop_in_path and (migration.exported or migration.hidden):
            values = self._values_file()
            text = "".join(f"{name}={encode_for_systemd(value)}\n" for name, value in migration.exported.items())
            if text:
                files.append(FileState(values, text.encode(), 0, 0, 0o600))
            keeps = not migration.whole_drop_in and os.path.exists(values)
            files.append(FileState(self.drop_in_path, self._drop_in(values, keeps).encode(), 0, 0, 0o644))
        files.append(FileState(self.path, migration.text.encode(), uid, self.gid, self.mode))
        return files

    def _drop_in(self, values: str, keeps: bool) -> str:
        hidden = [*self.migration.hidden, *([] if self.migration.whole_drop_in else self._hidden_so_far())]
        lines = [
            "# Written by fractal_ops.platform. fractal-server once handed every variable of its environment file",
            "# to the processes that it started; now it does not.",
            "[Service]",
        ]
        if self.migration.exported or keeps:
            lines.append(f"EnvironmentFile={values.replace('%', '%%')}")
        if hidden:
            lines.append("# The unit sets these to values of an older release; now the environment file does.")
            lines.append(_HIDES + " ".join(sorted({*hidden})))
        return "\n".join(lines) + "\n"

    def refuse_blockers(self) -> None:
        """Fail with all the reasons why nothing can be written.

        Raises:
            FractalError: There is one.
        """
        blockers = self.migration.blockers
        if blockers:
            reasons = "\n".join(f"- {finding.message} {finding.fix}" for finding in blockers)
            text = f"{self.path} cannot be migrated; nothing was written.\n{reasons}"
            raise FractalError(mask_values(text, self.migration.secrets))

    def apply(self, write: bool) -> bool:
        """Write what differs; return whether anything does."""
        for new in self.new_files:
            if read_file(new.path, LARGEST * 2) != new:
                self.written.append(new.path)
                check_writable(new.path)
                if write:
                    make_folders(os.path.dirname(new.path) or ".")
                    write_file(new.path, new.content, new.uid, new.gid, new.mode)
        # needs_reload: a run that was killed may owe it
        if write and self.unit and self.drop_in_path and (self.drop_in_path in self.written or self.unit.needs_reload):
            systemctl("daemon-reload")
        return bool(self.written)

    def render(self, path: str, write: bool) -> bool:
        """Write the new file to ``path`` only; return whether that differs."""
        new = FileState(path, self.migration.text.encode(), self.found.uid, self.gid, self.mode)
        if read_file(path, LARGEST * 2) == new:
            return False
        check_writable(new.path)
        if write:
            write_file(new.path, new.content, new.uid, new.gid, new.mode)
        return True

    # -- telling -------------------------------------------------------------------------------------------------

    def result(self, changed: bool) -> dict[str, Any]:
        """Return what the module returns."""
        migration = self.migration
        hide = "the unit sets a value that the new release refuses or reads differently; the drop-in hides it"
        hidden = [{"variable": n, "action": "hide", "new_variable": "", "reason": hide} for n in migration.hidden]
        drop_in = self.drop_in_path if self.drop_in_path and os.path.exists(self.drop_in_path) else ""
        planned = any(new.path == self.drop_in_path for new in self.new_files)
        has_old = self.kind == "server" and (self.old is not None or migration.old_text is not None)
        return {
            "changed": changed,
            "steps": migration.steps,
            "changes": migration.changes + hidden,
            "findings": [finding.as_dict() for finding in migration.findings],
            "old_path": self.old_path if has_old else "",
            "drop_in_path": self.drop_in_path if planned else drop_in,
            "hidden": migration.hidden,
            "handed_on": migration.handed_on,
            "oauth_client_name": migration.oauth_client_name,
            "runner_backend": migration.runner_backend,
        }

    def diffs(self) -> list[dict[str, str]]:
        """Return the changes for ``--diff``, without secrets."""
        for_dotenv = (self.path, self.old_path) if self.kind == "server" else ()
        changed = {c["new_variable"] or c["variable"] for c in self.migration.changes if c["action"] == "change"}
        secrets = self.migration.secrets
        diffs = []
        for new in self.new_files:
            old = {self.path: self.found, self.old_path: self.old}.get(new.path)
            old = old or (read_file(new.path, LARGEST) if new.path != self.path else None)
            before = old.content.decode("utf-8", "replace") if old else ""
            if before != new.content.decode():
                reader = Reader.DOTENV_1_1 if new.path in for_dotenv else Reader.SYSTEMD
                after = mask_document(new.content.decode(), reader, secrets, changed if new.path == self.path else ())
                before = mask_document(before, reader, secrets)
                diffs.append({"before": before, "after": after, "before_header": new.path, "after_header": new.path})
        return diffs
