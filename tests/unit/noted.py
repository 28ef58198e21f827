"""What the program of a window has noted in its journal, for the tests of those who read it."""

from __future__ import annotations

from typing import Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._window.journal import Journal


def note(unit: str, *events: tuple[str, dict[str, Any]]) -> None:
    """Add events to the journal of the window on a unit, each with what it tells."""
    journal = Journal(unit)
    for event, told in events:
        journal.note(event, **told)
    journal.close()
