# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""All checks of a server apart from its users, one after another; none stops the others."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Callable

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.checks import FINDINGS, run_checks
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.door import dismiss
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._precheck.backup_root import check_backup_root
from ansible_collections.fractal_ops.platform.plugins.module_utils._precheck.copy import check_copy
from ansible_collections.fractal_ops.platform.plugins.module_utils._precheck.disk import check_disk
from ansible_collections.fractal_ops.platform.plugins.module_utils._precheck.releases import (
    check_environment,
    check_offered,
    check_path,
    check_programs,
    check_python,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._precheck.sharing import check_shared
from ansible_collections.fractal_ops.platform.plugins.module_utils._precheck.slurm import (
    check_slurm,
    check_slurm_users,
    check_worker_pythons,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._precheck.start import check_answers, check_start
from ansible_collections.fractal_ops.platform.plugins.module_utils._precheck.unit import (
    check_openid_provider,
    check_shadowed_variables,
    check_unit,
)

if TYPE_CHECKING:
    from ansible_collections.fractal_ops.platform.plugins.module_utils._core.findings import Finding
    from ansible_collections.fractal_ops.platform.plugins.module_utils._precheck.server_host import ServerHost

Check = Callable[["ServerHost"], Iterable["Finding"]]


WITHOUT_ENVIRONMENT_FILE: tuple[tuple[str, Check], ...] = (
    ("Python", check_python),
    ("virtual environments", check_environment),
    ("folder for backups", check_backup_root),
    ("package index", check_offered),
    ("programs", check_programs),
    ("unit", check_unit),
    ("address", check_answers),
    ("start", check_start),
)
ON_THE_HOST: tuple[tuple[str, Check], ...] = (
    *WITHOUT_ENVIRONMENT_FILE,
    ("sharing", check_shared),
    ("variables", check_shadowed_variables),
    ("OpenID provider", check_openid_provider),
    ("SLURM", check_slurm),
    ("worker Python", check_worker_pythons),
)
WITH_THE_DATABASE: tuple[tuple[str, Check], ...] = (
    ("disk", check_disk),
    ("frozen copy", check_copy),
    ("SLURM users", check_slurm_users),
)


def check_server(host: ServerHost, also: Iterable[tuple[str, Check]] = ()) -> list[Finding]:
    """Return all findings about a server. What cannot be checked is a finding too.

    ``also`` holds further checks of the host, with their names. Without an environment file, nothing is said that
    only follows from that.
    """
    if host.unit is not None and not os.path.isfile(host.installation.env_file):
        return [*run_checks(host, WITHOUT_ENVIRONMENT_FILE), *check_path(host)]
    try:
        return _all_findings(host, also)
    finally:
        dismiss()


def _all_findings(host: ServerHost, also: Iterable[tuple[str, Check]]) -> list[Finding]:
    found = run_checks(host, (*ON_THE_HOST, *also))
    try:
        facts = host.facts
    except FractalError as error:
        where = host.unit.name if host.unit else host.installation.env_file
        return [*found, *check_path(host), FINDINGS["database.unreachable"].finding(where, reason=str(error))]
    return [*found, *facts.findings, *run_checks(host, WITH_THE_DATABASE)]
