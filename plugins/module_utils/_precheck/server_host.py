# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""What every check of a server starts from."""

from __future__ import annotations

import pwd
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.accounts import Account
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.door import Door
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.systemd import Unit, read_unit
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.database import (
    Installation,
    find_installation,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.discovery import (
    ServerInstance,
    discover_server,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._precheck.database_side import (
    DatabaseFacts,
    findings_told,
    told,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._precheck.in_database import check_database
from ansible_collections.fractal_ops.platform.plugins.module_utils._releases.backends import BACKENDS, backend_of
from ansible_collections.fractal_ops.platform.plugins.module_utils._releases.path import (
    RELEASES,
    hops,
    takes_away,
    version_key,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._releases.release import Release, TakenAway
from ansible_collections.fractal_ops.platform.plugins.module_utils._venv.interpreter import PythonFacts, facts
from ansible_collections.fractal_ops.platform.plugins.module_utils._venv.pythons import Interpreter, candidates
from ansible_collections.fractal_ops.platform.plugins.module_utils._venv.strategies import prepared_releases

if TYPE_CHECKING:
    from ansible_collections.fractal_ops.platform.plugins.module_utils._core.findings import Finding

_TIMEOUT = 900  # seconds for all that is asked of the database


@dataclass(frozen=True)
class ServerHost:
    """An instance on this host, and what is to become of it. Everything is read when first asked for.

    Attributes:
        params: The module's options.
    """

    params: Mapping[str, Any]

    @cached_property
    def installation(self) -> Installation:
        """Where the settings come from."""
        return find_installation(self.params)

    @cached_property
    def unit(self) -> Unit | None:
        """The systemd unit, or None where only an environment file is named."""
        return read_unit(self.installation.service) if self.installation.service else None

    @cached_property
    def instance(self) -> ServerInstance | None:
        """What the unit leads to."""
        return discover_server(self.unit.name, self.params["python"], self.params.get("url")) if self.unit else None

    @cached_property
    def values(self) -> dict[str, str]:
        """fractal-server's variables, file and unit together."""
        return self.installation.variables()

    @cached_property
    def backend(self) -> str:
        """Today's name of the runner backend; the default is local."""
        return backend_of(self.values.get("FRACTAL_RUNNER_BACKEND") or "local")

    @property
    def on_slurm(self) -> bool:
        """Whether jobs run on SLURM through sudo on this host."""
        return BACKENDS.get(self.values.get("FRACTAL_RUNNER_BACKEND", "")) == "slurm_sudo"

    @property
    def service_account(self) -> str | None:
        """The account that fractal-server runs as, None where it is not named or does not exist."""
        account = self.installation.run_as
        try:
            return pwd.getpwnam(account).pw_name if account else None
        except KeyError:
            return None

    @property
    def directory(self) -> str:
        """The working directory."""
        return self.installation.working_directory

    @property
    def python(self) -> str:
        """The interpreter that runs fractal-server."""
        return self.instance.python if self.instance else str(self.params["python"] or sys.executable)

    @property
    def environment(self) -> str:
        """The folder of the Python environment."""
        return self.instance.environment if self.instance else str(Path(self.python).parent.parent)

    @cached_property
    def _python(self) -> PythonFacts:
        """What the interpreter says of itself, where no unit leads to it."""
        return facts(self.python, self.account)

    @cached_property
    def door(self) -> Door:
        """The way to what needs the libraries of fractal-server's environment; a child stands by for all that is asked.

        Whoever asks dismisses it in the end (see `Door.stand_by`).
        """
        door = Door(self.account, self.python, _TIMEOUT)
        door.stand_by(check_database)
        return door

    @property
    def account(self) -> Account:
        """The account of fractal-server, which runs whatever lies in its hands."""
        return Account.to_ask(self.installation.run_as)

    @property
    def base_python(self) -> str:
        """The interpreter that makes the new environments."""
        return self.instance.base_python if self.instance else self._python.base_python

    @property
    def is_venv(self) -> bool:
        """Whether the environment is a virtual one."""
        return self.instance.is_venv if self.instance else self._python.is_venv

    @property
    def python_version(self) -> str:
        """Such as 3.11.2."""
        return self.instance.python_version if self.instance else self._python.python_version

    @cached_property
    def interpreters(self) -> list[Interpreter]:
        """What new environments can be made with, the best first; an environment upgraded in place keeps its own.

        Raises:
            FractalError: One that the operator names does not run.
        """
        own = Interpreter(self.base_python, self.python_version)
        return [own] if self.params["install_strategy"] == "in_place" else candidates(own, self.params["pythons"])

    @property
    def version(self) -> str | None:
        """The installed release, None if there is none."""
        found: str | None = self.instance.version if self.instance else self._python.version
        return found

    @cached_property
    def _route(self) -> tuple[list[Release], str]:
        if self.version is None:
            return [], f"fractal-server is not installed in {self.environment}."
        try:
            return hops(self.version, self.params["target_version"]), ""
        except FractalError as error:
            return [], str(error)

    @property
    def hops(self) -> list[Release]:
        """The releases to install one after another; none where the release path does not lead to the target."""
        return self._route[0]

    @property
    def stops(self) -> list[Release]:
        """The stops on the way; while no way is known, the next one."""
        if not self.route_error:
            return [hop for hop in self.hops if hop.is_stop]
        at = self.version or RELEASES[0].version
        return next(([one] for one in RELEASES if one.is_stop and version_key(one.version) > version_key(at)), [])

    @cached_property
    def worker_pythons(self) -> list[str]:
        """The interpreters of the jobs, which the first stop takes from the environment file into resources."""
        if self.stops[:1] == [next(known for known in RELEASES if known.is_stop)]:
            return [self.values.get("FRACTAL_SLURM_WORKER_PYTHON", "")]
        return self.facts.worker_pythons

    @property
    def route_error(self) -> str:
        """Why the release path does not lead to the target."""
        return self._route[1]

    @cached_property
    def missing_releases(self) -> list[Release]:
        """The releases of ``hops`` that are not prepared yet."""
        strategy = self.params["install_strategy"]
        there = {*prepared_releases(self.environment, self.version, strategy), self.version}
        return [hop for hop in self.hops if hop.version not in there]

    @property
    def drops_settings(self) -> bool:
        """Whether the users' old settings go on the way."""
        return TakenAway("user_settings") in takes_away(RELEASES[0].version, self.params["target_version"])

    @cached_property
    def facts(self) -> DatabaseFacts:
        """What the database says.

        Raises:
            FractalError: It cannot be reached, or is not Fractal's.
        """
        answer = self.door.call(
            check_database,
            self.installation,
            self.params,
            version=self.version,
            held=bool(self.instance and self.instance.hold),
            started_at=self.unit.started_at if self.unit else None,
            drops_settings=self.drops_settings,
        )
        return told(answer)

    def ask_database(self, check: Callable[..., dict[str, Any]], *options: Any) -> list[Finding]:
        """Return the findings of a further check that is made in the database, in a child of its own.

        Where the database cannot be reached there are none, as that is told once for all.

        Args:
            check: What the child calls with the installation and ``options``; it returns ``findings`` as plain data.
            options: Plain data.
        """
        try:
            answer = self.door.call(check, self.installation, *options)
        except FractalError:
            try:
                _reachable = self.facts
            except FractalError:
                return []
            raise
        return findings_told(answer)
