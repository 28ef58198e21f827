# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""Log-in to the mail server, with the settings of fractal-server and as it does it; no mail is sent."""

from __future__ import annotations

import smtplib
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.masking import is_fernet_token
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.verification import Check
from ansible_collections.fractal_ops.platform.plugins.module_utils._verify.checks import CHECKS

if TYPE_CHECKING:
    from ansible_collections.fractal_ops.platform.plugins.module_utils._releases.api import ReleaseApi


def email(variables: Mapping[str, str], asked: bool, release: ReleaseApi) -> Check:
    """Check that the mail server takes the settings.

    Source: fractal-server 2.17.0, config/_email.py and app/security/signup_email.py.
    """
    rule = CHECKS["email"]
    server = variables.get("FRACTAL_EMAIL_SMTP_SERVER")
    if not server:
        return rule.skipped("e-mail", "no mail server is configured")
    subject = f"{server}:{variables.get('FRACTAL_EMAIL_SMTP_PORT', '')}"
    if not asked:
        return rule.skipped(subject, "not asked for", "Set fractal_verify_mail_server to true.")
    password = variables.get("FRACTAL_EMAIL_PASSWORD", "")
    log_in = variables.get("FRACTAL_EMAIL_USE_LOGIN", "true") == "true"
    if log_in and is_fernet_token(password):
        why = "FRACTAL_EMAIL_PASSWORD is encrypted"
        if release.encrypts_mail_password:
            return rule.skipped(subject, f"{why}, as the installed release wants it, so it was not tried")
        return rule.failed(subject, f"{why}, which only an earlier release could read")
    problem = _log_in(server, variables, password if log_in else None)
    if problem:
        return rule.failed(subject, problem)
    return rule.passed(subject, "log-in accepted" if log_in else "it answers; no log-in is configured")


def _log_in(server: str, variables: Mapping[str, str], password: str | None) -> str:
    """Do what fractal-server does before it sends a mail, and return what is wrong; None for no log-in."""
    try:
        with smtplib.SMTP(server, int(variables["FRACTAL_EMAIL_SMTP_PORT"]), timeout=30) as smtp:
            smtp.ehlo()
            if variables.get("FRACTAL_EMAIL_USE_STARTTLS", "true") == "true":
                smtp.starttls()
                smtp.ehlo()
            if password is not None:
                smtp.login(variables["FRACTAL_EMAIL_SENDER"], password)
    except smtplib.SMTPAuthenticationError as error:
        return f"it refuses the log-in as {variables['FRACTAL_EMAIL_SENDER']} ({error.smtp_code})"
    except (OSError, smtplib.SMTPException, KeyError, ValueError) as error:
        said = str(error).replace(password, "********") if password else str(error)
        return f"{type(error).__name__}: {said}"
    return ""
