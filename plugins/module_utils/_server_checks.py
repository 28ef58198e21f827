# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""All checks of a server apart from its users, one after another; none stops the others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Callable

from ansible_collections.fractal_ops.platform.plugins.module_utils._checks import run_checks
from ansible_collections.fractal_ops.platform.plugins.module_utils._config_checks import check_configuration
from ansible_collections.fractal_ops.platform.plugins.module_utils._errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._release_checks import (
    check_backend,
    check_environment,
    check_offered,
    check_path,
    check_programs,
    check_python,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._state import FINDINGS as STATE_FINDINGS

if TYPE_CHECKING:
    from ansible_collections.fractal_ops.platform.plugins.module_utils._findings import Finding
    from ansible_collections.fractal_ops.platform.plugins.module_utils._server_host import ServerHost

Check = Callable[["ServerHost"], Iterable["Finding"]]


def check_configuration_files(host: ServerHost) -> Iterator[Finding]:
    """The JSON configurations and the resource that is made of them."""
    yield from check_configuration(host.values, host.backend, host.directory)


ON_THE_HOST: tuple[tuple[str, Check], ...] = (
    ("backend", check_backend),
    ("Python", check_python),
    ("virtual environments", check_environment),
    ("package index", check_offered),
    ("programs", check_programs),
    ("configuration files", check_configuration_files),
)
IN_THE_DATABASE: tuple[tuple[str, Check], ...] = ()


def check_server(host: ServerHost) -> list[Finding]:
    """Return all findings about a server. What cannot be checked is a finding too."""
    found = run_checks(host, ON_THE_HOST)
    try:
        with host.connection():
            pass
    except FractalError as error:
        where = host.unit.name if host.unit else host.installation.env_file
        return [*found, *check_path(host), STATE_FINDINGS["database.unreachable"].finding(where, reason=str(error))]
    return found + run_checks(host, IN_THE_DATABASE)
