"""Programs that write end with the module that started them."""

import os
import signal
import subprocess
import sys
import time

PARENT = """
import subprocess, sys
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.programs import ENDS_WITH_US
program = "import time; print('up', flush=True); time.sleep(600)"
child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, **ENDS_WITH_US)
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
