"""Every scenario has the facts and fixtures of scenario.py; what undoes its upgrade comes last."""

from __future__ import annotations

import pytest

pytest_plugins = ["scenario"]


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort the tests of a rollback to the end; all others are about the upgraded instance."""
    items.sort(key=lambda item: item.path.name == "test_rollback.py")
