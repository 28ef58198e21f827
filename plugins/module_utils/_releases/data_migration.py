# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""What the upgrade has to know about the data migration of a stop. Each stop's own is in its folder of ``_stops``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from sqlalchemy import Connection

Rows = Mapping[str, Any]
"""Answers to the queries of a data migration, by their names."""


class DataMigration(Protocol):
    """The data migration of one release, ``fractalctl update-db-data``, and how the rows prove it.

    Attributes:
        release: The only release that has it.
        answers: What the program is to read from its standard input.
        mend_lost: What to do about those whom it left out for good, where that cannot mean anything else than that it
            never ran: then they are refused at every later release. Empty where they may be there for another reason.
    """

    @property
    def release(self) -> str:
        """The only release that has it."""

    @property
    def answers(self) -> str:
        """What the program is to read from its standard input."""

    @property
    def mend_lost(self) -> str:
        """What to do about those whom it left out for good; empty where they may be there for another reason."""

    def queries(self, tables: Mapping[str, Sequence[str]]) -> dict[str, str]:
        """Return scalar queries whose answers tell how far it is, by their names.

        Args:
            tables: The columns of each table. Where they are not those of its own schema or of a later one that still
                tells something, there are no queries.
        """

    def state(self, rows: Rows) -> str:
        """Return ``pending``, ``partial`` or ``done``, from the answers at the schema of its own release."""

    def left(self, rows: Rows) -> str:
        """Return in words what it has not done, from the answers at the schema of its own release."""

    def lost(self, rows: Rows) -> list[str]:
        """Return whom it left out for good, by their e-mail, from the answers at the schema of a later release."""

    def lock(self, connection: Connection) -> None:
        """Keep others from writing to its tables until the end of the transaction."""

    def has_rows_to_take_back(self, connection: Connection) -> bool:
        """Return whether a run was killed half-way, so that its rows have to go before the next.

        Raises:
            FractalError: It was, and somebody else has written since, so that taking back could lose work.
        """

    def take_back(self, connection: Connection) -> None:
        """Take back the rows of a run that was killed; nothing else changes."""

    def why_refused(self, env_file: str, values: Mapping[str, str]) -> str:
        """Return why it would do the wrong thing with these settings, or an empty text.

        Args:
            env_file: The environment file, which the program reads.
            values: fractal-server's variables.
        """
