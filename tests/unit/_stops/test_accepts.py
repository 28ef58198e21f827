"""What is accepted goes by the schema of the database; a release that differs a little is a small row."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Optional

import pytest
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.database import Installation
from ansible_collections.fractal_ops.platform.plugins.module_utils._releases import path
from ansible_collections.fractal_ops.platform.plugins.module_utils._releases.release import Release
from ansible_collections.fractal_ops.platform.plugins.module_utils._resources.declaration import (
    Desired,
    changes_between,
    wanted_state,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._resources.review import State, review
from ansible_collections.fractal_ops.platform.plugins.module_utils._resources.viewer import viewer_access
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops import accepts
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.accepts import (
    ACCEPTS,
    VIEWERS,
    accepts_of,
    knows_resources,
    paths_before,
    viewer_of,
)
from pydantic import BaseModel

STOP = Release("3.1.0", "aaaaaaaaaaaa", ("3.11", "3.14"), "1.22.0", (20,), is_stop=True)
NEXT = Release("3.1.1", "bbbbbbbbbbbb", ("3.11", "3.14"), "1.22.0", (20,))


class ShelvesUpdate(BaseModel):
    """A user has shelves."""

    is_active: Optional[bool] = None
    shelves: Optional[list[str]] = None


def changed_user(option: Any, present: Any) -> dict[str, Any]:
    """A folder is the first shelf."""
    folder = option.get("project_dir")
    return {"shelves": [folder, *(shelf for shelf in present["shelves"] if shelf != folder)]} if folder else {}


SHELVES = replace(
    list(ACCEPTS.values())[-1],
    release="3.1.0",
    user=ShelvesUpdate,
    user_fields="email is_active is_verified is_superuser profile_id shelves".split(),
    changed_user=changed_user,
    project_folders=lambda user: list(user["shelves"]),
)


@pytest.fixture
def invented(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(path, "RELEASES", (*path.RELEASES, STOP, NEXT))


def head(version: str) -> str:
    return path.release(version).alembic_head


def test_every_stop_has_a_row() -> None:
    stops = {known.version for known in path.RELEASES if known.is_stop}
    assert stops <= {*ACCEPTS} and stops <= {*VIEWERS}
    for table in (ACCEPTS, VIEWERS):
        assert list(table) == sorted(table, key=path.version_key), "the last row that is not too new counts"
        assert all(path.release(version) for version in table)
    assert {version: row.release for version, row in ACCEPTS.items()} == {version: version for version in ACCEPTS}


@pytest.mark.parametrize("version", ["2.17.0", "2.17.1", "2.17.2"])
def test_a_row_is_true_until_the_next(version: str) -> None:
    assert accepts_of(head(version)) is ACCEPTS["2.17.0"] and knows_resources(head(version))


def test_a_schema_without_resources_is_refused_and_told_where_they_begin() -> None:
    assert not knows_resources(head("2.16.6"))
    with pytest.raises(FractalError, match=r"knows no resources and profiles\. They appear.* to 2\.17\.0"):
        accepts_of(head("2.16.6"))


@pytest.mark.parametrize("revision", ["0123456789ab", None])
def test_a_schema_of_no_known_release_is_refused(revision: str | None) -> None:
    for ask in (accepts_of, knows_resources):
        with pytest.raises(FractalError, match=f"alembic revision {revision}, which this collection does not know"):
            ask(revision)


def test_a_stop_of_which_nothing_is_told_is_refused(invented: None) -> None:
    for revision in (STOP.alembic_head, NEXT.alembic_head):
        with pytest.raises(FractalError, match=r"What 3\.1\.0 accepts as resource and user.*is not known"):
            accepts_of(revision)
        with pytest.raises(FractalError, match="what its viewer shows, is not known"):
            viewer_of(revision, Installation(""))


def test_a_release_that_differs_a_little_is_a_small_row(invented: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ACCEPTS, "3.1.0", SHELVES)
    found = accepts_of(NEXT.alembic_head)
    user = {"email": "ann@example.org", "is_active": True, "is_verified": True, "is_superuser": False, "profile_id": 1}
    state = State(found, users={1: {**user, "profile_id": None, "shelves": ["/old"]}, 2: {**user, "shelves": []}})
    state.profiles[1] = {"name": "p", "resource_id": 1, "username": "ann"}
    state.resources[1] = {"name": "Resource Name"}
    assert [one["without_access_because"] for one in review(state)["users"]] == ["no profile", "no project folder"]
    state.users.pop(2)
    option = {"email": "ann@example.org", "project_dir": "/new", "profile": "p"}
    [change] = changes_between(state, wanted_state(state, Desired(users=[option])))
    assert change.after == {"profile_id": 1, "shelves": ["/new", "/old"]}
    with pytest.raises(FractalError, match=r"fractal-server 3\.1\.0 does not accept the change of the user.*shelves"):
        wanted_state(state, Desired(users=[{**option, "project_dir": 4711}]))


class ShownViewer:
    """Shows what it was made with."""

    def __init__(self, scheme: str, drops_on_purpose: bool = False) -> None:
        self.scheme = scheme
        self.drops_on_purpose = drops_on_purpose

    def paths(self, _connection: Any) -> dict[str, list[str]]:
        return {"ann@example.org": [f"/{self.scheme}"]}

    def why_refused(self) -> str:
        return "it refuses" if self.scheme == "refused" else ""

    def why_lost(self, _before: Any) -> str:
        return "shelves are new"


def test_the_viewer_is_compared_with_the_one_before_and_told_that_the_file_is_another(
    invented: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = {
        version: lambda _installation, later, version=version: ShownViewer(f"{version} {later}")
        for version in ("2.16.0", "2.17.0", "3.1.0")
    }
    monkeypatch.setattr(accepts, "VIEWERS", shown)
    here, none = Installation(""), Any
    assert viewer_of(NEXT.alembic_head, here).scheme == "3.1.0 False"
    assert paths_before(none, NEXT.alembic_head, here) == {"ann@example.org": ["/2.17.0 True"]}  # type: ignore[arg-type]
    assert paths_before(none, head("2.17.1"), here) == {"ann@example.org": ["/2.16.0 True"]}  # type: ignore[arg-type]
    assert paths_before(none, head("2.16.6"), here) == {"ann@example.org": ["/2.16.0 False"]}  # type: ignore[arg-type]


def test_lost_folders_are_told_with_what_may_explain_them() -> None:
    before = {"ann@example.org": ["/a//b", "/c"], "bob@example.org": []}
    failed = viewer_access(ShownViewer("s"), before, {"ann@example.org": ["/a"]})
    assert (failed.status, failed.message) == ("failed", "ann@example.org no longer sees /c. shelves are new")
    assert viewer_access(ShownViewer("s"), before, {"ann@example.org": ["/a", "/c"]}).status == "passed"
    assert viewer_access(ShownViewer("refused"), before, before).message == "it refuses"
    assert viewer_access(ShownViewer("s"), None, before).status == "skipped"
    told = viewer_access(ShownViewer("s", drops_on_purpose=True), before, {"ann@example.org": ["/a"]})
    assert told.status == "skipped" and "ann@example.org no longer sees /c. shelves are new" in told.message
