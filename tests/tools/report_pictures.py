"""Take the pictures in docs/ with headless Chromium: python tests/tools/report_pictures.py, after `make docs`.

They are of the report, and of the first pages of the documentation.
"""

from __future__ import annotations

import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / ".cache" / "collections"), str(ROOT / "tests" / "unit")]

import report_records
from ansible_collections.fractal_ops.platform.plugins.plugin_utils.report_html import (
    render_html,
    render_index,
)


def pages() -> dict[str, str]:
    """Return the pages by name."""
    records = {name: getattr(report_records, name)() for name in ("upgraded", "blocked", "failed", "up_to_date")}
    for name, start in (("blocked", "20261125T090000Z-1"), ("failed", "20261126T133000Z-2")):
        run = records[name]["run"]
        ended = f"{start[:4]}-{start[4:6]}-{start[6:8]} {start[9:11]}:{start[11:13]}:41 UTC"
        records[name]["run"] = {**run, "id": start, "ended": ended}
    newest_first = sorted(records.values(), key=lambda record: record["run"]["id"], reverse=True)
    return {**{name: render_html(record) for name, record in records.items()}, "index": render_index(newest_first)}


def take(page: pathlib.Path, picture: pathlib.Path, width: int, height: int, *options: str) -> None:
    """Take a picture of a page."""
    size = [f"--window-size={width},{height}", f"--screenshot={picture}"]
    common = ["chromium", "--headless", "--no-sandbox", "--hide-scrollbars", "--disable-gpu", *size, *options]
    subprocess.run([*common, page.as_uri()], check=True, capture_output=True)


def main() -> None:
    """Write the pictures, or with a folder as argument many more of them for looking at."""
    with tempfile.TemporaryDirectory() as folder:
        written = {}
        for name, text in pages().items():
            written[name] = pathlib.Path(folder, f"{name}.html")
            written[name].write_text(text)
        if len(sys.argv) > 1:
            into = pathlib.Path(sys.argv[1])
            into.mkdir(exist_ok=True)
            for name, page in written.items():
                take(page, into / f"{name}-1280.png", 1280, 1500)
                take(page, into / f"{name}-dark.png", 1280, 1500, "--blink-settings=preferredColorScheme=0")
                frame = f'<iframe src="{name}.html" style="width:390px;height:2000px;border:0"></iframe>'
                narrow = pathlib.Path(folder, f"{name}-narrow.html")
                narrow.write_text(f"<!doctype html><body style='margin:0'>{frame}")
                take(narrow, into / f"{name}-390.png", 520, 2000)
            return
        for name, height in (("upgraded", 1250), ("blocked", 1100), ("failed", 1100), ("index", 560)):
            take(written[name], ROOT / "docs" / f"report-{name}.png", 1000, height)
    for name, page in (("start", "index"), ("playbooks", "playbooks")):
        take(ROOT / ".cache" / "docs" / "html" / f"{page}.html", ROOT / "docs" / f"site-{name}.png", 1000, 640)


if __name__ == "__main__":
    main()
