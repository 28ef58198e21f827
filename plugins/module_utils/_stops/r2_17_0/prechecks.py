# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""What the way out of 2.16 asks of a server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.dotenv import Reader, interpolate, parse, plain
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.findings import (
    FindingRule,
    blocker,
    rule_table,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._env_file.on_host import text_of
from ansible_collections.fractal_ops.platform.plugins.module_utils._env_file.reading import read_env_file
from ansible_collections.fractal_ops.platform.plugins.module_utils._precheck.database_side import findings_told
from ansible_collections.fractal_ops.platform.plugins.module_utils._releases.backends import BACKENDS
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.env_steps import env_task
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.r2_17_0.configurations import (
    configuration_findings,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.r2_17_0.gone_endpoints import (
    check_gone_endpoints,
    check_oauth_way_back,
)

if TYPE_CHECKING:
    from ansible_collections.fractal_ops.platform.plugins.module_utils._core.findings import Finding
    from ansible_collections.fractal_ops.platform.plugins.module_utils._precheck.server import Check
    from ansible_collections.fractal_ops.platform.plugins.module_utils._precheck.server_host import ServerHost

CHAPTERS = {"release": "Releases to install", "database": "Database"}
FINDINGS = rule_table(
    FindingRule(
        "database.variable_not_read",
        "blocker",
        "Variable that 2.17 does not hand on",
        "{subject} sets {names}. From there, 2.16 hands them on to PostgreSQL's library; 2.17 reads its own variables "
        "only, so it would connect without them.",
        "Set them in {unit} (Environment= or EnvironmentFile=), or use the POSTGRES_ variables.",
        "fractal-server 2.16.6, config.py (load_dotenv); 2.17.0, config/_settings_config.py",
    ),
    blocker(
        "release.backend_local",
        "Backend without a data migration",
        "FRACTAL_RUNNER_BACKEND is {value}; the automatic data migration is only supported for instances on SLURM.",
        "Upgrade this instance by hand, or set up a new one.",
        "upgrade page, note on local instances",
    ),
    blocker(
        "release.backend_unknown",
        "Unknown backend",
        "FRACTAL_RUNNER_BACKEND is {value!r}, which fractal-server knows neither in 2.16 nor in 2.17.",
        "Set FRACTAL_RUNNER_BACKEND to slurm or slurm_ssh.",
        "fractal-server 2.16.6, config.py",
    ),
)


def check_backend(host: ServerHost) -> Iterator[Finding]:
    """The data migration is for SLURM only."""
    value = host.values.get("FRACTAL_RUNNER_BACKEND", "local")
    if value not in BACKENDS:
        yield FINDINGS["release.backend_unknown"].finding("FRACTAL_RUNNER_BACKEND", value=value)
    elif value == "local":
        told = "local" if "FRACTAL_RUNNER_BACKEND" in host.values else "not set, which means local"
        yield FINDINGS["release.backend_local"].finding("FRACTAL_RUNNER_BACKEND", value=told)


def check_libpq_variables(host: ServerHost) -> Iterator[Finding]:
    """What libpq reads comes from the unit: 2.17 keeps the environment file to itself."""
    in_file = read_env_file(host.installation.env_file, host.installation.process_environment)
    lost = [name for name in in_file if name.startswith("PG") and name not in host.installation.process_environment]
    if lost:
        yield FINDINGS["database.variable_not_read"].finding(
            host.installation.env_file, names=", ".join(sorted(lost)), unit=host.installation.service or "the unit"
        )


def check_environment_file(host: ServerHost) -> Iterator[Finding]:
    """The environment file, as its migration sees it, and the configurations that the data migration will then read."""
    service = host.unit.name if host.unit else None
    task = env_task(
        path=host.installation.env_file,
        release=host.params["target_version"],
        service=service,
        server_python=host.python,
        oauth_client=host.params["oauth_client"],
    )
    yield from task.migration.findings
    old_text = task.migration.old_text or (text_of(task.old) if task.old else task.text)
    values = interpolate(parse(old_text, Reader.DOTENV_1_2), {}, file_wins=False)
    known = {name: text for name, value in values.items() if (text := plain(value)) is not None}
    told = {finding.subject for finding in task.migration.findings}
    # pydantic is in the server's environment, and what the file names is the service account's
    answer = host.door.call(configuration_findings, known, host.backend, host.directory)
    for finding in findings_told(answer):
        if finding.subject not in told:
            yield finding


CHECKS: tuple[tuple[str, Check], ...] = (
    ("backend", check_backend),
    ("environment file", check_environment_file),
    ("way back from the OpenID provider", check_oauth_way_back),
    ("variables of libpq", check_libpq_variables),
    ("clients", check_gone_endpoints),
)
