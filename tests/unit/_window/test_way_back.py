"""What a rollback does, from what is there."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.fractal_ops.platform.plugins.module_utils._window.way_back import way_back

BACKUP = {"path": "/b/u/1", "version": "2.16.6", "revision": "981d588fe248"}
HELD, STARTING = {"phase": "held"}, {"phase": "starting"}


def way(
    hold: dict[str, str] | None,
    backup: dict[str, str] | None,
    version: str = "2.16.6",
    revision: str | None = "981d588fe248",
    ran_before: bool = True,
) -> dict[str, Any]:
    found = {"hold": hold, "backup": backup, "folder": "/b/u", "ran_before": ran_before}
    return way_back(found, {"version": version}, {"revision": revision} if revision else {"reachable": False})


@pytest.mark.parametrize(
    ("seen", "restore", "ask_first"),
    [
        (way(HELD, BACKUP), True, False),
        (way(STARTING, BACKUP, "2.17.0", "83bc2ad3ffcc"), True, True),
        (way(None, BACKUP, "2.17.0", "83bc2ad3ffcc"), True, True),
        (way(None, BACKUP, "2.17.0"), True, True),
        (way(None, BACKUP, revision="83bc2ad3ffcc"), True, True),
        (way(None, BACKUP, revision=None), True, True),
        (way(None, BACKUP), False, True),
        (way(HELD, None), False, False),
    ],
)
def test_the_backup_comes_back_where_anything_differs_or_may(
    seen: dict[str, Any], restore: bool, ask_first: bool
) -> None:
    assert (seen["restore"], seen["ask_first"], seen["nothing"]) == (restore, ask_first, "")
    assert seen["start"]


def test_an_instance_that_was_never_upgraded_is_left_as_it_is() -> None:
    seen = way(None, None)
    told = "no upgrade is in progress, and /b/u holds no finished backup"
    assert seen["nothing"] == f"{told} of 2.16.6 or an earlier release"
    assert way(None, None, version="")["nothing"] == told
    assert not seen["restore"] and not seen["start"]
    assert seen["version"] is None


def test_a_service_that_was_stopped_before_stays_stopped() -> None:
    assert not way(HELD, BACKUP, ran_before=False)["start"]
    assert way(HELD, BACKUP)["version"] == "2.16.6"
