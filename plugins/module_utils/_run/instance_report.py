# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""The record of an instance as a whole: what its hosts say together, what to run next, and whom the run lost.

``_run/report.py`` tells each host; here is what is said above them. docs/report.md describes the record.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.findings import Finding
from ansible_collections.fractal_ops.platform.plugins.module_utils._run.advice import hosts_of_instance
from ansible_collections.fractal_ops.platform.plugins.module_utils._run.instances import server_of
from ansible_collections.fractal_ops.platform.plugins.module_utils._run.report import (
    NOT_BEGUN,
    PREDICTION,
    ROLLBACK,
    UPGRADE,
    VERIFICATION,
    empty_record,
    failures,
    gather,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._window.advice import command

SCHEMA = 1  # of a record (docs/report.schema.json); a change that breaks a reader is a new number
OUTCOMES = (  # of an instance, from the worst on: the worst of its hosts is the headline
    "failed",
    "blocked",
    NOT_BEGUN,
    "no server",
    "rolled back",
    "upgraded",
    "upgrade planned",
    "nothing to go back to",
    "verified",
    "up to date",
)
FAILED = ("failed", "blocked", NOT_BEGUN)  # the run fails for these
LOST = "Ansible lost this host before it was looked at; the lines above say why."
_KINDS = {"precheck": PREDICTION, "rehearse": PREDICTION, "verify": VERIFICATION, "rollback": ROLLBACK}


def instance_records(
    hostvars: Mapping[str, Any],
    groups: Mapping[str, list[str]],
    run: Collection[str],
    playbook: str,
    check_mode: bool = False,
) -> list[dict[str, Any]]:
    """Return one record for each instance of the run.

    Args:
        hostvars: Ansible's ``hostvars``.
        groups: Ansible's ``groups``.
        run: The hosts of the run; one of which nothing is known was lost, and is told, too.
        playbook: Name of the playbook.
        check_mode: Whether the run was to change nothing.
    """
    records = gather(hostvars, groups, PREDICTION if check_mode else _KINDS.get(playbook, UPGRADE))
    _add_lost(records, hostvars, groups, run)
    return [with_headline(record, playbook, hosts_of_instance(hostvars, groups, record["name"])) for record in records]


def refused(findings: Mapping[str, Iterable[Finding]], servers: Iterable[str]) -> list[dict[str, Any]]:
    """Return a record for each server of a run that was refused before any host was contacted.

    Args:
        findings: What it was refused for, by server, as ``_run/refusals.py`` returns it.
        servers: The servers of the run. Without any, the one record has an empty name.
    """
    if not findings:
        return []
    general = list(findings.get("", ()))
    records = []
    for name in list(servers) or [""]:
        found = [*general, *(findings.get(name, ()) if name else ())]
        why = " ".join(one.message for one in found) or "Another instance of the run is refused."
        told = [{**one.as_dict(), "accepted": False} for one in found]
        failure = f"Refused before any host was contacted: {why}"
        record = {**empty_record(name), "outcome": "blocked", "failure": failure, "findings": told}
        records.append(with_headline(record, "", ""))
    return records


def with_headline(record: Mapping[str, Any], playbook: str, hosts: str) -> dict[str, Any]:
    """Return the record with the outcome of the instance, and with what to run next.

    It is the worst outcome of its hosts. But where one is blocked before an upgrade, the others only did not begin
    because of it: so the instance is blocked, not failed.

    Args:
        record: What is told of the server, and under ``web`` of its web hosts.
        playbook: Name of the playbook that ran; empty if it makes no sense to run it again.
        hosts: The hosts of the instance for ``--limit``.
    """
    everything = [record, *record["web"]]
    outcomes = [one["outcome"] for one in everything]
    if any(check["status"] == "failed" for one in everything for check in one["checks"]):
        outcomes.append("failed")
    began_nothing = "blocked" in outcomes and playbook not in ("rollback", "verify")
    outcome = "blocked" if began_nothing else min(outcomes, key=_rank)
    following = "upgrade" if outcome == "upgrade planned" else playbook if outcome in FAILED else ""
    return {
        "schema": SCHEMA,
        "access": None,
        "last_upgrade": None,
        "remedies": "",
        **record,
        "hosts": hosts,
        "server_outcome": record["outcome"],
        "outcome": outcome,
        "again": command(following, hosts) if following else "",
    }


def ends_badly(record: Mapping[str, Any]) -> bool:
    """Return whether the run fails because of an instance, and no wave follows it."""
    return record["outcome"] in FAILED or bool(failures(record))


def _rank(outcome: str) -> int:
    """Return the place of an outcome, which may say more after a colon; one that nobody knows is the worst."""
    kind = outcome.partition(":")[0]
    return OUTCOMES.index(kind) if kind in OUTCOMES else -1


def _add_lost(
    records: list[dict[str, Any]], hostvars: Mapping[str, Any], groups: Mapping[str, list[str]], run: Collection[str]
) -> None:
    """Add the hosts of the run of which nothing is known: Ansible took them out of it."""
    by_name = {record["name"]: record for record in records}
    told = {host["name"] for record in records for host in record["web"]}
    for name in groups.get("fractal_server", []):
        if name in run and name not in by_name:
            failure = hostvars[name].get("__server_failure") or LOST
            by_name[name] = {**empty_record(name), "outcome": "failed", "failure": failure}
            records.append(by_name[name])
    for name in groups.get("fractal_web", []):
        if name in run and name not in told:
            server = server_of(hostvars, groups, name)
            lost = {key: empty_record(name)[key] for key in ("name", "from", "to", "findings", "checks")}
            failure = hostvars[name].get("__web_failure") or LOST
            about = server if server in run else name
            if about not in by_name:
                by_name[about] = empty_record(about)
                records.append(by_name[about])
            by_name[about]["web"].append({**lost, "server": server, "outcome": "failed", "failure": failure})
