"""What the playbook ``review`` says."""

from __future__ import annotations

from typing import Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._run.reviewed import review_lines

FOUND: dict[str, Any] = {
    "review": {
        "resources": [{"name": "R", "type": "slurm_sudo", "profiles": ["P"], "projects": 3, "task_groups": 2}],
        "profiles": [
            {"name": "P", "resource": "R", "username": "ann", "users": ["ann@x", "bob@x"]},
            {"name": "Q", "resource": "R", "username": None, "users": []},
        ],
        "without_access": [{"email": "carl@x", "reason": "not verified"}],
    },
    "findings": [{"message": "The resource is still called 'R'.", "fix": "Give it a name."}],
    "checks": [
        {"status": "passed", "subject": "schema", "message": "fine", "fix": ""},
        {"status": "failed", "subject": "users", "message": "ann@x: no profile", "fix": "Give one."},
    ],
}


def told(**facts: Any) -> list[str]:
    return review_lines({"one": facts, "two": {}}, {"fractal_server": ["one", "two"]}, ["one"])


def test_everything_is_said_and_last_what_to_do() -> None:
    assert told(__fractal_reviewed=FOUND) == [
        "one (fractal-server)",
        "  resource  'R' (slurm_sudo): 1 profile(s), 3 project(s), 2 task group(s)",
        "  profile   'P' on 'R' as ann: ann@x, bob@x",
        "  profile   'Q' on 'R': nobody",
        "  no access carl@x: not verified",
        "  to do     The resource is still called 'R'. Give it a name.",
        "  failed    users: ann@x: no profile. Give one.",
    ]


def test_a_release_without_resources_and_a_server_that_is_lost() -> None:
    skipped = [{"status": "skipped", "subject": "database", "message": "it knows none", "fix": ""}]
    before = told(__fractal_reviewed={"review": None, "findings": [], "checks": skipped})
    assert before[1:] == ["  skipped   database: it knows none."]
    assert told(__fractal_reviewed={"failed": True}, __server_failure="no unit")[1] == "  unknown   no unit"
    assert "lost" in told()[1]
