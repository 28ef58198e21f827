"""The operator's way to the network: into this process and what it starts, and nowhere that others can read."""

from __future__ import annotations

import os
from typing import Any

import pytest
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.programs import (
    lead_to_the_network,
    network_environment,
    network_variables,
)
from hypothesis import given
from hypothesis import strategies as st


@pytest.fixture(autouse=True)
def _same_environment_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", dict(os.environ))


def test_a_proxy_is_there_in_both_ways_of_writing_and_is_handed_on() -> None:
    lead_to_the_network(
        {"HTTPS_PROXY": "http://p:1", "no_proxy": "a,b", "PIP_INDEX_URL": "https://i", "PIP_RETRIES": 3}
    )
    found = network_environment()
    assert found["https_proxy"] == found["HTTPS_PROXY"] == "http://p:1" and found["NO_PROXY"] == "a,b"
    assert found["PIP_INDEX_URL"] == "https://i" and found["PIP_RETRIES"] == "3" and "pip_index_url" not in found


@pytest.mark.parametrize(
    "name", ["PATH", "LD_PRELOAD", "PYTHONPATH", "POSTGRES_DB", "PIP_", "X=Y_PROXY", "a b_proxy", "PIP_A\nB"]
)
def test_what_leads_no_download_is_refused(name: str) -> None:
    with pytest.raises(FractalError, match="which no download needs"):
        lead_to_the_network({name: "x"})


@pytest.mark.parametrize("value", [None, True, ["x"], {"a": 1}, "a\nb", "a\0b"])
def test_a_value_is_one_line_of_text(value: Any) -> None:
    with pytest.raises(FractalError, match="a single line of text"):
        network_variables({"https_proxy": value})


@given(st.dictionaries(st.text(max_size=12), st.text(max_size=12), max_size=4))
def test_whatever_is_taken_is_what_is_handed_on(variables: dict[str, str]) -> None:
    try:
        taken = network_variables(variables)
    except FractalError:
        return
    lead_to_the_network(variables)
    assert set(taken) <= set(network_environment())
