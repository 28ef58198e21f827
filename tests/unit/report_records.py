"""What every record has of its run, for the tests of the pages."""

RUN = {
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
