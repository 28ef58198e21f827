# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""The checks of an upgraded instance that its database answers, as a table; the others are in `_verify/checks.py`.

``point`` quotes what Fractal's upgrade page has under "Post-upgrade cleanup", where a check settles something of it.
"""

from __future__ import annotations

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.verification import CheckRule

NAMES = "Review the names of resources/profiles"
USERS = "Review the association between users and profiles"
JOB = "Verify that job execution works as expected"
VIEWER = "Verify that the OME-Zarr viewer works as expected (if configured)"

REVIEW_RULES = (
    CheckRule(
        "schema",
        "The database schema belongs to the installed release",
        "Run the upgrade playbook again: it migrates the schema.",
    ),
    CheckRule(
        "resource_names",
        "Names and settings of resources and profiles",
        "Correct the resource or profile named here with fractal_resource_profile.",
        NAMES,
    ),
    CheckRule(
        "user_profiles",
        "Every active and verified user has a profile and a project folder",
        "Attach the users named here with fractal_resource_profile, or take 'active' or 'verified' from those who are "
        "not to use Fractal.",
        USERS,
    ),
    CheckRule(
        "viewer_access",
        "Users see in the viewer what they saw before the upgrade",
        "Give the folders back through the users' project_dir or the viewer paths of their groups.",
        VIEWER,
    ),
    CheckRule(
        "worker_python",
        "The workers' fractal-server has the server's version",
        "Install the server's release of fractal-server in that environment, or set jobs_slurm_python_worker with "
        "fractal_resource_profile.",
        JOB,
    ),
)

REVIEW_CHECKS = {rule.id: rule for rule in REVIEW_RULES}
