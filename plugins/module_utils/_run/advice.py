# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""What to tell the one who has to go on after a failure: the state that it left, and the commands."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._run.instances import SERVER, webs_of
from ansible_collections.fractal_ops.platform.plugins.module_utils._window.advice import INVENTORY


def why_failed(result: Mapping[str, Any]) -> str:
    """Return why a task failed; of a program that died, with the last that it said, such as ``Killed``."""
    message = str(result.get("msg") or result.get("reason") or "").strip()
    said = [line.strip() for line in str(result.get("module_stderr") or "").splitlines()]
    last = [line for line in said if line and not line.startswith("Shared connection to")][-1:]
    return ": ".join([part for part in [message, *last] if part]) or "it gave no answer"


def with_inventory(told: Any, sources: Iterable[str]) -> Any:
    """Return texts, or whatever holds texts, with the inventory of the run in the commands that they name."""
    real = " ".join(f"-i {shlex.quote(source)}" for source in sources)
    if not real:
        return told
    if isinstance(told, str):
        return told.replace(INVENTORY, real)
    if isinstance(told, Mapping):
        return {key: with_inventory(value, sources) for key, value in told.items()}
    return [with_inventory(one, sources) for one in told] if isinstance(told, (list, tuple)) else told


def hosts_of_instance(hostvars: Mapping[str, Any], groups: Mapping[str, list[str]], server: str) -> str:
    """Return the hosts of one instance for ``--limit``; empty if there is but one instance."""
    if groups.get(SERVER, []) == [server]:
        return ""
    return ",".join(dict.fromkeys([server, *webs_of(hostvars, groups, server)]))
