"""Every scenario has the facts and fixtures of scenario.py; what undoes its upgrade comes last."""

from __future__ import annotations

import pytest

pytest_plugins = ["scenario"]


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort the tests of a rollback, and what begins anew, to the end; all others are about the upgraded instance."""
    last = ["test_rollback.py", "test_halts.py"]
    items.sort(key=lambda item: last.index(item.path.name) if item.path.name in last else -1)
