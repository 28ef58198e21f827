"""How long an answer is waited for. What is asked where: test_health.py and test_discovery.py."""

from __future__ import annotations

from typing import NoReturn

import pytest
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance import alive

RESOLVER = 5  # seconds until it asks again for an answer that was lost (resolv.conf(5))


def test_fractal_web_may_look_up_its_server_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """It asks its server by name, so one lost answer must not look like a fractal-web that does not answer."""
    waited = []

    def lost(_url: str, *, timeout: float, validate_certs: bool) -> NoReturn:
        waited.append(timeout)
        raise FractalError(f"no answer, certificates checked: {validate_certs}")

    monkeypatch.setattr(alive, "request", lost)
    assert alive.ask("http://web:5173", "web").problem == "no answer, certificates checked: True"
    assert waited[0] > 2 * RESOLVER
