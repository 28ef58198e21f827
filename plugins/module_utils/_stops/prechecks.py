# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""What the stops on the way ask of a server before the upgrade."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.findings import blocker, rule_table
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.data_migrations import why_not_implemented
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.env_steps import env_task
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.preconditions import refused_rows
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.r2_17_0 import prechecks as r2_17_0
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.r2_18_0 import prechecks as r2_18_0

if TYPE_CHECKING:
    from ansible_collections.fractal_ops.platform.plugins.module_utils._core.findings import Finding
    from ansible_collections.fractal_ops.platform.plugins.module_utils._precheck.server import Check
    from ansible_collections.fractal_ops.platform.plugins.module_utils._precheck.server_host import ServerHost
    from ansible_collections.fractal_ops.platform.plugins.module_utils._precheck.web import WebHost

CHAPTERS = {"release": "Releases to install"}
FINDINGS = rule_table(
    blocker(
        "release.not_implemented",
        "A data migration that this collection does not implement",
        "{reason}",
        "Set fractal_target_version to an earlier release, or use a newer version of this collection.",
    ),
)


def check_implemented(host: ServerHost) -> Iterator[Finding]:
    """Every release on the way that has a data migration is known here, with what it takes to prove it."""
    reason = why_not_implemented(host.hops)
    if reason:
        yield FINDINGS["release.not_implemented"].finding(host.params["target_version"], reason=reason)


def check_rows(host: ServerHost) -> Iterator[Finding]:
    """No row or view is in the database that the schema of a release on the way refuses."""
    if not host.hops:
        return
    target = host.hops[-1].version
    aborts = host.params["jobs_in_flight"] == "abort"
    yield from host.ask_database(refused_rows, str(host.version), target, aborts)


ALWAYS: tuple[tuple[str, Check], ...] = (("stops", check_implemented), ("rows", check_rows))
PRECHECKS: dict[str, tuple[tuple[str, Check], ...]] = {
    "2.17.0": r2_17_0.CHECKS,
    "2.18.0": r2_18_0.CHECKS,
    "2.23.0": (),
}
"""By stop; for each on the way."""


def checks_on_the_way(host: ServerHost) -> list[tuple[str, Check]]:
    """Return the checks of all stops that the upgrade goes through."""
    own = [check for stop in host.stops for check in PRECHECKS.get(stop.version, ())]
    return [*ALWAYS, *own]


def check_web_environment_file(host: WebHost) -> Iterator[Finding]:
    """The environment file of fractal-web, as its migration sees it."""
    yield from env_task(path=host.instance.env_file, kind="web", service=host.unit.name).migration.findings


WEB_CHECKS = (("environment file", check_web_environment_file),)
