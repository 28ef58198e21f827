# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""The one family of errors that this collection raises on purpose."""

from __future__ import annotations


class FractalError(Exception):
    """A problem told to the operator: what is wrong, where, and what to do.

    The text is shown as it is, so it holds no secret and needs no traceback.
    """
