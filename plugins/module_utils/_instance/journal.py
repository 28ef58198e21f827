# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""The last journal lines of a unit, with every secret of the instance masked."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.masking import (
    MASK,
    mask_urls,
    mask_values,
    secret_values,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.programs import run
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.systemd import Unit
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.database import SERVER_ENV_FILE
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.command_line import read_text

_ASSIGNMENT = re.compile(r"^\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_-]*)\s*=\s*(.*?)\s*$", re.MULTILINE)
# pydantic quotes the value it refused; for a missing variable of fractal-server that is a part of all settings
_COLOURS = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\))")  # ECMA-48
# what a provider hands to the way back (RFC 6749, 4.1.2), and tokens: uvicorn and fractal-web log whole addresses
_IN_QUERY = re.compile(r"([?&](?:code|state|session_state|id_token|access_token|refresh_token|token)=)[^&\s\"'#]+")
_REFUSED_VALUE = re.compile(r"input_value=.*?(?=, input_type=|\]|$)", re.MULTILINE)


def journal_tail(unit: Unit, lines: int = 20) -> str:
    """Return the unit's last journal lines, secrets masked; an empty text when there is no journal."""
    command = ["journalctl", "--no-pager", "--output=cat", f"--lines={lines}", f"--unit={unit.name}"]
    return mask(run(command, timeout=30).out, unit_secrets(unit)).strip()


def unit_secrets(unit: Unit) -> set[str]:
    """Return the values of all variables of the unit whose names sound secret.

    Files are read loosely, line by line: an unparsable one is just what makes a service fail and its journal asked for.
    """
    found = secret_values(unit.environment)
    for path in [*unit.environment_files, os.path.join(unit.working_directory, SERVER_ENV_FILE)]:
        text = read_text(path) or ""
        for name, value in _ASSIGNMENT.findall(text):
            for form in (value, value.strip("'\""), value.split(" #")[0].strip().strip("'\"")):
                found |= secret_values({name: form})
    return found


def mask(text: str, secrets: Iterable[str]) -> str:
    """Return the text without colours, and with every secret masked.

    So are users and log-in codes in URLs, and every value quoted by pydantic.
    """
    plain = _COLOURS.sub("", text)
    shown = mask_urls(_REFUSED_VALUE.sub(f"input_value={MASK}", mask_values(plain, secrets)))
    return _IN_QUERY.sub(rf"\1{MASK}", shown)
