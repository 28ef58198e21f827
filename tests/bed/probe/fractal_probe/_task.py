"""What both tasks share: Fractal's calling convention, and the evidence of who ran where."""

from __future__ import annotations

import argparse
import getpass
import json
import os
import socket
from pathlib import Path

from fractal_probe._version import VERSION


def arguments() -> tuple[dict, Path]:
    """Return the arguments Fractal wrote for this task and where it wants the answer."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--args-json", required=True, type=Path)
    parser.add_argument("--out-json", required=True, type=Path)
    options = parser.parse_args()
    return json.loads(options.args_json.read_text()), options.out_json


def evidence(args: dict) -> str:
    """Return as JSON who runs the task, where and with what."""
    return json.dumps(
        {
            "version": VERSION,
            "user": getpass.getuser(),
            "host": socket.gethostname(),
            "slurm_job": os.environ.get("SLURM_JOB_ID"),
            "args": args,
        }
    )
