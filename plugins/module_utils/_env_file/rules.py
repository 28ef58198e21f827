# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""Rules about environment files: what becomes of a variable when an instance goes to a new release, a row for each.

The rows themselves belong to the releases: see ``_stops/env_steps.py``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Callable, Optional

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.findings import FindingRule, rule_table


class Refused(Exception):
    """The release refuses the value, and what it should be instead is not certain. The text says what it takes."""


Mend = Callable[[str, Mapping[str, str]], Optional[str]]
"""Value and all settings so far to the new value, None to leave the variable out; raises `Refused`."""


@dataclass(frozen=True)
class Rule:
    """What becomes of one variable of the server's file.

    Attributes:
        variable: Name so far.
        action: ``keep``, ``rename`` or ``drop``; ``decrypt`` where a function of the step decides.
        new_name: Name in the release, if it is another one.
        reason: Why, in the words shown to the operator. For a mended value: why it is mended.
        mend: Turns the value into one that means the same to the release.
        when_unset: Value that keeps the behaviour where the release has another default.
        required: The release does not start without it.
    """

    variable: str
    action: str
    reason: str = ""
    new_name: str = ""
    mend: Mend | None = None
    when_unset: str | None = None
    required: bool = False

    @property
    def target(self) -> str | None:
        """Name in the new file, None if it has none."""
        return None if self.action == "drop" else self.new_name or self.variable


def never(_text: str, _data_is_over: bool) -> bool:
    """Return that no text is loaded into the process environment: today's releases only read it."""
    return False


@dataclass(frozen=True)
class EnvStep:
    """What one release needs of the environment file. A step that is done changes nothing.

    Attributes:
        release: The first release that reads the new file.
        rules: What becomes of each variable that the release looks at in another way.
        loads: Whether the release before loads this text into its process environment (``load_dotenv``), so that its
            child processes see it and the process environment wins over it; else it only reads it. Also told: whether
            the release's data migration is over, so that the text is none of the release before.
        decide: What rows cannot say, in this order, after them; each function takes the `Draft`.
        reads: Variables that the release reads and no rule names.
        findings: What is found besides ``FINDINGS``.
    """

    release: str
    rules: tuple[Rule, ...]
    loads: Callable[[str, bool], bool] = never
    decide: tuple[Callable[[Any], None], ...] = ()
    reads: frozenset[str] = frozenset()
    findings: Mapping[str, FindingRule] = field(default_factory=dict)


# -- mending ----------------------------------------------------------------------------------------------------------

# what pydantic takes for true and false
_TRUE, _FALSE = {"1", "true", "t", "yes", "y", "on"}, {"0", "false", "f", "no", "n", "off"}


def integer(value: str, _settings: Mapping[str, str]) -> str:
    """Take a whole number, as pydantic does."""
    if not re.match(r"\s*[+-]?\d+(_\d+)*(\.0*)?\s*\Z", value):
        raise Refused("it takes a whole number")
    return value


def one_of(*allowed: str) -> Mend:
    """Return what refuses all values but these."""

    def mend(value: str, _settings: Mapping[str, str]) -> str:
        if value not in allowed:
            raise Refused("it takes " + " or ".join(allowed))
        return value

    return mend


def true_or_false(value: str, _settings: Mapping[str, str]) -> str:
    """Take what pydantic takes for true and false, and write ``true`` or ``false``."""
    if value.lower() not in _TRUE | _FALSE:
        raise Refused("it takes true or false")
    return "true" if value.lower() in _TRUE else "false"


def not_blank(value: str, _settings: Mapping[str, str]) -> str:
    """Refuse an empty value."""
    if not value.strip():
        raise Refused("it must not be empty")
    return value


def leave_out_if_blank(value: str, _settings: Mapping[str, str]) -> str | None:
    """Leave the variable out if it is empty."""
    return value if value.strip() else None


def web_address(value: str, _settings: Mapping[str, str]) -> str | None:
    """Leave the variable out if it is empty; refuse what is no address of the web."""
    if value and not re.match(r"https?://[^\s/]", value, re.IGNORECASE):
        raise Refused("it takes an http or https address")
    return value or None


# systemd sets these for every service before the file is looked at, and ``load_dotenv`` does not override what is set
# (systemd.exec(5), "Environment variables in spawned processes"; fractal-server 2.16.6, config.py).
SET_BY_SYSTEMD = frozenset(
    "PATH USER LOGNAME HOME SHELL INVOCATION_ID JOURNAL_STREAM NOTIFY_SOCKET SYSTEMD_EXEC_PID PWD".split()
)

# -- findings ---------------------------------------------------------------------------------------------------------

CHAPTERS = {"environment": "Environment file"}
FINDINGS: Mapping[str, FindingRule] = rule_table(
    FindingRule(
        "environment.line_unreadable",
        "blocker",
        "A line of the environment file cannot be read",
        "{subject}, line {line}: {problem}. fractal-server skips such a line silently.",
        "Mend line {line}, or make it a comment.",
        "python-dotenv, parser.py",
        acceptable=False,
    ),
    FindingRule(
        "environment.variable_missing",
        "blocker",
        "A variable that is needed is not set",
        "{subject} is not set, neither in the environment file nor in the unit: {why}.",
        "{how}",
        "fractal-server, config/*.py and data_migrations/ of the release",
        acceptable=False,
    ),
    FindingRule(
        "environment.value_refused",
        "blocker",
        "The new release refuses a value, and its meaning is not certain",
        "{subject} cannot keep its value: {problem}.",
        "Set {subject} to a value with the meaning that you want, before the upgrade.",
        "fractal-server, config/*.py of the release",
        acceptable=False,
    ),
    FindingRule(
        "environment.reference_unknown",
        "blocker",
        "A value depends on something unknown",
        "{subject} depends on {references}, which neither the file nor the unit sets.",
        "Write the value out in {subject}, or set the variable in the unit.",
        "fractal-server, config.py, load_dotenv",
        acceptable=False,
    ),
    FindingRule(
        "environment.unit_overrides",
        "blocker",
        "The unit sets a value that the new release refuses or reads differently",
        "The unit itself sets {subject}, which wins over the file, and the new release needs another value.",
        "Remove {subject} from the unit. For the server, drop_in_path does: a drop-in hides it then.",
        "fractal-server, config/_settings_config.py of the release",
        acceptable=False,
    ),
    FindingRule(
        "environment.variable_unknown",
        "info",
        "A variable that no release reads",
        "{subject} is read by no release that this collection knows; it is kept as it is.",
        "Remove it if nothing else uses it; look for a mistyped name.",
    ),
    FindingRule(
        "environment.readers_differ",
        "warning",
        "systemd and fractal-server read a line differently",
        "The unit reads this file too (EnvironmentFile=), and {subject} (line {line}) means something else to systemd: "
        "{problem}.",
        "Write the line so that both read the same: no export, no comment after the value, no ${{...}}.",
        "systemd.exec(5)",
    ),
    FindingRule(
        "environment.file_for_everybody",
        "warning",
        "The environment file was readable for everybody",
        "{subject} was readable for every user of the host (mode {mode}); it is {narrowed} now.",
        "Change the passwords in it if others work on this host.",
    ),
)
