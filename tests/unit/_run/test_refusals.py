"""What a run is refused for before any host is contacted."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleUndefinedVariable
from ansible_collections.fractal_ops.platform.plugins.filter.upgrade import FilterModule
from ansible_collections.fractal_ops.platform.plugins.module_utils._run.refusals import refusals
from ansible_collections.fractal_ops.platform.plugins.module_utils._run.variables import OnController
from hypothesis import given
from hypothesis import strategies as st

SPECS: dict[str, Any] = {
    "fractal_accept": {"type": "list", "elements": "str", "default": []},
    "fractal_start_timeout": {"type": "int", "default": 120},
    "fractal_server_host": {"type": "str", "default": ""},
    "fractal_target_version": {"type": "str", "default": "2.17.0"},
}
TWO = {"fractal_server": ["s", "t"], "fractal_web": ["v", "w", "x"], "fractal_worker": ["c"]}
OWNERS = {"v": "s", "w": "t", "x": "t", "c": "t"}
VARS: dict[str, dict[str, Any]] = {
    name: {"fractal_server_host": OWNERS[name]} if name in OWNERS else {} for row in TWO.values() for name in row
}


def ids(found: dict[str, Any]) -> dict[str, list[str]]:
    return {name: sorted({one.id for one in about}) for name, about in found.items()}


def test_a_whole_inventory_and_a_whole_instance_are_not_refused() -> None:
    for run in ([*VARS], ["s", "v"], ["t", "w", "x"], ["t", "w", "x", "c"], ["t", "w", "x", "localhost"]):
        facts = {**VARS, "localhost": {}}
        assert refusals(facts, TWO, run, "upgrade", SPECS) == {}, run


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        (["s"], {"s": ["run.web_left_out"]}),
        (["v"], {"": ["run.server_left_out"]}),
        (["t", "w"], {"t": ["run.web_left_out"]}),
        (["s", "v", "x"], {"": ["run.server_left_out"]}),
        (["c"], {"": ["run.no_host"]}),
    ],
)
def test_half_an_instance_is_refused_where_it_would_be_changed(run: list[str], expected: dict[str, list[str]]) -> None:
    for playbook in ("upgrade", "rollback"):
        assert ids(refusals(VARS, TWO, run, playbook, SPECS)) == expected
    halves = {"run.web_left_out", "run.server_left_out"}
    for playbook in ("precheck", "verify"):
        found = refusals(VARS, TWO, run, playbook, SPECS)
        assert not halves & {one.id for about in found.values() for one in about}


@given(st.sets(st.sampled_from(sorted(VARS)), min_size=1))
def test_a_run_that_changes_has_each_server_with_all_its_webs_or_is_refused(run: set[str]) -> None:
    instances = [{"s", "v"}, {"t", "w", "x"}]
    whole = all(one <= run or not one & run for one in instances) and any(one <= run for one in instances)
    assert (refusals(VARS, TWO, sorted(run), "upgrade", SPECS) == {}) == whole


@pytest.mark.parametrize("misspelt", ["fractal_servers", "fractal-server", "Fractal_Server", "fractal_sever"])
def test_a_misspelt_group_of_servers_is_guessed(misspelt: str) -> None:
    found = refusals({"s": {}}, {misspelt: ["s"], "all": ["s"]}, ["s"], "precheck", SPECS)
    assert ids(found) == {"": ["run.no_server"]}
    assert found[""][0].message.endswith(f"Did you mean it by {misspelt}?")


def test_groups_of_others_are_left_alone() -> None:
    others = {"fractal_server": ["s"], "fractal_web": ["w"], "fractal_webs": ["w"], "web": ["w"], "database": ["d"]}
    facts: dict[str, dict[str, Any]] = {"s": {}, "w": {}, "d": {}}
    assert refusals(facts, others, ["s", "w", "d"], "upgrade", SPECS) == {}
    assert refusals({"s": {}}, {"fractal_server": ["s"], "nginx": ["n"]}, ["s"], "upgrade", SPECS) == {}


def test_a_misspelt_group_can_be_accepted() -> None:
    groups = {"fractal_server": ["s"], "fractal_webs": ["w"]}
    assert ids(refusals({"s": {}}, groups, ["s"], "upgrade", SPECS)) == {"": ["run.group_unknown"]}
    assert refusals({"s": {"fractal_accept": ["run.group_unknown"]}}, groups, ["s"], "upgrade", SPECS) == {}


def test_one_mistake_is_one_finding() -> None:
    facts = {name: {**own, "fractal_start_timeout": "0.5"} for name, own in VARS.items()}
    found = refusals(facts, TWO, sorted(facts), "upgrade", SPECS)
    assert {name: len(about) for name, about in found.items()} == {"s": 1, "t": 1}


def test_a_server_that_does_not_exist_is_guessed() -> None:
    facts = {**VARS, "v": {"fractal_server_host": "S1"}}
    (finding,) = refusals(facts, {**TWO, "fractal_server": ["s1", "t"]}, ["v"], "precheck", SPECS)[""]
    assert finding.id == "run.server_unknown"


def test_the_filter_tells_only_what_it_can_judge() -> None:
    """A value that needs what only a role defines is judged when the role begins."""

    class Unfinished(dict):  # type: ignore[type-arg]
        def __getitem__(self, name: str) -> Any:
            if name == "fractal_start_timeout":
                raise AnsibleUndefinedVariable("undefined")
            return super().__getitem__(name)

    hostvars = {"s": Unfinished(fractal_start_timeout="{{ x }}", fractal_on_failure="rolback", fractal_zzz=1)}
    refused = FilterModule().filters()["refused"]
    (record,) = refused(hostvars, {"fractal_server": ["s"]}, ["s"], "upgrade")
    assert [(one["id"], one["subject"]) for one in record["findings"]] == [
        ("variable.unknown", "fractal_zzz"),
        ("variable.invalid", "fractal_on_failure"),
    ]
    assert record["outcome"] == "blocked" and record["name"] == "s"


def test_a_run_of_some_tasks_is_refused_and_names_the_tags() -> None:
    found = refusals(VARS, TWO, list(VARS), "upgrade", SPECS, ["window", "backup"])
    assert ids(found) == {"": ["run.tags"]} and "(backup, window)" in found[""][0].message


HOOKS = {"before_window": "/hooks/before.yml", "on_failure": "hooks/failed.yml"}


@pytest.mark.parametrize("playbook", ["precheck", "upgrade", "rollback"])
def test_files_on_the_controller_are_looked_at_before_any_host(playbook: str) -> None:
    files = OnController(lambda path: "which is gone" if "before" in path else "", lambda _path: "which holds none")
    facts = {"s": {"fractal_hooks": {**HOOKS, "after_window": "/hooks/after.yml"}}}
    found = refusals(facts, {"fractal_server": ["s"]}, ["s"], playbook, SPECS | {"fractal_hooks": {}}, (), files)
    assert [(one.id, one.subject) for one in found["s"]] == [
        ("variable.file", "fractal_hooks.before_window"),
        ("variable.file", "fractal_hooks.on_failure"),
        ("variable.file", "fractal_hooks.after_window"),
    ]
    told = [one.message for one in found["s"]]
    assert "/hooks/before.yml, which is gone." in told[0] and "which is no absolute path" in told[1]
    assert "which holds none" in told[2]
    assert "{{ inventory_dir }}/hooks/before.yml" in found["s"][0].fix


@pytest.mark.parametrize(("value", "count"), [("/srv/page.html", 1), ("", 0), (None, 0), ({"x": 1}, 0)])
def test_the_page_is_no_task_file(value: Any, count: int) -> None:
    files = OnController(lambda _path: "which is gone", lambda _path: "which holds no tasks")
    facts = {"s": {"fractal_maintenance_page_file": value}}
    specs = SPECS | {"fractal_maintenance_page_file": {"type": "raw"}}
    found = refusals(facts, {"fractal_server": ["s"]}, ["s"], "upgrade", specs, (), files).get("s", [])
    assert len(found) == count and not any("no tasks" in one.message for one in found)


@pytest.mark.parametrize(
    ("variables", "subjects"),
    [
        ({"wheelhouse": "/gone"}, []),
        ({"wheelhouse": "/gone", "remote_src": True}, []),
        ({"wheelhouse": "/gone", "remote_src": "false"}, ["fractal_wheelhouse"]),
        ({"wheelhouse": "wheels", "remote_src": False}, ["fractal_wheelhouse"]),
        ({"wheelhouse": "/wheels", "web_archive": "/gone", "remote_src": 0}, ["fractal_web_archive"]),
        ({"web_archive": "https://mirror/gone.tar.gz", "remote_src": False}, []),
        ({"wheelhouse": "", "web_archive": None, "remote_src": False}, []),
    ],
)
def test_what_is_copied_from_the_controller_is_looked_at_before_any_host(
    variables: dict[str, Any], subjects: list[str]
) -> None:
    files = OnController(why_not_copied=lambda path: "which is gone" if "gone" in path else "")
    values = {f"fractal_{name}": value for name, value in variables.items()}
    specs = SPECS | {name: {"type": "raw"} for name in values}
    found = refusals({"s": values}, {"fractal_server": ["s"]}, ["s"], "upgrade", specs, (), files).get("s", [])
    assert [(one.id, one.subject) for one in found] == [("variable.file", subject) for subject in subjects]
