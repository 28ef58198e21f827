"""A release that has a data migration and no code here is refused, by whatever would go through it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.database import Installation
from ansible_collections.fractal_ops.platform.plugins.module_utils._releases import path
from ansible_collections.fractal_ops.platform.plugins.module_utils._releases.release import Release
from ansible_collections.fractal_ops.platform.plugins.module_utils._run.plan import plan_server
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.data_migrations import DATA_MIGRATIONS
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.env_steps import ENV_STEPS
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.prechecks import PRECHECKS, checks_on_the_way
from ansible_collections.fractal_ops.platform.plugins.module_utils._upgrade.hop import make_hop

LAST = path.RELEASES[-1]
STOP = Release("3.1.0", "aaaaaaaaaaaa", ("3.11", "3.14"), "1.22.0", (20,), is_stop=True)
NEXT = Release("3.1.1", "bbbbbbbbbbbb", ("3.11", "3.14"), "1.22.0", (20,))


@pytest.fixture
def rows_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """The path as it is when somebody has added the rows of a stop and nothing else."""
    monkeypatch.setattr(path, "RELEASES", (*path.RELEASES, STOP, NEXT))


@pytest.mark.usefixtures("rows_only")
def test_the_hop_refuses_it_before_it_touches_anything() -> None:
    with pytest.raises(FractalError, match=r"3\.1\.0 has a data migration that this collection does not implement"):
        make_hop(Installation("/nowhere/.fractal_server.env"), None, "3.1.0")


@pytest.mark.usefixtures("rows_only")
@pytest.mark.parametrize("target", ["3.1.0", "3.1.1"])
def test_the_plan_is_blocked(target: str) -> None:
    instance = {"version": LAST.version, "environment": "/venv"}
    database = {"reachable": True, "revision": LAST.alembic_head, "data_migration": "not_needed"}
    plan = plan_server(instance, database, target)
    assert "does not implement" in plan.blocked and plan.stages == []


@pytest.mark.usefixtures("rows_only")
@pytest.mark.parametrize(("target", "expected"), [("3.1.1", ["release.not_implemented"]), ("2.26.0", [])])
def test_precheck_has_a_blocker_that_nobody_can_accept(target: str, expected: list[str]) -> None:
    host = SimpleNamespace(hops=path.hops("2.16.6", target), stops=[], params={"target_version": target})
    found = [finding for name, check in checks_on_the_way(host) if name == "stops" for finding in check(host)]
    assert [finding.id for finding in found] == expected
    assert not any(finding.acceptable for finding in found)


def test_every_stop_has_all_its_entries() -> None:
    stops = {known.version for known in path.RELEASES if known.is_stop}
    assert stops == {*DATA_MIGRATIONS} == {*PRECHECKS}
    assert all(one.release == version for version, one in DATA_MIGRATIONS.items())


def test_environment_steps_belong_to_releases_and_are_in_their_order() -> None:
    versions = [step.release for step in ENV_STEPS]
    assert {*versions} <= {known.version for known in path.RELEASES}
    assert versions == sorted(versions, key=path.version_key)
