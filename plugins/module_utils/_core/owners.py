# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""Whose a path is, and working there with no more than that account's rights.

A path is walked from the root. As long as only root can change its folders, what is found stays what it is. From the
first folder on that another account can change, whatever is found may be swapped for something else at any moment: so
all the rest is left to a child process with that account's rights. Whatever the account plants there, links included,
leads only to what it could do by itself.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import grp
import json
import os
import pwd
import signal
import socket
import stat
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Callable, TypeVar

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.accounts import Account
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError

Result = TypeVar("Result")

_PR_SET_PDEATHSIG = 1  # prctl(2)
_LINKS = 40  # as many as the kernel follows
_LIBC = ctypes.CDLL(None)


@dataclass(frozen=True)
class Place:
    """Where a path leads: ``path`` has no link in what only root can change; ``owner`` has the rest, None for root."""

    path: str
    owner: Account | None


def owner_of(path: str) -> Account | None:
    """Return the account with whose rights to work at ``path``, None for one's own. See `locate`."""
    return locate(path).owner


def locate(path: str) -> Place:
    """Follow ``path`` as far as only root can change it. Who is not root has only its own rights and walks nowhere.

    Raises:
        FractalError: A folder on the way can be changed by more than one account, or links lead in a circle.
    """
    path = os.path.abspath(path) if not os.path.isabs(path) else path
    if os.geteuid() != 0:
        return Place(path, None)
    here, todo, links = "/", path.split("/"), 0
    while todo:
        name = todo.pop(0)
        if name in ("", "."):
            continue
        if name == "..":
            here = os.path.dirname(here)
            continue
        folder, entry = os.lstat(here), os.path.join(here, name)
        try:
            found = os.lstat(entry)
        except (FileNotFoundError, NotADirectoryError):
            return Place(os.path.join(entry, *todo), None)
        if stat.S_ISLNK(found.st_mode):
            if _is_shared(folder):
                raise FractalError(f"{entry} is a link in a folder that every account can write; it is not followed.")
            links += 1
            if links > _LINKS:
                raise FractalError(f"{path} leads through too many links.")
            target = os.readlink(entry)
            todo = target.split("/") + todo
            here = "/" if target.startswith("/") else here
            continue
        if stat.S_ISDIR(found.st_mode) or _is_shared(folder):
            owner = _who_changes(entry, found)
            if owner is not None:
                return Place(os.path.join(entry, *todo), owner)
        here = entry
    return Place(here, None)


def refuse_unless_root_only(path: str, purpose: str) -> None:
    """Refuse a folder, which need not exist yet, unless only root can change it and all folders that it lies in.

    Raises:
        FractalError: Another account can; says which folder, and what to do.
    """
    if os.geteuid() != 0:
        return
    place = locate(path)
    if place.owner is not None:
        raise FractalError(
            f"{path} does not do for {purpose}: the account {place.owner.name} can change it, or a folder that it lies "
            f"in. Name another folder, or give it and all that it lies in to root, writable for nobody else."
        )
    folder = place.path
    while not os.path.lexists(folder):
        folder = os.path.dirname(folder)
    if _is_shared(os.stat(folder)):
        raise FractalError(
            f"{path} does not do for {purpose}: every account can make files in {folder}. Name a folder that only root "
            "can write."
        )


def owner_of_program(path: str) -> Account | None:
    """Return the account with whose rights alone a program may run, as that account can change it; None for nobody."""
    place = locate(path)
    if place.owner is not None or os.geteuid() != 0:
        return place.owner
    try:
        found = os.stat(place.path)
    except OSError:
        return None
    if found.st_uid != 0:
        return Account.of_uid(found.st_uid)
    if found.st_mode & 0o022 and (found.st_mode & 0o002 or found.st_gid != 0):
        raise FractalError(f"{path} is not run, as other accounts can change it. Run: chmod go-w {place.path}")
    return None


def account_named(name: str) -> Account | None:
    """Return the account of a unit to work with, None if it is one's own.

    Raises:
        FractalError: There is no such account.
    """
    try:
        uid = int(name) if name.isdigit() else pwd.getpwnam(name).pw_uid
    except KeyError as error:
        raise FractalError(f"The account {name} does not exist on this host.") from error
    return None if os.geteuid() != 0 or uid == 0 else Account.of_uid(uid)


def act_as(owner: Account | None, work: Callable[..., Result], *arguments: Any, timeout: float = 3600) -> Result:
    """Call a function with an account's rights, in a child process, and return what it returns (plain data).

    Args:
        owner: The account; None to just call it.
        work: The function. It must not need what is changed in this process meanwhile.
        arguments: Its arguments.
        timeout: Seconds; a service account can stop its own processes for as long as it likes.

    Raises:
        FractalError: As the function raised it, or it did not answer in time.
        OSError: As the function raised it.
    """
    if owner is None:
        return work(*arguments)
    text, descriptors = _in_child(owner, lambda: (work(*arguments), []), timeout)
    for one in descriptors:
        os.close(one)
    result: Result = text
    return result


def open_as(owner: Account | None, path: str, flags: int) -> int:
    """Open a file or folder with an account's rights and return its descriptor.

    Raises:
        OSError: As open(2) says.
    """
    if owner is None:
        return os.open(path, flags | os.O_CLOEXEC)
    _none, descriptors = _in_child(owner, lambda: (None, [os.open(path, flags)]), 60)
    return descriptors[0]


@contextlib.contextmanager
def opened_folder(
    path: str, owner: Account | None = None, follow: bool = False
) -> Iterator[tuple[int, str, Account | None]]:
    """Yield a descriptor of the folder that holds ``path``, the name in it, and with whose rights it was opened.

    Whatever is done at that name by the descriptor, without following links, stays in a folder that this account may
    change. Root only gives it the owner that it is to have.

    Args:
        path: The file.
        owner: The account whose rights count, whoever's the folder is. The default is whoever can change the folder.
        follow: Follow ``path`` itself if it is a link, so that the link stays.

    Raises:
        FractalError: The account must not change the folder.
        OSError: There is no such folder.
    """
    place = Place(path, owner)
    if owner is None:
        place = locate(path) if follow else _entry(path)
    if place.owner is None:
        folder, name = os.path.split(place.path)
        if follow and os.geteuid() != 0:
            folder, name = os.path.split(os.path.realpath(place.path))
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    else:
        name, descriptors = _in_child(place.owner, lambda: _own_folder(path, follow), 60)
        descriptor = descriptors[0]
    try:
        if place.owner is not None:
            _refuse_foreign_folder(descriptor, path, place.owner)
        yield descriptor, name, place.owner
    finally:
        os.close(descriptor)


def _entry(path: str) -> Place:
    """Return where the entry ``path`` itself lies, not what it leads to if it is a link."""
    folder, name = os.path.split(path.rstrip("/"))
    if name in ("", ".", ".."):
        raise FractalError(f"{path} does not name a file.")
    place = locate(folder or ".")
    return Place(os.path.join(place.path, name), place.owner)


def _own_folder(path: str, follow: bool) -> tuple[str, list[int]]:
    folder, name = os.path.split(os.path.realpath(path) if follow else path)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    if not os.access(".", os.W_OK | os.X_OK, dir_fd=descriptor):
        raise OSError(errno.EACCES, os.strerror(errno.EACCES), folder)
    return name, [descriptor]


def _refuse_foreign_folder(descriptor: int, path: str, owner: Account) -> None:
    folder = os.fstat(descriptor)
    if folder.st_mode & stat.S_ISVTX and folder.st_uid != owner.uid:
        raise FractalError(f"{path} leads to a folder that many accounts share; nothing is changed there.")


def _who_changes(path: str, found: os.stat_result) -> Account | None:
    """Return the account beside root that can change the entries of a folder, None if there is none.

    Raises:
        FractalError: There are several, so nothing that lies there can be relied on.
    """
    if found.st_uid != 0:
        return Account.of_uid(found.st_uid, found.st_gid)
    if found.st_mode & stat.S_ISVTX or not stat.S_ISDIR(found.st_mode):
        return None  # what root has there, only root can rename
    if found.st_mode & 0o002:
        raise FractalError(f"Every account can write in {path}: nothing there can be relied on. Run: chmod o-w {path}")
    if found.st_mode & 0o020 and (found.st_gid != 0 or _has_access_list(path)):
        owner = None if _has_access_list(path) else _only_member(found.st_gid)
        if owner is None:
            raise FractalError(
                f"{path} is root's, yet other accounts can write in it: nothing there can be relied on. Give it to the "
                f"service account (chown), or let only root write in it (chmod g-w {path})."
            )
        return owner
    return None


def _is_shared(folder: os.stat_result) -> bool:
    return bool(folder.st_mode & stat.S_ISVTX and folder.st_mode & 0o022)


def _has_access_list(path: str) -> bool:
    try:
        return bool(os.getxattr(path, "system.posix_acl_access", follow_symlinks=False))
    except OSError:
        return False


def _only_member(gid: int) -> Account | None:
    """Return the account that has the group ``gid`` for itself, as useradd makes it, or None."""
    try:
        group = grp.getgrgid(gid)
        entry = pwd.getpwnam(group.gr_name)
    except KeyError:
        return None
    alone = entry.pw_gid == gid and set(group.gr_mem) <= {entry.pw_name} and entry.pw_uid != 0
    return Account.of_uid(entry.pw_uid, gid) if alone else None


# -- the child --------------------------------------------------------------------------------------------------------


def _in_child(owner: Account, work: Callable[[], tuple[Any, list[int]]], timeout: float) -> tuple[Any, list[int]]:
    ours, theirs = socket.socketpair()
    child = os.fork()
    if child == 0:
        try:
            ours.close()
            _become(owner)
            _send(theirs, work)
        finally:
            os._exit(0)  # nothing of the parent's is to be flushed or run a second time
    theirs.close()
    try:
        message, descriptors = _receive(ours, time.monotonic() + timeout)
    except (TimeoutError, socket.timeout):  # two different errors before Python 3.10
        raise FractalError(f"The account {owner.name} did not finish its part in {timeout:.0f} seconds.") from None
    finally:
        ours.close()
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    return _result_of(message, owner), descriptors


def _become(owner: Account) -> None:
    os.setgroups(owner.groups)
    os.setresgid(owner.gid, owner.gid, owner.gid)
    os.setresuid(owner.uid, owner.uid, owner.uid)
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # a killed module must not go on beside the next run
    os.chdir("/")


def _send(stream: socket.socket, work: Callable[[], tuple[Any, list[int]]]) -> None:
    descriptors: list[int] = []
    try:
        result, descriptors = work()
        message = {"result": result}
    except FractalError as error:
        message = {"refused": str(error)}
    except OSError as error:
        text = error.strerror or str(error)
        message = {"errno": error.errno or errno.EIO, "strerror": text, "filename": _text(error.filename)}
    except Exception:
        message = {"bug": traceback.format_exc()}
    socket.send_fds(stream, [b"."], descriptors)
    stream.sendall(json.dumps(message).encode())


def _text(name: Any) -> str | None:
    return os.fsdecode(name) if isinstance(name, (str, bytes)) else None


def _receive(stream: socket.socket, deadline: float) -> tuple[bytes, list[int]]:
    def wait() -> None:
        stream.settimeout(max(0.01, deadline - time.monotonic()))

    wait()
    _first, descriptors, _flags, _address = socket.recv_fds(stream, 1, 1)
    for one in descriptors:
        os.set_inheritable(one, False)
    message = b""
    while True:
        wait()
        part = stream.recv(1 << 16)
        if not part:
            return message, list(descriptors)
        message += part


def _result_of(message: bytes, owner: Account) -> Any:
    if not message:
        raise FractalError(f"What was done as the account {owner.name} was ended from outside. Run again.")
    answer = json.loads(message)
    if "refused" in answer:
        raise FractalError(answer["refused"])
    if "errno" in answer:
        raise OSError(answer["errno"], answer["strerror"], *([answer["filename"]] if answer["filename"] else []))
    if "bug" in answer:
        raise RuntimeError(answer["bug"])
    return answer["result"]
