"""Build the wheel of the probe task package: build_wheel.py VERSION FOLDER.

Two tasks without any dependency, so that a collection of it is quick. No build tool is needed, and the same version
always gives the same bytes.
"""

from __future__ import annotations

import base64
import hashlib
import json
import sys
import zipfile
from pathlib import Path

SOURCE = Path(__file__).with_name("fractal_probe")
MANIFEST = {
    "manifest_version": "2",
    "has_args_schemas": False,
    "task_list": [
        # A converter: other tasks are refused on a dataset without images from fractal-server 2.17.1 on.
        {"name": "probe_create", "type": "converter_non_parallel", "executable_non_parallel": "create.py"},
        {"name": "probe_stamp", "type": "parallel", "executable_parallel": "stamp.py"},
    ],
}


def contents(version: str) -> dict[str, str]:
    """Return the files of the wheel: path -> text."""
    info = f"fractal_probe-{version}.dist-info"
    files = {f"fractal_probe/{path.name}": path.read_text() for path in sorted(SOURCE.glob("*.py"))}
    files["fractal_probe/_version.py"] = f'VERSION = "{version}"\n'
    files["fractal_probe/__FRACTAL_MANIFEST__.json"] = json.dumps(MANIFEST, indent=1)
    files[f"{info}/METADATA"] = f"Metadata-Version: 2.1\nName: fractal-probe\nVersion: {version}\n"
    files[f"{info}/WHEEL"] = "Wheel-Version: 1.0\nGenerator: build_wheel\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    lines = [f"{name},sha256={digest(text)},{len(text.encode())}" for name, text in files.items()]
    files[f"{info}/RECORD"] = "\n".join([*lines, f"{info}/RECORD,,"]) + "\n"
    return files


def digest(text: str) -> str:
    """Return the digest of a text as a RECORD file wants it."""
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


def build(version: str, folder: Path) -> Path:
    """Write the wheel and return its path."""
    path = folder / f"fractal_probe-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for name, text in contents(version).items():
            wheel.writestr(zipfile.ZipInfo(name), text)
    return path


if __name__ == "__main__":
    print(build(sys.argv[1], Path(sys.argv[2])))
