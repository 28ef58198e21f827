"""The one way to run a program: its limits, its account, and that it ends with the module that started it."""

import os
import signal
import subprocess
import sys
import time

import pytest
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.accounts import Account
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.programs import run

PARENT = """
import subprocess, sys
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.programs import ends_with_us
program = "import time; print('up', flush=True); time.sleep(600)"
child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, **ends_with_us())
child.stdout.readline()
print(child.pid, flush=True)
input()
"""


def test_a_program_does_not_outlive_the_module_that_was_killed():
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        child = int(parent.stdout.readline())
        os.kill(child, 0)
        parent.send_signal(signal.SIGKILL)
    end = time.monotonic() + 30
    while is_alive(child):
        assert time.monotonic() < end, "it lives on"
        time.sleep(0.01)


def is_alive(pid):
    """Return whether a process runs; one that nobody has waited for yet does not."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as stream:
            return stream.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_programs_are_run_without_input_and_with_a_limit():
    assert run(["cat"]).out == ""
    assert run(["cat"], input="ü").out == "ü"
    assert run(["/no/program"]).code == 127
    slow = run([sys.executable, "-c", "__import__('threading').Event().wait()"], timeout=0.2)
    assert slow.code == 124 and "no answer within" in slow.last_words()
    assert run(["false"]).last_words() == "exit code 1"


def test_a_program_that_floods_is_ended():
    assert run(["yes"], timeout=60).code == 125


def test_who_is_left_in_the_background_is_not_waited_for():
    done = run(["sh", "-c", "sleep 600 & echo $!"], timeout=300)
    os.kill(int(done.out), signal.SIGKILL)


def test_a_program_that_must_not_fail():
    assert run(["echo", "fine"]).must("speak") == "fine\n"
    with pytest.raises(FractalError, match=r"\ACannot look \(sh ended with 3\):\nno https://\*{8}@index\Z"):
        run(["sh", "-c", "echo no https://user:secret@index >&2; exit 3"]).must("look")
    with pytest.raises(FractalError, match=r"\ACannot look: /no/program: No such file or directory\.\Z"):
        run(["/no/program"]).must("look")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another account")
def test_another_account(monkeypatch):
    monkeypatch.setenv("SECRET_OF_ROOT", "x")
    nobody = Account.named("nobody")
    assert run(["id", "-un"], account=nobody).out.strip() == "nobody"
    assert run(["id", "-G"], account=nobody).out.split() == [str(nobody.gid)]
    assert "SECRET_OF_ROOT" not in run(["env"], account=nobody).out
    assert "SECRET_OF_ROOT" in run(["env"]).out
