# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters over what the modules returned: pure functions on the controller, which cost no task."""

from __future__ import annotations

import contextlib
import os
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable

import yaml
from ansible import context
from ansible.errors import AnsibleError, AnsibleFilterError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._releases.path import (
    hops,
    pip_requirements,
    resolve,
    web_release,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._releases.table import RELEASES
from ansible_collections.fractal_ops.platform.plugins.module_utils._run.advice import (
    hosts_of_instance,
    why_failed,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._run.at_rest import but_at_rest
from ansible_collections.fractal_ops.platform.plugins.module_utils._run.both_halves import (
    but_to_prepare,
    why_server_waits,
    why_web_waits,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._run.controller import run_id, this_run
from ansible_collections.fractal_ops.platform.plugins.module_utils._run.facts import (
    BEGIN,
    HOOKS_RAN,
    failed_workers,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._run.history import DEFAULT_FOLDER, read_records
from ansible_collections.fractal_ops.platform.plugins.module_utils._run.hooks import following_hooks, hook_event
from ansible_collections.fractal_ops.platform.plugins.module_utils._run.instance_report import instance_records, refused
from ansible_collections.fractal_ops.platform.plugins.module_utils._run.instances import server_of
from ansible_collections.fractal_ops.platform.plugins.module_utils._run.refusals import refusals
from ansible_collections.fractal_ops.platform.plugins.module_utils._run.reviewed import review_lines
from ansible_collections.fractal_ops.platform.plugins.module_utils._run.state import server_state, web_state
from ansible_collections.fractal_ops.platform.plugins.module_utils._run.status import status_lines
from ansible_collections.fractal_ops.platform.plugins.module_utils._run.tidied import tidy_lines
from ansible_collections.fractal_ops.platform.plugins.module_utils._run.variables import (
    PREFIX,
    OnController,
    unknown_variables,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._run.waves import hosts_of_waves, why_not_begun
from ansible_collections.fractal_ops.platform.plugins.module_utils._window.way_back import way_back
from ansible_collections.fractal_ops.platform.plugins.plugin_utils.sources import why_not_copied
from ansible_collections.fractal_ops.platform.plugins.plugin_utils.task_files import why_no_file, why_no_tasks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_YAML = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, where it is
_WHOLE = (
    "Nothing was done, as --start-at-task leaves out what finds out how far each instance is. Run it again without "
    "that option: what is done already is found, and not done again."
)
_ROLES = Path(__file__).resolve().parents[2] / "roles"


def state_of_server(results: dict[str, Any], target: str, accept: list[str]) -> dict[str, Any]:
    """Return what is known of a server after its checks, as this run sees it."""
    return server_state(results, target, accept, _run_that_sees(results))


def state_of_web(results: dict[str, Any], version: str, accept: list[str]) -> dict[str, Any]:
    """Return what is known of a web host after its checks, as this run sees it."""
    return web_state(results, version, accept, _run_that_sees(results))


def _run_that_sees(results: dict[str, Any]) -> dict[str, str]:
    return this_run((results["seen"].get("instance") or {}).get("lock"))


def failure(result: Mapping[str, Any], task: Mapping[str, Any]) -> str:
    """Return why a task failed, after its name; of a loop, its first item that failed.

    A task that only says what other tasks have found (``fail``, ``assert``) has no name worth telling: the text begins
    with the cause.
    """
    failed = next((item for item in result.get("results", []) if item.get("failed")), result)
    says_it_itself = str(task.get("action", "")).rpartition(".")[2] in ("fail", "assert")
    return why_failed(failed) if says_it_itself else f"{task['name']}: {why_failed(failed)}"


def mistyped(names: list[str]) -> dict[str, Any]:
    """Return the findings about operator's variables that no role has, in the shape of a check's result."""
    return {"findings": [finding.as_dict() for finding in unknown_variables(names, _known_variables())]}


@lru_cache(maxsize=1)
def _known_variables() -> dict[str, dict[str, Any]]:
    """Return the options of all roles by name; one means the same in each role."""
    known: dict[str, dict[str, Any]] = {}
    for path in _ROLES.glob("*/meta/argument_specs.yml"):
        for entry_point in yaml.load(path.read_bytes(), _YAML)["argument_specs"].values():
            options = entry_point.get("options") or {}
            known.update({name: option for name, option in options.items() if name.startswith(PREFIX)})
    return known


def refused_records(
    hostvars: Mapping[str, Any],
    groups: Mapping[str, list[str]],
    run: list[str],
    playbook: str,
    tags: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """Return the records of a run that is refused before any host is contacted; none if it is not."""
    values = {name: _own_variables(hostvars[name]) for name in {*run, *(one for row in groups.values() for one in row)}}
    controller = OnController(why_no_file, why_no_tasks, why_not_copied)
    found = refusals(values, groups, run, playbook, _known_variables(), tags, controller)
    return refused(found, [name for name in groups.get("fractal_server", []) if name in run])


def _own_variables(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return an operator's variables of a host; None for one that depends on what only a role defines."""
    found: dict[str, Any] = {str(name): None for name in facts if str(name).startswith(PREFIX)}
    for name in found:
        with contextlib.suppress(AnsibleError):
            found[name] = facts[name]
    return found


def target_release(wanted: Any) -> str:
    """Return the release that ``fractal_target_version`` means; what means none stays as it is, and is refused."""
    try:
        return resolve(str(wanted)).version
    except FractalError:
        return str(wanted)


def status(hostvars: Mapping[str, Any], groups: Mapping[str, list[str]], run: list[str], folder: str = "") -> list[str]:
    """Return what each instance of the run is at this moment, and what the reports on this controller say of it."""
    return status_lines(hostvars, groups, run, read_records(Path(os.path.abspath(folder or DEFAULT_FOLDER))))


def worker_hosts(hostvars: Mapping[str, Any], groups: Mapping[str, list[str]], server: str) -> list[str]:
    """Return the hosts of ``fractal_worker`` that belong to a server; those of no server for an empty name."""
    servers = groups.get("fractal_server", [])
    told = {name: server_of(hostvars, groups, name) for name in groups.get("fractal_worker", [])}
    return [name for name, named in told.items() if (named if named in servers else "") == server]


def but_hosts_to_prepare(hostvars: Mapping[str, Any], groups: Mapping[str, list[str]], group: str) -> list[str]:
    """Return patterns that take the hosts of a group out of a play that need no preparation."""
    return but_to_prepare(hostvars, groups, group, _run_of(hostvars, groups))


def server_waits(hostvars: Mapping[str, Any], groups: Mapping[str, list[str]], server: str) -> str:
    """Return why a server is not upgraded, by what is known now; empty if nothing is in the way."""
    return why_server_waits(hostvars, groups, server, _run_of(hostvars, groups))


def web_waits(hostvars: Mapping[str, Any], groups: Mapping[str, list[str]], web: str) -> str:
    """Return why a web host is not upgraded, by what is known now; empty if nothing is in the way."""
    return why_web_waits(hostvars, groups, web, _run_of(hostvars, groups))


def event_of_hook(
    hostvars: Mapping[str, Any], groups: Mapping[str, list[str]], server: str, hook: str
) -> dict[str, Any]:
    """Return what a hook is told: the variable ``fractal_event``."""
    return hook_event(hostvars, groups, server, hook, run_id())


def hooks_that_follow(
    hostvars: Mapping[str, Any], groups: Mapping[str, list[str]], server: str, wanted: Mapping[str, str]
) -> list[str]:
    """Return those of an operator's hooks that follow the window of a server, or its rollback, now."""
    event = hook_event(hostvars, groups, server, "", run_id())
    named = [name for name, path in wanted.items() if path]
    return following_hooks(event, named, hostvars[server].get(HOOKS_RAN) or [])


def worker_problems(workers: list[dict[str, Any]]) -> str:
    """Return which hosts of workers did not do what was asked, and why; empty if all did."""
    return "; ".join(f"The workers on {result['host']}: {why_failed(result)}" for result in failed_workers(workers))


def whole_run(hosts: Any) -> Any:
    """Return the hosts of a play, unless the run is to begin at a task in the middle.

    Raises:
        AnsibleFilterError: It is.
    """
    if context.CLIARGS.get("start_at_task"):
        raise AnsibleFilterError(_WHOLE)
    return hosts


def waves(hostvars: Mapping[str, Any], groups: Mapping[str, list[str]]) -> list[list[str]]:
    """Return the hosts of each wave of a run that has begun (playbooks/begin.yml), without those that need nothing.

    It is empty if there are to be no waves.
    """
    resting = {name[1:] for name in but_at_rest(hostvars, groups)}
    made = hosts_of_waves(hostvars, groups, _run_of(hostvars, groups))
    return [left for left in ([name for name in wave if name not in resting] for wave in made) if left]


def not_begun(hostvars: Mapping[str, Any], groups: Mapping[str, list[str]], wave: list[str]) -> dict[str, str]:
    """Return why instances of a wave do not begin after what the waves before have come to, for each of their hosts."""
    return why_not_begun(hostvars, groups, _run_of(hostvars, groups), wave)


def _run_of(hostvars: Mapping[str, Any], groups: Mapping[str, list[str]]) -> list[str]:
    """Return the hosts that this run has begun with. What a play has for hosts is not known before it has them."""
    names = dict.fromkeys(name for row in groups.values() for name in row)
    return [name for name in names if name in hostvars and BEGIN in hostvars[name]]


def wheels(target: Any, start: str = "") -> list[list[str]]:
    """Return, for each release that an upgrade installs, what pip has to download for it.

    Raises:
        AnsibleFilterError: A release is not known, or no upgrade leads from the one to the other.
    """
    try:
        way = hops(resolve(start).version if start else RELEASES[0].version, resolve(str(target)).version)
    except FractalError as error:
        raise AnsibleFilterError(str(error)) from error
    return [[f"fractal-server=={hop.version}", *pip_requirements(hop.version)] for hop in way]


class FilterModule:
    """Filters of this collection."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {
            "but_at_rest": but_at_rest,
            "but_to_prepare": but_hosts_to_prepare,
            "failure": failure,
            "following_hooks": hooks_that_follow,
            "hook_event": event_of_hook,
            "hosts_of_instance": hosts_of_instance,
            "mistyped": mistyped,
            "not_begun": not_begun,
            "refused": refused_records,
            "report_records": instance_records,
            "review_lines": review_lines,
            "server_state": state_of_server,
            "target_release": target_release,
            "status_lines": status,
            "this_run": this_run,
            "tidy_lines": tidy_lines,
            "waves": waves,
            "way_back": way_back,
            "web_state": state_of_web,
            "web_version": web_release,
            "wheels": wheels,
            "whole_run": whole_run,
            "why_server_waits": server_waits,
            "why_web_waits": web_waits,
            "worker_hosts": worker_hosts,
            "worker_problems": worker_problems,
        }
