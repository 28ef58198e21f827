# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""Who uses what 2.17.0 has not any more, and who would not come back from the OpenID provider."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.findings import (
    FindingRule,
    rule_table,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.http_client import loses_secure_cookies
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.programs import run
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.wording import examples

if TYPE_CHECKING:
    from ansible_collections.fractal_ops.platform.plugins.module_utils._core.findings import Finding
    from ansible_collections.fractal_ops.platform.plugins.module_utils._precheck.server_host import ServerHost

# endpoints of 2.16 that 2.17 has not, or answers differently (2.17.0, app/routes/)
_GONE = "|".join(
    (
        r"/api/settings/?",
        r"/auth/users/\d+/settings/?",
        r"/auth/current-user/settings/?",
        r"/auth/group/\d+/user-settings/?",
        r"/admin/v2/job/?",
    )
)
_REQUEST = re.compile(r'([\w.:\[\]-]+?)(?::\d+)? - "(?:GET|POST|PUT|PATCH|DELETE) (\S+) HTTP')

_CLIENT = (
    "Tell those who use fractal-client to install its release 2.17: an older one finds no answer to some of its calls, "
    "such as whoami."
)
CHAPTERS = {"client": "Clients of the API", "oauth": "OAuth"}
FINDINGS = rule_table(
    FindingRule(
        "client.gone_endpoints",
        "warning",
        "Clients use what is gone in 2.17",
        "In the last days these were called, which 2.17 has not any more or answers differently: {calls}.",
        "Adapt the clients. (fractal-web 1.20 is among the callers; its own upgrade mends that.) " + _CLIENT,
        "fractal-server 2.17.0, app/routes/",
    ),
    FindingRule(
        "client.api_changes",
        "info",
        "What clients of the API have to know",
        "2.17 has no user-settings endpoints and no /api/settings/ any more, and /admin/v2/job/ answers page by page.",
        "Tell those who have scripts against the API. " + _CLIENT,
        "fractal-server 2.17.0, app/routes/",
    ),
    FindingRule(
        "oauth.plain_http",
        "warning",
        "OAuth over plain HTTP",
        "{subject} is {value}, without TLS: with 2.17, log-in by OAuth needs a cookie that browsers send over HTTPS "
        "only.",
        "Serve Fractal over HTTPS, and register the https:// address at the provider.",
        "fastapi-users 15.0.2 (CSRF cookie), which fractal-server 2.17 installs",
    ),
)


def check_oauth_way_back(host: ServerHost) -> Iterator[Finding]:
    """Users come back from the OpenID provider over HTTPS, as 2.17 needs it."""
    for name, value in sorted(host.values.items()):
        if re.match(r"OAUTH_.*REDIRECT_URL$", name) and loses_secure_cookies(value):
            yield FINDINGS["oauth.plain_http"].finding(name, value=value)


def check_gone_endpoints(host: ServerHost) -> Iterator[Finding]:
    """Who called in the last days, as the journal tells, what 2.17 has not any more or answers differently."""
    if host.unit is None:
        return
    command = ["journalctl", "--unit", host.unit.name, "--since=-7d", "--output=cat", "--no-pager", "--lines=5000"]
    done = run([*command, "--grep", f'"[A-Z]+ ({_GONE})[? ]'])
    calls = gone_calls(done.out)
    if calls:
        told = examples([f"{path} from {client} ({count}x)" for (client, path), count in calls.most_common()])
        yield FINDINGS["client.gone_endpoints"].finding("API", calls=told)
    else:
        yield FINDINGS["client.api_changes"].finding("API")


def gone_calls(log: str) -> Counter[tuple[str, str]]:
    """Return how often each client called each endpoint that is gone, from uvicorn's access log."""
    calls: Counter[tuple[str, str]] = Counter()
    for client, target in _REQUEST.findall(log):
        path = target.split("?", 1)[0]
        if re.fullmatch(_GONE, path):
            calls[client, re.sub(r"/\d+/", "/{id}/", path)] += 1
    return calls
