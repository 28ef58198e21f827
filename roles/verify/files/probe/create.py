"""Write one image, and say in its attributes who wrote it, where, and in which SLURM job.

The marker in the image keeps the folders that were made for it, so that the last task can remove them.
"""

from __future__ import annotations

import getpass
import json
import os
import platform
import socket
from pathlib import Path

from _task import IMAGE, MARKER, arguments, write_result

args, out = arguments()
image = Path(args["zarr_dir"], IMAGE)
made = [str(folder) for folder in (image, *image.parents) if not folder.exists()]
image.mkdir(parents=True)
facts = {
    "user": getpass.getuser(),
    "host": socket.gethostname(),
    "slurm_job": os.environ.get("SLURM_JOB_ID", "none"),
    "python": platform.python_version(),
}
(image / MARKER).write_text(json.dumps({"facts": facts, "made": made}), encoding="utf-8")
write_result(out, {"image_list_updates": [{"zarr_url": str(image), "attributes": facts}]})
