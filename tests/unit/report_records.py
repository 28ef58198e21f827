"""Records as runs leave them, for the tests of the pages and for their pictures (tests/tools/report_pictures.py)."""

from __future__ import annotations

from typing import Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._run.advice import with_inventory
from ansible_collections.fractal_ops.platform.plugins.module_utils._run.instance_report import with_headline
from ansible_collections.fractal_ops.platform.plugins.module_utils._run.report import empty_record

RUN: dict[str, Any] = {
    "id": "20261126T140512Z-4711",
    "playbook": "upgrade",
    "began": "2026-11-26 14:05:12 UTC",
    "ended": "2026-11-26 14:09:40 UTC",
    "ended_at": 1795702180.0,
    "by": "ops@control",
    "inventory": ["hosts.ini"],
    "limit": "",
    "check_mode": False,
    "versions": {"fractal_ops.platform": "0.1.0", "ansible-core": "2.19.14", "python": "3.11.2"},
}
BACKUP = "/var/backups/fractal/fractal-server/20261126T140611Z"
UNDO = "ansible-playbook -i hosts.ini fractal_ops.platform.rollback"
_STAGES = (
    ("stage", "Prepare the new environments", "to build: 2.17.0", 48.2),
    ("stop", "Stop fractal-server", "the service is active", 2.1),
    ("backup", "Back up, prove the backup", "the database changes", 9.4),
    ("environment_file", "Migrate the environment file", "it is of generation 2.16", 0.4),
    ("install", "Switch to fractal-server 2.17.0", "installed: 2.16.6", 0.1),
    ("schema", "Migrate the schema to 2.17.0", "at revision 981d588fe248", 3.6),
    ("data", "Migrate the data to 2.17.0", "old settings are there", 4.9),
    ("start", "Start fractal-server", "the new release", 3.8),
)


def finding(identifier: str, severity: str, subject: str, message: str, fix: str) -> dict[str, Any]:
    """Return a finding as a check leaves it."""
    more = {"reference": "docs/findings.md", "acceptable": severity != "blocker", "accepted": False}
    return {"id": identifier, "severity": severity, "subject": subject, "message": message, "fix": fix, **more}


def check(identifier: str, status: str, message: str, fix: str = "") -> dict[str, Any]:
    """Return a check of the verification."""
    return {"id": identifier, "subject": identifier, "status": status, "message": message, "fix": fix}


def _web(**values: Any) -> dict[str, Any]:
    web = {"name": "web1", "server": "fractal1", "from": "1.20.1", "to": "1.21.1", "outcome": "upgraded"}
    return {**web, "failure": "", "findings": [], "checks": [], **values}


def _stages(*states: tuple[str, bool]) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "title": title,
            "state": state,
            "reason": reason,
            "release": "",
            "seconds": took if ran else None,
        }
        for (name, title, reason, took), (state, ran) in zip(_STAGES, states)
    ]


def _record(playbook: str, hosts: str = "", **values: Any) -> dict[str, Any]:
    own = {**empty_record("fractal1"), "from": "2.16.6", "to": "2.17.0", "web": [_web()], **values}
    record: dict[str, Any] = with_inventory(with_headline(own, playbook, hosts), RUN["inventory"])
    return {**record, "run": {**RUN, "playbook": playbook}}


def upgraded() -> dict[str, Any]:
    """Return the record of an upgrade that went well."""
    skipped = "no account to log in with"
    return _record(
        "upgrade",
        outcome="upgraded",
        window_seconds=26.8,
        stages=_stages(*[("pending", True)] * 8),
        access={"with_access": ["a@x"] * 24, "without_access": [{"email": "dora@example.org", "hurt": True}]},
        findings=[
            finding(
                "user.without_access",
                "warning",
                "dora@example.org",
                "dora@example.org has no profile, so she cannot use 2.17; she owns 2 projects.",
                "Give her a profile in fractal_users, then run the playbook users.",
            ),
            finding("unit.restart", "info", "fractal-server", "The unit restarts on failure.", "Nothing to do."),
        ],
        checks=[
            check("alive", "passed", "The API answers with 2.17.0."),
            check("schema", "passed", "The database is at revision 83bc2ad3ffcc."),
            *(check(name, "skipped", skipped, "Set fractal_verify_email.") for name in ("log_in", "projects", "job")),
        ],
        backup=BACKUP,
        backup_proof="restore",
        backup_seconds={"dump": 2.2, "proof": 6.9},
        undo=UNDO,
        remaining=[f"Keep the backup {BACKUP} until you are sure, then remove it: it holds secrets."],
    )


def blocked() -> dict[str, Any]:
    """Return the record of a precheck that found what blocks."""
    disk = finding(
        "host.disk",
        "blocker",
        "/var/backups/fractal",
        "/var/backups/fractal has 1.2 GB free, the backup takes about 4.8 GB.",
        "Make room there, or set fractal_backup_root to another disk.",
    )
    jobs = finding(
        "work.jobs",
        "blocker",
        "fractal-server",
        "3 jobs run: 811 of anna@example.org, 812 and 815 of uma@example.org.",
        "Wait for them, or set fractal_jobs_in_flight to wait or abort.",
    )
    archive = finding(
        "web.archive",
        "blocker",
        "web1",
        "The archive of fractal-web 1.21.1 cannot be downloaded: github.com does not answer.",
        "Copy it to the host and set fractal_web_archive to its path.",
    )
    return _record(
        "precheck",
        outcome="blocked",
        failure=f"2 blocking finding(s): {disk['message']}; {jobs['message']}",
        stages=_stages(*[("pending", False)] * 8),
        findings=[disk, jobs, *upgraded()["findings"]],
        web=[_web(outcome="blocked", failure=f"1 blocking finding(s): {archive['message']}", findings=[archive])],
    )


def failed() -> dict[str, Any]:
    """Return the record of an upgrade that failed in the window."""
    states = [("pending", True)] * 5 + [("unfinished", False)] * 2 + [("pending", False)]
    return _record(
        "upgrade",
        outcome="failed",
        failure="Switch to each release, migrate its schema and data: Cannot migrate the schema: canceling statement "
        f"due to lock timeout\nfractal-server is stopped, and held since 14:06:11; the database is at revision "
        f"981d588fe248. The backup is {BACKUP}. To go back: {UNDO}",
        stages=_stages(*states),
        backup=BACKUP,
        backup_proof="restore",
        backup_seconds={"dump": 2.2, "proof": 6.9},
        undo=UNDO,
        web=[_web(outcome="failed", failure="Not upgraded, because its server fractal1 is not.")],
    )


def up_to_date() -> dict[str, Any]:
    """Return the record of a later run, which repeats the last upgrade."""
    last = {"run": RUN["id"], "ended": RUN["ended"], "from": "2.16.6", "to": "2.17.0"}
    last |= {"backup": BACKUP, "undo": UNDO, "window_seconds": 26.8}
    web = _web(outcome="up to date", **{"from": "1.21.1"})
    record = _record("upgrade", outcome="up to date", web=[web], **{"from": "2.17.0"})
    return {
        **record,
        "last_upgrade": last,
        "run": {**RUN, "id": "20261127T080000Z-99", "ended": "2026-11-27 08:00:31 UTC"},
    }
