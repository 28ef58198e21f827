# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""The one look at a host: whether its window runs, what is there and, if nothing is left to do, whether it works."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.door import Door
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.systemd import unit_name
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.database import Installation
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.discovery import ServerInstance
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.lock import read_lock
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.maintenance import page_is_up
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.web import WebInstance
from ansible_collections.fractal_ops.platform.plugins.module_utils._resources.together import state_and_review
from ansible_collections.fractal_ops.platform.plugins.module_utils._upgrade.observation import (
    Reader,
    observe_server,
    observe_web,
    only_state,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._verify.server import (
    asked_of_it,
    not_reviewed,
    verify_reviewed,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._verify.web import verify_found
from ansible_collections.fractal_ops.platform.plugins.module_utils._window.journal import (
    UPGRADED,
    read_events,
    read_seen,
    summary,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._window.watching import is_worked_on

# Options of a verification that changes nothing on the instance: no job is run.
_NO_ACCOUNT: dict[str, Any] = {
    **{"validate_certs": True, "email": None, "password": None, "probe_sources": None, "probe_timeout": 0},
    **{"workers": [], "viewer_paths_before": None},
}


def look_at_server(service: str, verification: Mapping[str, Any] | None = None, **options: Any) -> dict[str, Any]:
    """Return what `observe_server` does; of a host whose window runs, what the run that began it has seen.

    A database that is being copied and migrated is not looked at: PostgreSQL copies none that has another session.
    ``window`` is None, or ``running`` or ended but not told by any report yet, with what was ``seen`` before.

    Args:
        service: Name of its unit.
        verification: ``version`` and ``check_email``: an instance that has this version and that nothing holds is
            verified, too, without an account; what `verify_server` returns is then ``verification``.
        options: Of `observe_server`.
    """
    unit = unit_name(service)
    if _seems_to_run(unit):
        before = read_seen(unit)
        lock = read_lock(unit)
        instance = before.get("state", {}).get("instance")
        if instance:
            instance = {**instance, "lock": lock.as_dict() if lock else None}
            return {"instance": instance, "window": {"running": True, "seen": before}}
    reviewed: dict[str, Any] = {}
    if verification:
        options["reader"] = _reading(verification, reviewed)
    found = observe_server(service, **options)
    told = summary(read_events(unit))
    if told["outcome"] == UPGRADED and not told["told"] and found.get("instance"):
        found["window"] = {"running": False, "seen": read_seen(unit)}
    elif verification and reviewed:
        with contextlib.suppress(FractalError):  # a verification of its own will tell
            found["verification"] = verify_reviewed(
                ServerInstance(**found["instance"]), reviewed, {**_NO_ACCOUNT, **verification}
            )
    return found


def _reading(verification: Mapping[str, Any], reviewed: dict[str, Any]) -> Reader:
    """Return how to read the database of an instance that may be one to verify; that fills ``reviewed`` then."""

    def read(door: Door, installation: Installation, instance: Mapping[str, Any]) -> dict[str, Any]:
        if instance["version"] != verification["version"] or instance["hold"] is not None:
            return only_state(door, installation, instance)
        told = door.call(state_and_review, installation, *asked_of_it(_NO_ACCOUNT))
        reviewed.update(told["review"] or not_reviewed(told["why_not"]))
        return dict(told["state"])

    return Reader(state_and_review, read)


def look_at_web(service: str, verification: Mapping[str, Any] | None = None, **options: Any) -> dict[str, Any]:
    """Return what `observe_web` does, and of an instance that has the ``version``, ``verification`` (see `verify_web`).

    Args:
        service: Name of its unit.
        verification: ``version``. The server is looked at at the same time, so nothing of it is compared: what this
            host says of it is ``told``.
        options: Of `observe_web`.
    """
    found = observe_web(service, **options)
    if found["instance"] and found["instance"]["active_state"] != "active":
        found["instance"]["page_is_up"] = page_is_up(found["instance"]["service"])
    if verification and found["instance"] and found["instance"]["version"] == verification["version"]:
        with contextlib.suppress(FractalError):  # a verification of its own will tell
            found["verification"] = verify_found(
                WebInstance(**found["instance"]), {"validate_certs": True, "server": None, **verification}
            )
    return found


def _seems_to_run(unit: str) -> bool:
    """Return whether a program works on the window. Where systemd does not answer, the look at the unit says so."""
    try:
        return is_worked_on(unit)
    except FractalError:
        return False
