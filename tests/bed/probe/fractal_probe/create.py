"""Make one image folder: arguments `label` (its name), `sleep` (seconds to take), `fail` (true: end with an error)."""

from __future__ import annotations

import json
import time
from pathlib import Path

from fractal_probe._task import arguments, evidence

args, out = arguments()
url = args["zarr_dir"].rstrip("/") + "/" + args.get("label", "image") + ".zarr"
time.sleep(args.get("sleep", 0))
if args.get("fail"):
    raise SystemExit("probe_create was asked to fail")
Path(url).mkdir(parents=True, exist_ok=True)
Path(url, "create.json").write_text(evidence(args))
out.write_text(json.dumps({"image_list_updates": [{"zarr_url": url}]}))
