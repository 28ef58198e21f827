# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""Values at which the start of fractal-web ends from 1.22.0 on (fractal-web 1.22.0, src/environment-variables.js).

What the migration of its environment file writes itself is not here. An empty value counts as none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from ansible_collections.fractal_ops.platform.plugins.module_utils._precheck.web_findings import FINDINGS
from ansible_collections.fractal_ops.platform.plugins.module_utils._releases.path import version_key

if TYPE_CHECKING:
    from ansible_collections.fractal_ops.platform.plugins.module_utils._core.findings import Finding

_SINCE = version_key("1.22.0")
_BOOLEAN = ("true", "false")
_LEVELS = ("all", "mark", "trace", "debug", "info", "warn", "error", "fatal", "off")
# the last two are of 1.24.1 and 1.28.2; who has them earlier wants one of these values, too
_ALLOWED = {
    "AUTH_COOKIE_SECURE": _BOOLEAN,
    "AUTH_COOKIE_SAME_SITE": ("lax", "strict", "none"),
    "LOG_LEVEL_FILE": _LEVELS,
    "LOG_LEVEL_CONSOLE": _LEVELS,
    "FRACTAL_HIDE_BASIC_AUTH": _BOOLEAN,
    "FRACTAL_DISPLAY_CORE_TASK_FILTER": _BOOLEAN,
}
_URLS = (
    "FRACTAL_SERVER_HOST",
    "PUBLIC_FRACTAL_DATA_URL",
    "PUBLIC_FRACTAL_VIZARR_VIEWER_URL",
    "PUBLIC_FRACTAL_VOLE_VIEWER_URL",
    "PUBLIC_FRACTAL_FEATURE_EXPLORER_URL",
)
_ADDRESS = "an address such as https://fractal.example.org"
# what JavaScript's URL takes: a scheme, and for HTTP a host
_URL = re.compile(r"\s*(https?:[/\\]*[^/\\\s?#]|(?!https?:)[a-z][a-z0-9+.-]*:)", re.ASCII | re.IGNORECASE)


def refused_values(variables: Mapping[str, str], version: str) -> Iterator[Finding]:
    """Yield each variable that has a value at which the start of fractal-web ``version`` ends."""
    if version_key(version) < _SINCE:
        return
    values = {name: value for name, value in variables.items() if value}
    wanted = {
        name: f"one of {', '.join(allowed)}"
        for name, allowed in _ALLOWED.items()
        if values.get(name, allowed[0]) not in allowed
    }
    wanted.update({name: _ADDRESS for name in _URLS if name in values and not _URL.match(values[name])})
    for name, what in wanted.items():
        yield FINDINGS["web.value_refused"].finding(name, wanted=what, version=version)
