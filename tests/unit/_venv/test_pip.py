"""What every account may see of pip's options, and where the rest goes."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._venv.pip import (
    arguments_of,
    out_of_sight,
    requirements,
)
from hypothesis import given
from hypothesis import strategies as st

SECRET = "https://bob:s3cret@index.example/simple"


@pytest.mark.parametrize(
    ("arguments", "seen", "hidden"),
    [
        (["--index-url", SECRET], [], {"PIP_INDEX_URL": SECRET}),
        ([f"--index-url={SECRET}"], [], {"PIP_INDEX_URL": SECRET}),
        (["-i", SECRET], [], {"PIP_INDEX_URL": SECRET}),
        ([f"-i{SECRET}", "--pre"], ["--pre"], {"PIP_INDEX_URL": SECRET}),
        (["--extra-index-url", SECRET, "--extra-index-url", SECRET], [], {"PIP_EXTRA_INDEX_URL": f"{SECRET} {SECRET}"}),
        (["--proxy", "http://u:p@proxy:1"], [], {"PIP_PROXY": "http://u:p@proxy:1"}),
        (["--no-index", "--find-links", "/opt/wheels"], ["--no-index", "--find-links", "/opt/wheels"], {}),
        (["--timeout", "5"], ["--timeout", "5"], {}),
    ],
)
def test_addresses_go_to_the_environment(arguments: list[str], seen: list[str], hidden: dict[str, str]) -> None:
    assert out_of_sight(arguments, {"LANG": "C"}) == (seen, {"LANG": "C", **hidden})


def test_what_the_environment_names_already_stays() -> None:
    _seen, environ = out_of_sight(["--extra-index-url", SECRET], {"PIP_EXTRA_INDEX_URL": "https://a"})
    assert environ["PIP_EXTRA_INDEX_URL"] == f"https://a {SECRET}"


def test_a_password_that_pip_takes_from_nowhere_else_is_refused() -> None:
    with pytest.raises(FractalError) as caught:
        out_of_sight([SECRET], {})
    assert "s3cret" not in str(caught.value)


ARGUMENTS = [SECRET, "-i", "-f", "--index-url", f"--find-links={SECRET}", f"-i{SECRET}", "--pre", "x"]


@given(st.lists(st.sampled_from(ARGUMENTS)))
def test_no_password_is_ever_in_sight(arguments: list[str]) -> None:
    try:
        seen, _environ = out_of_sight(arguments, {})
    except FractalError:
        return
    assert not any("s3cret" in one for one in seen)


@pytest.mark.parametrize(
    ("names", "bounds"),
    [
        ([], []),
        (["bcrypt-5.0.0-cp39-abi3-manylinux_2_34_x86_64.whl", "bcrypt_extra-4.0.0.whl", "paramiko.txt"], []),
        (["bcrypt-4.3.0-cp39-abi3-manylinux_2_34_x86_64.whl", "bcrypt-5.0.0-cp39-abi3-x.whl"], ["bcrypt<5"]),
        (["Paramiko-4.0.0-py3-none-any.whl", "bcrypt-4.0.1.tar.gz"], ["bcrypt<5", "paramiko<5"]),
    ],
)
def test_of_a_folder_with_the_wheels_of_several_releases_each_takes_its_own(
    tmp_path: Path, names: list[str], bounds: list[str]
) -> None:
    """pip takes the newest; a bound that nothing there meets would refuse what the operator has chosen."""
    for name in names:
        (tmp_path / name).touch()
    arguments = arguments_of({"wheelhouse": str(tmp_path), "pip_extra_args": []})
    assert requirements("2.17.0", arguments) == ["fractal-server==2.17.0", *bounds]


@pytest.mark.parametrize(
    ("version", "arguments", "bounds"),
    [
        ("2.16.6", [], []),
        ("2.17.0", [], ["bcrypt<5", "paramiko<5"]),
        ("2.17.0", ["--index-url", "https://index.example/simple"], ["bcrypt<5", "paramiko<5"]),
        ("2.26.0", [], ["bcrypt<5"]),
        ("2.26.0", ["bcrypt>=5"], []),
        ("2.17.0", ["--pre", "Paramiko==5.1.0"], ["bcrypt<5"]),
        ("2.17.0", ["--no-index", "--find-links", "/opt/wheels"], []),
    ],
)
def test_a_release_is_installed_with_the_bounds_that_it_lacks_unless_the_operator_says_otherwise(
    version: str, arguments: list[str], bounds: list[str]
) -> None:
    assert requirements(version, arguments) == [f"fractal-server=={version}", *bounds]
