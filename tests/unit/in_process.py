"""A door that leads nowhere: what is called behind it runs in this process, with whatever a test has replaced."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Callable


@dataclass(frozen=True)
class InProcess:
    """Stands for Door; ``called`` notes under which interpreter what was called."""

    python: str = "/venv/bin/python3"
    account: Any = None
    called: list[Any] = field(default_factory=list)

    def call(self, function: Callable[..., dict[str, Any]], *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Call it here."""
        self.called.append((self.python, function))
        return function(*args, **kwargs)
