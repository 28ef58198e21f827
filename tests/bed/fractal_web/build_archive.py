"""Build the release archives of the fractal-web stand-in: build_archive.py FOLDER.

They have the layout of the real ones (no top folder) and come out the same, byte for byte, every time.
"""

from __future__ import annotations

import gzip
import io
import json
import sys
import tarfile
from pathlib import Path

# The releases, and the majors of Node that there are archives for.
VERSIONS = {"1.20.1": (18, 20), "1.21.1": (18, 20), "1.22.2": (18, 20, 24), "1.29.6": (24,)}
LICENSE = "A stand-in for fractal-web, for tests only. GPL-3.0-or-later, as the collection it belongs to.\n"


def contents(version: str) -> dict[str, str]:
    """Return the files of one release: path -> text."""
    package = {"name": "fractal-web", "version": version, "type": "module", "private": True}
    lock = {"name": "fractal-web", "version": version, "lockfileVersion": 3, "packages": {}}
    return {
        "LICENSE": LICENSE,
        "build/client/_app/version.json": json.dumps({"version": version}) + "\n",
        # Each release has chunks of its own: one unpacked over another would leave stale ones behind.
        f"build/client/_app/immutable/entry/start.{version}.js": f"// fractal-web {version}\n",
        "build/index.js": Path(__file__).with_name("index.js").read_text(),
        "node_modules/.package-lock.json": json.dumps(lock, indent=2) + "\n",
        "package.json": json.dumps(package, indent=2) + "\n",
    }


def build(version: str, node_major: int, folder: Path) -> Path:
    """Write one archive and return its path."""
    path = folder / f"node-{node_major}-fractal-web-v{version}.tar.gz"
    files = contents(version)
    folders = sorted({str(parent) for name in files for parent in Path(name).parents} - {"."})
    with (
        path.open("wb") as raw,
        gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w") as archive,
    ):
        for name in folders:
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(entry)
        for name, text in sorted(files.items()):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(text.encode()), 0o644
            archive.addfile(entry, io.BytesIO(text.encode()))
    return path


def main() -> None:
    """Build every release into the folder named on the command line."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for version, node_majors in VERSIONS.items():
        for node_major in node_majors:
            print(build(version, node_major, folder))


if __name__ == "__main__":
    main()
