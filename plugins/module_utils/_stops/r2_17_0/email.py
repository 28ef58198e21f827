# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""The e-mail password: encrypted in 2.16, plain text in 2.17."""

from __future__ import annotations

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.dotenv import literal
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.masking import is_fernet_token
from ansible_collections.fractal_ops.platform.plugins.module_utils._env_file.draft import Draft
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.r2_17_0.env_rules import (
    BETWEEN,
    EMAIL_KEY,
    EMAIL_PASSWORD,
    RULES,
    era,
)

_NEEDED = ("SENDER", "SMTP_SERVER", "SMTP_PORT", "INSTANCE_NAME", "RECIPIENTS")


_REASON = next(rule.reason for rule in RULES if rule.variable == EMAIL_PASSWORD)


def decide_email(draft: Draft) -> None:
    """Decide about the password; its key is dropped by the rules."""
    name = EMAIL_PASSWORD
    token, key = draft.known(name), draft.known(EMAIL_KEY)
    if token is None or key is None:
        if token is not None and draft.completes and is_fernet_token(token):
            draft.find("environment.email_password", name, problem=f"{EMAIL_KEY} is not set")
        if token is not None or name in draft.file:
            draft.targets[name] = draft.value(name)
        return
    draft.secrets |= {token, key}
    try:
        password = _decrypt(draft, token, key)
    except FractalError as problem:
        _decide_without(draft, token, str(problem))
        return
    draft.secrets.add(password)
    draft.targets[name] = literal(password)
    draft.change(name, "change", _REASON)


def _decrypt(draft: Draft, token: str, key: str) -> str:
    if draft.context.decrypt is None:
        raise FractalError("the Python of fractal-server, which can decrypt it, is not known (server_python)")
    return draft.context.decrypt(token, key)


def _decide_without(draft: Draft, token: str, problem: str) -> None:
    """The pair does not decrypt: 2.16 noticed only if it needed the password (2.16.6, config.py)."""
    name = EMAIL_PASSWORD
    is_complete = all(draft.settings.get(f"FRACTAL_EMAIL_{part}") is not None for part in _NEEDED)
    is_used = is_complete and draft.settings.get("FRACTAL_EMAIL_USE_LOGIN", "true") == "true"
    if era(draft.text) == BETWEEN and not is_fernet_token(token):
        draft.targets[name] = literal(token)  # somebody has decrypted it already and left the key
    elif is_used:
        draft.find("environment.email_password", name, problem=problem)
    else:
        draft.targets[name] = None
        draft.change(name, "drop", "it cannot be decrypted, and nothing uses it")
        draft.find("environment.email_password_unused", name, problem=problem)
