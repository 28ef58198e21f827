"""Remove what the first task wrote, name by name: a folder with anything else in it stays and fails the task."""

from __future__ import annotations

from pathlib import Path

from _task import IMAGE, MARKER, arguments, write_result

args, out = arguments()
folder = Path(args["zarr_dir"])
(folder / IMAGE / MARKER).unlink()
(folder / IMAGE).rmdir()
folder.rmdir()
write_result(out, {})
