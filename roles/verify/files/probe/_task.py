"""What the probe's tasks share: reading arguments, writing results, and the one folder that they touch.

A Fractal task is called as ``python <task>.py --args-json FILE --out-json FILE``. No dependency, Python 3.9 or later.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

IMAGE = "probe.zarr"  # the only entry below the dataset's folder
MARKER = "written_by_probe.json"  # the only entry below the image


def arguments() -> tuple[dict[str, Any], Path]:
    """Return the task's arguments and the file to which its result goes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--args-json", required=True)
    parser.add_argument("--out-json", required=True)
    known = parser.parse_args()
    return json.loads(Path(known.args_json).read_text(encoding="utf-8")), Path(known.out_json)


def write_result(out: Path, result: dict[str, Any]) -> None:
    """Hand the result to Fractal."""
    out.write_text(json.dumps(result), encoding="utf-8")
