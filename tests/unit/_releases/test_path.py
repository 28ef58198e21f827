"""The release path."""

import pytest
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._releases.path import (
    RELEASES,
    hops,
    python_supported,
    release,
    release_at_head,
    version_key,
)
from hypothesis import given
from hypothesis import strategies as st

VERSIONS = [known.version for known in RELEASES]


def versions(found):
    return [hop.version for hop in found]


def test_releases_are_in_order():
    assert sorted(VERSIONS, key=version_key) == VERSIONS


def test_the_path_stops_at_each_data_migration():
    assert versions(hops("2.16.6", "2.17.0")) == ["2.17.0"]
    assert versions(hops("2.16.3", "2.17.2")) == ["2.17.0", "2.17.2"]
    assert versions(hops("2.17.0", "2.17.1")) == ["2.17.1"]
    assert versions(hops("2.17.2", "2.17.2")) == []


@given(st.sampled_from(VERSIONS), st.sampled_from(VERSIONS))
def test_a_path_goes_forward_ends_at_its_target_and_skips_no_data_migration(start, target):
    if version_key(target) < version_key(start):
        with pytest.raises(FractalError, match="newer than the target"):
            hops(start, target)
        return
    route = hops(start, target)
    keys = [version_key(hop.version) for hop in route]
    assert keys == sorted(set(keys))
    assert not route or route[-1].version == target
    for known in RELEASES:
        if known.is_stop and version_key(start) < version_key(known.version) <= version_key(target):
            assert known in route


@pytest.mark.parametrize("version", ["2.15.9", "2.17", "2.17.0rc1", "latest", "", "3.0.0"])
def test_unknown_releases_are_refused_with_the_known_ones(version):
    with pytest.raises(FractalError, match=r"fractal_target_version to one of: 2\.17\.0"):
        release(version)


def test_the_schema_tells_the_release():
    assert release_at_head("981d588fe248").version == "2.16.6"
    assert release_at_head("83bc2ad3ffcc").version == "2.17.0"
    assert release_at_head("b3ffb095f973") is None
    assert release_at_head(None) is None


@pytest.mark.parametrize(
    ("python", "supported"), [("3.10.14", False), ("3.11.2", True), ("3.13.1", True), ("3.14.0", False)]
)
def test_python_range(python, supported):
    assert python_supported(python, release("2.17.0")) is supported
