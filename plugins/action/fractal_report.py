# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The reports of a run, on the controller: shown, and kept as history. See the module of the same name.

An action, as it needs what only the controller has: the screen, Jinja2, and what Ansible knows of the run.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import yaml
from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.release import __version__ as ansible_core
from ansible.utils.display import Display

# Every playbook begins with this action, in the process that all tasks are forked from: what is loaded here, none of
# them has to load for itself.
from ansible_collections.fractal_ops.platform.plugins.filter import upgrade as _filters  # noqa: F401
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._run.advice import with_inventory
from ansible_collections.fractal_ops.platform.plugins.module_utils._run.controller import began, run_id, this_run
from ansible_collections.fractal_ops.platform.plugins.module_utils._run.history import (
    DEFAULT_FOLDER,
    last_upgrade,
    read_records,
    record_path,
    write_index,
    write_metrics,
    write_record,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._run.instance_report import FAILED, ends_badly
from ansible_collections.fractal_ops.platform.plugins.module_utils._run.report import failures
from ansible_collections.fractal_ops.platform.plugins.module_utils._run.report_pages import (
    render_markdown,
    render_summary,
    render_text,
)
from ansible_collections.fractal_ops.platform.plugins.plugin_utils.remedies import (
    EXTENSION,
    has_remedies,
    how_to_use,
    render_remedies,
)
from ansible_collections.fractal_ops.platform.plugins.plugin_utils.report_html import render_html, render_index

_COLLECTION = Path(__file__).resolve().parents[2]
_COLOURS = {
    **dict.fromkeys(("failed", "blocked"), "red"),
    **dict.fromkeys(("upgraded", "verified", "rolled back"), "green"),
    "not begun": "yellow",
}


class ActionModule(ActionBase):
    """Show and keep the reports."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return what the module documents.

        Raises:
            AnsibleActionFail: A file cannot be written. What was to be said was shown before.
        """
        super().run(tmp, task_vars)
        _unused, options = self.validate_argument_spec(
            {
                "records": {"type": "list", "elements": "dict", "required": True},
                "folder": {"type": "path", "default": ""},
                "metrics": {"type": "path", "default": ""},
                "playbook": {"type": "str", "required": True},
                "only_kept": {"type": "bool", "default": False},
                "refused": {"type": "bool", "default": False},
            }
        )
        facts = task_vars or {}
        folder = Path(os.path.abspath(options["folder"] or DEFAULT_FOLDER))  # not by the variable PWD, which may lie
        check_mode = bool(self._task.check_mode)
        try:
            metrics = _writable(folder, options["metrics"], check_mode)
            run = _run(facts, options["playbook"], check_mode)
            return self._report(options, run, folder, metrics, list(facts.get("ansible_play_hosts") or []))
        except FractalError as error:
            raise AnsibleActionFail(str(error)) from error

    def _report(
        self, options: dict[str, Any], run: dict[str, Any], folder: Path, metrics: Path | None, hosts: list[str]
    ) -> dict[str, Any]:
        history = read_records(folder)
        records = []
        for told in with_inventory(options["records"], run["inventory"]):
            idle = told["server_outcome"] in ("up to date", "verified")
            last = last_upgrade(history, told["name"]) if idle else None
            records.append(_with_remedies({**told, "run": run, "last_upgrade": last}, folder))
        text = [line for record in records for line in render_text(record)]
        silent = options["only_kept"]
        if not silent:
            _show(text)
        files: list[str] = []
        pages: list[str] = []
        for record in records:
            written = {} if run["check_mode"] or not record["name"] else _write(folder, record)
            files += written.values()
            pages.append(written.get("html", ""))
            if metrics and written and not silent:
                write_metrics(metrics, record)
        if files:
            write_index(folder, render_index(read_records(folder)))
        for record, page in zip(records, pages):
            summary = render_summary(record, page)
            text += summary
            if not silent:
                _show(summary, _COLOURS.get(record["outcome"]))
            elif page:
                _show([f"Should this run end here, its report is {page}"])
        failed = {
            _to_fail(record, hosts): _in_a_line(record, page)
            for record, page in zip(records, pages)
            if ends_badly(record)
        }
        if failed and options["refused"]:
            return {"failed": True, "msg": "Nothing was done. " + " ".join(failed.values())}
        return {
            "changed": False,
            "text": text,
            "files": files,
            "failures": [line for record in records for line in failures(record)],
            "failed_hosts": failed,
            "ansible_stats": {"data": _stats(records, pages), "per_host": False, "aggregate": True},
        }


def _with_remedies(record: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return the record with the command that takes the file with remedies; an empty one where there is none."""
    told = not record["run"]["check_mode"] and record["name"] and has_remedies(record)
    path = str(record_path(folder, record, EXTENSION))
    return {**record, "remedies": how_to_use(record, path) if told else ""}


def _to_fail(record: dict[str, Any], hosts: list[str]) -> str:
    """Return the host of the play that fails for an instance: its server, or, where that takes no part, another one."""
    own = [record["name"], *(web["name"] for web in record["web"])]
    return next((name for name in own if name in hosts), hosts[0] if hosts else record["name"])


def _in_a_line(record: dict[str, Any], page: str) -> str:
    left = "" if record["outcome"] in FAILED else " ".join(record["left"][:1])  # what else the run fails for
    words = [f"{record['name'] or 'the inventory'}: {record['outcome']}.", left, f"Report: {page}" if page else ""]
    return " ".join(word for word in words if word)


def _run(facts: dict[str, Any], playbook: str, check_mode: bool) -> dict[str, Any]:
    """Return what is to be known of the run that a report is of."""
    start, end = began(), time.time()
    sources = [str(source) for source in facts.get("ansible_inventory_sources") or []]
    return {
        "id": run_id(),
        "playbook": playbook,
        "began": _date(start),
        "ended": _date(end),
        "ended_at": round(end, 1),
        "by": this_run()["controller"],
        "inventory": [_short(one) for one in sources],
        "limit": str(facts.get("ansible_limit") or ""),
        "check_mode": check_mode,
        "versions": {
            "fractal_ops.platform": _own_version(),
            "ansible-core": ansible_core,
            "python": ".".join(str(part) for part in sys.version_info[:3]),
        },
    }


def _short(source: str) -> str:
    """Return an inventory as it can be named from the working directory; one that is no file as it is."""
    below = os.path.relpath(source)
    return below if os.path.exists(source) and not below.startswith(os.pardir) else source


def _date(when: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(when))


def _own_version() -> str:
    """Return the version of this collection, as installed or as checked out."""
    manifest = _COLLECTION / "MANIFEST.json"
    if manifest.exists():
        return str(json.loads(manifest.read_text(encoding="utf-8"))["collection_info"]["version"])
    return str(yaml.safe_load((_COLLECTION / "galaxy.yml").read_text(encoding="utf-8"))["version"])


def _writable(folder: Path, metrics: str, check_mode: bool) -> Path | None:
    """Refuse folders that cannot be written, which a run finds out at its beginning. Return that of the metrics."""
    if not check_mode:
        try:
            folder.mkdir(mode=0o750, parents=True, exist_ok=True)
        except OSError as error:
            raise FractalError(f"Cannot make the folder {folder} for the reports: {error.strerror}.") from error
        wanted = {"fractal_report_dir": folder, **({"fractal_metrics_dir": Path(metrics)} if metrics else {})}
        for name, path in wanted.items():
            if not os.access(path, os.W_OK | os.X_OK):
                raise FractalError(f"Cannot write in {path}. Set {name} to a folder that this user can write.")
    return Path(metrics) if metrics else None


def _write(folder: Path, record: dict[str, Any]) -> dict[str, str]:
    content = {
        "json": json.dumps(record, indent=2) + "\n",
        "md": render_markdown(record),
        "html": render_html(record),
    }
    if record["remedies"]:
        content[EXTENSION] = render_remedies(record)
    return write_record(folder, record, content)


def _stats(records: list[dict[str, Any]], pages: list[str]) -> dict[str, Any]:
    """Return what AWX shows as artifacts of the job and hands to the next one of a workflow."""
    kept = ("outcome", "from", "to", "failure", "window_seconds", "remaining")
    return {
        "fractal_reports": {
            record["name"]: {
                **{key: record[key] for key in kept},
                **_way_back(record),
                "report": page,
                "run": record["run"]["id"],
            }
            for record, page in zip(records, pages)
        }
    }


def _way_back(record: dict[str, Any]) -> dict[str, Any]:
    """Return backup and command of what can be undone: of this run, or as on the pages, of the last upgrade."""
    last = record["last_upgrade"]
    return {key: record[key] or (last[key] if last else record[key]) for key in ("backup", "undo")}


def _show(lines: list[str], colour: str | None = None) -> None:
    """Write lines as they are: shown as a task's result, they would be JSON."""
    for number, line in enumerate(lines):
        Display().display(line, color=colour if number == 0 else None)
