# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Watch the window that the module of the same name has started on the host, and show each stage when it begins.

Nothing depends on this: a watcher that is killed, or has lost its host, leaves a window that goes on by itself.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleError
from ansible.utils.display import Display
from ansible_collections.fractal_ops.platform.plugins.action.fractal_observe import ActionModule as RunModule
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.masking import printable
from ansible_collections.fractal_ops.platform.plugins.module_utils._window.journal import (
    DECIDED,
    ENDED,
    FAILED,
    STAGE,
    key,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._window.stages import title

_MODULE = "fractal_ops.platform.fractal_window"
_PATIENCE, _PAUSE = 120.0, 2.0  # seconds: how long a host may give no answer, and between two tries
_SOON = 1.0  # seconds until the next stage is shown, at the latest: longer where an answer itself takes long
_GOES_ON = (
    "The host gives no answer: {reason}. The window goes on there by itself, until the service is healthy or as it "
    "was. Run the upgrade again to watch it."
)
_KILLED = "The program of the window was killed{where}.{said}"


class ActionModule(RunModule):
    """Start the program, watch it, and return how it ended."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the module's result; of a window that has ended, what is to be told of it."""
        state = self._task.args.get("state", "started")
        if state not in ("started", "attached") or self._task.check_mode:
            return super().run(tmp, task_vars)
        facts = task_vars or {}
        host = str(facts.get("inventory_hostname", ""))
        expected: Mapping[str, Any] = self._task.args.get("expected") or {}
        result = self._ended(dict(self._task.args), facts, host, expected)
        if result.get("died") and state == "started":
            # what a killed program left is looked at, and what follows is decided, by another one
            failure = {"stage": result["window"]["running_stage"], "msg": result["msg"]}
            result = self._ended({**self._task.args, "failure": failure}, facts, host, expected)
        with contextlib.suppress(Exception):
            self._remove_tmp_path(self._connection._shell.tmpdir)
        return result

    def _ended(
        self, options: dict[str, Any], facts: dict[str, Any], host: str, expected: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Start or attach, watch to the end, and return the task's result."""
        started = self._answer(options, facts)
        if started.get("failed"):
            return started
        watched = {"service": options.get("service"), "state": "watched", "id": started["id"], "wait": 10}
        watched = {name: value for name, value in watched.items() if value is not None}
        if started.get("changed"):  # whoever attaches has no lock yet
            watched["lock"] = options.get("lock")
        seen, shown, together = int(started["seen"]), _Shown(host, expected), _SOON
        while True:
            asked = time.monotonic()
            told = self._answer({**watched, "seen": seen, "together": together}, facts)
            if told.get("failed"):
                return told
            # to watch must not take what the window needs: a third of a busy host's time at most
            together = max(_SOON, 2 * (time.monotonic() - asked - float(told["duration"])))
            seen = int(told["seen"])
            for event in told["events"]:
                shown.event(event)
            if not told["running"]:
                return _concluded(told, bool(started.get("changed")))

    def _answer(self, options: dict[str, Any], facts: dict[str, Any]) -> dict[str, Any]:
        """Return what the module answers, with some patience for a host that gives none."""
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                answer: dict[str, Any] = self._execute_module(module_name=_MODULE, module_args=options, task_vars=facts)
                if not answer.pop("unreachable", False):
                    return answer
                reason = str(answer.get("msg", ""))
            except AnsibleError as error:
                reason = str(error)
            if time.monotonic() > deadline:
                return {
                    "failed": True,
                    "msg": _GOES_ON.format(reason=reason.strip().rstrip(".")),
                    "no_connection": True,
                }
            time.sleep(_PAUSE)
            with contextlib.suppress(Exception):
                self._connection.reset()


class _Shown:
    """What is shown of a window: each stage when it begins, with the seconds since the first one."""

    def __init__(self, host: str, expected: Mapping[str, Any]) -> None:
        self.host = host
        self.expected = expected
        self.began: float | None = None

    def event(self, event: Mapping[str, Any]) -> None:
        """Show one event of the journal, if it is one for people."""
        text, colour = self._text(event)
        if text:
            self.began = event["at"] if self.began is None else self.began
            Display().display(f"{self.host}: {event['at'] - self.began:6.1f} s  {printable(text)}", color=colour)

    def _text(self, event: Mapping[str, Any]) -> tuple[str, str | None]:
        kind, name = event["event"], key(event)
        if kind == STAGE:
            expected = self.expected.get(name)
            return title(name) + (f" (expected: {float(expected):.0f} s)" if expected is not None else ""), None
        if kind == FAILED:
            return f"failed: {title(name)}", "red"
        if kind == DECIDED:
            return f"{title(event['do'])}: {event['why']}", "yellow"
        if kind == ENDED:
            return f"the window has ended: {title(event['outcome'])}", None if event["outcome"] != "left" else "red"
        return "", None


def _concluded(told: dict[str, Any], changed: bool) -> dict[str, Any]:
    window = told["window"]
    result = {"changed": changed, "window": window}
    if told.get("died"):
        return {**result, "failed": True, "died": True, "msg": _killed(told)}
    if window["outcome"] in ("upgraded", "waits"):
        return result
    return {**result, "failed": True, "msg": f"{window['msg']}\n{window['say']}".strip()}


def _killed(told: Mapping[str, Any]) -> str:
    stage, said = told["window"]["running_stage"], str(told.get("last_words", ""))
    return _KILLED.format(where=f" in the stage '{stage}'" if stage else "", said=f" {said}" if said else "")
