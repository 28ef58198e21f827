# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""Running ``fractalctl`` as the service would: its account, folder, variables and interpreter."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.accounts import Account
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.masking import secret_values
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.programs import NOT_THERE, run
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.database import (
    Installation,
    guarded_options,
    installation_settings,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._env_file.reading import read_env_file
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.journal import mask

_TIMEOUT = 24 * 3600.0  # seconds: no migration takes that long, but one of them may take hours


@dataclass(frozen=True)
class Evidence:
    """What a program said, its secrets masked, and its exit code. Kept for people; nothing is decided from it."""

    command: str
    returncode: int
    output: list[str]

    def tail(self, lines: int = 12) -> str:
        """Return the last lines as one text."""
        return "\n".join(self.output[-lines:])

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for Ansible."""
        return {"command": self.command, "returncode": self.returncode, "output": self.output}


def run_fractalctl(installation: Installation, python: str, command: str, answers: str = "") -> Evidence:
    """Run ``fractalctl`` of the environment of ``python``, in the installation's working directory.

    Raises:
        FractalError: The program is not there, or the account does not exist.
    """
    program = os.path.join(os.path.dirname(python), "fractalctl")
    # run through the interpreter so that sys.executable equals the running server's
    call = [python, program, command]
    account = Account.named(installation.run_as)
    done = run(
        call,
        account=account,
        environ={**account.environment, **installation.process_environment, **_deadlines(installation)},
        cwd=installation.working_directory,
        timeout=_TIMEOUT,
        input=answers,
        err_to_out=True,
    )
    if done.code == NOT_THERE:
        raise FractalError(f"Cannot run {program} in {installation.working_directory}: {done.last_words()}.")
    output = mask(done.out, secrets_of(installation))
    return Evidence(" ".join(call[1:]), done.code, [line for line in output.splitlines() if line.strip()])


def _deadlines(installation: Installation) -> dict[str, str]:
    """Return the PGOPTIONS under which a migration waits for nobody's lock without end."""
    try:
        options = guarded_options(installation_settings(installation))
    except FractalError:  # the program itself will say what is wrong with the database
        return {}
    return {"PGOPTIONS": options} if options else {}


def secrets_of(installation: Installation) -> set[str]:
    """Return the values of all variables whose names sound secret, of the unit and both environment files."""
    sources = [dict(installation.process_environment)]
    for path in (installation.env_file, installation.env_file + ".old"):
        if os.path.exists(path):
            sources.append(read_env_file(path, installation.process_environment))
    return {value for values in sources for value in secret_values(values)}
