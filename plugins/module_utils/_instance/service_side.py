# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""The door of one installation: its account, and the interpreter that runs its fractal-server."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.accounts import Account
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.door import Door
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.database import Installation
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.discovery import interpreter_of
from ansible_collections.fractal_ops.platform.plugins.module_utils._venv.strategies import python_to_ask

A_DAY = 24 * 3600.0
"""Seconds: longer than whatever an upgrade waits for, so that nothing waits for ever."""


def python_of(installation: Installation, python: str | None) -> str:
    """Return the interpreter that runs fractal-server: the one named, or else the unit's, or else this one.

    Raises:
        FractalError: The unit's command line leads to none.
    """
    return python or (interpreter_of(installation.service) if installation.service else sys.executable)


def service_side(installation: Installation, python: str | None, timeout: float = 3600) -> Door:
    """Return the door to an installation. Where a killed pip has left half an environment, its copy answers.

    Raises:
        FractalError: Its account does not exist, or nothing leads to its interpreter.
    """
    return Door(Account.named(installation.run_as), python_to_ask(python_of(installation, python)), timeout)


@contextlib.contextmanager
def sensible() -> Iterator[None]:
    """Refuse an answer from the other side of the door that is not one of this collection's.

    Raises:
        FractalError: What reads the answer did not find in it what it looks for.
    """
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FractalError("What the environment of fractal-server says of the database makes no sense.") from error
