# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""Environment files as they may be shown: secrets are recognised by name, by position, and by having been seen."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ansible_collections.fractal_ops.platform.plugins.module_utils._dotenv import Reader, parse
from ansible_collections.fractal_ops.platform.plugins.module_utils._env_rules import is_secret

MASK = "********"
_SHORTEST = 4  # a shorter secret is hidden by name and position only: else half the text would be stars

_USER_IN_URL = re.compile(r"(?<=://)[^/\s'\"]+(?=@)")
_NAME = re.compile(r"""([A-Za-z_][\w-]*)["']?\s*[=:]\s*""")
_VALUE = re.compile(r"""["'][^"']*["']|[^\s&;,'"]+""")


def mask_document(text: str, reader: Reader, secrets: Iterable[str] = (), changed: Iterable[str] = ()) -> str:
    """Return ``text`` without secrets: values of secret variables, passwords in URLs and comments, known ``secrets``.

    Args:
        text: The file.
        reader: Who reads it.
        secrets: Values that must not be seen wherever they stand.
        changed: Secret variables whose values are others than before, which is said.
    """
    pieces = []
    for statement in parse(text, reader):
        if statement.key is not None and statement.value and is_secret(statement.key):
            shown = MASK + (" (changed)" if statement.key in changed else "")
            start, end = statement.value_span
            pieces.append(mask_text(statement.text[:start]) + shown + mask_text(statement.text[end:]))
        else:
            pieces.append(mask_text(statement.text))
    return mask_values("".join(pieces), secrets)


def mask_text(text: str) -> str:
    """Return ``text`` without passwords in URLs and without values assigned to secret names."""
    text = _USER_IN_URL.sub(MASK, text)
    pieces, position = [], 0
    for name in _NAME.finditer(text):
        value = _VALUE.match(text, name.end())
        if value and is_secret(name[1]) and name.start() >= position:
            pieces.append(text[position : value.start()] + MASK)
            position = value.end()
    return "".join(pieces) + text[position:]


def mask_values(text: str, secrets: Iterable[str]) -> str:
    """Return ``text`` without any of ``secrets``."""
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= _SHORTEST:
            text = text.replace(secret, MASK)
    return text
