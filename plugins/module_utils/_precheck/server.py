# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""All checks of a server apart from its users, one after another; none stops the others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Callable

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.checks import FINDINGS, run_checks
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.dotenv import Reader, interpolate, parse, plain
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._env_file.on_host import EnvTask, text_of
from ansible_collections.fractal_ops.platform.plugins.module_utils._precheck.configurations import check_configuration
from ansible_collections.fractal_ops.platform.plugins.module_utils._precheck.database import (
    check_clock,
    check_programs_for_dump,
    check_revision,
    check_rights,
    check_sessions,
    check_work_in_flight,
    check_workflows,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._precheck.disk import check_disk
from ansible_collections.fractal_ops.platform.plugins.module_utils._precheck.releases import (
    check_backend,
    check_environment,
    check_offered,
    check_path,
    check_programs,
    check_python,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._precheck.slurm import (
    check_slurm,
    check_slurm_users,
    check_worker_pythons,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._precheck.unit import (
    check_gone_endpoints,
    check_oauth_way_back,
    check_openid_provider,
    check_shadowed_variables,
    check_unit,
)

if TYPE_CHECKING:
    from ansible_collections.fractal_ops.platform.plugins.module_utils._core.findings import Finding
    from ansible_collections.fractal_ops.platform.plugins.module_utils._precheck.server_host import ServerHost

Check = Callable[["ServerHost"], Iterable["Finding"]]


def check_environment_file(host: ServerHost) -> Iterator[Finding]:
    """The environment file, as its migration sees it, and the configurations that the data migration will then read."""
    service = host.unit.name if host.unit else None
    task = EnvTask(
        path=host.installation.env_file,
        service=service,
        server_python=host.python,
        oauth_client=host.params["oauth_client"],
    )
    yield from task.migration.findings
    old_text = task.migration.old_text or (text_of(task.old) if task.old else task.text)
    values = interpolate(parse(old_text, Reader.DOTENV_1_2), {}, file_wins=False)
    known = {name: text for name, value in values.items() if (text := plain(value)) is not None}
    told = {finding.subject for finding in task.migration.findings}
    for finding in check_configuration(known, host.backend, host.directory):
        if finding.subject not in told:
            yield finding


ON_THE_HOST: tuple[tuple[str, Check], ...] = (
    ("backend", check_backend),
    ("Python", check_python),
    ("virtual environments", check_environment),
    ("package index", check_offered),
    ("programs", check_programs),
    ("unit", check_unit),
    ("variables", check_shadowed_variables),
    ("OpenID provider", check_openid_provider),
    ("SLURM", check_slurm),
    ("worker Python", check_worker_pythons),
)
LEAVING_2_16: tuple[tuple[str, Check], ...] = (
    ("environment file", check_environment_file),
    ("way back from the OpenID provider", check_oauth_way_back),
    ("clients", check_gone_endpoints),
)
IN_THE_DATABASE: tuple[tuple[str, Check], ...] = (
    ("PostgreSQL programs", check_programs_for_dump),
    ("database rights", check_rights),
    ("database sessions", check_sessions),
    ("schema", check_revision),
    ("disk", check_disk),
    ("work in flight", check_work_in_flight),
    ("workflows", check_workflows),
    ("clock", check_clock),
    ("SLURM users", check_slurm_users),
)


def check_server(host: ServerHost, also: Iterable[tuple[str, Check]] = ()) -> list[Finding]:
    """Return all findings about a server. What cannot be checked is a finding too.

    ``also`` holds further checks of the host, with their names.
    """
    found = run_checks(host, (*ON_THE_HOST, *also, *(LEAVING_2_16 if host.leaves_2_16 else ())))
    try:
        with host.connection():
            pass
    except FractalError as error:
        where = host.unit.name if host.unit else host.installation.env_file
        return [*found, *check_path(host), FINDINGS["database.unreachable"].finding(where, reason=str(error))]
    return found + run_checks(host, IN_THE_DATABASE)
