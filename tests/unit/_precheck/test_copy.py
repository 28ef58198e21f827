"""Whether precheck says that the downtime will hold a dump, why, and what that costs."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.fractal_ops.platform.plugins.module_utils._precheck import copy
from ansible_collections.fractal_ops.platform.plugins.module_utils._precheck.copy import check_copy

NO_RIGHT = ["the role fractal may not create databases"]


def found(method: str, reasons: list[str], size: int = 700_000_000) -> list[Any]:
    facts = SimpleNamespace(why_no_copy=reasons, size_bytes=size, postmaster=0)
    host = SimpleNamespace(params={"backup_method": method}, facts=facts, values={"POSTGRES_DB": "fractal_db"})
    return list(check_copy(host))  # type: ignore[arg-type]


@pytest.mark.parametrize("method", ["auto", "copy", "dump"])
def test_where_a_copy_can_be_made_nothing_is_said(method: str) -> None:
    assert found(method, []) == []


def test_a_dump_instead_is_told_with_its_reason_and_its_cost() -> None:
    [finding] = found("auto", [*NO_RIGHT, "no room"])
    assert (finding.id, finding.severity, finding.subject) == ("database.no_frozen_copy", "warning", "fractal_db")
    assert "may not create databases; no room" in finding.message
    assert "take about 3 min; a copy takes about 8 s" in finding.message


def test_who_wants_a_copy_is_refused_and_who_wants_a_dump_is_not_asked() -> None:
    [finding] = found("copy", NO_RIGHT)
    assert (finding.id, finding.severity) == ("database.copy_refused", "blocker")
    assert found("dump", NO_RIGHT) == []


def test_room_is_asked_of_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copy, "no_room", lambda size, postmaster: [f"no room for {size} at {postmaster}"])
    [finding] = found("auto", [], size=5)
    assert "no room for 5 at 0" in finding.message
