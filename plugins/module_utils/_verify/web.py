# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""The checks of fractal-web: it answers, reaches its server, agrees with it, and lets people in."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.http_client import request
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.verification import Check, Step, run_steps
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.alive import ALIVE_PATH
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.web import WebInstance, discover_web
from ansible_collections.fractal_ops.platform.plugins.module_utils._verify.checks import CHECKS

# fractal-web 1.21.1, docs/environment-variables.md
VIEWER_URLS = ("PUBLIC_FRACTAL_DATA_URL", "PUBLIC_FRACTAL_VIZARR_VIEWER_URL", "PUBLIC_FRACTAL_FEATURE_EXPLORER_URL")
# What has to be the same as the server's: variable, and how that is called in what a verification of the server returns
SHARED = {"FRACTAL_RUNNER_BACKEND": "runner_backend", "FRACTAL_DEFAULT_GROUP_NAME": "default_group_name"}
CLIENT = "PUBLIC_OAUTH_CLIENT_NAME"


@dataclass(frozen=True)
class WebSession:
    """What the checks work with; ``server`` is what ``fractal_verify`` returned of the server.

    ``told`` is what this side says of the same: of ``version`` only once the server was reached.
    """

    instance: WebInstance
    variables: Mapping[str, str] = field(repr=False)
    server: Mapping[str, str]
    version: str | None
    validate_certs: bool
    told: dict[str, str] = field(default_factory=dict)

    def get(self, path: str) -> Any:
        """Return fractal-web's answer at ``path``.

        Raises:
            FractalError: It does not answer.
        """
        return request(self.instance.url + path, timeout=30, validate_certs=self.validate_certs)


def verify_web(options: Mapping[str, Any]) -> dict[str, Any]:
    """Make all checks of a web host.

    Raises:
        FractalError: The unit is unknown, so that nothing can be checked.
    """
    return verify_found(discover_web(options["service"] or "fractal-web", options["env_file"], options["url"]), options)


def verify_found(instance: WebInstance, options: Mapping[str, Any]) -> dict[str, Any]:
    """Make all checks of a web host that is known.

    Raises:
        FractalError: Its settings cannot be read.
    """
    session = WebSession(
        instance,
        instance.variables(),
        options["server"] or {},
        options["version"],
        options["validate_certs"],
    )
    session.told.update(
        {key: session.variables.get(name, "") for name, key in {**SHARED, CLIENT: "oauth_client"}.items()}
    )
    return {"checks": [check.as_dict() for check in all_checks(session)], "told": session.told}


def all_checks(session: WebSession) -> list[Check]:
    """Make every check of a web host."""
    steps = [
        Step((name,), lambda make=make: [make(session)])  # type: ignore[misc]
        for name, make in (
            ("web_alive", web_alive),
            ("web_release", web_release),
            ("web_login_page", web_login_page),
            ("viewer_urls", viewer_urls),
        )
    ]
    return run_steps(CHECKS, steps, os.path.basename(session.instance.service))


def web_alive(session: WebSession) -> Check:
    """Check fractal-web's own ``alive``, and the way from this host to the server."""
    rule, url = CHECKS["web_alive"], session.instance.url
    answer = session.get(ALIVE_PATH["web"])
    data = answer.json()
    if answer.status != 200 or not isinstance(data, dict) or data.get("alive") is not True:
        return rule.failed(url, f"{ALIVE_PATH['web']} answers with status {answer.status}")
    server = session.variables.get("FRACTAL_SERVER_HOST", "").rstrip("/")
    if not server:
        return rule.failed(url, "FRACTAL_SERVER_HOST is not set")
    direct = request(server + ALIVE_PATH["server"], timeout=30, validate_certs=session.validate_certs).json()
    versions = {data.get("fractal_server_version"), direct.get("version") if isinstance(direct, dict) else None}
    if not data.get("fractal_server_alive") or None in versions:
        return rule.failed(url, f"fractal-web is up, but does not reach its server at {server}")
    wanted = session.server.get("version")
    if len(versions) > 1 or (wanted and versions != {wanted}):
        told = ", ".join(sorted(str(version) for version in versions))
        return rule.failed(url, f"{server} is fractal-server {told}, not {wanted or 'one release'}")
    session.told["version"] = str(versions.pop())
    return rule.passed(
        url, f"fractal-web {data.get('version')} reaches fractal-server {session.told['version']} at {server}"
    )


def web_release(session: WebSession) -> Check:
    """Check the release that runs, and the settings that have to be the same as the server's."""
    rule, instance = CHECKS["web_release"], session.instance
    data = session.get(ALIVE_PATH["web"]).json()
    running = data.get("version") if isinstance(data, dict) else None
    wanted = session.version or instance.version
    problems = []
    if running != wanted:
        problems.append(f"it runs {running}; in {instance.release_directory} is {instance.version}, expected {wanted}")
    for name, key in SHARED.items():
        own, other = session.variables.get(name, ""), session.server.get(key)
        if other is not None and own != other:
            problems.append(f"{name} is {own or 'not set'} here and {other or 'not set'} on the server")
    if problems:
        return rule.failed(instance.service, "; ".join(problems))
    return rule.passed(instance.service, f"fractal-web {running}; its settings agree with the server's")


def web_login_page(session: WebSession) -> Check:
    """Check the log-in page, and do what its OAuth button does (1.21, src/routes/auth/login/+page.svelte)."""
    rule = CHECKS["web_login_page"]
    client = session.variables.get(CLIENT, "")
    wanted = session.server.get("oauth_client")
    if wanted is not None and client != wanted:
        return rule.failed(CLIENT, f"it is {client or 'not set'}, but the server's client is {wanted or 'not set'}")
    page = session.get("/auth/login")
    if page.status != 200 or 'name="password"' not in page.text:
        return rule.failed("/auth/login", f"it answers with status {page.status} and without a form to log in")
    if not client:
        return rule.passed("/auth/login", "it has a form to log in; no OAuth client is configured")
    if not re.search(rf"\b{re.escape(client)}\b", page.text):
        return rule.failed("/auth/login", f"the OAuth client {client} does not appear on it")
    path = f"/api/auth/{client}/authorize"
    answer = session.get(path)
    data = answer.json()
    if answer.status != 200 or not isinstance(data, dict) or not data.get("authorization_url"):
        return rule.failed(path, f"the OAuth button leads to status {answer.status}, not to the provider")
    return rule.passed("/auth/login", f"it has a form to log in, and a button for {client} that leads to the provider")


def viewer_urls(session: WebSession) -> Check:
    """Check that the services which the pages point to answer."""
    rule = CHECKS["viewer_urls"]
    urls = {name: session.variables[name] for name in VIEWER_URLS if session.variables.get(name)}
    if not urls:
        return rule.skipped("viewer", "no data or viewer service is configured")
    problems = []
    for name, url in urls.items():
        try:
            status = request(url, timeout=15, validate_certs=session.validate_certs).status
        except FractalError as error:
            problems.append(f"{name}: {error}")
            continue
        if status >= 500:
            problems.append(f"{name}: {url} answers with status {status}")
    if problems:
        return rule.failed("viewer", "; ".join(problems))
    return rule.passed("viewer", ", ".join(urls.values()) + " answer")
