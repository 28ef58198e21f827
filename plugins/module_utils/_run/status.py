# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""What each instance is at this moment, in a few lines: what runs, what holds or locks it, and the way back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._releases.path import schema_in_words, version_key
from ansible_collections.fractal_ops.platform.plugins.module_utils._run import facts as facts_of
from ansible_collections.fractal_ops.platform.plugins.module_utils._run.instance_report import LOST


def status_lines(
    hostvars: Mapping[str, Any],
    groups: Mapping[str, list[str]],
    run: Iterable[str],
    history: Iterable[Mapping[str, Any]],
) -> list[str]:
    """Return the lines of all hosts of the run.

    Args:
        hostvars: Ansible's ``hostvars``.
        groups: Ansible's ``groups``.
        run: The hosts of the run.
        history: Records of earlier runs, the newest first (``_run/history.py``).
    """
    here = set(run)
    last: dict[str, Mapping[str, Any]] = {}
    for record in history:
        last.setdefault(str(record["name"]), record)
    lines: list[str] = []
    for name in (name for name in groups.get("fractal_server", []) if name in here):
        lines += _told(name, "fractal-server", _server(hostvars[name], last.get(name)))
    for name in (name for name in groups.get("fractal_web", []) if name in here):
        lines += _told(name, "fractal-web", _web(hostvars[name]))
    return lines


def _told(name: str, what: str, rows: Iterable[tuple[str, str]]) -> list[str]:
    return [f"{name} ({what})", *(f"  {title:<12} {text}" for title, text in rows)]


def _server(facts: Mapping[str, Any], last: Mapping[str, Any] | None) -> Iterator[tuple[str, str]]:
    state = facts.get(facts_of.SERVER_STATE) or {}
    instance = state.get("instance")
    if instance is None:
        yield "unknown", state.get("failure") or facts.get(facts_of.SERVER_FAILURE) or LOST
        return
    if state.get("attached"):
        yield "upgrade", "runs in its window at this moment; what follows was so before it"
    yield "release", f"{instance['version']}, {instance['active_state']}, {instance['url']}"
    yield "environment", str(instance["environment"])
    yield "database", _database(state.get("database"))
    yield from _kept(instance)
    own = version_key(str(instance["version"]))
    beside: dict[str, list[str]] = {"prepared": [], "left beside": []}
    for one in map(str, instance["staged"]):
        beside["prepared" if version_key(one) > own else "left beside"].append(one)
    yield from ((title, ", ".join(releases)) for title, releases in beside.items() if releases)
    yield "way back", _way_back(facts.get(facts_of.STATUS_BACKUP) or {})
    yield "last run", _run(last)


def _web(facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    state = facts.get(facts_of.WEB_STATE) or {}
    instance = state.get("instance")
    if instance is None:
        yield "unknown", state.get("failure") or facts.get(facts_of.WEB_FAILURE) or LOST
        return
    yield "release", f"{instance['version']}, {instance['active_state']}, {instance['url']}"
    if instance.get("page_is_up"):
        yield "page", "the maintenance page answers in its place: it goes with the window, or start fractal-web"
    yield from _kept(instance)


def _kept(instance: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what keeps the instance stopped, or other runs away."""
    hold, lock = instance.get("hold"), instance.get("lock")
    if hold:
        yield "held", f"by the run {hold['run']}: run upgrade again, which continues it, or rollback"
    if lock:
        yield "locked", f"by the run {lock['run']} of {lock['controller']}"


def _database(database: Mapping[str, Any] | None) -> str:
    if not database:
        return "not read"
    if not database.get("reachable", True):
        return f"not reachable: {database['reason']}"
    megabytes = round(database["size_bytes"] / 1e6)
    in_flight = f"{database['jobs_in_flight']} jobs and {database['activities_in_flight']} task collections in flight"
    return f"schema of {schema_in_words(database['revision'])}, {megabytes} MB, {in_flight}"


def _way_back(found: Mapping[str, Any]) -> str:
    backup = found.get("backup")
    if not backup:
        return "none: there is no backup" if "backup" in found else "not read"
    return f"to {backup['version']} of {backup['created']}: {backup['path']}"


def _run(last: Mapping[str, Any] | None) -> str:
    if last is None:
        return "no report on this controller"
    return f"{last['run']['playbook']}, {last['run']['ended']}: {last['outcome']}"
