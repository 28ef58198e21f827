# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""For those who are used to nox: a session for each target of the Makefile, and one of `matrix` for each ansible-core.

The targets bring their tools in themselves, with hashes and without another network than the package registries; so no
session has an environment of its own. `nox --list` names them, `nox -s lint` is `make lint`.
"""

import pathlib
import re
from typing import Any, Callable

import nox

ROOT = pathlib.Path(__file__).resolve().parent
CORES = sorted({path.name.split("-")[1] for path in (ROOT / "tests" / "requirements").glob("core-*.txt")})
nox.options.sessions = ["lint", "docs", "unit"]
nox.options.default_venv_backend = "none"


def _session(target: str, says: str) -> Callable[..., Any]:
    def run(session: nox.Session) -> None:
        session.run("make", target, *session.posargs, external=True)

    run.__doc__ = says
    return nox.session(name=target)(run)


for _target, _says in re.findall(r"^([a-z]+):.*## (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE):
    if _target not in ("help", "matrix"):
        _session(_target, _says)


@nox.session
@nox.parametrize("core", CORES)
def matrix(session: nox.Session, core: str) -> None:
    """Unit tests and sanity on one ansible-core."""
    session.run("make", "matrix", f"CORES={core}", external=True)
