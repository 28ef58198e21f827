"""The file of variables that settles findings: valid YAML, known variables, and nothing that Ansible evaluates."""

from __future__ import annotations

import importlib.util
import pathlib
import re
import string
import sys
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import is_trusted_as_template, trust_as_template
from ansible_collections.fractal_ops.platform.plugins.filter.upgrade import _known_variables
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.findings import (
    Finding,
    FindingRule,
    blocker,
    of_user,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._run.variables import invalid_variables
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.r2_17_0.user_losses import FINDINGS as LOSSES
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.r2_17_0.user_settings import (
    FINDINGS as SETTINGS,
)
from ansible_collections.fractal_ops.platform.plugins.plugin_utils.remedies import (
    has_remedies,
    how_to_use,
    render_remedies,
)
from hypothesis import given
from hypothesis import strategies as st
from report_records import RUN

ROOT = pathlib.Path(__file__).resolve().parents[3]
SPEC = importlib.util.spec_from_file_location("generate_findings", ROOT / "tests/tools/generate_findings.py")
assert SPEC is not None and SPEC.loader is not None
generate_findings = importlib.util.module_from_spec(SPEC)
sys.modules.setdefault("generate_findings", generate_findings)
SPEC.loader.exec_module(generate_findings)
RULES: dict[str, FindingRule] = generate_findings.rules()
SETTLING = {name: rule for name, rule in RULES.items() if rule.settles}
COMMENTED = re.compile(r"^# ", re.MULTILINE)  # one, not two


def record(*findings: Finding, outcome: str = "blocked", hosts: str = "", web: Any = ()) -> dict[str, Any]:
    told = [{**one.as_dict(), "accepted": False} for one in findings]
    own = {"name": "s", "outcome": outcome, "findings": told, "web": list(web), "hosts": hosts, "run": RUN}
    return {**own, "remedies": how_to_use(own, "/r/s/1.vars.yml") if has_remedies(own) else ""}


def loaded(text: str) -> dict[str, Any]:
    """What Ansible reads: ``!unsafe`` and all."""
    return DataLoader().load(trust_as_template(text)) or {}


def placeholders(value: Any) -> set[str]:
    if isinstance(value, str):
        return {name for _text, name, _format, _how in string.Formatter().parse(value) if name}
    parts = [*value, *value.values()] if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else []
    return {name for part in parts for name in placeholders(part)}


@pytest.mark.parametrize("rule", SETTLING.values(), ids=SETTLING)
def test_a_row_names_variables_that_exist_and_what_its_finding_knows(rule: FindingRule) -> None:
    assert set(rule.settles) <= set(_known_variables())
    assert placeholders(dict(rule.settles)) <= {"subject", "bare"} | placeholders([rule.message, rule.fix])
    users = [one for one in rule.settles.get("fractal_users", []) if None not in one.values()]
    assert not invalid_variables({"fractal_users": users}, _known_variables())
    assert "password" not in str(rule.settles)


def test_what_is_proposed_is_in_force_and_what_asks_is_a_comment() -> None:
    found = record(
        SETTINGS["user.superuser_without_settings"].finding("admin@x", setting="project_dir, slurm_user"),
        SETTINGS["user.setting_unset"].finding("ann@x", setting="slurm_user"),
        SETTINGS["user.setting_padded"].finding("ann@x", setting="project_dir", value=" /p ", bare="/p"),
        LOSSES["user.not_verified"].finding("bob@x", stake=""),
    )
    text = render_remedies(found)
    users = [{"email": "admin@x", "is_verified": False}, {"email": "ann@x", "project_dir": "/p"}]
    assert loaded(text) == {"fractal_users": users}
    everything = loaded(COMMENTED.sub("", text))
    assert everything["fractal_users"] == [
        users[0],
        {"email": "ann@x", "slurm_user": None, "project_dir": "/p"},
        {"email": "bob@x", "is_verified": True},
    ]
    assert found["remedies"] == "ansible-playbook -i hosts.ini fractal_ops.platform.users -e @/r/s/1.vars.yml"
    assert found["remedies"] in text


def test_one_that_names_several_settings_asks_for_each() -> None:
    text = render_remedies(
        record(SETTINGS["user.settings_missing"].finding("ann@x", setting="project_dir, slurm_user"))
    )
    assert loaded(text) == {}
    assert loaded(COMMENTED.sub("", text))["fractal_users"] == [
        {"email": "ann@x", "project_dir": None, "slurm_user": None}
    ]


def test_what_may_be_accepted_is_offered_and_never_accepted_by_itself() -> None:
    text = render_remedies(record(SETTINGS["user.ssh_host_lost"].finding("ann@x", value="old", host="new")))
    assert loaded(text) == {}
    offered = loaded(COMMENTED.sub("", text))
    assert offered == {
        "fractal_users": [{"email": "ann@x", "ssh_host": "new"}],
        "fractal_accept": ["user.ssh_host_lost"],
    }


@pytest.mark.parametrize("rule", SETTLING.values(), ids=SETTLING)
def test_what_only_a_person_knows_is_never_in_force(rule: FindingRule) -> None:
    names = placeholders([rule.message, rule.fix]) | {"bare"}
    found = record(rule.finding("ann@x", **{name: name for name in names - {"subject"}}))
    for value in loaded(render_remedies(found)).values():
        assert "None" not in str(value)
    everything = loaded(COMMENTED.sub("", render_remedies(found)))
    assert set(everything) - {"fractal_accept"} == set(rule.settles)


def test_web_hosts_count_and_other_variables_go_to_a_precheck() -> None:
    pairing = RULES["web.version_pairing"].finding("1.20.1", server="2.17.0", web="1.21.1").as_dict()
    found = record(hosts="s,w", web=[{"findings": [{**pairing, "accepted": False}]}])
    assert loaded(render_remedies(found)) == {"fractal_web_version": "1.21.1"}
    assert "precheck --limit s,w -e @/r/s/1.vars.yml" in found["remedies"]


def test_there_is_no_file_without_need_nor_after_the_upgrade() -> None:
    unset = SETTINGS["user.setting_unset"].finding("ann@x", setting="slurm_user")
    assert record()["remedies"] == record(unset, outcome="upgraded")["remedies"] == ""
    accepted = {**record(unset), "findings": [{**unset.as_dict(), "accepted": True}]}
    assert not has_remedies(accepted)
    assert record(unset, outcome="upgrade planned")["remedies"]


ODD = [
    "{{ lookup('pipe', 'id') }}",
    "a\nfractal_accept: [b]",
    "- !x",
    "{% x %}",
    "yes",
    "1",
    "a\u2028b",
    "#",
    "'",
    "{a}",
]
ANY = st.text(min_size=1, max_size=30) | st.sampled_from(ODD)


@given(st.lists(st.tuples(ANY, ANY), max_size=4))
def test_no_text_of_the_database_becomes_anything_but_a_text(pairs: list[tuple[str, str]]) -> None:
    rule = blocker("user.x", "t", "{subject} says {value}.", "Mend {value}.", settles=of_user(slurm_user="{value}"))
    text = render_remedies(record(*(rule.finding(email, value=value) for email, value in pairs)))
    expected: dict[str, str] = {}
    for email, value in pairs:
        expected.setdefault(email, value)
    found = loaded(text).get("fractal_users", [])
    assert found == [{"email": email, "slurm_user": value} for email, value in expected.items()]
    assert set(loaded(text)) <= {"fractal_users"}
    assert not [value for one in found for value in one.values() if "{" in value and is_trusted_as_template(value)]


@pytest.mark.parametrize(
    "values",
    [
        {"ansible_ssh_common_args": "-o ProxyCommand=x"},
        {"fractal_hooks": {"before_window": "/tmp/theirs.yml"}},
        {"fractal_users\nansible_become_exe": "x"},
        {"fractal_pip_extra_args": ["--index-url", "http://example.org"]},
        {"fractal_users": [{"email": "a@b.c", "is_active: true}\nansible_become_exe": "x"}]},
        {"fractal_users": [{"email": "a@b.c", "slurm_accounts": [{"x\nansible_become_exe": "x"}]}]},
        ["fractal_users"],
        "fractal_users",
    ],
)
def test_an_answer_of_the_service_account_sets_nothing_of_the_run(values: Any) -> None:
    forged = {**LOSSES["user.not_verified"].finding("a@b.c", stake="").as_dict(), "accepted": False}
    forged["settles"] = {"values": values, "asks": False}
    told = record()
    told["findings"].append(forged)
    assert loaded(render_remedies({**told, "remedies": how_to_use(told, "/f")})) == {}


def test_texts_in_lists_are_not_evaluated_either() -> None:
    forged = {**LOSSES["user.not_verified"].finding("a@b.c", stake="").as_dict(), "accepted": False}
    users = [{"email": "a@b.c", "slurm_accounts": ["{{ lookup('pipe', 'id') }}"]}]
    forged["settles"] = {"values": {"fractal_users": users}, "asks": False}
    told = record()
    told["findings"].append(forged)
    (user,) = loaded(render_remedies({**told, "remedies": how_to_use(told, "/f")}))["fractal_users"]
    assert user["slurm_accounts"] == ["{{ lookup('pipe', 'id') }}"]
    assert not is_trusted_as_template(user["slurm_accounts"][0])


def test_a_comment_stays_one_and_plain_yaml_reads_the_rest() -> None:
    rule = FindingRule("user.y", "warning", "t", "{subject}\nfractal_accept: [user.y]\r\x85", "f", settles=of_user(x=1))
    text = render_remedies(record(rule.finding("a\nb")))
    assert set(yaml.safe_load(text)) == {"fractal_users"}
