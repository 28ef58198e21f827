# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""The review of resources, profiles and users: who computes where, as whom, and who cannot and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.findings import (
    Finding,
    FindingRule,
    rule_table,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.verification import Check
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.state import revision_of
from ansible_collections.fractal_ops.platform.plugins.module_utils._resources.checks import REVIEW_CHECKS
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.acceptance import Accepts
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.accepts import accepts_of

if TYPE_CHECKING:
    import sqlalchemy as sa
else:
    try:
        import sqlalchemy as sa
    except ImportError:
        sa = None

_RESOURCE_REFERENCE = "Upgrade page, post-upgrade cleanup: review the names of resources/profiles"
_USER_REFERENCE = "Upgrade page, post-upgrade cleanup: review the association between users and profiles"

CHAPTERS = {"": "Review of resources and profiles, after the upgrade"}
FINDINGS = rule_table(
    FindingRule(
        "resource_name_placeholder",
        "warning",
        "A resource still has the name that the data migration gave it",
        "The resource is still called {subject!r}, the name that the data migration gave it.",
        "Give it a name that tells users where they compute: fractal_resource_profile with "
        "resources: [{{name: <new name>, previous_name: {subject}}}].",
        _RESOURCE_REFERENCE,
    ),
    FindingRule(
        "profile_name_placeholder",
        "info",
        "A profile still has the name that the data migration gave it",
        "The profile is still called {subject!r}, the name that the data migration gave it.",
        "Keep it, or rename it: fractal_resource_profile with "
        "profiles: [{{name: <new name>, previous_name: {subject}}}].",
        _RESOURCE_REFERENCE,
    ),
    FindingRule(
        "profile_without_users",
        "info",
        "Nobody uses a profile",
        "Nobody uses the profile {subject!r}.",
        "Remove it: fractal_resource_profile with profiles: [{{name: {subject}, state: absent}}].",
        _USER_REFERENCE,
    ),
    FindingRule(
        "user_without_access",
        "info",
        "A user cannot use Fractal",
        "{subject} cannot use Fractal: {reason}.",
        "If they should: fractal_resource_profile with users: [{{email: {subject}, is_active: true, is_verified: true, "
        "profile: <profile>, project_dir: <folder>}}].",
        _USER_REFERENCE,
    ),
)


@dataclass
class State:
    """Resources, profiles and users of a database, each a mapping from id to its fields.

    ``accepts`` says what the release of its schema accepts. ``projects`` and ``task_groups`` tell how many of them a
    user has on a resource, by (user id, resource id).
    """

    accepts: Accepts
    resources: dict[int, dict[str, Any]] = field(default_factory=dict)
    profiles: dict[int, dict[str, Any]] = field(default_factory=dict)
    users: dict[int, dict[str, Any]] = field(default_factory=dict)
    projects: dict[tuple[int, int], int] = field(default_factory=dict)
    task_groups: dict[tuple[int, int], int] = field(default_factory=dict)


def read_state(connection: sa.Connection) -> State:
    """Read everything that the review shows and a declaration may change.

    Raises:
        FractalError: The schema knows no resources, or is not one that this collection knows.
    """
    accepts = accepts_of(revision_of(connection))
    return State(
        accepts,
        resources=_rows(connection, "resource", accepts.resource_fields),
        profiles=_rows(connection, "profile", accepts.profile_fields),
        users=_rows(connection, "user_oauth", accepts.user_fields),
        projects=_counts(connection, accepts.projects),
        task_groups=_counts(connection, accepts.task_groups),
    )


def review(state: State) -> dict[str, Any]:
    """Return every resource, profile and user, who uses what, and who cannot use Fractal and why."""
    profile_users: dict[int, list[str]] = {key: [] for key in state.profiles}
    for user in state.users.values():
        if user["profile_id"] in profile_users:
            profile_users[user["profile_id"]].append(user["email"])
    resources = [
        {
            "id": key,
            **fields,
            "placeholder": fields["name"] == state.accepts.resource_placeholder,
            "profiles": sorted(p["name"] for p in state.profiles.values() if p["resource_id"] == key),
            "projects": sum(count for (_unused, resource), count in state.projects.items() if resource == key),
            "task_groups": sum(count for (_unused, resource), count in state.task_groups.items() if resource == key),
        }
        for key, fields in state.resources.items()
    ]
    profiles = [
        {
            "id": key,
            **fields,
            "resource": state.resources[fields["resource_id"]]["name"],
            "placeholder": fields["name"] == state.accepts.profile_placeholder.format(username=fields["username"]),
            "users": sorted(profile_users[key]),
        }
        for key, fields in state.profiles.items()
    ]
    users = [
        {
            "id": key,
            **fields,
            "profile": state.profiles[fields["profile_id"]]["name"] if fields["profile_id"] in state.profiles else None,
            "without_access_because": state.accepts.access_problem(fields),
        }
        for key, fields in sorted(state.users.items(), key=lambda item: str(item[1]["email"]))
    ]
    return {
        "resources": resources,
        "profiles": profiles,
        "users": users,
        "without_access": [
            {"email": user["email"], "reason": user["without_access_because"]}
            for user in users
            if user["without_access_because"]
        ],
    }


def review_findings(shown: Mapping[str, Any]) -> list[Finding]:
    """Return what a person should look at in a review; nothing in it stops Fractal from working."""
    found = [
        FINDINGS["resource_name_placeholder"].finding(resource["name"])
        for resource in shown["resources"]
        if resource["placeholder"]
    ]
    for profile in shown["profiles"]:
        if profile["placeholder"]:
            found.append(FINDINGS["profile_name_placeholder"].finding(profile["name"]))
        if not profile["users"]:
            found.append(FINDINGS["profile_without_users"].finding(profile["name"]))
    for user in shown["without_access"]:
        found.append(FINDINGS["user_without_access"].finding(user["email"], reason=user["reason"]))
    return found


def review_checks(state: State) -> list[Check]:
    """Return the checks that the database alone can answer: names and settings, and users."""
    return [_names(state), _users(state)]


def _names(state: State) -> Check:
    rule = REVIEW_CHECKS["resource_names"]
    problems = invalid(state)
    types = sorted({str(resource["type"]) for resource in state.resources.values()})
    if not state.resources:
        problems.append("there is no resource: the data migration that makes it has not run")
    if len(types) > 1:
        problems.append(f"resources are of several types ({', '.join(types)}), but a server has one runner backend")
    if problems:
        return rule.failed("resources and profiles", "; ".join(problems))
    names = [str(resource["name"]) for resource in state.resources.values()]
    return rule.passed(
        "resources and profiles",
        f"resources: {', '.join(names)}; {len(state.profiles)} profiles; all are valid",
    )


def _users(state: State) -> Check:
    rule = REVIEW_CHECKS["user_profiles"]
    entitled = [user for user in state.users.values() if user["is_active"] and user["is_verified"]]
    why = {str(user["email"]): state.accepts.access_problem(user) for user in entitled}
    problems = [f"{email}: {problem}" for email, problem in why.items() if problem]
    problems += misplaced(state).values()
    if problems:
        return rule.failed("users", "; ".join(problems))
    return rule.passed("users", f"{len(entitled)} active and verified users, each with profile and project folder")


def invalid(state: State) -> list[str]:
    """Return the resources and profiles that fractal-server would refuse to use, with what is wrong."""
    found = []
    for resource in state.resources.values():
        found += _problem(state.accepts.resource, resource)
    for profile in state.profiles.values():
        found += _problem(state.accepts.profile, profile)
        resource_type = state.resources[profile["resource_id"]]["type"]
        if profile["resource_type"] != resource_type:
            found.append(
                f"the profile {profile['name']!r} is for {profile['resource_type']}, "
                f"its resource is of type {resource_type}"
            )
    return found


def misplaced(state: State) -> dict[int, str]:
    """Return, by user id, whose projects or task groups belong to another resource than the profile.

    Submission is then refused and task groups are invisible (fractal-server 2.17.0, app/routes/api/v2/submit.py).
    """
    found = {}
    for user_id, user in state.users.items():
        profile = state.profiles.get(user["profile_id"]) if user["profile_id"] is not None else None
        if profile is None:
            continue
        projects = _elsewhere(state.projects, user_id, profile["resource_id"])
        groups = _elsewhere(state.task_groups, user_id, profile["resource_id"])
        if projects or groups:
            found[user_id] = (
                f"{user['email']}: {projects} projects and {groups} task groups are on another resource than "
                f"the profile {profile['name']!r}"
            )
    return found


def _elsewhere(counts: Mapping[tuple[int, int], int], user_id: int, resource_id: int) -> int:
    return sum(count for (user, resource), count in counts.items() if user == user_id and resource != resource_id)


def _problem(validate: Any, fields: Mapping[str, Any]) -> list[str]:
    try:
        validate(fields)
    except FractalError as error:
        return [str(error)]
    return []


def _rows(connection: sa.Connection, table: str, fields: Sequence[str]) -> dict[int, dict[str, Any]]:
    rows = connection.execute(sa.text(f"SELECT id, {', '.join(fields)} FROM {table} ORDER BY id")).mappings()
    return {row["id"]: {name: row[name] for name in fields} for row in rows}


def _counts(connection: sa.Connection, query: str) -> dict[tuple[int, int], int]:
    return {(user, resource): count for user, resource, count in connection.execute(sa.text(query))}
