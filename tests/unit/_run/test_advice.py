"""The words of an answer that failed."""

from ansible_collections.fractal_ops.platform.plugins.module_utils._run.advice import why_failed


def test_a_program_that_died_is_told_by_its_last_words():
    died = "Module result deserialization failed: No start of json char found"
    for said in ("Killed\n", "Starting\nKilled\r\nShared connection to ops1 closed.\r\n"):
        assert why_failed({"msg": died, "module_stderr": said}) == f"{died}: Killed"
    assert why_failed({"module_stderr": "sudo: a password is required"}) == "sudo: a password is required"
    assert why_failed({"msg": " no room "}) == "no room"
    assert why_failed({"instance": None, "reason": "The unit is masked."}) == "The unit is masked."
    assert why_failed({}) == "it gave no answer"
