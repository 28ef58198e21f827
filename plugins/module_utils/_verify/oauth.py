# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""Log-in through the OpenID provider, as far as it goes without a person: up to the provider's own page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.http_client import (
    Answer,
    loses_secure_cookies,
    request,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.verification import Check
from ansible_collections.fractal_ops.platform.plugins.module_utils._env_file.reading import read_env_file
from ansible_collections.fractal_ops.platform.plugins.module_utils._releases.oauth import (
    CLIENT_NAME,
    PARTS,
    WITHOUT_ENDPOINT,
    Client,
    clients,
    names_in_variables,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._verify.checks import CHECKS

if TYPE_CHECKING:
    from ansible_collections.fractal_ops.platform.plugins.module_utils._verify.session import Session


def login_oauth(session: Session) -> Check:
    """Check that the authorize endpoint of each client leads to the provider, with the right client and way back.

    Raises:
        FractalError: Server or provider does not answer.
    """
    rule, found = CHECKS["login_oauth"], clients(session.variables)
    if not session.release.has_many_oauth_clients:
        missing = _missing(session.variables)
        lost = _lost_clients(session) if missing else []
        if lost:
            return rule.failed(
                "OAuth",
                f"{', '.join(lost)} was configured for an earlier release, but {', '.join(missing)} is not set, so "
                "there is no OAuth log-in at all",
            )
        found = [] if missing else found
    if not found:
        return rule.skipped("OAuth", "no OAuth client is configured")
    subject = ", ".join(client.name.lower() for client in found)
    problems, ways = [], []
    for client in found:
        wrong, way = _one_client(session, client)
        problems += wrong
        ways.append(way)
    if problems:
        return rule.failed(subject, "; ".join(problems))
    return rule.passed(subject, "; ".join(ways))


def _missing(variables: Mapping[str, str]) -> list[str]:
    """Return what a client lacks; without one of these the server offers no OAuth (is_set).

    Source: fractal-server 2.17.0, config/_oauth.py.
    """
    return [name for name in (CLIENT_NAME, PARTS["CLIENT_ID"], PARTS["CLIENT_SECRET"]) if not variables.get(name)]


def _lost_clients(session: Session) -> list[str]:
    """Return the variables that name a client the old way, in the new file or in the copy of the old one."""
    try:
        old = read_env_file(session.instance.env_file + ".old", {})
    except FractalError:
        old = {}
    names = {**old, **session.variables}
    return [f"OAUTH_{name}_CLIENT_ID" for name in names_in_variables(names) if f"OAUTH_{name}_CLIENT_ID" in names]


def _one_client(session: Session, client: Client) -> tuple[list[str], str]:
    """Return what is wrong with the way to a client's provider, and where it leads."""
    name = client.name.lower()
    answer = session.api.answer("GET", f"/auth/{name}/authorize/")
    data = answer.json()
    location = data.get("authorization_url") if isinstance(data, dict) else None
    if answer.status != 200 or not location:
        return [f"/auth/{name}/authorize/ answers with status {answer.status}, not with a URL"], ""
    wrong = [
        *_wrong_parameters(location, client),
        *_wrong_provider(location, client, session.validate_certs),
        *_plain_http(answer, location),
    ]
    return wrong, f"the way to {urlsplit(location).netloc} is open; {_way_back(location, client)}"


def _wrong_parameters(location: str, client: Client) -> list[str]:
    query = parse_qs(urlsplit(location).query)
    problems = []
    if query.get("client_id") != [client.client_id]:
        problems.append("the client id sent to the provider is not OAUTH_CLIENT_ID: the server was not restarted since")
    wanted = client.redirect_url
    sent = query.get("redirect_uri", [""])[0]
    if wanted is not None and sent != wanted:
        problems.append(f"the provider is told to send users back to {sent}, but OAUTH_REDIRECT_URL is {wanted}")
    return problems


def _wrong_provider(location: str, client: Client, validate_certs: bool) -> list[str]:
    """Return what is wrong between discovery and the URL; fractal-server itself reads discovery only when it starts."""
    if client.name.lower() in WITHOUT_ENDPOINT or not client.endpoint:
        return []
    try:
        answer = request(client.endpoint, timeout=15, validate_certs=validate_certs)
    except FractalError as error:
        return [f"the provider's discovery is not reachable, so fractal-server would not start again: {error}"]
    data = answer.json()
    told = data.get("authorization_endpoint") if isinstance(data, dict) else None
    if answer.status != 200 or not told:
        return [f"the provider's discovery answers with status {answer.status} and no authorization_endpoint"]
    if urlsplit(told)[:3] != urlsplit(location)[:3]:
        return [f"the provider's page is {told}, but the server sends users to {location.split('?', maxsplit=1)[0]}"]
    return []


def _plain_http(answer: Answer, location: str) -> list[str]:
    """Return why browsers will not send the state cookie back: since fastapi-users 15.0.2 it is ``Secure``."""
    back = parse_qs(urlsplit(location).query).get("redirect_uri", [""])[0]
    secure = [value for value in answer.all("set-cookie") if "; secure" in value.lower()]
    if not secure or not loses_secure_cookies(back):
        return []
    name = secure[0].split("=", 1)[0]
    return [
        f"users come back over plain HTTP ({back}), where browsers do not send the cookie {name}, so every "
        "log-in ends with OAUTH_INVALID_STATE: serve Fractal over HTTPS and set OAUTH_REDIRECT_URL accordingly"
    ]


def _way_back(location: str, client: Client) -> str:
    if client.redirect_url is not None:
        return f"users come back to {client.redirect_url}"
    path = urlsplit(parse_qs(urlsplit(location).query).get("redirect_uri", [""])[0]).path
    return f"users come back to {path} of the address that they use, which must be HTTPS"
