# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""The one family of errors that this collection raises on purpose."""

from __future__ import annotations

from typing import Any


class FractalError(Exception):
    """A problem told to the operator: what is wrong, where, and what to do.

    The text is shown as it is, so it holds no secret and needs no traceback. ``facts`` are what a module
    returns beside it.
    """

    def __init__(self, text: str = "", **facts: Any) -> None:
        """Keep the facts beside the text."""
        super().__init__(text)
        self.facts = facts
