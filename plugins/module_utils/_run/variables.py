# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""The operator's variables: a mistyped one would be silence, and its default would do something else than was meant.

What each may be is said once, in the argument specs of the roles; the same specs are used here, for all roles at once
and before any host is contacted. Ansible itself would use a role's spec only when that role begins.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Callable

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.parsing.convert_bool import boolean
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.findings import (
    Finding,
    FindingRule,
    blocker,
    rule_table,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.masking import mask_urls
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.programs import network_variables
from ansible_collections.fractal_ops.platform.plugins.module_utils._releases.path import resolve
from ansible_collections.fractal_ops.platform.plugins.module_utils._run.serial import SERIAL, sizes

PREFIX = "fractal_"
_HOOKS, _PAGE = "fractal_hooks", "fractal_maintenance_page_file"
_REMOTE_SRC, _COPIED = "fractal_remote_src", ("fractal_wheelhouse", "fractal_web_archive")
_TYPES = {"int": "a whole number", "bool": "true or false", "list": "a list", "dict": "a mapping", "path": "a path"}
_SECRET = "password"  # never repeat such a value
_SPEC_KEYS = ("type", "elements", "choices", "options", "required", "default")

CHAPTERS = {"variable": "Variables"}
FINDINGS = rule_table(
    FindingRule(
        id="variable.unknown",
        severity="blocker",
        title="A variable that does not exist",
        message="The variable {subject} does not exist.{hint}",
        fix="Correct its name or remove it. If it is another role's, put variable.unknown into fractal_accept.",
        reference="docs/variables.md",
    ),
    blocker(
        "variable.invalid",
        "A variable with a value that it cannot have",
        "The variable {subject} {reason}",
        "Correct its value where you set it: in the inventory, in group_vars or host_vars, or after -e.",
        reference="docs/variables.md",
    ),
    blocker(
        "variable.file",
        "A file on the controller that cannot be used",
        "The variable {subject} names {path}, {reason}.",
        "Correct it, or name another one by its absolute path on the controller, such as "
        "{{{{ inventory_dir }}}}/hooks/before.yml.",
        reference="docs/variables.md",
    ),
    blocker(
        "variable.release",
        "A target release that is not known",
        "The variable {subject} cannot be met: {reason}",
        "Name a release that this version of the collection knows, or install a newer version of the collection.",
        reference="docs/variables.md",
    ),
)


def unknown_variables(names: Iterable[str], known: Collection[str]) -> list[Finding]:
    """Return a finding for each of ``names`` that looks like an operator's variable and is not ``known``."""
    found = []
    for name in sorted(set(names)):
        if name.startswith(PREFIX) and name not in known:
            hint = did_you_mean(name, known, PREFIX)
            found.append(FINDINGS["variable.unknown"].finding(name, hint=hint))
    return found


def did_you_mean(name: str, known: Iterable[str], prefix: str = "") -> str:
    """Return ``' Did you mean ...?'`` for a name much like a known one, or nothing; ``prefix`` is not compared."""
    endings = {one[len(prefix) :]: one for one in known}
    nearest = difflib.get_close_matches(name[len(prefix) :], endings, n=1)
    return f" Did you mean {endings[nearest[0]]}?" if nearest else ""


def invalid_variables(values: Mapping[str, Any], specs: Mapping[str, Mapping[str, Any]]) -> list[Finding]:
    """Return a finding for each of ``values`` that its argument spec refuses, or whose release is unknown.

    Args:
        values: The variables that are set, by name; None for one whose value is not known yet. Those without a spec
            are left to `unknown_variables`.
        specs: The options of all roles by name, as in their ``meta/argument_specs.yml``.
    """
    known = {name: value for name, value in sorted(values.items()) if name in specs and value is not None}
    return [finding for name, value in known.items() for finding in _judged(name, value, specs[name])]


def _can_be_used(_path: str) -> str:
    return ""


@dataclass(frozen=True)
class OnController:
    """What is asked about paths on the controller; each says why one cannot be used, or nothing.

    ``why_no_file`` of a text, ``why_no_tasks`` of one that can be read, ``why_not_copied`` of what hosts are to get.
    """

    why_no_file: Callable[[str], str] = _can_be_used
    why_no_tasks: Callable[[str], str] = _can_be_used
    why_not_copied: Callable[[str], str] = _can_be_used


NOT_ASKED = OnController()


def unusable_files(values: Mapping[str, Any], asked: OnController) -> Iterator[Finding]:
    """Yield a finding for each file or folder on the controller that a variable names and that cannot be used.

    Args:
        values: The variables that are set, by name; None for one whose value is not known yet.
        asked: What the controller says of a path.
    """
    hooks = values.get(_HOOKS)
    tasks = {f"{_HOOKS}.{name}": path for name, path in hooks.items()} if isinstance(hooks, Mapping) else {}
    from_here = not boolean(values.get(_REMOTE_SRC, True), strict=False)
    copied = {name: values.get(name) for name in _COPIED if from_here and "://" not in str(values.get(name))}
    for name, path in {**tasks, _PAGE: values.get(_PAGE), **copied}.items():
        if path and isinstance(path, str):
            reason = "which is no absolute path" if not path.startswith("/") else ""
            reason = reason or (asked.why_not_copied if name in copied else asked.why_no_file)(path)
            reason = reason or (asked.why_no_tasks(path) if name in tasks else "")
            if reason:
                yield FINDINGS["variable.file"].finding(name, path=path, reason=reason)


def _judged(name: str, value: Any, spec: Mapping[str, Any]) -> Iterator[Finding]:
    reason = _why_invalid(name, value, spec)
    if reason:
        yield FINDINGS["variable.invalid"].finding(name, reason=reason)
        return
    rule, judge = _JUDGES.get(name, ("", None))
    try:
        if judge is not None:
            judge(value)
    except FractalError as error:
        yield FINDINGS[rule].finding(name, reason=str(error))


def _judge_release(value: Any) -> None:
    try:
        resolve(str(value))
    except FractalError as error:
        quotes = f" In YAML a version of two numbers needs quotes: without, it is the number {value}."
        raise FractalError(f"{error}{quotes if isinstance(value, float) else ''}") from error


def _judge_serial(value: Any) -> None:
    sizes(value, 1)


def _judge_environment(value: Any) -> None:
    network_variables(value)


# What a spec cannot say of a value: the finding, and what raises it.
_JUDGES: dict[str, tuple[str, Callable[[Any], None]]] = {
    "fractal_target_version": ("variable.release", _judge_release),
    SERIAL: ("variable.invalid", _judge_serial),
    "fractal_environment": ("variable.invalid", _judge_environment),
}


def _why_invalid(name: str, value: Any, spec: Mapping[str, Any]) -> str:
    if value == spec.get("default"):
        return ""  # a default may be what its type would refuse, such as no path
    option = {key: spec[key] for key in _SPEC_KEYS if key in spec and key not in ("default", "required")}
    errors = ArgumentSpecValidator({name: option}).validate({name: value}).error_messages
    if not errors:
        return ""
    said = "is set" if _SECRET in name else f"is {mask_urls(repr(value))}"
    choices = [repr(one) for one in spec.get("choices") or ()]
    if choices:
        return f"{said}; it can be {' or '.join(choices)}."
    if spec.get("type") in ("list", "dict") and isinstance(value, (list, dict)):
        return f"has a wrong part: {errors[0]}"
    return f"{said}; it must be {_TYPES.get(spec.get('type', 'str'), 'a text')}."
