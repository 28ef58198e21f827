"""``fractal_environment`` reaches each task that downloads, and its passwords nobody."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from ansible_collections.fractal_ops.platform.plugins.module_utils._run.variables import invalid_variables

ROOT = Path(__file__).resolve().parents[3]
SPEC = {"fractal_environment": {"type": "dict", "default": {}}}


def test_what_leads_no_download_is_refused_before_any_host_is_contacted() -> None:
    assert [one.id for one in invalid_variables({"fractal_environment": {"PATH": "x"}}, SPEC)] == ["variable.invalid"]
    assert not invalid_variables({"fractal_environment": {"https_proxy": "http://p:1"}}, SPEC)


def test_a_refusal_does_not_repeat_a_password() -> None:
    [found] = invalid_variables({"fractal_environment": "http://me:secret@proxy"}, SPEC)
    assert "secret" not in found.message
    [found] = invalid_variables({"fractal_environment": {"htps": "http://me:secret@proxy"}}, SPEC)
    assert "htps" in found.message and "secret" not in found.message


DOWNLOADING = {
    "fractal_server_environment": "staged",
    "fractal_worker_environment": None,
    "fractal_server_precheck": None,
    "fractal_web_precheck": None,
    "fractal_web_release": "staged",
    "fractal_window": "started",
}


def _tasks(node: Any) -> list[dict[str, Any]]:
    if isinstance(node, list):
        return [one for part in node for one in _tasks(part)]
    own = [node] if isinstance(node, dict) else []
    return own + [one for key in ("block", "rescue", "always") for one in _tasks((own or [{}])[0].get(key) or [])]


def test_each_task_that_downloads_is_told_the_way_and_none_by_the_keyword_that_everybody_can_read() -> None:
    found = set()
    for path in ROOT.glob("roles/*/tasks/*.yml"):
        for task in _tasks(yaml.safe_load(path.read_text())):
            assert "environment" not in task, f"{path}: the keyword shows a password in the list of processes"
            for module, state in DOWNLOADING.items():
                options = task.get(f"fractal_ops.platform.{module}")
                if options and (state is None or state in str(options.get("state", "staged"))):
                    assert "fractal_environment" in options.get("environment", ""), f"{path}: {task['name']}"
                    found.add(module)
    assert found == set(DOWNLOADING)


def test_every_module_that_has_the_option_is_one_of_these() -> None:
    with_it = {path.stem for path in ROOT.glob("plugins/modules/*.py") if "NETWORK_ARGUMENT" in path.read_text()}
    assert with_it == set(DOWNLOADING)
