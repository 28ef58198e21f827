# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""Reports are history: one folder for each instance, three files for each run, and none of them is ever replaced.

FOLDER/index.html                          all instances and runs
FOLDER/INSTANCE/20261126T140512Z-4711.json   also .md and .html, and .vars.yml if variables settle findings
FOLDER/INSTANCE/latest.json                leads to the newest; also .md and .html
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.files import write_file
from ansible_collections.fractal_ops.platform.plugins.module_utils._run.instance_report import OUTCOMES

DEFAULT_FOLDER = "fractal-reports"  # in the working directory of ansible-playbook
_LATEST = "latest"
_METRICS = "fractal_ops_{}.prom"


def folder_name(instance: str) -> str:
    """Return the name of an instance's folder: what an inventory may call a host is not always a file's name."""
    return re.sub(r"[^\w.@+-]", "_", instance).lstrip(".") or "_"


def record_path(folder: Path, record: Mapping[str, Any], extension: str) -> Path:
    """Return where a file of one run of one instance is."""
    return folder / folder_name(record["name"]) / f"{record['run']['id']}.{extension}"


def write_record(folder: Path, record: Mapping[str, Any], pages: Mapping[str, str]) -> dict[str, str]:
    """Write the files of one run of one instance, and lead ``latest`` to them. Return their paths by extension.

    Args:
        folder: The folder of all reports; it is created with mode 0750.
        record: The record, with its ``run``.
        pages: What to write, by extension.

    Raises:
        FractalError: The folder or a file cannot be written.
    """
    own = record_path(folder, record, "").parent
    try:
        own.mkdir(mode=0o750, parents=True, exist_ok=True)
    except OSError as error:
        raise FractalError(f"Cannot make the folder {own} for the reports: {error.strerror}.") from error
    written = {}
    for extension, content in pages.items():
        path = record_path(folder, record, extension)
        write_file(str(path), content.encode(), uid=os.geteuid(), gid=os.getegid(), mode=0o640)
        if "." not in extension:  # what only some runs have would lead to that of an earlier one
            _lead(own / f"{_LATEST}.{extension}", path.name)
        written[extension] = str(path)
    return written


def _lead(link: Path, target: str) -> None:
    new = link.with_name(f".{link.name}.{os.getpid()}")
    try:
        new.symlink_to(target)
        new.replace(link)
    except OSError as error:
        raise FractalError(f"Cannot lead {link} to {target}: {error.strerror}.") from error


def read_records(folder: Path) -> list[dict[str, Any]]:
    """Return the records of all instances and runs, the newest first; a file that is none is left out."""
    found = []
    for path in folder.glob("*/*.json"):
        if path.stem != _LATEST:
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                record = json.loads(path.read_text(encoding="utf-8"))
                if record["run"]["id"] == path.stem and folder_name(record["name"]) == path.parent.name:
                    found.append(record)
    return sorted(found, key=lambda record: str(record["run"]["id"]), reverse=True)


def last_upgrade(records: Iterable[Mapping[str, Any]], name: str) -> dict[str, Any] | None:
    """Return the last upgrade of an instance that was not undone, with its backup and how to undo it.

    Args:
        records: Records of earlier runs, the newest first.
        name: The instance.
    """
    for record in records:
        if record["name"] == name and record["server_outcome"] == "rolled back":
            return None
        if record["name"] == name and record["backup"] and record["server_outcome"] == "upgraded":
            kept = {key: record[key] for key in ("from", "to", "backup", "undo", "window_seconds")}
            return {"run": record["run"]["id"], "ended": record["run"]["ended"], **kept}
    return None


def write_metrics(folder: Path, record: Mapping[str, Any]) -> str:
    """Write the figures of an instance's last run for Prometheus' textfile collector. Return the path.

    Raises:
        FractalError: The folder is missing or cannot be written.
    """
    path = str(folder / _METRICS.format(folder_name(record["name"])))
    text = "".join(f"{line}\n" for line in _metrics(record))
    write_file(path, text.encode(), uid=os.geteuid(), gid=os.getegid(), mode=0o644)
    return path


def _metrics(record: Mapping[str, Any]) -> Iterator[str]:
    run, instance = record["run"], _label(record["name"])
    labels = f'instance_name="{instance}",playbook="{_label(run["playbook"])}"'
    yield "# HELP fractal_ops_run_timestamp_seconds When the last run of a playbook ended."
    yield "# TYPE fractal_ops_run_timestamp_seconds gauge"
    yield f"fractal_ops_run_timestamp_seconds{{{labels}}} {run['ended_at']:.0f}"
    yield "# HELP fractal_ops_run_outcome The outcome of that run is 1, all others are 0."
    yield "# TYPE fractal_ops_run_outcome gauge"
    was = record["outcome"].partition(":")[0]
    for outcome in OUTCOMES:
        yield f'fractal_ops_run_outcome{{{labels},outcome="{outcome}"}} {int(outcome == was)}'
    yield "# HELP fractal_ops_findings What that run found, by severity."
    yield "# TYPE fractal_ops_findings gauge"
    found = [one for host in (record, *record["web"]) for one in host["findings"]]
    for severity in ("blocker", "warning", "info"):
        count = sum(one["severity"] == severity and not one.get("accepted") for one in found)
        yield f'fractal_ops_findings{{{labels},severity="{severity}"}} {count}'
    if record["window_seconds"] is not None:
        yield "# HELP fractal_ops_window_seconds How long the service was down in that run."
        yield "# TYPE fractal_ops_window_seconds gauge"
        yield f"fractal_ops_window_seconds{{{labels}}} {record['window_seconds']}"


def _label(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def write_index(folder: Path, page: str) -> None:
    """Write the page of all instances and runs.

    Raises:
        FractalError: It cannot be written.
    """
    write_file(str(folder / "index.html"), page.encode(), uid=os.geteuid(), gid=os.getegid(), mode=0o640)
