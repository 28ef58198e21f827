# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""pydantic's names, or stand-ins where it is missing.

What validates runs behind the door, under fractal-server's own Python, which has pydantic 2. Root's side, under the
host's Python, only names those functions: with the stand-ins their files can be imported. Nothing validates with them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import (
        AfterValidator,
        BaseModel,
        ConfigDict,
        Field,
        PositiveInt,
        StringConstraints,
        TypeAdapter,
        ValidationError,
        model_validator,
    )
    from pydantic_core import from_json
else:
    try:
        from pydantic import (
            AfterValidator,
            BaseModel,
            ConfigDict,
            Field,
            PositiveInt,
            StringConstraints,
            TypeAdapter,
            ValidationError,
            model_validator,
        )
        from pydantic_core import from_json
    except ImportError:

        class _Inert:
            """Takes whatever the real class takes and does nothing."""

            def __init__(self, *args, **kwargs):
                """Forget the arguments."""

            def __class_getitem__(cls, item):
                """Stand for the class itself, whatever it is parametrized with."""
                return cls

        AfterValidator = BaseModel = ConfigDict = StringConstraints = TypeAdapter = _Inert
        PositiveInt = int

        class ValidationError(ValueError):
            """Never raised."""

        def Field(*args, **kwargs):
            """Stand for a field's default."""
            return None

        def from_json(data):
            """Never called."""

        def model_validator(*args, **kwargs):
            """Leave the decorated method alone."""
            return lambda method: method


__all__ = [
    "AfterValidator",
    "BaseModel",
    "ConfigDict",
    "Field",
    "PositiveInt",
    "StringConstraints",
    "TypeAdapter",
    "ValidationError",
    "from_json",
    "model_validator",
]
