# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""The environment in which SLURM jobs run Fractal's own code, where it is not the server's.

Its fractal-server must have exactly the server's version, or every job is refused (fractal-server 2.17.0,
runner/executors/slurm_common/base_slurm_runner.py). It is built beside the old one and switched by one rename, as the
server's own, so that the path in the resource stays the same.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.side_by_side import switch, switch_back
from ansible_collections.fractal_ops.platform.plugins.module_utils._venv.build import (
    build_environment,
    remove_partial,
    staged_releases,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._venv.interpreter import facts, keeper


@dataclass(frozen=True)
class Worker:
    """A workers' environment: ``version`` is that of its fractal-server, ``staged`` the releases that lie beside it."""

    python: str
    environment: str
    base_python: str
    python_version: str
    version: str
    staged: list[str]

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for Ansible."""
        return asdict(self)


def discover_worker(python: str) -> Worker:
    """Return the workers' environment behind an interpreter, given by the path that the resource knows.

    Raises:
        FractalError: It does not run, has no fractal-server, or is no virtual environment of its own.
    """
    if not python:
        raise FractalError("Nothing says which interpreter the SLURM jobs use: set fractal_worker_python.")
    found = facts(python, keeper(python), "fractal_worker_python")
    if not found.version:
        raise FractalError(f"{python} has no fractal-server, so it is not what SLURM jobs run with.")
    if not found.is_venv:
        raise FractalError(
            f"{python} is no virtual environment, so another one cannot be put in its place. Install the server's "
            f"release there as it was installed before: {python} -m pip install fractal-server==<release>."
        )
    environment = str(Path(python).parent.parent)
    return Worker(
        python=python,
        environment=environment,
        base_python=found.base_python,
        python_version=found.python_version,
        version=found.version,
        staged=staged_releases(environment),
    )


def settle_worker(
    python: str,
    state: str,
    release: str | None,
    pip_arguments: Sequence[str],
    environ: Mapping[str, str],
    check_mode: bool,
    pythons: Sequence[str] = (),
) -> dict[str, Any]:
    """Bring the environment to a state and return what there is then.

    Args:
        python: Interpreter, by the path that the resource knows.
        state: ``read``, ``staged``, ``switched`` or ``original``.
        release: Release to build, to switch to, or to go back to.
        pip_arguments: Further arguments of ``pip install``.
        environ: Environment of the tools.
        check_mode: Only say whether something would change.
        pythons: Further interpreters, for a release that does not run on the environment's own.

    Raises:
        FractalError: The environment is none of a worker, or a tool fails.
    """
    worker = discover_worker(python)
    wanted = str(release)
    changed = state != "read" and worker.version != wanted and not (state == "staged" and wanted in worker.staged)
    left = state == "original" and not check_mode and bool(remove_partial(worker.environment))  # by a killed build
    if changed and not check_mode:
        if state == "staged":
            build_environment(worker.as_dict(), wanted, pip_arguments, environ, pythons)
        elif state == "switched":
            switch(worker.environment, worker.version, wanted)
        else:
            switch_back(worker.environment, wanted)
        worker = discover_worker(python)
        if state != "staged" and worker.version != wanted:
            raise FractalError(f"{os.path.realpath(worker.environment)} holds {worker.version}, not {wanted}.")
    return {"changed": changed or left, "worker": worker.as_dict()}
