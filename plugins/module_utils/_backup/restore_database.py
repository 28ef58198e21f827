# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""Bringing an instance's database back from its backup.

The backup is restored into a fresh database, compared with the manifest, and only then takes the old one's name, in one
transaction; what had the name is kept aside. Where that cannot be done, or would leave something behind, the restore
happens within the existing database, in one transaction that also makes the comparison (`_database/in_place.py`).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._backup.dump import left_out_objects
from ansible_collections.fractal_ops.platform.plugins.module_utils._backup.store import Backup, open_backup, saved_file
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.contents import (
    Contents,
    ContentsAfter,
    TableChange,
    changes_since,
    check_statement,
    differences,
    read_contents,
    search_path_of,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.database import (
    DatabaseSettings,
    Installation,
    connect,
    installation_settings,
    reason_of,
    revision_of,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.in_place import (
    InPlace,
    comparable,
    plan_in_place,
    run_in_place,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.programs import (
    PostgresPrograms,
    dump_entries,
    find_programs,
    restoring,
    told_entry,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.scratch import (
    FAILED,
    PROOF,
    RESTORE,
    SWAP,
    TRIAL,
    beside,
    cannot_carry,
    comment_of,
    comment_statement,
    database_names,
    drop_all,
    end_sessions,
    finish_like,
    free_name,
    make_scratch,
    mark_of,
    may_create,
    own_databases,
    quoted,
    restorable,
    told_about_public,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.scratch import (
    run as run_statement,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.sessions import (
    Session,
    foreign_sessions,
    how_to_end,
    told,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.service_side import A_DAY, service_side

if TYPE_CHECKING:
    from sqlalchemy import Connection
    from sqlalchemy.exc import DBAPIError
else:
    try:
        from sqlalchemy.exc import DBAPIError
    except ImportError:
        DBAPIError = Exception

_ALWAYS_THERE = ("postgres", "template1")
METHODS = ("auto", "fresh_database", "in_place")

_OWNS_DATABASE = "SELECT pg_has_role(datdba, 'MEMBER') FROM pg_database WHERE datname = current_database()"
_OBJECT_IN_USE = "55006"
_PATIENCE = 60.0  # seconds to wait for others to leave a database that is to be renamed


@dataclass(frozen=True)
class Opened:
    """A backup as the service account's child gets it: its manifest, what was noted afterwards, and the open dump."""

    manifest: Mapping[str, Any]
    after: Mapping[str, Any] | None
    dump: int

    @property
    def contents(self) -> Contents:
        """What the database held."""
        return Contents.from_dict(self.manifest["contents"])

    @property
    def contents_after(self) -> ContentsAfter | None:
        """What only the new release had when the upgrade ended; None if that was not noted."""
        return ContentsAfter.from_dict(self.after) if self.after is not None else None


def restore_database(
    installation: Installation,
    python: str | None,
    backup_path: str,
    accept_data_loss: bool = False,
    method: str = "auto",
    check_mode: bool = False,
) -> dict[str, Any]:
    """Make the database what it was when the backup was made; see `bring_back`, which does it in a child.

    Raises:
        FractalError: The backup is damaged, or see there.
    """
    backup = open_backup(backup_path)
    after = backup.contents_after
    with open(backup.dump, "rb") as stream:
        opened = Opened(backup.manifest, after.as_dict() if after else None, stream.fileno())
        door = replace(service_side(installation, python, A_DAY), fds=(opened.dump,))
        return door.call(
            bring_back,
            installation,
            _as_saved(installation, backup),
            opened,
            accept_data_loss=accept_data_loss,
            method=method,
            check_mode=check_mode,
        )


def _as_saved(installation: Installation, backup: Backup) -> Installation | None:
    """Return the installation with the variables that the backup's environment file leads to the database with."""
    saved = saved_file(backup, installation.env_file)
    if not saved:
        return None
    try:
        variables = replace(installation, env_file=saved).variables()
    except FractalError:
        return None
    return replace(installation, env_file=saved, database=variables)


def bring_back(
    installation: Installation,
    saved: Installation | None,
    backup: Opened,
    accept_data_loss: bool = False,
    method: str = "auto",
    check_mode: bool = False,
) -> dict[str, Any]:
    """Make the database what it was when the backup was made; nothing happens when it is.

    Returns:
        ``changed``, ``method`` (``fresh_database`` or ``in_place``, empty if unchanged), ``kept_aside`` (name of the
        database that was replaced, also by an earlier call, empty if none could be kept), ``left_out`` (what the role
        could not restore there; the one kept aside has it), ``lost`` (tables written to since the backup), ``removed``
        (left-over databases of killed runs) and ``sessions`` (those of other roles, connected to the database).

    Raises:
        FractalError: The backup is damaged, rows would get lost without consent, or the restore failed. The database
            is what it was before.
    """
    settings = _settings(installation, saved, backup)
    with _administration(settings) as (admin, exists):
        lost, equal = _compare(settings, backup) if exists else ([], False)
        leftovers = [
            name for kind in (PROOF, RESTORE, SWAP, TRIAL) for name in own_databases(admin, settings.dbname, kind)
        ]
        result = {
            "changed": False,
            "method": "",
            "kept_aside": "",
            "left_out": [],
            "lost": [c.as_dict() for c in lost],
            "removed": leftovers,
            "sessions": [str(session) for session in foreign_sessions(admin, settings.dbname)],
        }
        if lost and not accept_data_loss:
            raise FractalError(_what_would_be_lost(lost, settings, backup))
        if not check_mode:
            drop_all(admin, leftovers)
        if equal:
            aside = own_databases(admin, settings.dbname, FAILED, backup.manifest["run"])
            return {**result, "kept_aside": aside[-1] if aside else ""}
        programs = find_programs(backup.manifest["database"]["server_version_num"])
        plan, why_not = _plan_in_place(settings, programs, backup, exists)
        fresh = method == "fresh_database" or (method == "auto" and (not exists or _may_swap(settings)))
        result.update(changed=True, method="fresh_database" if fresh else "in_place")
        if not fresh and plan is None:
            raise why_not
        if check_mode:
            return result
        if fresh:
            # kept aside is what somebody has agreed to lose; otherwise nothing gets lost within the database either
            instead = plan if method == "auto" and not lost else None
            try:
                answer = _restore_and_swap(admin, programs, settings, backup, exists, complete=instead is not None)
                return {**result, **answer}
            except _OtherWay as reason:
                if isinstance(reason, _NoFreshDatabase) and method == "auto":
                    instead = plan
                if instead is None:
                    raise
                plan = instead
        _restore_in_place(programs, settings, backup, plan)
        return {**result, "method": "in_place"}


class _OtherWay(FractalError):
    """The database cannot be replaced by a fresh one, or not without leaving something behind."""


class _NoFreshDatabase(_OtherWay):
    """No database can be made here, or none can be connected to."""


def _plan_in_place(
    settings: DatabaseSettings, programs: PostgresPrograms, backup: Opened, exists: bool
) -> tuple[InPlace | None, FractalError]:
    """Return how the backup comes back within the database, or why it cannot."""
    try:
        if not exists:
            raise FractalError(f"There is no {settings.where}, so nothing can be restored within it.")
        with connect(settings, read_only=True) as connection:
            return plan_in_place(connection, programs, backup.dump), FractalError()
    except FractalError as error:
        return None, error


def _settings(installation: Installation, saved: Installation | None, backup: Opened) -> DatabaseSettings:
    """Return settings that work: those of the environment file in use, or else of the one in the backup.

    Raises:
        FractalError: Neither leads to the database that was backed up.
    """
    candidates = [installation, *([saved] if saved else [])]
    wanted = backup.manifest["database"]
    reasons = []
    for candidate in candidates:
        try:
            settings = installation_settings(candidate)
            if (settings.dbname, settings.host, settings.port) != (wanted["name"], wanted["host"], wanted["port"]):
                raise FractalError(f"{candidate.env_file} names the {settings.where}, which is not the one backed up.")
            with _administration(settings):
                return settings
        except FractalError as error:
            reasons.append(str(error))
    raise FractalError("\n".join(reasons))


@contextlib.contextmanager
def _administration(settings: DatabaseSettings) -> Iterator[tuple[Connection, bool]]:
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


def _compare(settings: DatabaseSettings, backup: Opened) -> tuple[list[TableChange], bool]:
    """Return what was written since the backup, and whether the database is just what the backup holds."""
    wanted, after = backup.contents, backup.contents_after
    with connect(settings, read_only=True) as connection:
        if revision_of(connection) == wanted.revision and not differences(wanted, read_contents(connection)):
            return [], True
        return changes_since(connection, wanted, after), False


def _what_would_be_lost(lost: list[TableChange], settings: DatabaseSettings, backup: Opened) -> str:
    tables = "\n".join(
        f"  {change.table}: {change.rows_before} rows then, {change.rows_now} now, {change.created} of them new"
        for change in lost
    )
    return (
        f"The {settings.where} was written to after the backup of {backup.manifest['created']}. Going back loses:\n"
        f"{tables}\nNothing was changed. To go back all the same, run again with fractal_accept_data_loss=true"
        "; the database as it is now is kept aside if the role may create databases (and nobody else is connected)."
    )


def _may_swap(settings: DatabaseSettings) -> bool:
    with connect(settings, read_only=True) as connection:
        return may_create(connection) and bool(connection.exec_driver_sql(_OWNS_DATABASE).scalar())


# -- with the right to create databases -------------------------------------------------------------------------------


def _restore_and_swap(
    admin: Connection,
    programs: PostgresPrograms,
    settings: DatabaseSettings,
    backup: Opened,
    exists: bool,
    complete: bool,
) -> dict[str, Any]:
    """Restore into a fresh database, compare, and give it the name.

    Args:
        admin: Connection in autocommit mode; closed at the end.
        programs: PostgreSQL's programs.
        settings: The database to replace.
        backup: What to restore.
        exists: Whether there is a database to replace.
        complete: Whether there is another way to go where something would have to be left out.

    Returns:
        ``kept_aside`` (name of the database that was replaced) and ``left_out`` (what could not be restored).

    Raises:
        _OtherWay: It cannot be done here; nothing was changed.
        FractalError: It failed; nothing was changed.
    """
    run, facts = backup.manifest["run"], backup.manifest["database"]
    fresh = settings.at(free_name(admin, beside(settings.dbname, RESTORE, run)))
    try:
        _make_fresh(admin, settings, fresh, run, facts)
        entries = dump_entries(programs, backup.dump)
        kept, left_out = restorable(admin, programs, fresh, backup.dump, entries)
        behind = [told_entry(entry) for entry in left_out if not told_about_public(entry)]
        behind += cannot_carry(admin, fresh.dbname) if exists else []
        if complete and behind:
            raise _OtherWay(f"A fresh database would have to do without {'; '.join(behind)}.")
        with restoring(programs, fresh, backup.dump, kept) as restore:
            restore.finish("restore the backup")
        objects = left_out_objects(left_out)
        search_path = search_path_of(admin) if exists else ""
        with connect(fresh, read_only=True) as connection:
            found = differences(
                backup.contents.without(objects), read_contents(connection, search_path).without(objects)
            )
        if found:
            raise FractalError(f"The restored database differs from the backup's manifest: {'; '.join(found)}.")
        finish_like(admin, fresh.dbname, exists)
        aside = free_name(admin, beside(settings.dbname, FAILED, run)) if exists else ""
        comment = comment_of(admin, settings.dbname)
        admin.close()  # nobody may be connected to a database that is renamed
        marked = mark_of(FAILED, run, settings.dbname, aside)
        _swap(settings, fresh.dbname, aside, comment, marked)
    except BaseException:
        with _administration(settings) as (own, _exists):
            drop_all(own, [fresh.dbname])
        raise
    return {"kept_aside": aside, "left_out": behind}


def _make_fresh(
    admin: Connection, settings: DatabaseSettings, fresh: DatabaseSettings, run: str, facts: Mapping[str, Any]
) -> None:
    try:
        make_scratch(admin, settings, fresh.dbname, RESTORE, run, facts)
        with connect(fresh, read_only=True):
            pass
    except (FractalError, DBAPIError) as error:
        reason = reason_of(error, settings) if isinstance(error, DBAPIError) else str(error)
        raise _NoFreshDatabase(f"No fresh database can be used beside the {settings.where}: {reason}") from error


def _swap(settings: DatabaseSettings, fresh: str, aside: str, comment: str | None, mark: str) -> None:
    """Give the fresh database the name and the comment, and what has the name now the name ``aside``, at one instant.

    Raises:
        _OtherWay: Others stay connected, who cannot be sent away; the text names them.
    """
    with _third_database(settings, fresh) as third, connect(third, autocommit=True) as connection:
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                _exchange(connection, settings.dbname, fresh, aside, comment, mark)
                return
            except DBAPIError as error:
                if getattr(error.orig, "sqlstate", None) != _OBJECT_IN_USE:
                    raise
                others = foreign_sessions(connection, settings.dbname)
                if others and time.monotonic() > deadline:
                    raise _OtherWay(_who_stays(settings, others)) from error


def _exchange(connection: Connection, dbname: str, fresh: str, aside: str, comment: str | None, mark: str) -> None:
    statements = [f"ALTER DATABASE {quoted(fresh)} RENAME TO {quoted(dbname)}", comment_statement(dbname, comment)]
    if aside:
        end_sessions(connection, dbname)
        rename = f"ALTER DATABASE {quoted(dbname)} RENAME TO {quoted(aside)}"
        statements = [rename, comment_statement(aside, mark), *statements]
    try:
        for statement in ["BEGIN", *statements, "COMMIT"]:
            run_statement(connection, statement)
    except DBAPIError:
        run_statement(connection, "ROLLBACK")
        raise


def _who_stays(settings: DatabaseSettings, others: list[Session]) -> str:
    return (
        f"The {settings.where} cannot be replaced while others are connected to it: {told(others)}. Nothing was "
        f"changed. Stop these programs, or, as PostgreSQL's administrator: {how_to_end(others)} Then run the rollback "
        "again."
    )


@contextlib.contextmanager
def _third_database(settings: DatabaseSettings, fresh: str) -> Iterator[DatabaseSettings]:
    """Yield settings of a database from which the others can be renamed; if need be, make one for that."""
    for name in _ALWAYS_THERE:
        if _can_connect(settings.at(name)):
            yield settings.at(name)
            return
    with connect(settings.at(fresh), autocommit=True) as connection:
        name = free_name(connection, beside(settings.dbname, SWAP, "database"))
        run_statement(connection, f"CREATE DATABASE {quoted(name)} TEMPLATE template0")
        run_statement(connection, comment_statement(name, mark_of(SWAP, "exchange", settings.dbname, name)))
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


# -- within the database ----------------------------------------------------------------------------------------------


def _restore_in_place(
    programs: PostgresPrograms, settings: DatabaseSettings, backup: Opened, plan: InPlace | None
) -> None:
    if plan is None:
        raise AssertionError("without a plan this is not reached")
    with connect(settings, autocommit=True) as connection:
        end_sessions(connection, settings.dbname)
    wanted = comparable(backup.contents, plan)
    run_in_place(programs, settings, backup.dump, plan, check_statement(wanted))
    with connect(settings, read_only=True) as connection:
        found = differences(wanted, comparable(read_contents(connection), plan))
    if found:
        raise FractalError(f"The restored database differs from the backup's manifest: {'; '.join(found)}.")
