# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""The release path of Fractal as data. A new release is a new row.

Sources: each tag's ``fractal_server/migrations/versions`` (alembic heads), ``pyproject.toml`` (Python range) and
``fractal_server/data_migrations`` (data migrations); fractal-web's ``docs/version-compatibility.md`` and
``.github/workflows/github_release.yaml`` (Node majors).
"""

from __future__ import annotations

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._releases.release import Release, TakenAway

_HEAD_2_16 = "981d588fe248"  # one head for all of 2.16
_PYTHON = ("3.11", "3.14")

RELEASES: tuple[Release, ...] = (
    Release("2.16.0", _HEAD_2_16, _PYTHON, web="1.20.1", node_majors=(18, 20)),
    Release("2.16.1", _HEAD_2_16, _PYTHON, web="1.20.1", node_majors=(18, 20)),
    Release("2.16.2", _HEAD_2_16, _PYTHON, web="1.20.1", node_majors=(18, 20)),
    Release("2.16.3", _HEAD_2_16, _PYTHON, web="1.20.1", node_majors=(18, 20)),
    Release("2.16.4", _HEAD_2_16, _PYTHON, web="1.20.1", node_majors=(18, 20)),
    Release("2.16.5", _HEAD_2_16, _PYTHON, web="1.20.1", node_majors=(18, 20)),
    Release("2.16.6", _HEAD_2_16, _PYTHON, web="1.20.1", node_majors=(18, 20)),
    Release(
        "2.17.0",
        "83bc2ad3ffcc",
        _PYTHON,
        web="1.21.1",
        node_majors=(18, 20),
        is_stop=True,
        takes_away=(TakenAway("user_oauth", "username"),),
    ),
    Release(
        "2.17.1",
        "7673fe18c05d",
        _PYTHON,
        web="1.21.1",
        node_majors=(18, 20),
        takes_away=(TakenAway("user_settings"), TakenAway("user_oauth", "user_settings_id")),
    ),
    Release("2.17.2", "e0e717ae2f26", _PYTHON, web="1.21.1", node_majors=(18, 20), needs=("unzip",)),
)


def version_key(version: str) -> tuple[int, ...]:
    """Return a key that orders versions by number.

    Raises:
        FractalError: The text is not a version of the form ``1.2.3``.
    """
    try:
        return tuple(int(part) for part in version.split("."))
    except ValueError:
        raise FractalError(f"{version!r} is not a release of the form 2.17.0.") from None


def release(version: str) -> Release:
    """Return the row of one release.

    Raises:
        FractalError: The release path does not know it.
    """
    found = _find(version)
    if found is None:
        raise FractalError(
            f"fractal-server {version} is not on the release path that this collection knows "
            f"({RELEASES[0].version} to {RELEASES[-1].version}). Set fractal_target_version to one of: "
            f"{', '.join(known.version for known in targets())}."
        )
    return found


def _find(version: str) -> Release | None:
    return next((known for known in RELEASES if known.version == version), None)


def targets() -> list[Release]:
    """Return the releases that an upgrade may end at: from the first stop on."""
    first = next((number for number, known in enumerate(RELEASES) if known.is_stop), 0)
    return [known for known in RELEASES[first:] if known.offered]


def web_release(version: str) -> str:
    """Return the release of fractal-web that belongs to a release of fractal-server; empty for an unknown one."""
    found = _find(version)
    return found.web if found else ""


def release_at_head(alembic_head: str | None, installed: str | None = None) -> Release | None:
    """Return the release whose schema ends at ``alembic_head``, or None for an unknown revision.

    Several may share a head: it is the one ``installed``, if that is among them, else the newest.
    """
    sharing = [known for known in RELEASES if known.alembic_head == alembic_head]
    return next((known for known in sharing if known.version == installed), sharing[-1] if sharing else None)


def first_release_with_head(alembic_head: str | None) -> str:
    """Return the first release whose schema ends at ``alembic_head``, or ``unknown``."""
    return next((known.version for known in RELEASES if known.alembic_head == alembic_head), "unknown")


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
        raise FractalError(
            f"No upgrade ends at fractal-server {target}. Set fractal_target_version to one of: "
            f"{', '.join(known.version for known in targets() if version_key(known.version) > version_key(start))}."
        )
    between = RELEASES[RELEASES.index(first) + 1 : RELEASES.index(last) + 1]
    return [hop for hop in between if hop.is_stop or hop is last]


def stops_between(after: str, up_to: str) -> list[Release]:
    """Return the stops later than the release ``after``, up to and with ``up_to``."""
    first, last = version_key(after), version_key(up_to)
    return [known for known in RELEASES if known.is_stop and first < version_key(known.version) <= last]


def python_supported(python_version: str, wanted: Release) -> bool:
    """Return whether ``wanted`` runs on the Python ``python_version`` (such as 3.11.2)."""
    lowest, too_new = (version_key(limit) for limit in wanted.python)
    return lowest <= version_key(python_version)[:2] < too_new
