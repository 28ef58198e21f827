# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""What may be shown: secrets are recognised by name, by position, and by having been seen."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.dotenv import Reader, parse

MASK = "********"
_LONGEST_NUMBER = 25  # digits
_SHORTEST = 3  # a shorter secret is hidden by name and position only: else half the text would be stars

_SECRET_NAME = re.compile(r"PASS|PWD|SECRET|TOKEN|KEY|CREDENTIAL|AUTHORIZATION_HEADER|DSN", re.IGNORECASE)
_SECRET_OAUTH = re.compile(r"OAUTH_.*(CLIENT_ID|ENDPOINT)\Z")  # fractal-server 2.17.0, config/_oauth.py
# passwords are often written as they are: with a slash or an @ in them, which a URL should not have there
_USER_IN_URL = re.compile(r'(?<=://)(?:[^\s/":]+:[^\s"]+|[^\s/"]+)(?=@)')
_NAME = re.compile(r"""([A-Za-z_][\w-]*)["']?\s*[=:]\s*""")
_VALUE = re.compile(r"""["'][^"']*["']|[^\s&;,'"]+""")


def is_secret(variable: str) -> bool:
    """Return whether the value of ``variable`` is never shown."""
    return bool(_SECRET_NAME.search(variable) or _SECRET_OAUTH.match(variable))


def secret_values(variables: Mapping[str, str]) -> set[str]:
    """Return the values that are shown nowhere. Not an OAuth client's id, which is often a common word."""
    return {value for name, value in variables.items() if value and _SECRET_NAME.search(name)}


def mask_values(text: str, secrets: Iterable[str]) -> str:
    """Return ``text`` without any of ``secrets``."""
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= _SHORTEST:
            text = text.replace(secret, MASK)
    return text


def mask_urls(text: str) -> str:
    """Return ``text`` without user names and passwords in URLs."""
    return _USER_IN_URL.sub(MASK, text)


def short_number(text: str) -> int:
    """Return a whole number of foreign JSON (for ``parse_int``); Python takes for ever to read a very long one.

    Raises:
        ValueError: It is too long, or no whole number.
    """
    if len(text) > _LONGEST_NUMBER:
        raise ValueError("too long")
    return int(text)  # NaN and the infinities are no numbers of JSON


def printable(text: str) -> str:
    """Return ``text`` without what moves a terminal's cursor, hides lines, or turns them round."""
    return "".join(char if char.isprintable() or char in "\n\t" else "?" for char in text)


def mask_text(text: str) -> str:
    """Return ``text`` without passwords in URLs and without values assigned to secret names."""
    text = mask_urls(text)
    pieces, position = [], 0
    for name in _NAME.finditer(text):
        value = _VALUE.match(text, name.end())
        if value and is_secret(name[1]) and name.start() >= position:
            pieces.append(text[position : value.start()] + MASK)
            position = value.end()
    return "".join(pieces) + text[position:]


def mask_document(text: str, reader: Reader, secrets: Iterable[str] = (), changed: Iterable[str] = ()) -> str:
    """Return an environment file without secrets.

    Args:
        text: The file.
        reader: Who reads it.
        secrets: Values that must not be seen wherever they stand.
        changed: Secret variables whose values are others than before, which is said.
    """
    pieces = []
    for statement in parse(text, reader):
        key, value = statement.key, statement.value
        # a secret within another value may be written with escapes
        if key is not None and value and (is_secret(key) or mask_values(value, secrets) != value):
            shown = MASK + (" (changed)" if key in changed else "")
            start, end = statement.value_span
            pieces.append(mask_text(statement.text[:start]) + shown + mask_text(statement.text[end:]))
        else:
            pieces.append(mask_text(statement.text))
    return mask_values("".join(pieces), secrets)


def is_fernet_token(text: str) -> bool:
    """Return whether this looks like a Fernet token: version 0x80, then a time stamp, in base 64."""
    return bool(re.match(r"gAAAA[A-Za-z0-9_-]{95,}=*\Z", text))
