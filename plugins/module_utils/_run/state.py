# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""What is known of a host after its prechecks: one value that roles, plan and report share.

A check that could not be made is a finding too, so that one unreachable host or broken unit never hides the rest.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.checks import FINDINGS as CHECK_FINDINGS
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.findings import (
    FindingRule,
    blocker,
    rule_table,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.lock import (
    HOW_TO_UNLOCK,
    is_in_the_way,
    why_locked,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._run.advice import why_failed
from ansible_collections.fractal_ops.platform.plugins.module_utils._run.plan import ServerPlan, plan_server
from ansible_collections.fractal_ops.platform.plugins.module_utils._run.variables import FINDINGS as VARIABLE_FINDINGS
from ansible_collections.fractal_ops.platform.plugins.module_utils._verify.agreement import agrees

_TOLD = 5  # blockers that the failure itself names; the report has all

CHAPTERS = {
    "host": "Hosts",
    "migration": "Data migration",
    "plan": "Plan",
    "run": "The run: inventory, limit, lock",
    "unit": "The unit of fractal-server",
    "worker": "Worker Python",
}

FINDINGS = rule_table(
    blocker(
        "host.unreachable",
        "The host cannot be reached",
        "Ansible cannot reach {subject}: {reason}",
        "Check the host, the network and ansible_host, then run again.",
    ),
    blocker(
        "host.unusable",
        "The host can be reached, but not worked on",
        "Ansible cannot work on the host of {subject}: {reason}",
        "Ansible needs Python 3.9 or later there and has to become root: give -K for sudo's password, or let the user "
        "become root without one.",
    ),
    blocker(
        "unit.missing",
        "The unit leads to no instance",
        "{reason}",
        "Name the unit in fractal_server_service or fractal_web_service, or repair it.",
        settles={"fractal_server_service": None, "fractal_web_service": None},
    ),
    blocker(
        "run.locked",
        "Another run works on the instance",
        "{reason}",
        HOW_TO_UNLOCK,
    ),
    blocker(
        "worker.unusable",
        "The workers' environment on a host of fractal_worker cannot be upgraded",
        "The workers' environment on {subject} cannot be upgraded: {reason}",
        "Mend what the message names; or take {subject} out of the group fractal_worker and upgrade it by hand.",
        settles={"fractal_worker_python": None},
    ),
    blocker(
        "worker.no_server",
        "A host of fractal_worker belongs to no server",
        "{subject} is in the group fractal_worker, but it is not said for which server it works.",
        "Set fractal_server_host of {subject} to the name of its server in the inventory.",
    ),
    FindingRule(
        "migration.lost",
        "blocker",
        "The data migration was not finished before the old settings went",
        "Users without profile and project directory, whose old settings went with the schema: {users}",
        "Run the rollback playbook, which brings the old settings back, then upgrade again. Accept this if they "
        "were verified only after an earlier upgrade.",
    ),
    blocker(
        "migration.skipped",
        "A data migration was skipped by hand",
        "The data migration of {release} was skipped: these users lack what it gives them, and later releases fail on "
        "it: {users}",
        "{fix}",
    ),
    blocker(
        "plan.blocked",
        "The release path does not lead from here to the target",
        "{reason}",
        "Do what the message says, then run again.",
    ),
)


def server_state(
    results: Mapping[str, Mapping[str, Any]],
    target: str,
    accept: Iterable[str] = (),
    run: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return ``instance``, ``database``, ``plan``, ``findings``, ``failure`` and ``refused`` of a server, and
    ``half_way``: whether an upgrade was interrupted after it began to change things. Of one that is finished,
    ``verification`` is what the look has verified, if it did.

    Of a host whose window runs: what the run knew that began it, and ``attached``. ``untold`` is the same of a finished
    instance whose window no report tells yet, as its controller was killed.

    Args:
        results: What was registered: ``seen`` (``fractal_observe``); of the checks, ``server``, ``users`` and
            ``rehearsal``; ``workers``, whose ``answers`` hold a result for each host, and whose ``strays`` belong to no
            server; and ``variables``, what is wrong with the operator's own.
        target: The release to arrive at.
        accept: Ids of findings that the operator accepts.
        run: The run that asks, and the one that it knows to be dead (see ``_controller.this_run``).
    """
    seen = results["seen"]
    running = _of_window(seen, running=True)
    if running:
        return running
    instance = seen.get("instance")
    parts = {name: seen.get(name) or {} for name in ("database", "environment")}
    results = {**results, **parts}
    database, environment = None if parts["database"].get("failed") else seen.get("database"), parts["environment"]
    found = _findings_of(results, ("variables",)) + _discovery_findings(seen, "fractal-server")
    found += _lock_findings(instance, run)
    workers = [_worker(result) for result in results.get("workers", {}).get("answers", [])]
    plan = None
    # where it could not be examined, that is a finding; the plan then takes it that all is to be done
    steps = environment.get("steps", [target])
    if instance is not None:
        found += _unmade(results, ("database", "environment", "server", "users", "rehearsal"))
        if database and not database.get("reachable", True):
            found.append(
                CHECK_FINDINGS["database.unreachable"].finding(instance["service"], reason=database["reason"]).as_dict()
            )
        elif database:
            waiting = (seen.get("backups") or {}).get("without_dump", [])
            plan = plan_server(instance, database, target, workers, steps, waiting).as_dict()
            lost = database.get("lost", [])
            if instance["hold"] and lost:
                found.append(FINDINGS["migration.lost"].finding(instance["service"], users=", ".join(lost)).as_dict())
            for one in database.get("skipped", []):
                users = ", ".join(one["users"])
                skipped = FINDINGS["migration.skipped"].finding(
                    instance["service"], release=one["release"], users=users, fix=one["fix"]
                )
                found.append(skipped.as_dict())
            if plan["blocked"]:
                found.append(FINDINGS["plan.blocked"].finding(instance["service"], reason=plan["blocked"]).as_dict())
    found += _worker_findings(results)
    found += _findings_of(results, ("environment", "server", "users", "rehearsal"))
    found = _without_what_follows(found)
    return {
        "attached": False,
        "untold": _of_window(seen, running=False) if plan and plan["finished"] else None,
        "instance": instance,
        "target": target,
        "workers": workers,
        "database": database,
        "plan": plan or ServerPlan(start="", target=target, hops=[], stages=[]).as_dict(),
        "environment": _pick(environment, ("runner_backend", "oauth_client_name", "handed_on", "steps")),
        "half_way": bool(instance and instance["hold"] and plan and not _is_untouched(plan, steps)),
        "access": results.get("users", {}).get("access"),
        **_with_verification(
            _verdict(found, set(accept)), seen, bool(plan and plan["finished"] and not seen.get("window"))
        ),
    }


def _with_verification(verdict: dict[str, Any], seen: Mapping[str, Any], finished: bool) -> dict[str, Any]:
    """Return the verdict with the verification of the first look, which counts only where nothing is left to do."""
    counts = finished and not verdict["failure"]
    return {**verdict, "verification": seen.get("verification") if counts else None}


def _of_window(seen: Mapping[str, Any], running: bool) -> dict[str, Any] | None:
    """Return what the run knew that began the window on a host, if that runs, or has ended well and no report tells it.

    Nothing is to be done then but to watch it, or to tell how it ended.
    """
    window = seen.get("window") or {}
    before = (window.get("seen") or {}).get("state")
    if not before or window["running"] != running:
        return None
    plan = {**before["plan"], "pending": False, "finished": True, "window": True}
    return {**before, "plan": plan, "attached": True, "untold": None, "half_way": False, "failure": "", "refused": ""}


def _is_untouched(plan: Mapping[str, Any], steps: Sequence[str]) -> bool:
    """Return whether the environment file is still that of the release before the way, so that all can be checked."""
    return bool(steps) and steps[0] in plan["hops"][:1]


def web_state(
    results: Mapping[str, Mapping[str, Any]],
    version: str,
    accept: Iterable[str] = (),
    run: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return ``instance``, ``findings``, ``failure``, ``refused`` of a web host, the ``version`` to arrive at, and
    whether anything is left to do for it (``pending``). ``verification`` as of a server, if that was verified, too, and
    says the same of itself (``told_of_server``).
    """
    seen = results["seen"]
    instance = seen.get("instance")
    found = _findings_of(results, ("variables",)) + _discovery_findings(seen, "fractal-web")
    found += _lock_findings(instance, run)
    if instance is not None:
        found += _unmade(results, ("web",))
    found += _findings_of(results, ("web",))
    pending = instance is not None and _web_is_pending(instance, seen, version)
    told = (seen.get("verification") or {}).get("told") or {}
    verdict = _with_verification(
        _verdict(found, set(accept)), seen, not pending and agrees(told, results.get("told_of_server") or {})
    )
    return {"instance": instance, "version": version, "pending": pending, **verdict}


def _web_is_pending(instance: Mapping[str, Any], seen: Mapping[str, Any], version: str) -> bool:
    """Return whether release, environment file or process are not yet as they have to be; what is not known is not."""
    return bool(
        instance["version"] != version
        or instance["active_state"] != "active"
        or seen.get("environment", {}).get("changed", True)
        or seen.get("process", {}).get("stale", True)
    )


def _discovery_findings(result: Mapping[str, Any], what: str) -> list[dict[str, Any]]:
    if result.get("no_connection"):
        return [FINDINGS["host.unreachable"].finding(what, reason=why_failed(result)).as_dict()]
    if "instance" not in result and "reason" not in result:
        return [FINDINGS["host.unusable"].finding(what, reason=why_failed(result)).as_dict()]
    if result.get("instance") is None:
        reason = result.get("reason") or why_failed(result)
        return [FINDINGS["unit.missing"].finding(what, reason=reason).as_dict()]
    return []


def _lock_findings(instance: Mapping[str, Any] | None, run: Mapping[str, str] | None) -> list[dict[str, Any]]:
    lock = (instance or {}).get("lock")
    if instance is None or lock is None or not is_in_the_way(lock, run or {"run": "", "abandoned": ""}):
        return []
    return [FINDINGS["run.locked"].finding(instance["service"], reason=why_locked(instance["service"], lock)).as_dict()]


def _unmade(results: Mapping[str, Mapping[str, Any]], names: Iterable[str]) -> list[dict[str, Any]]:
    """Return a finding for each check that ran but returned no result."""
    wanted = {"database": "reachable"}
    found = []
    for name in names:
        result = results.get(name, {})
        if result and not result.get("skipped") and wanted.get(name, "findings") not in result:
            found.append(CHECK_FINDINGS["check.failed"].finding(name, reason=why_failed(result)).as_dict())
    return found


def _worker(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return a workers' environment with its host; one that could not be read has no version."""
    return {"host": result["host"], **(result.get("worker") or {"version": None, "staged": []})}


def _worker_findings(results: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    found = [FINDINGS["worker.no_server"].finding(name) for name in results.get("workers", {}).get("strays", ())]
    for result in results.get("workers", {}).get("answers", []):
        if result.get("no_connection"):
            found.append(FINDINGS["host.unreachable"].finding(result["host"], reason=why_failed(result)))
        elif "worker" not in result:
            found.append(FINDINGS["worker.unusable"].finding(result["host"], reason=why_failed(result)))
    return [finding.as_dict() for finding in found]


def _findings_of(results: Mapping[str, Mapping[str, Any]], names: Iterable[str]) -> list[dict[str, Any]]:
    """Return the findings of the checks, each once: two of them look at the environment file."""
    found = [finding for name in names for finding in results.get(name, {}).get("findings", [])]
    return list({json.dumps(one, sort_keys=True): one for one in found}.values())


def _pick(result: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: result.get(name) for name in names}


def _without_what_follows(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the findings without those that only say once more that there is no environment file, or no database."""
    if any(one["id"] == "unit.no_environment_file" for one in found):
        return [one for one in found if one["id"] not in ("database.unreachable", "check.failed", "plan.blocked")]
    unreachable = [one for one in found if one["id"] == "database.unreachable"]
    return [one for one in found if one["id"] != "database.unreachable" or one is unreachable[0]]


def _verdict(found: list[dict[str, Any]], accepted: set[str]) -> dict[str, Any]:
    findings = [{**one, "accepted": one["acceptable"] and one["id"] in accepted} for one in found]
    blockers = [one for one in findings if one["severity"] == "blocker" and not one["accepted"]]
    refused = [one for one in blockers if one["id"] in VARIABLE_FINDINGS]
    return {"findings": findings, "failure": _in_words(blockers), "refused": _in_words(refused)}


def _in_words(blockers: list[dict[str, Any]]) -> str:
    told = [one["message"] for one in blockers]
    more = f"; and {len(told) - _TOLD} more, all in the report" if len(told) > _TOLD else ""
    return f"{len(told)} blocking finding(s): {'; '.join(told[:_TOLD])}{more}" if told else ""
