# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""An environment file as fractal-server reads it. No libraries: the controller's planner leads here, too."""

from __future__ import annotations

from collections.abc import Mapping

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.dotenv import (
    Reader,
    Reference,
    interpolate,
    parse,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.files import file_text


def read_env_file(path: str, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that an environment file gives to a fractal-server that only reads it, ``${…}`` filled in.

    Raises:
        FractalError: It cannot be read.
    """
    text = file_text(path)
    if text is None:
        raise FractalError(f"Cannot read fractal-server's environment file {path}: No such file or directory.")
    values = interpolate(parse(text, Reader.DOTENV_1_2), environ, file_wins=True)
    return {
        key: "".join((piece.default or "") if isinstance(piece, Reference) else piece for piece in value)
        for key, value in values.items()
        if value is not None
    }
