"""The playbook ``review`` reads, shows, and fails where it could not."""

from __future__ import annotations

from pathlib import Path

from playbook_runs import HERE, Ran
from pretended_hosts import PretendedHosts

INVENTORY = "".join(["[fractal_server]\n", *(f"s{one} fractal_server_service=s{one} {HERE}\n" for one in (1, 2))])


def test_each_server_is_shown_and_one_that_fails_fails_the_run(tmp_path: Path) -> None:
    hosts = PretendedHosts(tmp_path)
    user = {"email": "carl@x", "reason": "not verified"}
    review = {"resources": [], "profiles": [], "without_access": [user]}
    hosts.tell("s1", "fractal_resource_profile", review=review, findings=[], checks=[])
    hosts.tell("s2", "fractal_resource_profile", failed=True, msg="no database")
    hosts.write()
    ran = Ran(tmp_path, "fractal_ops.platform.review", INVENTORY, collections=hosts.root)
    assert ran.code == 2 and "carl@x: not verified" in ran.screen and "unknown   Review" in ran.screen
    assert [set(one) & {"resources", "profiles", "users"} for one in hosts.options("fractal_resource_profile")] == [
        set()
    ] * 2
    assert "failed=0" in next(line for line in ran.screen.splitlines() if line.startswith("s1 "))
