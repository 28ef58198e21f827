# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""What a release of Fractal is, as far as an upgrade has to know: one row of the release path."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class TakenAway:
    """A table, or a column of it, that a schema migration drops for good: only a restored dump brings it back."""

    table: str
    column: str = ""  # empty for the whole table


@dataclass(frozen=True)
class Constraint:
    """A bound on a package that some releases need and do not have themselves.

    Attributes:
        package: Its name in the normal form.
        bound: What pip calls a version specifier.
        since: The first release that needs it.
        before: The first release that does not any more; empty while all do.
    """

    package: str
    bound: str
    since: str
    before: str = ""


@dataclass(frozen=True)
class Release:
    """A release of fractal-server.

    Attributes:
        version: Such as ``2.17.0``.
        alembic_head: Where its schema ends; later releases may have the same.
        python: The lowest version of Python that it runs on, and the lowest that it does not run on any more.
        web: The release of fractal-web that belongs to it.
        node_majors: The releases of Node for which that fractal-web is built.
        is_stop: Whether it brings a data migration, which exists in this very release only: no upgrade skips it. What
            is special about it is in ``_stops``; without that, it is refused.
        takes_away: What its schema migration drops.
        needs: Programs that it calls at run time and its predecessors did not.
        offered: Whether an upgrade may end here.
        web_documented: Whether Fractal itself says that ``web`` belongs to it, or to the release before; else it was
            found out by comparison.
    """

    version: str
    alembic_head: str
    python: tuple[str, str]
    web: str
    node_majors: tuple[int, ...]
    is_stop: bool = False
    takes_away: tuple[TakenAway, ...] = ()
    needs: tuple[str, ...] = ()
    offered: bool = True
    web_documented: bool = True

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for Ansible."""
        return asdict(self)
