"""The hold: what it says, and that it says it again when read."""

from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.hold import (
    HELD,
    STARTING,
    Hold,
    hold_path,
    parse_hold,
    render_hold,
)
from hypothesis import given
from hypothesis import strategies as st

WORDS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1)


@given(WORDS, WORDS, WORDS, WORDS, st.booleans(), st.sampled_from([HELD, STARTING]))
def test_a_hold_is_read_as_it_was_written(run, since, controller, backup, ran_before, phase):
    hold = Hold(run, since, controller, backup, ran_before, phase)
    assert parse_hold(render_hold(hold)) == hold


def test_a_hold_makes_every_start_fail_and_says_why():
    text = render_hold(Hold("r", "s", "c", "b"))
    assert "AssertPathExists=/" in text
    assert "rollback playbook" in text
    assert hold_path("fractal-server.service").startswith("/etc/systemd/system/fractal-server.service.d/")


def test_for_the_start_only_the_assertion_goes():
    text = render_hold(Hold("r", "s", "c", "/b", phase=STARTING))
    assert all(line.startswith("#") for line in text.splitlines())
    assert "backup: /b" in text and "has not answered" in text
