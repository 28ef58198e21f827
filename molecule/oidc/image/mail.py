"""The mail server of the test bed: STARTTLS, one account, keeps nothing."""

from __future__ import annotations

import asyncio
import ssl

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

ACCOUNT = LoginPassword(b"fractal@example.org", b"mail-s3cret-45c48cce2e2d7fbd")


class Bin:
    """Takes every mail and forgets it."""

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        return "250 kept"


def authenticate(server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: LoginPassword) -> AuthResult:
    return AuthResult(success=data == ACCOUNT, handled=False)


context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
context.load_cert_chain("/opt/oidc/mail.crt", "/opt/oidc/mail.key")
Controller(
    Bin(), hostname="localhost", port=2525, tls_context=context, authenticator=authenticate, auth_required=True
).start()
asyncio.new_event_loop().run_forever()
