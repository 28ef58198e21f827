"""What a failed upgrade says at night: the state that it left, and the two commands."""

from ansible_collections.fractal_ops.platform.plugins.module_utils._run.advice import how_to_go_on, why_failed

HOLD = {"run": "r", "since": "2026-11-23T20:00:00Z", "controller": "ops1", "backup": "/b"}


def told(backup=None, back=False, hosts="", held=True, **database):
    failed = {
        "why": "set-db broke",
        "backup": {"hold": HOLD if held else None, "backup": backup},
        "stopped_at": {"database": database},
    }
    return how_to_go_on(failed, back, hosts)


def test_a_held_service_with_its_state_and_both_commands():
    text = told(backup={"path": "/b"}, revision="83bc2ad3ffcc", data_migration="partial", hosts="s,w,localhost")
    assert text.startswith("set-db broke\n")
    for part in (
        "held since 2026-11-23T20:00:00Z",
        "revision 83bc2ad3ffcc with half a data migration",
        "The backup is /b.",
        "platform.upgrade --limit s,w,localhost",
        "platform.rollback --limit s,w,localhost",
    ):
        assert part in text


def test_without_an_answer_of_the_database_it_still_says_how_to_go_on():
    text = how_to_go_on({"why": "x", "backup": {"hold": HOLD, "backup": None}, "stopped_at": {}}, False, "")
    assert "no database answers" in text
    assert "platform.rollback" in text


def test_a_service_that_is_back_or_was_never_stopped_needs_no_rollback():
    assert "back in service" in told(back=True)
    assert "was not stopped" in told(held=False)
    assert "rollback" not in told(back=True) + told(held=False)


def test_a_program_that_died_is_told_by_its_last_words():
    died = "Module result deserialization failed: No start of json char found"
    for said in ("Killed\n", "Starting\nKilled\r\nShared connection to ops1 closed.\r\n"):
        assert why_failed({"msg": died, "module_stderr": said}) == f"{died}: Killed"
    assert why_failed({"module_stderr": "sudo: a password is required"}) == "sudo: a password is required"
    assert why_failed({"msg": " no room "}) == "no room"
    assert why_failed({}) == "it gave no answer"
