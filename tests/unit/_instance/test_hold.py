"""The hold: what it says, and that it says it again when read."""

from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.hold import (
    Hold,
    hold_path,
    parse_hold,
    render_hold,
)
from hypothesis import given
from hypothesis import strategies as st

WORDS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1)


@given(WORDS, WORDS, WORDS, WORDS, st.booleans())
def test_a_hold_is_read_as_it_was_written(run, since, controller, backup, ran_before):
    hold = Hold(run, since, controller, backup, ran_before)
    assert parse_hold(render_hold("x.service", hold)) == hold


def test_a_hold_makes_every_start_fail_and_says_why():
    text = render_hold("x.service", Hold("r", "s", "c", "b"))
    assert "\n[Unit]\nAssertPathExists=/etc/systemd/system/x.service.d/upgrade-in-progress" in text
    assert "rollback playbook" in text
    assert hold_path("fractal-server.service").startswith("/etc/systemd/system/fractal-server.service.d/")
