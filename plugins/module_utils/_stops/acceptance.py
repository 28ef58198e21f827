# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""What has to be told of a release about the resources, profiles and users that it accepts, and about its viewer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.pydantic_or_stand_ins import ValidationError

if TYPE_CHECKING:
    from ansible_collections.fractal_ops.platform.plugins.module_utils._core.pydantic_or_stand_ins import BaseModel
    from sqlalchemy import Connection

Row = Mapping[str, Any]
Paths = dict[str, list[str]]
"""The folders that the viewer may show, by the e-mail of the user."""


@dataclass(frozen=True)
class Accepts:
    """What a release, and those after it until the next row, accept as resource, profile and user.

    Attributes:
        release: The first release of which this is true.
        resources: The models of a resource, by its type.
        profiles: The models of a profile, by the type of its resource.
        user: The model of what an administrator may change of a user.
        resource_fields: Columns of a resource that are shown, and may be declared.
        profile_fields: Those of a profile.
        user_fields: Those of a user.
        changed_user: Returns the columns to write, from what is declared of a user and the user's present columns.
        project_folders: Returns the project folders of a user; what a migration has filled in only is none.
        projects: Query for how many projects a user has on a resource: user id, resource id, number.
        task_groups: The same for task groups.
        resource_placeholder: The name of a resource that nobody has named yet.
        profile_placeholder: The name of such a profile, with ``{username}``.
        handed_on: Returns the columns of the only resource to write, from its present ones and from what the steps of
            the environment file hand on because the data migration does not carry it over.
    """

    release: str
    resources: Mapping[str, type[BaseModel]]
    profiles: Mapping[str, type[BaseModel]]
    user: type[BaseModel]
    resource_fields: Sequence[str]
    profile_fields: Sequence[str]
    user_fields: Sequence[str]
    changed_user: Callable[[Row, Row], dict[str, Any]]
    project_folders: Callable[[Row], list[str]]
    projects: str
    task_groups: str
    resource_placeholder: str
    profile_placeholder: str
    handed_on: Callable[[Row, Row], dict[str, Any]]

    def resource(self, data: Row) -> dict[str, Any]:
        """Return a resource's fields as they are stored, defaults filled in and memory sizes in MB.

        Raises:
            FractalError: The release would refuse it.
        """
        return self._validated(_model(self.resources, "type", "resource", data), "resource", data, data.get("name"))

    def profile(self, data: Row) -> dict[str, Any]:
        """Return a profile's fields as they are stored.

        Raises:
            FractalError: The release would refuse it.
        """
        model = _model(self.profiles, "resource_type", "profile", data)
        return self._validated(model, "profile", data, data.get("name"))

    def changes_of_user(self, option: Row, present: Row) -> dict[str, Any]:
        """Return the columns of a user that a declaration changes, as they are stored.

        Raises:
            FractalError: The release would refuse it.
        """
        changed = self.changed_user(option, present)
        valid = self._validated(self.user, "change of the user", changed, present["email"])
        return {name: valid[name] for name in changed}

    def access_problem(self, user: Row) -> str:
        """Return why a user cannot use the API, or an empty text.

        Source: fractal-server 2.17.0, app/routes/auth/__init__.py.
        """
        reasons = (
            ("not active", not user["is_active"]),
            ("not verified", not user["is_verified"]),
            ("no profile", user["profile_id"] is None),
            ("no project folder", not self.project_folders(user)),
        )
        return ", ".join(reason for reason, holds in reasons if holds)

    def _validated(self, model: type[BaseModel], what: str, data: Row, name: Any) -> dict[str, Any]:
        try:
            fields: dict[str, Any] = model(**data).model_dump()
        except ValidationError as error:
            raise FractalError(
                f"fractal-server {self.release} does not accept the {what} {name!r}: {'; '.join(problems(error))}"
            ) from None
        return fields


class Viewer(Protocol):
    """Which folders the viewer may show each user, by the rules of a release and the settings of an instance."""

    @property
    def scheme(self) -> str:
        """How the list is built, in a word for the report."""

    @property
    def drops_on_purpose(self) -> bool:
        """Whether the release takes folders from users that it gave them before, which the operator has accepted."""

    def paths(self, connection: Connection) -> Paths | None:
        """Return the folders of every active and verified user, or None where the schema does not tell them."""

    def why_refused(self) -> str:
        """Return why the release refuses its settings, or an empty text."""

    def why_lost(self, before: Mapping[str, Iterable[str]]) -> str:
        """Return what may explain that somebody lost a folder of ``before``, or an empty text."""


def given(option: Row, names: Iterable[str]) -> dict[str, Any]:
    """Return what is declared of these columns."""
    return {name: option[name] for name in names if option.get(name) is not None}


def problems(error: ValidationError) -> list[str]:
    """Return what is wrong, one text per field, without the values (a configuration may hold a secret)."""
    return [
        f"{'.'.join(str(part) for part in item['loc']) or 'as a whole'}: {plain_message(item)}"
        for item in error.errors(include_url=False, include_input=False)
    ]


def plain_message(item: Mapping[str, Any]) -> str:
    """Return the text of one of pydantic's error items, without pydantic's own preamble."""
    if item["type"] == "string_pattern_mismatch":
        return "must be an absolute path"
    text: str = item["msg"]
    return text[len("Value error, ") :] if text.startswith("Value error, ") else text[:1].lower() + text[1:]


def _model(models: Mapping[str, type[BaseModel]], key: str, what: str, data: Row) -> type[BaseModel]:
    model = models.get(str(data.get(key)))
    if model is None:
        raise FractalError(f"The {key} of a {what} must be one of {', '.join(models)}, not {data.get(key)!r}.")
    return model
