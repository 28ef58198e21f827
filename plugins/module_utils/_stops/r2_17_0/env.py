# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""The environment file from 2.16, which loads it into its process environment, to 2.17, which only reads it."""

from __future__ import annotations

import re

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.dotenv import BOM, literal, plain
from ansible_collections.fractal_ops.platform.plugins.module_utils._env_file.draft import Draft
from ansible_collections.fractal_ops.platform.plugins.module_utils._env_file.rules import SET_BY_SYSTEMD, EnvStep
from ansible_collections.fractal_ops.platform.plugins.module_utils._releases.oauth import NEW_NAMES
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.r2_17_0 import env_rules
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.r2_17_0.email import decide_email
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.r2_17_0.oauth import decide_oauth
from ansible_collections.fractal_ops.platform.plugins.module_utils._stops.r2_17_0.old_file import decide_old_file


def _need_base_folder(draft: Draft) -> None:
    scheme, folder = env_rules.AUTH_SCHEME, env_rules.BASE_FOLDER
    if draft.targets.get(scheme) == literal(env_rules.USERS_FOLDERS) and not draft.targets.get(folder):
        draft.missing(folder, f"{scheme}={env_rules.USERS_FOLDERS} needs it")


def _name_group(draft: Draft) -> None:
    rule, wanted = env_rules.NEW[0], draft.context.default_group_name
    if draft.completes and draft.targets.get(rule.variable) is None and wanted:
        draft.targets[rule.variable] = literal(wanted)
        draft.change(rule.variable, "add", rule.reason)


def _decide_others(draft: Draft) -> None:
    """Decide about variables that are not Fractal's, and about those of Fractal's that neither release reads."""
    if not draft.completes:
        return
    for name in env_rules.NEVER_SET:
        if draft.value(name) is not None:
            draft.find("environment.setting_as_json", name)
    lost = []
    for name in {statement.key: None for statement in draft.statements if statement.key is not None}:
        value = draft.file.get(name)
        if name.startswith(BOM):
            _drop_marked(draft, name)
        elif name in draft.ignored:
            draft.dropped.add(name)
            reason = "systemd sets it before the file is read, and 2.16 did not override it: no effect"
            draft.change(name, "drop", reason)
        elif name not in env_rules.FRACTALS and name.startswith("FRACTAL_"):
            draft.find("environment.variable_unknown", name)
            draft.without_effect |= {name} & set(draft.process)
        elif name in env_rules.FRACTALS or name.startswith("OAUTH_") or value is None:
            pass
        elif name in draft.process:
            draft.without_effect.add(name)
        elif draft.context.can_override and plain(value) is not None and is_movable(name):
            draft.exported[name] = plain(value) or ""
            draft.dropped.add(name)
            reason = "2.16 handed it to every process it started, 2.17 does not; the unit's drop-in does it now"
            draft.change(name, "move", reason)
        else:
            lost.append(name)
    if lost:
        draft.find("environment.variables_not_exported", ", ".join(lost), variables=", ".join(lost))


def _drop_marked(draft: Draft, name: str) -> None:
    draft.dropped.add(name)
    if draft.file.get(name) is not None:
        draft.change(name.lstrip(BOM), "drop", "a byte order mark before it hid it from 2.16")
        draft.find("environment.byte_order_mark", name.lstrip(BOM))


def is_movable(name: str) -> bool:
    """Return whether a variable is none of Fractal's, and one that a drop-in can set."""
    is_fractals = name in env_rules.FRACTALS or name.startswith(("FRACTAL_", "OAUTH_"))
    return not is_fractals and name not in SET_BY_SYSTEMD and bool(re.match(r"[A-Za-z_]\w*\Z", name, re.ASCII))


STEP = EnvStep(
    release="2.17.0",
    rules=env_rules.RULES,
    loads=lambda text, data_is_over: env_rules.era(text, data_is_over) != env_rules.AFTER,
    decide=(decide_email, _need_base_folder, decide_oauth, _name_group, _decide_others, decide_old_file),
    reads=NEW_NAMES,
    findings=env_rules.FINDINGS,
)
