# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""What can be wrong with a server, apart from its users, as a table."""

from __future__ import annotations

from ansible_collections.fractal_ops.platform.plugins.module_utils._findings import FindingRule, rule_table

_MIGRATION = "fractal-server 2.17.0, data_migrations/2_17_0.py"


def _blocker(rule_id: str, title: str, message: str, fix: str, reference: str = "") -> FindingRule:
    return FindingRule(rule_id, "blocker", title, message, fix, reference, acceptable=False)


FINDINGS = rule_table(
    # --- the releases to install ---
    _blocker(
        "release.backend_local",
        "Backend without a data migration",
        "FRACTAL_RUNNER_BACKEND is {value}; the automatic data migration is only supported for instances on SLURM.",
        "Upgrade this instance by hand, or set up a new one.",
        "upgrade page, note on local instances",
    ),
    _blocker(
        "release.backend_unknown",
        "Unknown backend",
        "FRACTAL_RUNNER_BACKEND is {value!r}, which fractal-server knows neither in 2.16 nor in 2.17.",
        "Set FRACTAL_RUNNER_BACKEND to slurm or slurm_ssh.",
        "fractal-server 2.16.6, config.py",
    ),
    _blocker(
        "release.unknown",
        "No way to the target",
        "{reason}",
        "Set fractal_target_version to a release that this collection knows.",
    ),
    _blocker(
        "release.python_unsupported",
        "Python too old or too new",
        "fractal-server {subject} needs Python >= {lowest} and < {too_new}; the environment {environment} has "
        "{python}.",
        "Make an environment with a supported Python for fractal-server {current}, let the unit run it, and set "
        "fractal_server_python.",
        "fractal-server, pyproject.toml of the release",
    ),
    _blocker(
        "release.not_offered",
        "Release not to be had",
        "pip cannot get fractal-server {subject} from {source}: {reason}",
        "Name an index with fractal_pip_extra_args, or put the wheels of fractal-server {subject} and all it needs "
        "into a folder on the host and set fractal_wheelhouse.",
    ),
    _blocker(
        "release.no_venv",
        "No virtual environment can be made",
        "{subject} cannot make virtual environments: {reason}",
        "Install the venv package of that Python (python3-venv), or set fractal_install_strategy to in_place.",
    ),
    _blocker(
        "release.not_a_venv",
        "fractal-server does not run in a virtual environment",
        "{subject} is not a virtual environment, so its successor cannot take its place.",
        "Set fractal_install_strategy to in_place.",
    ),
    FindingRule(
        "release.program_missing",
        "warning",
        "Program that the release calls is missing",
        "fractal-server {release} calls {subject}, which is not installed.",
        "Install {subject} before the upgrade.",
        "fractal-server 2.17.2, CHANGELOG",
    ),
    # --- JSON configurations, which 2.17 takes into the database ---
    _blocker(
        "config.missing",
        "Configuration file not named",
        "{variable} is not set; the data migration needs it.",
        "Set {variable} to the JSON file with the SLURM configuration.",
        _MIGRATION,
    ),
    _blocker(
        "config.unreadable",
        "Configuration file cannot be read",
        "{subject}, named by {variable}, cannot be read: {reason}.",
        "Repair the file, or correct {variable}.",
        _MIGRATION,
    ),
    _blocker(
        "config.not_json",
        "Configuration file is not JSON",
        "{subject}, named by {variable}, is not a JSON object: {reason}.",
        "Correct the file.",
        _MIGRATION,
    ),
    _blocker(
        "config.refused",
        "Configuration that 2.17 refuses",
        "{subject}, named by {variable}, would be refused: {problem}.",
        "Correct this field in {subject}; 2.17 is stricter than 2.16.",
        "fractal-server 2.17.0, runner/config/ and tasks/config/",
    ),
    _blocker(
        "config.resource_refused",
        "Setting that 2.17 refuses",
        "The data migration would make a resource that fractal-server refuses: {problem}.",
        "Correct {subject} in the environment file.",
        "fractal-server 2.17.0, app/schemas/v2/resource.py",
    ),
)
