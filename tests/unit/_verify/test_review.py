"""The part of a verification that the database answers: what it says, and that its silence is one failed check."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.database import Installation
from ansible_collections.fractal_ops.platform.plugins.module_utils._resources import run
from ansible_collections.fractal_ops.platform.plugins.module_utils._verify import server

OPTIONS = {"python": None, "workers": [{"python": "/w", "version": "2.17.0"}], "viewer_paths_before": {"a@x": ["/a"]}}


class Door:
    """Stands for the child; keeps what it was asked."""

    def __init__(self, answer: Any) -> None:
        self.answer, self.asked = answer, []

    def call(self, *asked: Any) -> Any:
        self.asked.append(asked)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def test_it_declares_nothing_and_tells_what_it_was_told(monkeypatch: pytest.MonkeyPatch) -> None:
    door = Door({"checks": [], "findings": [], "review": {}, "viewer": {}})
    monkeypatch.setattr(server, "service_side", lambda *_args: door)
    assert server.review(Installation(""), OPTIONS) is door.answer
    ((function, _installation, *told),) = door.asked
    assert told == [OPTIONS["workers"], OPTIONS["viewer_paths_before"]]
    asked: list[Any] = []
    monkeypatch.setattr(run, "declare_or_review", lambda _where, *options: asked.append(options) or {})
    function(Installation(""), *told)
    ((params, check_mode),) = asked
    assert check_mode
    assert params["workers"] == OPTIONS["workers"] and params["viewer_paths_before"] == OPTIONS["viewer_paths_before"]
    assert not any(params[kind] for kind in ("resources", "profiles", "users", "handed_on"))


def test_a_database_that_does_not_answer_is_one_failed_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "service_side", lambda *_args: Door(FractalError("It does not answer.")))
    told = server.review(Installation(""), OPTIONS)
    assert [(check["id"], check["status"], check["message"]) for check in told["checks"]] == [
        ("schema", "failed", "It does not answer.")
    ]
    assert told["findings"] == [] and told["review"] is None
