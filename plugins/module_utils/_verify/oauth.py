# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""Log-in through the OpenID provider, as far as it goes without a person: up to the provider's own page."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import parse_qs, urlsplit

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.http_client import (
    Answer,
    Api,
    loses_secure_cookies,
    request,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.verification import Check
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.database import read_env_file
from ansible_collections.fractal_ops.platform.plugins.module_utils._verify.checks import CHECKS

REQUIRED = ("OAUTH_CLIENT_NAME", "OAUTH_CLIENT_ID", "OAUTH_CLIENT_SECRET")
# Names of 2.16, one set for each client (2.16.6, config.py); no name of 2.17 matches
_OLD_NAME = re.compile(r"OAUTH_(?!CLIENT_)[^_]+_CLIENT_ID$")
_KNOWN_PROVIDERS = ("google", "github")  # need no discovery (2.17.0, app/routes/auth/oauth.py)


def login_oauth(api: Api, variables: Mapping[str, str], env_file: str, validate_certs: bool = True) -> Check:
    """Check that the authorize endpoint leads to the provider, with the right client and the right way back.

    Raises:
        FractalError: Server or provider does not answer.
    """
    rule = CHECKS["login_oauth"]
    missing = [name for name in REQUIRED if not variables.get(name)]
    if missing:
        old = _old_clients(variables, env_file)
        if old:
            return rule.failed(
                "OAuth",
                f"{', '.join(old)} was configured for 2.16, but {', '.join(missing)} is not set, so 2.17 offers no "
                "OAuth log-in at all",
            )
        return rule.skipped("OAuth", "no OAuth client is configured")
    client = variables["OAUTH_CLIENT_NAME"].lower()
    answer = api.answer("GET", f"/auth/{client}/authorize/")
    data = answer.json()
    location = data.get("authorization_url") if isinstance(data, dict) else None
    if answer.status != 200 or not location:
        return rule.failed(client, f"/auth/{client}/authorize/ answers with status {answer.status}, not with a URL")
    problems = [
        *_wrong_parameters(location, variables),
        *_wrong_provider(location, client, variables, validate_certs),
        *_plain_http(answer, location),
    ]
    if problems:
        return rule.failed(client, "; ".join(problems))
    return rule.passed(client, f"the way to {urlsplit(location).netloc} is open; {_way_back(location, variables)}")


def _old_clients(variables: Mapping[str, str], env_file: str) -> list[str]:
    """Return the variables of 2.16 that name a client, in the new file or in the copy of the old one."""
    try:
        old = read_env_file(env_file + ".old", {})
    except FractalError:
        old = {}
    return sorted(name for name in {**old, **variables} if _OLD_NAME.match(name))


def _wrong_parameters(location: str, variables: Mapping[str, str]) -> list[str]:
    query = parse_qs(urlsplit(location).query)
    problems = []
    if query.get("client_id") != [variables["OAUTH_CLIENT_ID"]]:
        problems.append("the client id sent to the provider is not OAUTH_CLIENT_ID: the server was not restarted since")
    wanted = variables.get("OAUTH_REDIRECT_URL")
    sent = query.get("redirect_uri", [""])[0]
    if wanted is not None and sent != wanted:
        problems.append(f"the provider is told to send users back to {sent}, but OAUTH_REDIRECT_URL is {wanted}")
    return problems


def _wrong_provider(location: str, client: str, variables: Mapping[str, str], validate_certs: bool) -> list[str]:
    """Return what is wrong between discovery and the URL; fractal-server itself reads discovery only when it starts."""
    endpoint = variables.get("OAUTH_OIDC_CONFIG_ENDPOINT")
    if client in _KNOWN_PROVIDERS or not endpoint:
        return []
    try:
        answer = request(endpoint, timeout=15, validate_certs=validate_certs)
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


def _way_back(location: str, variables: Mapping[str, str]) -> str:
    if variables.get("OAUTH_REDIRECT_URL") is not None:
        return f"users come back to {variables['OAUTH_REDIRECT_URL']}"
    path = urlsplit(parse_qs(urlsplit(location).query).get("redirect_uri", [""])[0]).path
    return f"users come back to {path} of the address that they use, which must be HTTPS"
