# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""Whether the systemd unit is sound, and whether the OpenID provider answers."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ansible.module_utils.urls import open_url
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.findings import (
    Finding,
    FindingRule,
    blocker,
    rule_table,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.masking import mask_urls
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.owners import act_as
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.systemd import systemctl
from ansible_collections.fractal_ops.platform.plugins.module_utils._env_file.reading import read_env_file

if TYPE_CHECKING:
    from ansible_collections.fractal_ops.platform.plugins.module_utils._precheck.server_host import ServerHost

CHAPTERS = {"oauth": "OAuth", "unit": "The unit of fractal-server"}
_LARGEST_ANSWER = 1 << 20  # bytes
FINDINGS = rule_table(
    FindingRule(
        "unit.not_active",
        "warning",
        "fractal-server does not run",
        "{subject} is {state}.",
        "Start it, or repair it first: an upgrade mends nothing that was broken before.",
    ),
    FindingRule(
        "unit.needs_reload",
        "warning",
        "Unit file changed on disk",
        "{subject} or one of its drop-ins was changed, but systemd still uses the old text; the upgrade reloads it.",
        "Check the change, then: systemctl daemon-reload.",
    ),
    FindingRule(
        "unit.variable_shadowed",
        "warning",
        "Variable set twice",
        "{subject} is set by the unit and differently by {env_file}; the unit's value counts.",
        "Remove one of the two, so that nobody changes the wrong one.",
        "systemd.exec(5); fractal-server 2.16.6, config.py",
    ),
    blocker(
        "unit.no_environment_file",
        "No environment file in the working directory",
        "{subject} has the working directory {directory}, where there is no .fractal_server.env; fractal-server and "
        "the data migration look for it there and nowhere else. Nothing else was checked that depends on it.",
        "Set WorkingDirectory= of the unit to the folder with .fractal_server.env; write there too what only the unit "
        "sets{files}.",
        "fractal-server 2.17.0, __main__.py (update-db-data) and config/_settings_config.py",
    ),
    blocker(
        "unit.account_unknown",
        "Account of the unit does not exist",
        "{subject} runs as {account}, an account that this host does not know.",
        "Correct User= in the unit, or create the account.",
    ),
    FindingRule(
        "unit.runs_as_root",
        "warning",
        "fractal-server runs as root",
        "{subject} has no User=, so fractal-server runs as root.",
        "Give the unit an account of its own.",
    ),
    FindingRule(
        "unit.not_enabled",
        "info",
        "Unit does not start with the host",
        "{subject} is {state}: after a reboot somebody has to start it.",
        "systemctl enable {subject}, if that is not meant.",
    ),
    FindingRule(
        "unit.no_restart",
        "info",
        "Unit does not start again after a crash",
        "{subject} has no Restart=.",
        "Set Restart=on-failure in the unit.",
    ),
    FindingRule(
        "unit.several_workers",
        "info",
        "Several workers",
        "{subject} runs {count} workers: gunicorn kills them 30 seconds after a stop, and their jobs stay "
        "'submitted' for ever.",
        "Let jobs end before every stop. The upgrade drains them first.",
        "gunicorn, --graceful-timeout; fractal-server 2.16.6, runner/shutdown.py",
    ),
    FindingRule(
        "unit.umask",
        "warning",
        "Umask under which jobs fail",
        "{subject} has UMask={umask}, so the SLURM users cannot read the files of their jobs.",
        "Set UMask=0022 in the unit.",
    ),
    FindingRule(
        "unit.no_new_privileges",
        "warning",
        "Unit forbids sudo",
        "{subject} has NoNewPrivileges=yes, so fractal-server cannot run sudo, and every job fails.",
        "Remove NoNewPrivileges from the unit.",
    ),
    blocker(
        "oauth.provider_unreachable",
        "OpenID provider does not answer",
        "{url} ({subject}) does not answer as an OpenID provider: {reason}. fractal-server asks it when it starts, "
        "and does not start without.",
        "Repair the provider or the network, or remove the OAuth client.",
        "fractal-server 2.17.0, app/routes/auth/oauth.py",
    ),
)

_OTHERS_READ = 0o005  # what the SLURM users need of the files that fractal-server writes for them


def check_unit(host: ServerHost) -> Iterator[Finding]:
    """The unit runs as its file says, under an account of its own, and its jobs can use what it writes."""
    unit, instance = host.unit, host.instance
    if unit is None or instance is None:
        return
    if unit.active_state != "active" and instance.hold is None:
        yield FINDINGS["unit.not_active"].finding(unit.name, state=unit.active_state)
    if unit.needs_reload:
        yield FINDINGS["unit.needs_reload"].finding(unit.name)
    configured = os.path.isfile(host.installation.env_file)
    if not configured:
        yield FINDINGS["unit.no_environment_file"].finding(
            unit.name, directory=unit.working_directory, files=_named(unit.environment_files)
        )
    if host.service_account is None:
        yield FINDINGS["unit.account_unknown"].finding(unit.name, account=host.installation.run_as)
    if unit.user == "root":
        yield FINDINGS["unit.runs_as_root"].finding(unit.name)
    if unit.enabled_state not in ("enabled", "enabled-runtime", "static", "alias"):
        yield FINDINGS["unit.not_enabled"].finding(unit.name, state=unit.enabled_state or "unknown")
    if unit.restart_policy in ("", "no"):
        yield FINDINGS["unit.no_restart"].finding(unit.name)
    if instance.workers > 1:
        yield FINDINGS["unit.several_workers"].finding(unit.name, count=instance.workers)
    if configured and host.on_slurm:
        if int(unit.umask or "022", 8) & _OTHERS_READ:
            yield FINDINGS["unit.umask"].finding(unit.name, umask=unit.umask)
        if systemctl("show", "--value", "--property=NoNewPrivileges", unit.name).strip() == "yes":
            yield FINDINGS["unit.no_new_privileges"].finding(unit.name)


def _named(files: list[str]) -> str:
    return f" (now in {' and '.join(files)})" if files else ""


def check_shadowed_variables(host: ServerHost) -> Iterator[Finding]:
    """No variable of the environment file is silently overruled by the unit or one of its drop-ins."""
    env_file = host.installation.env_file
    in_file = read_env_file(env_file, {})
    for name, value in sorted(host.installation.process_environment.items()):
        if in_file.get(name, value) != value:
            yield FINDINGS["unit.variable_shadowed"].finding(name, env_file=env_file)


def check_openid_provider(host: ServerHost) -> Iterator[Finding]:
    """Every OpenID provider answers: fractal-server asks it when it starts, and does not start without."""
    for name, value in sorted(host.values.items()):
        if not re.match(r"OAUTH_.*(OIDC_CONFIGURATION_ENDPOINT|OIDC_CONFIG_ENDPOINT)$", name) or not value:
            continue
        try:
            # the account has named the address: whatever is there is opened with its rights, and not for ever
            reason = act_as(host.account.other, _what_a_provider_lacks, value, timeout=60)
        except (FractalError, OSError) as error:
            reason = str(error).rstrip(".")
        if reason:
            yield FINDINGS["oauth.provider_unreachable"].finding(name, url=mask_urls(value), reason=reason)


def _what_a_provider_lacks(url: str) -> str:
    """Return why the address is none of an OpenID provider that answers; empty if it is."""
    try:
        with open_url(url, timeout=10) as answer:
            known = json.loads(answer.read(_LARGEST_ANSWER))
        missing = {"authorization_endpoint", "token_endpoint"} - set(known)
        return f"its answer lacks {', '.join(sorted(missing))}" if missing else ""
    except (OSError, ValueError, TypeError, RecursionError) as error:
        return str(getattr(error, "reason", None) or type(error).__name__)
