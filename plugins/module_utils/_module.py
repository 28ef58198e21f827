# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""What every module of this collection does around its one call."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any, Callable, NoReturn

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.masking import mask_urls
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.programs import lead_to_the_network
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.lock import locked

if TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule


def run_module(module: AnsibleModule, work: Callable[[], dict[str, Any]]) -> NoReturn:
    """Exit with the result of ``work``, or fail with the text and the facts of its FractalError.

    Works under the lock in the module's option ``lock``, if it was given one, and goes to the network as its option
    ``environment`` says.

    Adds ``at`` (when it began, seconds since the epoch by this host's clock) and ``duration`` (seconds).
    """
    start, at = time.monotonic(), time.time()
    try:
        lead_to_the_network(module.params.pop("environment", None) or {})
        lock = module.params.pop("lock", None)
        with locked(lock["unit"], lock) if lock and not module.check_mode else contextlib.nullcontext():
            result = work()
    except FractalError as error:
        module.params = _without_passwords(module.params)
        module.fail_json(**{**error.facts, "msg": str(error), "at": at, "duration": _seconds_since(start)})
    module.params = _without_passwords(module.params)
    module.exit_json(**{"changed": False, "at": at, "duration": _seconds_since(start), **result})
    raise AssertionError("exit_json does not return")


def _without_passwords(value: Any) -> Any:
    """Return what Ansible shows of a module's options with ``-vvv``: addresses without user names and passwords."""
    if isinstance(value, str):
        return mask_urls(value)
    if isinstance(value, dict):
        return {key: _without_passwords(one) for key, one in value.items()}
    return [_without_passwords(one) for one in value] if isinstance(value, list) else value


def _seconds_since(start: float) -> float:
    return round(time.monotonic() - start, 3)
