"""Remove what the first task wrote and the folders that it made; one with anything else in it stays, and is told."""

from __future__ import annotations

import json
from pathlib import Path

from _task import IMAGE, MARKER, arguments, write_result

args, out = arguments()
marker = Path(args["zarr_dir"], IMAGE, MARKER)
made = json.loads(marker.read_text(encoding="utf-8"))["made"]
marker.unlink()
for folder in made:
    Path(folder).rmdir()
write_result(out, {})
