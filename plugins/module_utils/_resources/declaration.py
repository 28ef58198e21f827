# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""The declared state of resources, profiles and users: which rows it wants, and how the database gets there.

A declaration never goes by ids: a resource is known by its current or previous name, a profile by these or by its
username, a user by e-mail. What it does not mention stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._resources.review import State, misplaced
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.acceptance import given

if TYPE_CHECKING:
    import sqlalchemy as sa
    from sqlalchemy.dialects.postgresql import JSONB
else:
    try:
        import sqlalchemy as sa
        from sqlalchemy.dialects.postgresql import JSONB
    except ImportError:
        sa = JSONB = None

_RESOURCE_OPTIONS = (
    "host jobs_local_dir jobs_runner_config jobs_slurm_python_worker jobs_poll_interval tasks_local_dir "
    "tasks_pixi_config"
).split()
_PROFILE_OPTIONS = "username ssh_key_path jobs_remote_dir tasks_remote_dir".split()
_JSON_FIELDS = frozenset(("jobs_runner_config", "tasks_python_config", "tasks_pixi_config"))
_TABLES = ("resource", "profile", "user_oauth")
_LOCK_TIMEOUT = "30s"


@dataclass(frozen=True)
class Change:
    """One row to write: ``action`` is ``create``, ``update`` or ``delete``; only fields that differ are told."""

    table: str
    action: str
    id: int
    name: str
    before: dict[str, Any]
    after: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """Return what the change means to a person."""
        what = {"user_oauth": "user"}.get(self.table, self.table)
        fields = sorted(self.after) if self.action == "update" else []
        return {"kind": what, "name": self.name, "action": self.action, "fields": fields}


@dataclass(frozen=True)
class Desired:
    """What the operator declares, as the module's options."""

    resources: Sequence[Mapping[str, Any]] = ()
    profiles: Sequence[Mapping[str, Any]] = ()
    users: Sequence[Mapping[str, Any]] = ()
    handed_on: Mapping[str, Any] | None = None

    def __bool__(self) -> bool:
        """Whether anything is declared."""
        return bool(self.resources or self.profiles or self.users or self.handed_on)


def wanted_state(state: State, desired: Desired) -> State:
    """Return the state that a declaration asks for; new rows have negative ids.

    Raises:
        FractalError: Something declared is unknown, ambiguous, refused by fractal-server, or would detach users,
            projects or task groups. All problems are told at once.
    """
    wanted = deepcopy(state)
    declared = frozenset(str(option["name"]) for option in desired.profiles)
    steps = (
        [(_declare_resource, option) for option in desired.resources]
        + ([(_declare_handed_on, desired.handed_on)] if desired.handed_on else [])
        + [(partial(_declare_profile, declared=declared), option) for option in _by_name_first(state, desired.profiles)]
        + [(_declare_user, option) for option in desired.users]
    )
    refused = _declared_twice(desired)
    for step, option in steps:
        try:
            step(wanted, option)
        except FractalError as error:
            refused.append(str(error))
    refused += _detached(state, wanted) if not refused else []
    if refused:
        raise FractalError("Nothing was changed. " + " ".join(refused))
    return wanted


def changes_between(state: State, wanted: State) -> list[Change]:
    """Return the rows to write, in an order that keeps every reference valid."""
    changes: list[Change] = []
    deletions: list[Change] = []
    for table, name, old, new in (
        ("resource", "name", state.resources, wanted.resources),
        ("profile", "name", state.profiles, wanted.profiles),
        ("user_oauth", "email", state.users, wanted.users),
    ):
        for key, fields in new.items():
            before = old.get(key)
            if before is None:
                changes.append(Change(table, "create", key, str(fields[name]), {}, fields))
            elif before != fields:
                different = [field for field in fields if before[field] != fields[field]]
                changes.append(
                    Change(
                        table,
                        "update",
                        key,
                        str(before[name]),
                        {field: before[field] for field in different},
                        {field: fields[field] for field in different},
                    )
                )
        deletions += [
            Change(table, "delete", key, str(fields[name]), fields, {}) for key, fields in old.items() if key not in new
        ]
    return changes + deletions[::-1]


def lock(connection: sa.Connection) -> None:
    """Keep others from writing the tables until the transaction ends; readers are not disturbed.

    Raises:
        sqlalchemy.exc.OperationalError: Somebody else holds them for longer than the lock timeout.
    """
    connection.execute(sa.text(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'"))
    connection.execute(sa.text(f"LOCK TABLE {', '.join(_TABLES)} IN SHARE ROW EXCLUSIVE MODE"))


def apply_changes(connection: sa.Connection, changes: Iterable[Change]) -> None:
    """Write the rows; the caller's transaction makes it all or nothing."""
    real_ids: dict[int, int] = {}
    for change in changes:
        values = {
            name: real_ids.get(value, value) if name in ("resource_id", "profile_id") else value
            for name, value in change.after.items()
        }
        table = _table(change.table, values)
        if change.action == "create":
            if change.table == "resource":
                values["timestamp_created"] = sa.func.now()
                table = _table(change.table, values)
            real_ids[change.id] = connection.execute(table.insert().values(values).returning(table.c.id)).scalar_one()
        elif change.action == "update":
            connection.execute(table.update().where(table.c.id == change.id).values(values))
        else:
            connection.execute(table.delete().where(table.c.id == change.id))


def diff(state: State, wanted: State, changes: Sequence[Change]) -> dict[str, Any]:
    """Return before and after of every changed row, for Ansible's ``--diff``; references are told by name."""
    return {
        "before": {f"{c.as_dict()['kind']} {c.name}": _readable(c.before, state) for c in changes},
        "after": {f"{c.as_dict()['kind']} {c.name}": _readable(c.after, wanted) for c in changes},
    }


# --- resources ---


def _declare_resource(wanted: State, option: Mapping[str, Any]) -> None:
    key = _find("resource", wanted.resources, option)
    if option["state"] == "absent":
        if key is not None:
            del wanted.resources[key]
        return
    if key is None:
        _create_resource(wanted, option)
        return
    fields = wanted.resources[key]
    if option.get("type") not in (None, fields["type"]):
        raise FractalError(
            f"The resource {fields['name']!r} is of type {fields['type']}; "
            f"a type cannot be changed to {option['type']}."
        )
    changed = {"name": option["name"], **given(option, _RESOURCE_OPTIONS)}
    changed["tasks_python_config"] = _python_config(fields["tasks_python_config"], option)
    _update(fields, changed, wanted.accepts.resource)


def _create_resource(wanted: State, option: Mapping[str, Any]) -> None:
    if not option.get("create"):
        names = ", ".join(repr(resource["name"]) for resource in wanted.resources.values()) or "none"
        raise FractalError(
            f"No resource is called {option['name']!r}; there are: {names}. To rename one, give its present name as "
            "previous_name; for an additional one, set create to true."
        )
    types = {resource["type"] for resource in wanted.resources.values()}
    if types and option.get("type") not in types:
        raise FractalError(
            f"The new resource {option['name']!r} must be of type {', '.join(sorted(types))}, like the others: a "
            "server has one runner backend."
        )
    fields = {
        "type": option.get("type"),
        "name": option["name"],
        "tasks_python_config": _python_config({}, option),
        "tasks_pixi_config": {},
        **given(option, _RESOURCE_OPTIONS),
    }
    wanted.resources[_new_id(wanted.resources)] = wanted.accepts.resource(fields)


def _declare_handed_on(wanted: State, handed_on: Mapping[str, Any]) -> None:
    """Put back what the data migration cannot carry over, and nothing that an administrator has set since."""
    if len(wanted.resources) != 1:
        raise FractalError(
            f"There are {len(wanted.resources)} resources; what the old environment file hands on belongs to "
            "the one made by the data migration. Declare the interpreters in 'resources' instead."
        )
    fields = next(iter(wanted.resources.values()))
    _update(fields, wanted.accepts.handed_on(fields, handed_on), wanted.accepts.resource)


def _python_config(present: Mapping[str, Any], option: Mapping[str, Any]) -> dict[str, Any]:
    """Return the interpreters with those of the option added or replaced; an empty path takes one away."""
    config = deepcopy(dict(present))
    versions = {**config.get("versions", {}), **(option.get("interpreters") or {})}
    config["versions"] = {version: path for version, path in versions.items() if path}
    if option.get("default_python_version"):
        config["default_version"] = option["default_python_version"]
    if option.get("pip_cache_dir") is not None:
        config["pip_cache_dir"] = option["pip_cache_dir"] or None
    return config


# --- profiles ---


def _by_name_first(state: State, options: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the options with those that a name settles first, so that the others cannot claim their profiles."""
    names = {profile["name"] for profile in state.profiles.values()}
    return sorted(options, key=lambda option: not ({option["name"], option.get("previous_name")} & names))


def _declare_profile(wanted: State, option: Mapping[str, Any], declared: frozenset[str]) -> None:
    key = _find("profile", wanted.profiles, option)
    if key is None and option["state"] == "present":
        key = _only_bearer(wanted.profiles, option.get("username"), declared)
    if option["state"] == "absent":
        if key is not None:
            del wanted.profiles[key]
        return
    resource_id = _resource_of(wanted, option, None if key is None else wanted.profiles[key]["resource_id"])
    resource_type = wanted.resources[resource_id]["type"]
    changed = {
        "name": option["name"],
        "resource_id": resource_id,
        "resource_type": resource_type,
        **given(option, _PROFILE_OPTIONS),
    }
    if key is None:
        fields = {**dict.fromkeys(_PROFILE_OPTIONS), **changed}
        wanted.profiles[_new_id(wanted.profiles)] = {**wanted.accepts.profile(fields), "resource_id": resource_id}
    else:
        _update(wanted.profiles[key], changed, wanted.accepts.profile)


def _resource_of(wanted: State, option: Mapping[str, Any], present: Any) -> int:
    """Return the id of the resource that a profile belongs to: declared, present, or the only one."""
    if option.get("resource"):
        return _by_name(wanted.resources, "resource", option["resource"])
    if present is not None:
        return int(present)
    if len(wanted.resources) != 1:
        raise FractalError(
            f"The new profile {option['name']!r} needs a 'resource': there are {len(wanted.resources)} of them."
        )
    return int(next(iter(wanted.resources)))


# --- users ---


def _declare_user(wanted: State, option: Mapping[str, Any]) -> None:
    email = str(option["email"]).lower()
    user = next((fields for fields in wanted.users.values() if str(fields["email"]).lower() == email), None)
    if user is None:
        raise FractalError(f"No user has the e-mail {option['email']!r}. Create the account in fractal-web first.")
    user.update(wanted.accepts.changes_of_user(option, user))
    if option.get("profile"):
        user["profile_id"] = _by_name(wanted.profiles, "profile", option["profile"])
    problem = wanted.accepts.access_problem(user)
    if user["is_active"] and user["is_verified"] and problem:
        raise FractalError(
            f"The user {user['email']} would be active and verified, but with {problem}: declare what is missing."
        )


# --- shared ---


def _find(what: str, rows: Mapping[int, Mapping[str, Any]], option: Mapping[str, Any]) -> int | None:
    """Return the id of the row that an option means: by name or by previous name."""
    by_name = [key for key, fields in rows.items() if fields["name"] == option["name"]]
    previous = option.get("previous_name")
    by_previous = [key for key, fields in rows.items() if previous and fields["name"] == previous]
    if by_name and by_previous and by_name != by_previous:
        raise FractalError(
            f"There is a {what} {option['name']!r} and another one {previous!r}: a rename would make two into one. "
            "Remove the one that is not used, or leave out previous_name."
        )
    found = by_name or by_previous
    return found[0] if found else None


def _only_bearer(rows: Mapping[int, Mapping[str, Any]], username: str | None, declared: frozenset[str]) -> int | None:
    """Return the id of the only profile with a username, if no other declaration means it by its name."""
    found = [key for key, fields in rows.items() if username and fields["username"] == username]
    return found[0] if len(found) == 1 and rows[found[0]]["name"] not in declared else None


def _by_name(rows: Mapping[int, Mapping[str, Any]], what: str, name: str) -> int:
    """Return the id of the row with a name, or of the only profile with that username."""
    for keys in ("name", "username"):
        found = [key for key, fields in rows.items() if fields.get(keys) == name]
        if len(found) == 1:
            return found[0]
    names = ", ".join(repr(fields["name"]) for fields in rows.values()) or "none"
    raise FractalError(f"No {what} is called {name!r}; there are: {names}.")


def _update(fields: dict[str, Any], changed: Mapping[str, Any], validate: Any) -> None:
    """Set the changed fields as they would be stored; fields that nobody declared stay as they are."""
    if all(fields[name] == value for name, value in changed.items()):
        return
    valid = validate({**fields, **changed})
    fields.update({name: valid.get(name, value) for name, value in changed.items()})


def _new_id(rows: Mapping[int, Any]) -> int:
    return min([0, *rows]) - 1


def _detached(state: State, wanted: State) -> list[str]:
    """Return what a declaration would cut off from what it belongs to."""
    refused = []
    for key, resource in state.resources.items():
        if key not in wanted.resources:
            used = {
                "profiles": sum(profile["resource_id"] == key for profile in wanted.profiles.values()),
                "projects": sum(count for (_unused, owner), count in state.projects.items() if owner == key),
                "task groups": sum(count for (_unused, owner), count in state.task_groups.items() if owner == key),
            }
            if any(used.values()):
                list_of_uses = ", ".join(f"{count} {what}" for what, count in used.items() if count)
                refused.append(f"The resource {resource['name']!r} cannot be removed: {list_of_uses} belong to it.")
    for key, profile in state.profiles.items():
        users = [user["email"] for user in wanted.users.values() if user["profile_id"] == key]
        if key not in wanted.profiles and users:
            refused.append(f"The profile {profile['name']!r} cannot be removed: {', '.join(users)} would lose access.")
    before = misplaced(state)
    refused += [f"Not possible: {text}." for user, text in _misplaced(wanted).items() if user not in before]
    return refused


def _misplaced(wanted: State) -> dict[int, str]:
    known = {
        user: f for user, f in wanted.users.items() if f["profile_id"] is None or f["profile_id"] in wanted.profiles
    }
    return misplaced(replace(wanted, users=known))


def _declared_twice(desired: Desired) -> list[str]:
    refused = []
    for what, key, options in (
        ("resource", "name", desired.resources),
        ("profile", "name", desired.profiles),
        ("user", "email", desired.users),
    ):
        names = [str(option[key]) for option in options]
        refused += [f"The {what} {name!r} is declared twice." for name in sorted(set(names)) if names.count(name) > 1]
    return refused


def _readable(fields: Mapping[str, Any], state: State) -> dict[str, Any]:
    shown = dict(fields)
    for reference, rows in (("resource_id", state.resources), ("profile_id", state.profiles)):
        if reference in shown:
            row = rows.get(shown.pop(reference))
            shown[reference.removesuffix("_id")] = row["name"] if row else None
    return shown


def _table(name: str, values: Mapping[str, Any]) -> sa.TableClause:
    columns = [sa.column(field, JSONB) if field in _JSON_FIELDS else sa.column(field) for field in values]
    return sa.table(name, sa.column("id"), *columns)
