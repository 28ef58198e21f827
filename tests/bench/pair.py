"""The hosts that a bench works on, and how it runs a program."""

from __future__ import annotations

import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]


def run(*command: str, **options: object) -> str:
    """Run a program in the project's folder and return its output; without success the bench ends."""
    done = subprocess.run(
        command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, **options
    )  # type: ignore[call-overload]
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} failed:\n{done.stdout[-4000:]}")
    return str(done.stdout)


def inventory(pair: str, rehearsal: bool = True) -> str:
    """Return the inventory of a pair that run_pair.sh has started, with what it needs without a network."""
    return f"""
all:
  vars:
    ansible_python_interpreter: /usr/bin/python3
    fractal_rehearsal: {str(rehearsal).lower()}
fractal_server:
  hosts:
    server: {{ansible_host: {pair}-server, fractal_wheelhouse: /opt/wheelhouse}}
fractal_web:
  hosts:
    web: {{ansible_host: {pair}-web, fractal_web_archive: /opt/archives/node-18-fractal-web-v1.21.1.tar.gz}}
"""
