# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""How fractal-server's variables name OAuth clients.

Up to 2.16 there are any number of clients, each by its name within the variables' names; from 2.17.0 on there is one,
named by a variable (fractal-server 2.16.6, config.py, collect_oauth_clients; 2.17.0, config/_oauth.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

CLIENT_NAME = "OAUTH_CLIENT_NAME"
PARTS = {
    "CLIENT_ID": "OAUTH_CLIENT_ID",
    "CLIENT_SECRET": "OAUTH_CLIENT_SECRET",
    "OIDC_CONFIGURATION_ENDPOINT": "OAUTH_OIDC_CONFIG_ENDPOINT",
    "REDIRECT_URL": "OAUTH_REDIRECT_URL",
}
"""What comes after a client's name in the old variables, to the new variables."""
NEW_NAMES = frozenset({CLIENT_NAME, "OAUTH_EMAIL_CLAIM", *PARTS.values()})
WITHOUT_ENDPOINT = ("google", "github")
"""Providers that need no discovery (fractal-server 2.16.6, config.py; 2.17.0, app/routes/auth/oauth.py)."""


@dataclass(frozen=True)
class Client:
    """An OAuth client. ``missing`` holds the variables without which it is none."""

    name: str
    client_id: str = field(default="", repr=False)
    redirect_url: str | None = None
    endpoint: str = field(default="", repr=False)
    missing: tuple[str, ...] = ()


def names_in_variables(names: Iterable[str]) -> list[str]:
    """Return the names of the clients that the old way finds in these variables."""
    return sorted({name.split("_")[1] for name in names if name.startswith("OAUTH_") and name not in NEW_NAMES})


def clients(values: Mapping[str, str]) -> list[Client]:
    """Return the clients that a file configures, new way or, if it does not name one so, the old way."""
    if values.get(CLIENT_NAME):
        return [_client(values[CLIENT_NAME], values, PARTS)]
    return [
        _client(name, values, {part: f"OAUTH_{name}_{part}" for part in PARTS}) for name in names_in_variables(values)
    ]


def provider(client: str) -> str:
    """Return how the database calls the provider of a client: every OpenID client is ``openid``."""
    return client.lower() if client.lower() in WITHOUT_ENDPOINT else "openid"


def _client(name: str, values: Mapping[str, str], variables: Mapping[str, str]) -> Client:
    missing = [variables[part] for part in ("CLIENT_ID", "CLIENT_SECRET") if not values.get(variables[part])]
    return Client(
        name,
        values.get(variables["CLIENT_ID"], ""),
        values.get(variables["REDIRECT_URL"]),
        values.get(variables["OIDC_CONFIGURATION_ENDPOINT"], ""),
        tuple(missing),
    )
