"""Measure a second upgrade, of a finished instance, against the shortest playbook that there is: one task on each host.

Both run on the same two hosts, in turns. Prints the seconds of each turn and the ratio of the medians; asserts nothing.
"""

from __future__ import annotations

import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

from pair import inventory

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAIR = "fractal-bench-second"
TURNS = 5
GOAL = 4.0
SHORTEST = """
- name: Ask each host once
  hosts: fractal_server:fractal_web
  gather_facts: false
  become: true
  tasks:
    - name: Ask it
      ansible.builtin.ping:
"""


def run(*command: str) -> float:
    """Run a command to its end and return its seconds."""
    started = time.monotonic()
    done = subprocess.run(
        command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, env=os.environ
    )
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} failed:\n{done.stdout[-4000:]}")
    return time.monotonic() - started


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        files = {name: pathlib.Path(folder, name) for name in ("inventory.yml", "shortest.yml")}
        files["inventory.yml"].write_text(inventory(PAIR))
        files["shortest.yml"].write_text(SHORTEST)
        playbook = ("ansible-playbook", "-i", str(files["inventory.yml"]))
        upgrade = (*playbook, "fractal_ops.platform.upgrade", "-e", f"fractal_report_dir={folder}/reports")
        shortest = (*playbook, str(files["shortest.yml"]))
        try:
            run("tests/bed/run_pair.sh", PAIR)
            run(*upgrade)
            turns = [(run(*upgrade), run(*shortest)) for _unused in range(TURNS)]
        finally:
            run("tests/bed/stop_pair.sh", PAIR)
    print(f"{'seconds':<10}{'second upgrade':>16}{'one task':>12}")
    for number, (ours, bare) in enumerate(turns, 1):
        print(f"{number:<10}{ours:>16.2f}{bare:>12.2f}")
    ours, bare = (statistics.median(column) for column in zip(*turns, strict=True))
    print(f"{'median':<10}{ours:>16.2f}{bare:>12.2f}")
    print(f"ratio: {ours / bare:.2f} (goal: at most {GOAL:.0f})")


if __name__ == "__main__":
    main()
