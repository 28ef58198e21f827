# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""What an operator's hooks are told: ``fractal_event``, described in docs/hooks.md. No secret is ever in it.

The roles decide when a hook runs (``roles/fractal/tasks/hook.yml``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._run import facts as facts_of
from ansible_collections.fractal_ops.platform.plugins.module_utils._run.instances import webs_of
from ansible_collections.fractal_ops.platform.plugins.module_utils._window.journal import FAILED

BEFORE_WINDOW, AFTER_WINDOW = "before_window", "after_window"
ON_FAILURE, AFTER_ROLLBACK = "on_failure", "after_rollback"
HOOKS = (BEFORE_WINDOW, AFTER_WINDOW, ON_FAILURE, AFTER_ROLLBACK)


def hook_event(
    hostvars: Mapping[str, Any], groups: Mapping[str, list[str]], server: str, hook: str, run: str
) -> dict[str, Any]:
    """Return what a hook is told of an instance, as the run knows it at this moment.

    Args:
        hostvars: Ansible's ``hostvars``.
        groups: Ansible's ``groups``.
        server: The host of fractal-server.
        hook: Its name.
        run: The id of the run, under which its report is kept.
    """
    facts = hostvars[server]
    state = facts[facts_of.SERVER_STATE]
    webs = webs_of(hostvars, groups, server)
    window = (facts.get(facts_of.UPGRADE_WINDOW) or {}).get("window") or {}
    failed = ("", "") if hook == BEFORE_WINDOW else _failure(facts, {name: hostvars[name] for name in webs}, window)
    rolled_back = facts.get(facts_of.ROLLBACK_DONE, False)
    return {
        "hook": hook,
        "run": run,
        "playbook": "rollback" if rolled_back else "upgrade",
        "instance": server,
        "web": webs,
        "from": (state["instance"] or {}).get("version"),
        "to": (facts.get(facts_of.ROLLBACK_WAY) or {}).get("version") if rolled_back else state["target"],
        "outcome": "back" if rolled_back else window.get("outcome", ""),
        "stage": failed[0],
        "message": failed[1],
        "backup": _backup(facts, window),
    }


def following_hooks(event: Mapping[str, Any], wanted: Iterable[str], ran: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the hooks that follow a window now, in their order; each runs at most once in a run.

    Args:
        event: What `hook_event` returns.
        wanted: The hooks that the operator has.
        ran: Those that ran in this run, each with its name as ``hook``.
    """
    due = [ON_FAILURE if event["message"] else AFTER_WINDOW]
    due += [AFTER_ROLLBACK] if event["outcome"] == "back" else []
    if event["playbook"] == "rollback":
        due = [AFTER_ROLLBACK]
    return [name for name in due if name in {*wanted} - {one["hook"] for one in ran}]


def failed_hooks(facts: Mapping[str, Any]) -> list[str]:
    """Return what is to be told of hooks that failed; one that failed before the window is the failure itself."""
    ran = facts.get(facts_of.HOOKS_RAN) or []
    return [f"The hook {one['hook']} failed: {one['failed']}" for one in ran if one["failed"] and not _stopped_it(one)]


def _stopped_it(ran: Mapping[str, Any]) -> bool:
    return bool(ran["hook"] == BEFORE_WINDOW)


def _failure(
    facts: Mapping[str, Any], webs: Mapping[str, Mapping[str, Any]], window: Mapping[str, Any]
) -> tuple[str, str]:
    """Return where and why the upgrade failed; two empty texts if it has not."""
    message = facts.get(facts_of.SERVER_FAILURE) or ""
    if message:
        failed = [name for name, stage in window.get("stages", {}).items() if stage["state"] == FAILED]
        before = any(_stopped_it(one) and one["failed"] for one in facts.get(facts_of.HOOKS_RAN) or [])
        return BEFORE_WINDOW if before else next(iter(failed), window.get("running_stage") or "window"), str(message)
    for name, web in webs.items():
        if web.get(facts_of.WEB_FAILURE):
            return "web", f"{name}: {web[facts_of.WEB_FAILURE]}"
    checks = [
        check
        for results in (facts.get(facts_of.VERIFY_SERVER), *(web.get(facts_of.VERIFY_WEB) for web in webs.values()))
        for check in (results or {}).get("checks") or []
        if check["status"] == "failed"
    ]
    return ("verify", "; ".join(f"{check['id']}: {check['message']}" for check in checks)) if checks else ("", "")


def _backup(facts: Mapping[str, Any], window: Mapping[str, Any]) -> str:
    """Return the folder of the backup that the run made or went back to, or that an upgrade in progress has."""
    found = (facts.get(facts_of.ROLLBACK_FOUND) or {}).get("backup")
    made = found or (facts.get(facts_of.BACKUP_MADE) or {}).get("backup")
    made = made or (window.get("results", {}).get("backup") or {}).get("backup")
    instance = facts[facts_of.SERVER_STATE]["instance"] or {}
    return str((made or {}).get("path") or (instance.get("hold") or {}).get("backup") or "")
