# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""The probe task package: a wheel made from the sources that the role ``verify`` ships, without any build tool.

The same sources and version always give the same bytes. The wheel has no dependency, so collecting it needs no index.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import zipfile
from collections.abc import Mapping

from ansible_collections.fractal_ops.platform.plugins.module_utils._database.verification_rows import PACKAGE

TASKS = ("probe_create", "probe_read", "probe_remove")

# The first task is a converter: Fractal refuses to run any other type on a dataset without images
# (fractal-server 2.17.1, CHANGELOG). Without argument schemas Fractal asks for no further package.
_MANIFEST = {
    "manifest_version": "2",
    "has_args_schemas": False,
    "task_list": [
        {"name": TASKS[0], "type": "converter_non_parallel", "executable_non_parallel": "create.py"},
        {"name": TASKS[1], "type": "parallel", "executable_parallel": "read.py"},
        {"name": TASKS[2], "type": "non_parallel", "executable_non_parallel": "remove.py"},
    ],
}
SOURCES = ("_task.py", "create.py", "read.py", "remove.py")
_LONG_AGO = (2025, 1, 1, 0, 0, 0)


def build_wheel(sources: Mapping[str, str], version: str) -> tuple[str, bytes]:
    """Return file name and content of the wheel (PEP 427) of the probe package.

    Args:
        sources: Text of each file named in ``SOURCES``.
        version: Version of the package, such as ``1.1763912345.0``; Fractal takes each one only once from a user.

    Raises:
        KeyError: A source is missing.
    """
    info = f"{PACKAGE}-{version}.dist-info"
    files = {f"{PACKAGE}/{name}": sources[name] for name in SOURCES}
    files[f"{PACKAGE}/__init__.py"] = ""
    files[f"{PACKAGE}/__FRACTAL_MANIFEST__.json"] = json.dumps(_MANIFEST, indent=1)
    files[f"{info}/METADATA"] = f"Metadata-Version: 2.1\nName: {PACKAGE.replace('_', '-')}\nVersion: {version}\n"
    files[f"{info}/WHEEL"] = "Wheel-Version: 1.0\nGenerator: fractal_ops\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    records = [f"{path},sha256={_digest(text)},{len(text.encode())}" for path, text in files.items()]
    files[f"{info}/RECORD"] = "\n".join([*records, f"{info}/RECORD,,"]) + "\n"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as wheel:
        for path, text in files.items():
            entry = zipfile.ZipInfo(path, _LONG_AGO)
            entry.external_attr = 0o644 << 16
            wheel.writestr(entry, text)
    return f"{PACKAGE}-{version}-py3-none-any.whl", buffer.getvalue()


def _digest(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
