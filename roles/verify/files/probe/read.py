"""Read the image that the first task wrote, in another SLURM job, and say so in its attributes."""

from __future__ import annotations

import json
from pathlib import Path

from _task import MARKER, arguments, write_result

args, out = arguments()
facts = json.loads(Path(args["zarr_url"], MARKER).read_text(encoding="utf-8"))["facts"]
update = {"zarr_url": args["zarr_url"], "attributes": {"read_back": facts["user"]}}
write_result(out, {"image_list_updates": [update]})
