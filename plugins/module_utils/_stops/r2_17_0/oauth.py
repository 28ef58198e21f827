# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""OAuth: in 2.16 any number of clients, named within the variables' names; in 2.17 one, named by a variable."""

from __future__ import annotations

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.dotenv import literal, plain
from ansible_collections.fractal_ops.platform.plugins.module_utils._env_file.draft import Draft
from ansible_collections.fractal_ops.platform.plugins.module_utils._releases.oauth import (
    CLIENT_NAME,
    NEW_NAMES,
    PARTS,
    WITHOUT_ENDPOINT,
    names_in_variables,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.r2_17_0 import env_rules as rules


def decide_oauth(draft: Draft) -> None:
    """Turn the variables of one client into those without its name."""
    new = [name for name in sorted(NEW_NAMES) if name in draft.file or name in draft.process]
    draft.targets.update({name: draft.value(name) for name in new})
    if draft.targets.get(PARTS["REDIRECT_URL"]) == ():
        draft.targets[PARTS["REDIRECT_URL"]] = None
        draft.change(PARTS["REDIRECT_URL"], "drop", "2.17 would take the empty text for an address")
    names = [name for name in {**draft.file, **draft.process} if draft.value(name) is not None]
    client = _choose(draft, names_in_variables(names))
    if client is not None:
        _name(draft, client)
        _take_over(draft, client)
        for name in sorted(set(names) - NEW_NAMES - set(draft.new_names) - draft.dropped):
            if name.startswith("OAUTH_"):
                own = name.startswith(f"OAUTH_{client}_")
                draft.drop(name, "2.17 has no such setting" if own else "2.17 knows one OAuth client")
    needed = (CLIENT_NAME, PARTS["CLIENT_ID"], PARTS["CLIENT_SECRET"])
    renamed = [s.key for s in draft.statements if s.key in draft.new_names and s.key.startswith("OAUTH_")]
    if renamed and draft.targets.get(CLIENT_NAME) and CLIENT_NAME not in draft.file:
        draft.companions[CLIENT_NAME] = renamed[0]
    if any(draft.targets.get(name) is None for name in needed):
        return  # 2.17 offers no OAuth then (_oauth.py, is_set)
    draft.oauth_client_name = (plain(draft.targets[CLIENT_NAME]) or "").strip().lower()


def _choose(draft: Draft, clients: list[str]) -> str | None:
    """Return the client to keep, None for none or if it is not clear."""
    if not clients:
        return None
    named = draft.plain(CLIENT_NAME)
    wanted = draft.context.oauth_client or named
    chosen = clients
    if wanted is not None:
        matching = [client for client in clients if client.lower() == wanted.lower()]
        chosen = [client for client in matching if client == wanted] or matching
    if len(chosen) != 1:
        if named is not None and not draft.context.oauth_client:
            draft.find("environment.contradiction", CLIENT_NAME, other=f"OAUTH_{clients[0]}_...")
        else:
            draft.find("environment.oauth_several_clients", "OAUTH", clients=", ".join(clients))
        return None
    others = ", ".join(client for client in clients if client not in chosen)
    if others:
        draft.find("environment.oauth_clients_dropped", chosen[0], clients=others)
    return chosen[0]


def _name(draft: Draft, client: str) -> None:
    named = plain(draft.targets.get(CLIENT_NAME))
    if named is None:
        draft.targets[CLIENT_NAME] = literal(client.lower())
        draft.change(CLIENT_NAME, "add", "2.16 took the client's name from the names of the variables")
    elif named.lower() != client.lower():
        draft.find("environment.contradiction", CLIENT_NAME, other=f"OAUTH_{client}_...")


def _take_over(draft: Draft, client: str) -> None:
    missing = []
    for part, new_name in PARTS.items():
        name = f"OAUTH_{client}_{part}"
        value = draft.value(name)
        if value == () and part in rules.OAUTH_ADDRESSES:
            draft.drop(name, "2.17 would take the empty text for an address")
            value = None
        if value is not None:
            draft.rename(name, new_name, value)
            draft.targets[new_name] = value
            draft.change(name, "rename", "2.17 has one OAuth client, without its name in the variables", new_name)
        elif draft.targets.get(new_name) is None and not _is_optional(part, client):
            missing.append(name)
    if missing:
        draft.find("environment.oauth_incomplete", client, missing=", ".join(missing))


def _is_optional(part: str, client: str) -> bool:
    """Return whether an OAuth client may go without this (2.16.6, config.py, OAuthClientConfig)."""
    is_known = client.lower() in WITHOUT_ENDPOINT
    return part == "REDIRECT_URL" or (part == "OIDC_CONFIGURATION_ENDPOINT" and is_known)
