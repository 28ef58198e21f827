"""What a failed upgrade says at night: the state that it left, and the two commands."""

from ansible_collections.fractal_ops.platform.plugins.module_utils._advice import how_to_go_on

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
