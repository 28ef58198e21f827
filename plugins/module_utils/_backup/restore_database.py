# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""Bringing an instance's database back from its backup.

Where its frozen copy is there, and is what the manifest says, that takes the instance's name (`_database/exchange.py`);
what had the name is kept aside. Otherwise the dump is restored into a fresh database, compared with the manifest, and
only then takes the name. Where that cannot be done, or would leave something behind, the restore happens within the
existing database, in one transaction that also makes the comparison (`_database/in_place.py`).

What takes long is proved while the service still runs: a call in check mode that is to ``read_all`` reads all of the
copy, and all that was written to since. With what that has ``seen``, the call that nobody works meanwhile has to look
only at the versions of rows (`_database/contents.py`): they tell that nobody has written to the copy since it was made,
and which tables of the instance's database somebody has written to since they were read.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._backup.dump import left_out_objects
from ansible_collections.fractal_ops.platform.plugins.module_utils._backup.packing import opened_dump
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
    row_versions,
    search_path_of,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.database import (
    DatabaseSettings,
    DBAPIError,
    Installation,
    connect,
    installation_settings,
    reason_of,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.exchange import (
    StillConnected,
    administration,
    exchange,
    refuse_who_stays,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.frozen import (
    find_copy,
    oid_of,
    opened_again,
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
    RESTORE,
    beside,
    cannot_carry,
    comment_of,
    drop_all,
    end_sessions,
    finish_like,
    free_name,
    left_over,
    make_scratch,
    mark_of,
    may_create,
    own_databases,
    restorable,
    told_about_public,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.state import revision_of
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.task_folders import (
    after_going_back,
    read_groups,
    task_groups,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.service_side import A_DAY, service_side

if TYPE_CHECKING:
    from sqlalchemy import Connection

METHODS = ("auto", "exchange", "fresh_database", "in_place")

_OWNS_DATABASE = "SELECT pg_has_role(datdba, 'MEMBER') FROM pg_database WHERE datname = current_database()"


@dataclass(frozen=True)
class Opened:
    """A backup as the service account's child gets it: its manifest, what was noted afterwards, and the open dump.

    ``dump`` is -1 where the backup still is a frozen copy alone.
    """

    manifest: Mapping[str, Any]
    after: Mapping[str, Any] | None
    dump: int

    @property
    def has_dump(self) -> bool:
        """Whether there is a dump."""
        return self.dump >= 0

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
    read_all: bool = False,
    seen: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Make the database what it was when the backup was made; see `bring_back`, which does it in a child.

    The dump of a backup with a copy is checked only by a call that is to ``read_all``: if it comes to that, what was
    restored is compared anyway.

    Raises:
        FractalError: The backup is damaged, or see there.
    """
    backup = open_backup(backup_path, by_copy=not read_all)
    after = backup.contents_after
    with contextlib.ExitStack() as stack:
        dump = stack.enter_context(opened_dump(backup)) if backup.has_dump else -1
        opened = Opened(backup.manifest, after.as_dict() if after else None, dump)
        door = service_side(installation, python, A_DAY)
        return replace(door, fds=(dump,) if backup.has_dump else ()).call(
            bring_back,
            installation,
            _as_saved(installation, backup),
            opened,
            accept_data_loss=accept_data_loss,
            method=method,
            check_mode=check_mode,
            read_all=read_all,
            seen=dict(seen or {}),
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
    read_all: bool = False,
    seen: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Make the database what it was when the backup was made; nothing happens when it is.

    Args:
        installation: Whose database.
        saved: The same with the backup's environment file, if there is one.
        backup: The backup.
        accept_data_loss: Whether to go on although rows get lost.
        method: One of `METHODS`.
        check_mode: Only say what would be done.
        read_all: Whether to read all of the frozen copy, however long that takes.
        seen: What an earlier call has returned as ``seen``.

    Returns:
        ``changed``, ``method`` (``exchange``, ``fresh_database`` or ``in_place``, empty if unchanged), ``kept_aside``
        (name of the database that was replaced, also by an earlier call, empty if none could be kept), ``left_out``
        (what the role could not restore there; the one kept aside has it), ``lost`` (tables written to since the
        backup), ``removed`` (left-over databases of killed runs), ``task_folders`` (in words, which folders of task
        packages do not fit the rows that come back), ``why_not_exchanged`` (what is wrong with the frozen copy, if
        anything) and ``seen`` (for the next call: that, ``lost``, and the ``versions`` of the rows of each table).

    Raises:
        FractalError: The backup is damaged, rows would get lost without consent, or the restore failed. The database
            is what it was before.
    """
    settings = _settings(installation, saved, backup)
    with administration(settings) as (admin, exists):
        earlier = _Seen(**(seen or {}))
        frozen = _look_at_copy(admin, settings, backup, exists, read_all, earlier)
        lost, equal, now = _compare(settings, backup, frozen, earlier) if exists else ([], False, {})
        leftovers = left_over(admin, settings.dbname)
        folders = _task_folders(settings, backup) if exists and lost else []
        result = {
            "changed": False,
            "method": "",
            "kept_aside": "",
            "left_out": [],
            "lost": [c.as_dict() for c in lost],
            "removed": leftovers,
            "task_folders": folders,
            "why_not_exchanged": frozen.why_not,
            "seen": asdict(_Seen(frozen.why_not, [c.as_dict() for c in lost], now)),
        }
        if lost and not accept_data_loss:
            raise FractalError("\n".join([_what_would_be_lost(lost, settings, backup), *folders]))
        if not check_mode:
            drop_all(admin, leftovers)
        if equal:
            aside = own_databases(admin, settings.dbname, FAILED, backup.manifest["run"])
            return {**result, "kept_aside": aside[-1] if aside else ""}
        by_copy = bool(frozen.name) and method in ("auto", "exchange")
        if not by_copy and (method == "exchange" or not backup.has_dump):
            raise FractalError(_no_other_way(settings, backup, frozen, method))
        ways = _ways_from_dump(settings, backup, exists, method, needed=not by_copy)
        if by_copy:
            result.update(changed=True, method="exchange")
        elif ways:
            result.update(changed=True, method=ways.first)
        # kept aside is what somebody has agreed to lose; otherwise nothing gets lost within the database either
        instead = ways.plan if ways and method == "auto" and not lost else None
        if check_mode:
            if instead is None and exists and result["method"] in ("exchange", "fresh_database"):
                refuse_who_stays(admin, settings, settings.dbname, *([frozen.name] if by_copy else []))
            return result
        try:
            if by_copy:
                answer = _give_back(admin, settings, backup, frozen.name, exists, complete=instead is not None)
                return {**result, **answer}
            return {**result, **_restore(admin, settings, backup, exists, ways, complete=instead is not None)}
        except (_OtherWay, StillConnected) as reason:
            if ways and isinstance(reason, _NoFreshDatabase) and method == "auto":
                instead = ways.plan
            if ways is None or instead is None:
                raise
            _restore_in_place(ways.programs, settings, backup, instead)
            return {**result, "method": "in_place"}


class _OtherWay(FractalError):
    """The database cannot be replaced by a fresh one, or not without leaving something behind."""


class _NoFreshDatabase(_OtherWay):
    """No database can be made here, or none can be connected to."""


@dataclass(frozen=True)
class _Ways:
    """How a dump can come back: into a fresh database, or by a plan within the old one (or why not)."""

    programs: PostgresPrograms
    fresh: bool
    plan: InPlace | None
    why_not: FractalError

    @property
    def first(self) -> str:
        """The way to go.

        Raises:
            FractalError: There is none.
        """
        if not self.fresh and self.plan is None:
            raise self.why_not
        return "fresh_database" if self.fresh else "in_place"


def _ways_from_dump(
    settings: DatabaseSettings, backup: Opened, exists: bool, method: str, needed: bool
) -> _Ways | None:
    """Return how the backup's dump can come back; None where it has none, or where PostgreSQL's programs for it are
    missing and it is not ``needed``.
    """
    if not backup.has_dump:
        return None
    try:
        programs = find_programs(backup.manifest["database"]["server_version_num"])
    except FractalError:
        if needed:
            raise
        return None
    plan, why_not = _plan_in_place(settings, programs, backup, exists)
    fresh = method == "fresh_database" or (method == "auto" and (not exists or _may_swap(settings)))
    return _Ways(programs, fresh, plan, why_not)


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
            with administration(settings):
                return settings
        except FractalError as error:
            reasons.append(str(error))
    raise FractalError("\n".join(reasons))


@dataclass(frozen=True)
class _Frozen:
    """The frozen copy of a backup as it is now.

    Attributes:
        name: Its name, if it is there and as the manifest says; else empty.
        why_not: What is wrong with it; empty if the backup never had one.
        is_back: Whether it is the instance's database already.
    """

    name: str = ""
    why_not: str = ""
    is_back: bool = False


@dataclass(frozen=True)
class _Seen:
    """What an earlier call has found out: what is wrong with the copy, what would be lost, and the rows' versions."""

    why_not_exchanged: str = ""
    lost: list[dict[str, Any]] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)


def _look_at_copy(
    admin: Connection, settings: DatabaseSettings, backup: Opened, exists: bool, read_all: bool, seen: _Seen
) -> _Frozen:
    copy = backup.manifest.get("copy")
    if not copy:
        return _Frozen()
    name = copy["name"]
    if exists and oid_of(admin, settings.dbname) == copy["oid"]:
        return _Frozen(why_not=f"the frozen copy {name} was given back before", is_back=True)
    there = find_copy(admin, settings.dbname, backup.manifest["run"], copy)
    if seen.why_not_exchanged or not there:
        return _Frozen(why_not=seen.why_not_exchanged or f"the frozen copy {name} is gone")
    try:
        with connect(settings.at(name), read_only=True) as connection:
            digests = read_all or not all(table.versions for table in backup.contents.tables.values())
            contents = read_contents(connection, copy["search_path"], digests, versions=True)
    except FractalError as error:
        return _Frozen(why_not=f"the frozen copy {name} cannot be read: {error}".rstrip("."))
    found = differences(backup.contents, contents)
    if found:
        return _Frozen(why_not=f"the frozen copy {name} is not what it was any more: {'; '.join(found)}")
    return _Frozen(name)


def _compare(
    settings: DatabaseSettings, backup: Opened, frozen: _Frozen, seen: _Seen
) -> tuple[list[TableChange], bool, dict[str, str]]:
    """Return what was written since the backup, whether the database is just what the backup holds, and its versions.

    Read are only the tables that somebody has written to, as the versions of their rows tell: since the copy was made,
    or else since what was ``seen``.
    """
    with connect(settings, read_only=True) as connection:
        same = revision_of(connection) == backup.contents.revision
        if same and frozen.is_back:
            return [], True, {}
        before, now = backup.contents.tables, row_versions(connection)
        untouched = {name for name, table in before.items() if table.versions and table.versions == now.get(name)}
        known = {name for name, versions in now.items() if versions == seen.versions.get(name)} - untouched
        lost = [TableChange(**change) for change in seen.lost if change["table"] in known]
        to_read = {*before, *now} - untouched - (known if lost or not same else set())
        wanted = _with_digests(settings, backup, frozen, to_read)
        if same and not lost and not differences(wanted, _read_now(connection, to_read)):
            return [], True, now
        # a manifest without digests can tell that something changed, but not what
        if backup.has_dump or frozen.name:
            lost += changes_since(connection, wanted, backup.contents_after, untouched | known)
        return lost, False, now


def _task_folders(settings: DatabaseSettings, backup: Opened) -> list[str]:
    """Return what `after_going_back` tells; nothing where the backup is of an early version."""
    then = backup.manifest.get("task_groups")
    if then is None:
        return []
    with connect(settings, read_only=True) as connection:
        now = read_groups(task_groups(connection))
    return after_going_back(read_groups(then), now)


def _read_now(connection: Connection, digests: set[str]) -> Contents:
    return read_contents(connection, digests=digests, versions=True, readable=True)


def _with_digests(settings: DatabaseSettings, backup: Opened, frozen: _Frozen, tables: set[str]) -> Contents:
    """Return what the backup holds, with the digests of some tables: where it has no dump yet, they are the copy's."""
    if backup.has_dump or not frozen.name:
        return backup.contents
    with connect(settings.at(frozen.name), read_only=True) as connection:
        return read_contents(connection, backup.manifest["copy"]["search_path"], tables, versions=True)


def _no_other_way(settings: DatabaseSettings, backup: Opened, frozen: _Frozen, method: str) -> str:
    if backup.has_dump:
        return f"The {settings.where} cannot be exchanged: {frozen.why_not or 'the backup has no frozen copy'}."
    reason = frozen.why_not or f"the method {method} needs one"
    return (
        f"The backup of {backup.manifest['created']} holds no dump, as its archive was not made, and {reason}. So the "
        f"{settings.where} cannot be brought back from it; nothing was changed. Bring the database back from another "
        "backup, named in fractal_backup; or repair what is there, then run the upgrade again."
    )


def _what_would_be_lost(lost: list[TableChange], settings: DatabaseSettings, backup: Opened) -> str:
    tables = "\n".join(
        f"  {change.table}: {change.rows_before} rows then, {change.rows_now} now, {change.created} of them new"
        + (f"; without the columns {', '.join(change.gone)}" if change.gone else "")
        if change.rows_now is not None
        else f"  {change.table}: {change.rows_before} rows then; the role may not see how many there are now"
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


def _restore(
    admin: Connection, settings: DatabaseSettings, backup: Opened, exists: bool, ways: _Ways | None, complete: bool
) -> dict[str, Any]:
    """Bring the dump back, the way that was chosen."""
    if ways is None:
        raise AssertionError("without a dump this is not reached")
    if ways.fresh:
        return _restore_and_swap(admin, ways.programs, settings, backup, exists, complete)
    _restore_in_place(ways.programs, settings, backup, ways.plan)
    return {}


# -- by the frozen copy -----------------------------------------------------------------------------------------------


def _give_back(
    admin: Connection, settings: DatabaseSettings, backup: Opened, copy: str, exists: bool, complete: bool
) -> dict[str, Any]:
    """Give the frozen copy the name of the instance's database, with all that belongs to the name, at one instant.

    Args:
        admin: Connection in autocommit mode; closed at the end.
        settings: The database to replace.
        backup: Whose copy it is.
        copy: Its name.
        exists: Whether there is a database to replace.
        complete: Whether there is another way to go where a setting or a privilege would have to be left out.

    Returns:
        ``kept_aside`` and ``left_out``, as `_restore_and_swap`.

    Raises:
        _OtherWay: Something would be left out.
        StillConnected: Others stay connected; nothing was changed.
    """
    run = backup.manifest["run"]
    refused = cannot_carry(admin, copy) if exists else []
    if complete and refused:
        raise _OtherWay(f"The frozen copy would have to do without {'; '.join(refused)}.")
    together = [opened_again(copy), *finish_like(admin, copy, exists, refused)]
    return {"kept_aside": _take_the_name(admin, settings, copy, run, exists, together), "left_out": refused}


def _take_the_name(
    admin: Connection, settings: DatabaseSettings, incoming: str, run: str, exists: bool, together: list[str]
) -> str:
    """Give a database the name of the instance's, and return the name of what had it, which is kept aside."""
    aside = free_name(admin, beside(settings.dbname, FAILED, run)) if exists else ""
    comment = comment_of(admin, settings.dbname)
    admin.close()  # nobody may be connected to a database that is renamed
    exchange(settings, incoming, aside, comment, mark_of(FAILED, run, settings.dbname, aside), together)
    return aside


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
        refused = cannot_carry(admin, fresh.dbname) if exists else []
        behind += refused
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
        together = finish_like(admin, fresh.dbname, exists, refused)
        aside = _take_the_name(admin, settings, fresh.dbname, run, exists, together)
    except BaseException:
        with administration(settings) as (own, _exists):
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
        found = differences(wanted, comparable(read_contents(connection, readable=True), plan))
    if found:
        raise FractalError(f"The restored database differs from the backup's manifest: {'; '.join(found)}.")
