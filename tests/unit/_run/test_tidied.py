"""What the playbook ``tidy`` says."""

from __future__ import annotations

from typing import Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._run.tidied import tidy_lines

GROUPS = {"fractal_server": ["one", "two"], "fractal_web": ["web"]}
RESULT: dict[str, Any] = {
    "changed": True,
    "bytes": 2_000_000_000,
    "found": [
        {"kind": "backup", "name": "/b/new", "bytes": 1000, "goes": False, "why": "a rollback goes back to it"},
        {"kind": "copy", "name": "f_frozen_old", "bytes": 2_000_000_000, "goes": True, "why": "a newer one"},
    ],
}


def told(check_mode: bool, **facts: Any) -> list[str]:
    return tidy_lines({"one": facts, "two": {}, "web": {}}, GROUPS, ["one"], check_mode)


def test_what_goes_comes_first() -> None:
    assert told(True, __tidy_server=RESULT) == [
        "one (fractal-server)",
        "  would go     2.0 GB  f_frozen_old: a newer one",
        "  stays        1.0 kB  /b/new: a rollback goes back to it",
        "  2.0 GB would be free of it",
    ]
    assert told(False, __tidy_server=RESULT)[1].startswith("  removed ")


def test_nothing_to_do_and_hosts_that_failed() -> None:
    assert told(False, __tidy_server={"changed": False, "bytes": 0, "found": []})[1] == "  nothing to remove"
    assert told(False, __tidy_server={"failed": True}, __server_failure="no unit")[1] == "  no unit"
    assert "lost" in told(False)[1]
