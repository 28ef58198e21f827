# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""The declared state of 2.16's users: what has to change, and the statements that change it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.pydantic_or_stand_ins import ValidationError
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.database import (
    Installation,
    connect,
    installation_settings,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._precheck.user_rows import (
    UserRow,
    read_schema,
    read_users,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.acceptance import problems
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.r2_17_0.models import (
    UserSettingsUpdate,
)

if TYPE_CHECKING:
    from sqlalchemy import Connection

FLAGS = ("is_active", "is_verified", "is_superuser")
SETTINGS = (
    "project_dir",
    "slurm_user",
    "slurm_accounts",
    "ssh_host",
    "ssh_username",
    "ssh_private_key_path",
    "ssh_tasks_dir",
    "ssh_jobs_dir",
)
_PLACEHOLDERS = ("name", "slurm_user", "ssh_username")
_ROUNDS = 10  # rules that have not come to rest after so many rounds contradict each other


@dataclass(frozen=True)
class UserChange:
    """What has to change for one user: column -> new value."""

    row: UserRow
    values: dict[str, Any]

    def part(self, after: bool) -> dict[str, Any]:
        """Return the changed columns as they are, or as they will be."""
        return dict(self.values) if after else {name: getattr(self.row, name) for name in self.values}


def settle_users(
    installation: Installation,
    users: Sequence[Mapping[str, Any]],
    rules: Sequence[Mapping[str, Any]],
    check_mode: bool = False,
) -> dict[str, Any]:
    """Return the result of ``fractal_users``.

    Raises:
        FractalError: The database cannot be reached or is none of 2.16, or the declaration is refused.
    """
    with connect(installation_settings(installation), read_only=check_mode) as connection:
        schema = read_schema(connection)
        if not schema.has_settings:
            raise FractalError(
                "The database is at 2.17.1 or later, where users have profiles instead of settings. "
                "Use fractal_resource_profile, or Fractal's own administration pages."
            )
        with read_users(connection, schema) as rows:
            changes = plan_changes(rows, users, rules)
        if changes and not check_mode:
            apply_changes(connection, changes)
            connection.commit()
    before, after = ({c.row.email: c.part(after=side) for c in changes} for side in (False, True))
    told = [{"email": email, "before": before[email], "after": after[email]} for email in after]
    return {"changed": bool(changes), "users": told, "diff": {"before": before, "after": after}}


def plan_changes(
    rows: Iterable[UserRow], users: Sequence[Mapping[str, Any]], rules: Sequence[Mapping[str, Any]]
) -> list[UserChange]:
    """Return what has to change so that every user is as declared.

    Args:
        rows: All users.
        users: Declared users: ``email`` and the columns to set. They win over rules.
        rules: Pairs ``match`` (conditions) and ``set`` (columns), applied in order until nothing changes any more.

    Raises:
        FractalError: A declared user does not exist, Fractal would refuse a value, or rules contradict each other.
    """
    named = {user["email"].lower(): _values(user) for user in users}
    wanted = [({k: v for k, v in rule["match"].items() if v is not None}, _values(rule["set"])) for rule in rules]
    changes, missing = [], set(named)
    for row in rows:
        missing.discard(row.email.lower())
        after = _settled(row, named.get(row.email.lower(), {}), wanted)
        values = {name: getattr(after, name) for name in FLAGS + SETTINGS if getattr(after, name) != getattr(row, name)}
        if values:
            changes.append(UserChange(row, values))
    if missing:
        raise FractalError(f"There is no user {', '.join(sorted(missing))}. Nothing was changed.")
    return changes


def apply_changes(connection: Connection, changes: Iterable[UserChange]) -> None:
    """Write the changes; users without settings get a row of their own, as 2.16 makes it. The caller commits."""
    for change in changes:
        settings = {name: _stored(change.values[name]) for name in SETTINGS if name in change.values}
        flags = {name: change.values[name] for name in FLAGS if name in change.values}
        if settings and change.row.settings_id is None:
            columns, marks = ", ".join(settings), ", ".join(f"%({name})s" for name in settings)
            made = connection.exec_driver_sql(
                f"INSERT INTO user_settings ({columns}) VALUES ({marks}) RETURNING id", settings
            ).scalar_one()
            flags["user_settings_id"] = made
        elif settings:
            _update(connection, "user_settings", change.row.settings_id, settings)
        if flags:
            _update(connection, "user_oauth", change.row.id, flags)


def _update(connection: Connection, table: str, row_id: int | None, values: Mapping[str, Any]) -> None:
    assignments = ", ".join(f"{name} = %({name})s" for name in values)
    connection.exec_driver_sql(f"UPDATE {table} SET {assignments} WHERE id = %(id)s", {**values, "id": row_id})


def _stored(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, list) else value


def _values(declared: Mapping[str, Any]) -> dict[str, Any]:
    """Return the declared columns; an option that was left out is None."""
    return {name: declared[name] for name in FLAGS + SETTINGS if declared.get(name) is not None}


def _settled(
    row: UserRow, own: Mapping[str, Any], rules: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]
) -> UserRow:
    """Return the row as it is when no rule changes it any more."""
    names = {name: own[name] for name in _PLACEHOLDERS if "{" not in own.get(name, "{")}
    for _unused in range(_ROUNDS):
        before = row
        for match, values in rules:
            if _matches(row, match):
                # a name that is declared is the user's, also where a rule comes before it
                row = row._replace(**_filled(row._replace(**names), {k: v for k, v in values.items() if k not in own}))
        row = row._replace(**_filled(row, own))
        if row == before:
            return row
    raise FractalError(
        f"The rules contradict each other for {row.email}: they never come to rest. Nothing was changed."
    )


def _matches(row: UserRow, match: Mapping[str, Any]) -> bool:
    facts = {
        "email": fnmatchcase(row.email.lower(), str(match.get("email", "*")).lower()),
        "is_active": row.is_active == match.get("is_active"),
        "is_verified": row.is_verified == match.get("is_verified"),
        "is_superuser": row.is_superuser == match.get("is_superuser"),
        "owns_project": (row.projects > 0) == match.get("owns_project"),
        "recently_active": row.recent == match.get("recently_active"),
        "has_oauth_account": bool(row.oauth) == match.get("has_oauth_account"),
        "unset": all(getattr(row, name) is None for name in match.get("unset", ())),
    }
    return all(facts[condition] for condition in match)


def _filled(row: UserRow, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values, ``{name}`` and the like filled in from the user, in the form in which Fractal stores them."""
    filled: dict[str, Any] = {
        column: _fill(row, column, value) if isinstance(value, str) else value for column, value in values.items()
    }
    settings: dict[str, Any] = {column: value for column, value in filled.items() if column in SETTINGS}
    try:
        return {**filled, **UserSettingsUpdate(**settings).model_dump(include=set(settings))}
    except ValidationError as error:
        reasons = "; ".join(problems(error))
        raise FractalError(f"Fractal would not accept {row.email}: {reasons}. Nothing was changed.") from None


def _fill(row: UserRow, column: str, value: str) -> str:
    texts = {"name": row.email.partition("@")[0], "slurm_user": row.slurm_user, "ssh_username": row.ssh_username}
    for placeholder in _PLACEHOLDERS:
        mark = "{" + placeholder + "}"
        if mark in value:
            text = texts[placeholder]
            if not text:
                raise FractalError(
                    f"{column} of {row.email} shall be {value}, but they have no {placeholder}. Nothing was changed."
                )
            value = value.replace(mark, text)
    return value
