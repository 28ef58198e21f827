# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters over what the modules returned: pure functions on the controller, which cost no task."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable

import yaml
from ansible.errors import AnsibleFilterError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._releases.path import release, web_release
from ansible_collections.fractal_ops.platform.plugins.module_utils._run.advice import (
    hosts_of_instance,
    how_to_go_on,
    why_failed,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._run.controller import this_run
from ansible_collections.fractal_ops.platform.plugins.module_utils._run.report import gather
from ansible_collections.fractal_ops.platform.plugins.module_utils._run.state import server_state, web_state
from ansible_collections.fractal_ops.platform.plugins.module_utils._run.variables import unknown_variables

if TYPE_CHECKING:
    from collections.abc import Mapping

_DEFAULTS = Path(__file__).resolve().parents[2] / "roles" / "fractal" / "defaults" / "main.yml"


def release_row(version: str) -> dict[str, Any]:
    """Return the row of a release in the release path."""
    try:
        return release(version).as_dict()
    except FractalError as error:
        raise AnsibleFilterError(str(error)) from error


def stage_pending(plan: dict[str, Any], name: str) -> bool:
    """Return whether the stage called ``name`` is still to be done."""
    return any(stage["name"] == name and stage["state"] == "pending" for stage in plan["stages"])


def state_of_server(results: dict[str, Any], target: str, accept: list[str]) -> dict[str, Any]:
    """Return what is known of a server after its checks, as this run sees it."""
    return server_state(results, target, accept, _run_that_sees(results))


def state_of_web(results: dict[str, Any], version: str, accept: list[str]) -> dict[str, Any]:
    """Return what is known of a web host after its checks, as this run sees it."""
    return web_state(results, version, accept, _run_that_sees(results))


def _run_that_sees(results: dict[str, Any]) -> dict[str, str]:
    return this_run((results["instance"].get("instance") or {}).get("lock"))


def failure(result: dict[str, Any], task: str) -> str:
    """Return one line that says which task failed and why; of a loop, its first item that failed."""
    failed = next((item for item in result.get("results", []) if item.get("failed")), result)
    return f"{task}: {why_failed(failed)}"


def only(items: list[str]) -> str:
    """Return the item of a list of one, or an empty text."""
    return items[0] if len(items) == 1 else ""


def mistyped(names: list[str]) -> dict[str, Any]:
    """Return the findings about operator's variables that no role has, in the shape of a check's result."""
    return {"findings": [finding.as_dict() for finding in unknown_variables(names, _known_variables())]}


@lru_cache(maxsize=1)
def _known_variables() -> frozenset[str]:
    return frozenset(yaml.safe_load(_DEFAULTS.read_text(encoding="utf-8")))


def worker_hosts(hostvars: Mapping[str, Any], groups: Mapping[str, list[str]], server: str) -> list[str]:
    """Return the hosts of ``fractal_worker`` that belong to a server; those of no server for an empty name."""
    servers = groups.get("fractal_server", [])

    def server_of(name: str) -> str:
        told = hostvars[name].get("fractal_server_host") or (name if name in servers else only(servers))
        return told if told in servers else ""

    return [name for name in groups.get("fractal_worker", []) if server_of(name) == server]


def failed_web_hosts(hostvars: Mapping[str, Any], groups: Mapping[str, list[str]], server: str) -> list[str]:
    """Return the web hosts of a server that may not be upgraded."""
    hosts = groups.get("fractal_web", [])
    return [name for name in hosts if hostvars[name].get("__web_server") == server and hostvars[name]["__web_failure"]]


def worker_problems(workers: list[dict[str, Any]]) -> str:
    """Return which hosts of workers did not do what was asked, and why; empty if all did."""
    wrong = [result for result in workers if "worker" not in result]
    return "; ".join(failure(result, f"The workers on {result['host']}") for result in wrong)


class FilterModule:
    """Filters of this collection."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {
            "failed_web_hosts": failed_web_hosts,
            "failure": failure,
            "hosts_of_instance": hosts_of_instance,
            "how_to_go_on": how_to_go_on,
            "mistyped": mistyped,
            "only": only,
            "release": release_row,
            "report_records": gather,
            "server_state": state_of_server,
            "stage_pending": stage_pending,
            "this_run": this_run,
            "web_state": state_of_web,
            "web_version": web_release,
            "worker_hosts": worker_hosts,
            "worker_problems": worker_problems,
        }
