# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""The release path of Fractal: which releases an upgrade goes through. What each is, is a row of ``table``."""

from __future__ import annotations

import re

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._releases import table
from ansible_collections.fractal_ops.platform.plugins.module_utils._releases.release import Release, TakenAway

RELEASES = table.RELEASES
NEWEST = "newest"
OFFICIAL = "2.17.2"  # the last release that the official upgrade page is about
_NEAR = 2  # releases on each side that are named for one that cannot be met


def version_key(version: str) -> tuple[int, ...]:
    """Return a key that orders versions by number.

    Raises:
        FractalError: The text is not a version of the form ``1.2.3``.
    """
    try:
        return tuple(int(part) for part in version.split("."))
    except ValueError:
        raise FractalError(f"{version!r} is not a release of the form 2.17.0.") from None


def is_later(version: str, than: str) -> bool:
    """Return whether a release comes after another one; False where one of the two is no version of numbers."""
    try:
        return version_key(version) > version_key(than)
    except FractalError:
        return False


def release(version: str) -> Release:
    """Return the row of one release.

    Raises:
        FractalError: The release path does not know it.
    """
    found = _find(version)
    if found is None:
        raise FractalError(
            f"fractal-server {version} is not on the release path that this collection knows "
            f"({RELEASES[0].version} to {RELEASES[-1].version}). {_what_can_be_set(version)}"
        )
    return found


def resolve(wanted: str) -> Release:
    """Return the release that ``fractal_target_version`` means.

    Args:
        wanted: A release; a line of releases such as ``2.17``, for the newest of it that is offered; or ``newest``.

    Raises:
        FractalError: There is none.
    """
    if wanted == NEWEST:
        return targets()[-1]
    line = [known for known in targets() if known.version.rpartition(".")[0] == wanted]
    return line[-1] if line else release(wanted)


def _find(version: str) -> Release | None:
    return next((known for known in RELEASES if known.version == version), None)


def _what_can_be_set(version: str, after: str = "0") -> str:
    """Return a sentence with the releases near ``version`` that an upgrade of a release ``after`` may end at."""
    numbers = re.match(r"\d+(\.\d+)*", version)
    here = version_key(numbers.group()) if numbers else version_key(RELEASES[-1].version)
    offered = [known.version for known in targets() if version_key(known.version) > version_key(after)]
    before = [one for one in offered if version_key(one) < here][-_NEAR:]
    behind = [one for one in offered if version_key(one) >= here][:_NEAR]
    near = ", ".join([*before, *behind]) or RELEASES[-1].version
    return (
        f"Set fractal_target_version to a release (near it are {near}), to a line such as "
        f"{near.rpartition('.')[0].rpartition(' ')[2]} for the newest of it, or to {NEWEST} ({targets()[-1].version})."
    )


def targets() -> list[Release]:
    """Return the releases that an upgrade may end at: from the first stop on."""
    first = next((number for number, known in enumerate(RELEASES) if known.is_stop), 0)
    return [known for known in RELEASES[first:] if known.offered]


def pip_requirements(version: str) -> list[str]:
    """Return what pip has to be told besides ``fractal-server==version``, such as ``bcrypt<5``."""
    here = version_key(version)
    return [
        one.package + one.bound
        for one in table.CONSTRAINTS
        if version_key(one.since) <= here and (not one.before or here < version_key(one.before))
    ]


def web_release(version: str) -> str:
    """Return the release of fractal-web that belongs to a release of fractal-server; empty for an unknown one."""
    try:
        return resolve(version).web
    except FractalError:
        return ""


def releases_at_head(alembic_head: str | None) -> list[Release]:
    """Return the releases whose schema ends at ``alembic_head``, one after another; none for an unknown revision."""
    return [known for known in RELEASES if known.alembic_head == alembic_head]


def release_at_head(alembic_head: str | None, *likely: str | None) -> Release | None:
    """Return the release at whose schema ``alembic_head`` is, or None for an unknown revision.

    Several may share a head, and it does not tell them apart: it is the first of ``likely`` that is among them (what is
    installed, what is to be installed), else the newest. They follow each other, so that any of them will do to compare
    the schema with one that has another head.
    """
    sharing = {known.version: known for known in releases_at_head(alembic_head)}
    named = next((sharing[one] for one in likely if one in sharing), None)
    return named or (list(sharing.values())[-1] if sharing else None)


def schema_in_words(alembic_head: str | None) -> str:
    """Return which releases have the schema that ends at ``alembic_head``, such as ``2.25.1 to 2.26.0``."""
    sharing = [known.version for known in releases_at_head(alembic_head)]
    return " to ".join(dict.fromkeys((sharing[0], sharing[-1]))) if sharing else "unknown"


def first_release_with_head(alembic_head: str | None) -> str:
    """Return the first release whose schema ends at ``alembic_head``, or ``unknown``."""
    return next((known.version for known in releases_at_head(alembic_head)), "unknown")


def hops(start: str, target: str) -> list[Release]:
    """Return the releases to install one after another: each stop, then the target.

    Raises:
        FractalError: A release is unknown, the target is older than the start, or no upgrade may end there.
    """
    first, last = release(start), release(target)
    if version_key(target) < version_key(start):
        raise FractalError(
            f"The instance is at {start}, which is newer than the target {target}. Going back is what the rollback "
            "playbook is for; otherwise set fractal_target_version."
        )
    if not last.offered and last is not first:
        raise FractalError(f"No upgrade ends at fractal-server {target}. {_what_can_be_set(target, start)}")
    between = RELEASES[RELEASES.index(first) + 1 : RELEASES.index(last) + 1]
    return [hop for hop in between if hop.is_stop or hop is last]


def stops_between(after: str, up_to: str) -> list[Release]:
    """Return the stops later than the release ``after``, up to and with ``up_to``."""
    first, last = version_key(after), version_key(up_to)
    return [known for known in RELEASES if known.is_stop and first < version_key(known.version) <= last]


def takes_away(start: str, target: str) -> list[TakenAway]:
    """Return what the schemas between two releases drop, up to and with ``target``."""
    first, last = version_key(start), version_key(target)
    way = [known for known in RELEASES if first < version_key(known.version) <= last]
    return [gone for known in way for gone in known.takes_away]


def python_supported(python_version: str, wanted: Release) -> bool:
    """Return whether ``wanted`` runs on the Python ``python_version`` (such as 3.11.2)."""
    lowest, too_new = (version_key(limit) for limit in wanted.python)
    return lowest <= version_key(python_version)[:2] < too_new
