# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""Giving another database the name of the instance's, at one instant, and from where that can be done."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.database import (
    DatabaseSettings,
    DBAPIError,
    connect,
    reason_of,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.quoting import quoted
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.scratch import (
    SWAP,
    beside,
    comment_statement,
    database_names,
    drop_all,
    end_sessions,
    free_name,
    mark_of,
    run,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.sessions import (
    Session,
    foreign_sessions,
    how_to_end,
    met_at_each_look,
    told,
)

if TYPE_CHECKING:
    from sqlalchemy import Connection

_ALWAYS_THERE = ("postgres", "template1")
_OBJECT_IN_USE = "55006"
_PATIENCE = 60.0  # seconds to wait for others to leave a database that is to be renamed


class StillConnected(FractalError):
    """Others stay connected to one of the databases, who cannot be sent away; the text names them."""


@contextlib.contextmanager
def administration(settings: DatabaseSettings) -> Iterator[tuple[Connection, bool]]:
    """Yield an autocommit connection, and whether the database exists; if not, it is one to another database."""
    with contextlib.ExitStack() as stack:
        try:
            connection, exists = stack.enter_context(connect(settings, autocommit=True)), True
        except FractalError as error:
            connection, exists = stack.enter_context(_elsewhere(settings, error)), False
            if settings.dbname in database_names(connection):
                raise
        yield connection, exists


@contextlib.contextmanager
def _elsewhere(settings: DatabaseSettings, otherwise: FractalError) -> Iterator[Connection]:
    """Yield an autocommit connection to a database that every cluster has."""
    name = next((name for name in _ALWAYS_THERE if _can_connect(settings.at(name))), None)
    if name is None:
        raise otherwise
    with connect(settings.at(name), autocommit=True) as connection:
        yield connection


def exchange(
    settings: DatabaseSettings,
    incoming: str,
    aside: str,
    comment: str | None,
    mark: str,
    together: Sequence[str] = (),
) -> None:
    """Give the database ``incoming`` the name and the comment, and what has the name now the name ``aside``.

    Args:
        settings: The database whose name it is.
        incoming: The database that gets the name.
        aside: The new name of what has the name now; empty if nothing has.
        comment: The comment of the database.
        mark: The comment of what is kept aside.
        together: Statements about ``incoming``, by its old name, that belong to the same instant.

    Raises:
        StillConnected: Others stay connected; nothing was changed.
    """
    statements = [
        *together,
        *([f"ALTER DATABASE {quoted(settings.dbname)} RENAME TO {quoted(aside)}"] if aside else []),
        *([comment_statement(aside, mark)] if aside else []),
        f"ALTER DATABASE {quoted(incoming)} RENAME TO {quoted(settings.dbname)}",
        comment_statement(settings.dbname, comment),
    ]
    with _third_database(settings, incoming) as third, connect(third, autocommit=True) as connection:
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                for name in (settings.dbname, incoming):
                    end_sessions(connection, name)
                _all_or_nothing(connection, statements)
                return
            except DBAPIError as error:
                if getattr(error.orig, "sqlstate", None) != _OBJECT_IN_USE:
                    raise
                others = [one for name in (settings.dbname, incoming) for one in foreign_sessions(connection, name)]
                if time.monotonic() > deadline:
                    raise StillConnected(_who_stays(settings, others, reason_of(error, settings))) from error


def refuse_who_stays(connection: Connection, settings: DatabaseSettings, *names: str) -> None:
    """Wait until nobody of another role stays connected to one of the databases; ``exchange`` would wait for them, too.

    Raises:
        StillConnected: Somebody was there at each look.
    """
    stay = met_at_each_look(lambda: [one for name in names for one in foreign_sessions(connection, name)], _PATIENCE)
    if stay:
        raise StillConnected(_who_stays(settings, stay, ""))


def _all_or_nothing(connection: Connection, statements: Sequence[str]) -> None:
    try:
        for statement in ["BEGIN", *statements, "COMMIT"]:
            run(connection, statement)
    except DBAPIError:
        run(connection, "ROLLBACK")
        raise


def _who_stays(settings: DatabaseSettings, others: list[Session], reason: str) -> str:
    how = f"or, as PostgreSQL's administrator: {how_to_end(others)}" if others else "or end what PostgreSQL names."
    return (
        f"The {settings.where} cannot be replaced while others are connected to it: {told(others) or reason}. Nothing "
        f"was changed. Stop these programs, {how} Then run the rollback again."
    )


@contextlib.contextmanager
def _third_database(settings: DatabaseSettings, incoming: str) -> Iterator[DatabaseSettings]:
    """Yield settings of a database from which the others can be renamed; if need be, make one for that."""
    for name in _ALWAYS_THERE:
        if _can_connect(settings.at(name)):
            yield settings.at(name)
            return
    with connect(settings.at(incoming), autocommit=True) as connection:
        name = free_name(connection, beside(settings.dbname, SWAP, "database"))
        run(connection, f"CREATE DATABASE {quoted(name)} TEMPLATE template0")
        run(connection, comment_statement(name, mark_of(SWAP, "exchange", settings.dbname, name)))
    try:
        yield settings.at(name)
    finally:
        with connect(settings, autocommit=True) as connection:
            drop_all(connection, [name])


def _can_connect(settings: DatabaseSettings) -> bool:
    try:
        with connect(settings):
            return True
    except FractalError:
        return False
