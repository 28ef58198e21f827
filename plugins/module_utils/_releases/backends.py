# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""How fractal-server calls the ways to run jobs: 2.17.0 gave the one through sudo another name."""

from __future__ import annotations

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError

BACKENDS = {"local": "local", "slurm": "slurm_sudo", "slurm_sudo": "slurm_sudo", "slurm_ssh": "slurm_ssh"}
"""Any name that a release uses, to today's."""


def backend_of(value: str) -> str:
    """Return today's name of a runner backend.

    Raises:
        FractalError: No release knows it.
    """
    try:
        return BACKENDS[value]
    except KeyError:
        raise FractalError(f"The runner backend must be one of {', '.join(BACKENDS)}, not {value!r}.") from None
