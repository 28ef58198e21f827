"""The release path."""

from __future__ import annotations

import itertools

import pytest
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._releases.path import (
    RELEASES,
    first_release_with_head,
    hops,
    pip_requirements,
    python_supported,
    release,
    release_at_head,
    releases_at_head,
    resolve,
    schema_in_words,
    takes_away,
    targets,
    version_key,
    web_release,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._releases.release import Release, TakenAway
from hypothesis import assume, given
from hypothesis import strategies as st

VERSIONS = [known.version for known in RELEASES]
STOPS = [known.version for known in RELEASES if known.is_stop]
OFFERED = [known.version for known in targets()]
NEWEST = OFFERED[-1]
NOT_OFFERED = ["2.18.0", "2.20.0", "2.20.1", "2.20.2", "2.20.3", "2.20.4", "2.22.1", "2.23.0"]


def versions(found: list[Release]) -> list[str]:
    return [hop.version for hop in found]


def test_releases_are_in_order_and_complete() -> None:
    assert sorted(VERSIONS, key=version_key) == VERSIONS and len({*VERSIONS}) == len(VERSIONS)
    assert (VERSIONS[0], VERSIONS[-1], STOPS) == ("2.16.0", "2.26.0", ["2.17.0", "2.18.0", "2.23.0"])
    # within a minor line none is left out
    for _line, found in itertools.groupby(map(version_key, VERSIONS), key=lambda key: key[:2]):
        assert [key[2] for key in found] == [*range(sum(version_key(one)[:2] == _line for one in VERSIONS))]


def test_nothing_that_is_withdrawn_or_unfinished_is_offered() -> None:
    assert [known.version for known in RELEASES if not known.offered] == NOT_OFFERED
    assert not {*NOT_OFFERED} & {*OFFERED} and OFFERED[0] == "2.17.0"


def test_python_ranges_and_web_never_go_back() -> None:
    for before, after in zip(RELEASES, RELEASES[1:]):
        assert [version_key(limit) for limit in before.python] <= [version_key(limit) for limit in after.python]
        assert version_key(before.web) <= version_key(after.web)
    assert [known.version for known in RELEASES if not known.web_documented] == VERSIONS[VERSIONS.index("2.24.3") :]


def test_the_path_stops_at_each_data_migration() -> None:
    assert versions(hops("2.16.6", "2.17.0")) == ["2.17.0"]
    assert versions(hops("2.16.3", "2.17.2")) == ["2.17.0", "2.17.2"]
    assert versions(hops("2.17.0", "2.17.1")) == ["2.17.1"]
    assert versions(hops("2.17.2", "2.17.2")) == []
    assert versions(hops("2.16.6", "2.26.0")) == ["2.17.0", "2.18.0", "2.23.0", "2.26.0"]
    assert versions(hops("2.17.2", "2.22.14")) == ["2.18.0", "2.22.14"]
    assert versions(hops("2.18.0", "2.18.0")) == []


@given(st.sampled_from(VERSIONS), st.sampled_from(VERSIONS))
def test_a_path_goes_forward_ends_at_its_target_and_skips_no_data_migration(start: str, target: str) -> None:
    if version_key(target) < version_key(start):
        with pytest.raises(FractalError, match="newer than the target"):
            hops(start, target)
        return
    if target in NOT_OFFERED and target != start:
        with pytest.raises(FractalError, match="No upgrade ends at"):
            hops(start, target)
        return
    route = hops(start, target)
    keys = [version_key(hop.version) for hop in route]
    assert keys == sorted(set(keys)) and all(key > version_key(start) for key in keys)
    assert versions(route)[-1:] == ([target] if start != target else [])
    between = [stop for stop in STOPS if version_key(start) < version_key(stop) <= version_key(target)]
    assert versions(route) == [*between, *([target] if target not in (*between, start) else [])]


@given(st.sampled_from(VERSIONS), st.sampled_from(OFFERED), st.sampled_from(["3.11.2", "3.12.1", "3.13.0", "3.14.0"]))
def test_each_hop_says_which_pythons_run_it(start: str, target: str, python: str) -> None:
    assume(version_key(start) <= version_key(target))
    for hop in hops(start, target):
        lowest, too_new = (version_key(limit) for limit in hop.python)
        assert python_supported(python, hop) == (lowest <= version_key(python)[:2] < too_new)
        assert python_supported("3.13.0", hop), "one Python runs the whole way"


@given(st.sampled_from(VERSIONS), st.sampled_from(OFFERED))
def test_what_goes_on_the_way_is_what_the_releases_take_away(start: str, target: str) -> None:
    assume(version_key(start) <= version_key(target))
    gone = takes_away(start, target)
    for known in RELEASES:
        passed = version_key(start) < version_key(known.version) <= version_key(target)
        assert all((one in gone) == passed for one in known.takes_away)


def test_the_groups_viewer_paths_go_with_2_18_0() -> None:
    assert takes_away("2.17.2", "2.18.0") == [TakenAway("usergroup", "viewer_paths")]
    assert TakenAway("user_settings") in takes_away("2.16.6", "2.17.1")


# -- what the operator asks for ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "version"),
    [
        *(("2.17", "2.17.2"), ("2.18", "2.18.6"), ("2.20", "2.20.5"), ("2.22", "2.22.14"), ("2.23", "2.23.7")),
        *(("2.26", "2.26.0"), ("newest", NEWEST), ("2.17.0", "2.17.0"), ("2.16.6", "2.16.6"), ("2.18.0", "2.18.0")),
    ],
)
def test_a_line_and_newest_mean_an_offered_release(wanted: str, version: str) -> None:
    assert resolve(wanted).version == version
    assert web_release(wanted) == release(version).web


@given(st.sampled_from(OFFERED))
def test_every_offered_release_and_its_line_are_resolved(version: str) -> None:
    assert resolve(version).version == version
    line = resolve(version.rpartition(".")[0])
    assert line.offered and version_key(line.version)[:2] == version_key(version)[:2]
    assert version_key(line.version) >= version_key(version)


@pytest.mark.parametrize(
    ("version", "near"),
    [
        ("2.15.9", "2.17.0, 2.17.1"),
        ("2.16", "2.17.0, 2.17.1"),  # upgrades begin there
        ("2.17.7", "2.17.1, 2.17.2, 2.18.1, 2.18.2"),
        ("2.17.0rc1", "2.17.0, 2.17.1"),
        ("2.2", "2.17.0, 2.17.1"),
        ("3.0.0", ", ".join(OFFERED[-2:])),
        ("latest", ", ".join(OFFERED[-3:])),
        ("", ", ".join(OFFERED[-3:])),
    ],
)
def test_what_is_unknown_is_refused_with_what_is_near_it(version: str, near: str) -> None:
    with pytest.raises(FractalError, match="not on the release path") as refused:
        resolve(version)
    assert f"near it are {near})" in str(refused.value) and f"newest ({NEWEST})" in str(refused.value)


def test_what_is_not_offered_is_refused_with_what_is_near_it() -> None:
    with pytest.raises(FractalError, match=r"near it are 2\.19\.3, 2\.19\.4, 2\.20\.5, 2\.21\.0\)"):
        hops("2.17.2", "2.20.3")
    with pytest.raises(FractalError, match=r"near it are 2\.20\.5, 2\.21\.0\)"):
        hops("2.20.2", "2.20.3")


@given(st.text(max_size=12))
def test_any_text_is_resolved_or_refused_in_words(wanted: str) -> None:
    try:
        assert resolve(wanted).version in VERSIONS
    except FractalError as error:
        assert "fractal_target_version" in str(error)


# -- heads ------------------------------------------------------------------------------------------------------------


def test_the_schema_tells_the_release() -> None:
    assert release_at_head("981d588fe248").version == "2.16.6"  # type: ignore[union-attr]
    assert release_at_head("83bc2ad3ffcc").version == "2.17.0"  # type: ignore[union-attr]
    assert release_at_head("b3ffb095f973") is None
    assert release_at_head(None) is None


def test_what_is_installed_tells_releases_with_one_head_apart() -> None:
    head = "0c5e3f92c3a8"
    assert versions(releases_at_head(head)) == ["2.25.1", "2.25.2", "2.25.3", "2.25.4", "2.26.0"]
    assert release_at_head(head) is release("2.26.0")
    assert release_at_head(head, "2.25.2") == release("2.25.2")
    assert release_at_head(head, "2.23.0", "2.25.4") == release("2.25.4")
    assert release_at_head(head, None, "2.17.0") is release("2.26.0")
    assert (first_release_with_head(head), schema_in_words(head)) == ("2.25.1", "2.25.1 to 2.26.0")
    assert (schema_in_words("83bc2ad3ffcc"), schema_in_words("x")) == ("2.17.0", "unknown")


def test_releases_with_one_head_follow_each_other_and_stops_have_their_own() -> None:
    heads = [head for head, _same in itertools.groupby(known.alembic_head for known in RELEASES)]
    assert len(heads) == len({*heads}), "else comparing schemas by any release at their heads would be wrong"
    assert all(len(releases_at_head(release(stop).alembic_head)) == 1 for stop in STOPS)


# -- Python and pip ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("python", "wanted", "supported"),
    [
        *(("3.10.14", "2.17.0", False), ("3.11.2", "2.17.0", True), ("3.13.1", "2.17.0", True)),
        *(("3.14.0", "2.17.0", False), ("3.11.2", "2.18.5", True), ("3.11.2", "2.18.6", False)),
        *(("3.12.1", "2.25.4", True), ("3.12.1", "2.26.0", False), ("3.15.0", "2.26.0", True)),
    ],
)
def test_python_range(python: str, wanted: str, supported: bool) -> None:
    assert python_supported(python, release(wanted)) is supported


def test_pip_is_told_what_releases_do_not_bound_themselves() -> None:
    assert pip_requirements("2.16.6") == []
    assert pip_requirements("2.17.0") == pip_requirements("2.22.9") == ["bcrypt<5", "paramiko<5"]
    assert pip_requirements("2.22.10") == pip_requirements("2.26.0") == ["bcrypt<5"]
