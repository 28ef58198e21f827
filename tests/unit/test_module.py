"""What every module does around its one call."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._module import run_module


class Ended(Exception):
    """A module ended, with this result."""


class Module:
    """Stands for AnsibleModule."""

    check_mode = False

    def __init__(self) -> None:
        self.params: dict[str, Any] = {}

    def exit_json(self, **result: Any) -> None:
        raise Ended({**result, "failed": False})

    def fail_json(self, **result: Any) -> None:
        raise Ended({**result, "failed": True})


def result_of(*arguments: Any) -> dict[str, Any]:
    with pytest.raises(Ended) as ended:
        run_module(Module(), *arguments)  # type: ignore[arg-type]
    result: dict[str, Any] = ended.value.args[0]
    return result


def test_the_result_says_when_and_how_long() -> None:
    result = result_of(lambda: {"rows": 3})
    assert (result["failed"], result["changed"], result["rows"]) == (False, False, 3)
    assert result["at"] > 0 and result["duration"] >= 0


def test_an_error_is_its_text_and_its_facts() -> None:
    def work() -> dict[str, Any]:
        raise FractalError("the disk is full: free 3 GB", missing=3)

    result = result_of(work)
    assert (result["failed"], result["msg"], result["missing"]) == (True, "the disk is full: free 3 GB", 3)
    assert "duration" in result


@pytest.mark.parametrize("fails", [True, False])
def test_what_ansible_shows_of_the_options_holds_no_password(fails: bool) -> None:
    module = Module()
    given = ["--extra-index-url", "https://bob:s3cret@index.example/simple"]
    module.params = {"pip_extra_args": given, "lock": None, "nested": {"archive": given[1]}, "keep": 3}
    seen = []

    def work() -> dict[str, Any]:
        seen.append(module.params["pip_extra_args"][1])
        if fails:
            raise FractalError("no")
        return {}

    with pytest.raises(Ended):
        run_module(module, work)  # type: ignore[arg-type]
    assert seen == [given[1]] and "s3cret" not in str(module.params)
    assert module.params["pip_extra_args"][0] == "--extra-index-url" and module.params["keep"] == 3
