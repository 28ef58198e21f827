# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""The release path of Fractal as data. A new release is a new row.

Sources: each tag's ``fractal_server/migrations/versions`` (alembic heads), ``pyproject.toml`` (Python range) and
``fractal_server/data_migrations`` (data migrations); fractal-web's ``docs/version-compatibility.md`` and
``.github/workflows/github_release.yaml`` (Node majors).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError


@dataclass(frozen=True)
class Release:
    """A release of fractal-server.

    ``drops`` says what its schema migration takes away for good, so that only a restored dump brings it back.
    ``needs`` lists programs that it calls at run time and its predecessors did not.
    """

    version: str
    alembic_head: str
    python: tuple[str, str]  # lowest supported, lowest not supported any more
    web: str
    node_majors: tuple[int, ...]
    data_migration: bool = False
    drops: str = ""
    needs: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for Ansible."""
        return asdict(self)


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
        data_migration=True,
        drops="user_oauth.username",
    ),
    Release(
        "2.17.1",
        "7673fe18c05d",
        _PYTHON,
        web="1.21.1",
        node_majors=(18, 20),
        drops="user_settings (every user's old settings), user_oauth.user_settings_id",
    ),
    Release("2.17.2", "e0e717ae2f26", _PYTHON, web="1.21.1", node_majors=(18, 20), needs=("unzip",)),
)

_BY_VERSION = {release.version: release for release in RELEASES}


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
    found = _BY_VERSION.get(version)
    if found is None:
        raise FractalError(
            f"fractal-server {version} is not on the release path that this collection knows "
            f"({RELEASES[0].version} to {RELEASES[-1].version}). Set fractal_target_version to one of: "
            f"{', '.join(known.version for known in RELEASES if known.version >= '2.17')}."
        )
    return found


def web_release(version: str) -> str:
    """Return the release of fractal-web that belongs to a release of fractal-server; empty for an unknown one."""
    found = _BY_VERSION.get(version)
    return found.web if found else ""


def release_at_head(alembic_head: str | None) -> Release | None:
    """Return the newest release whose schema ends at ``alembic_head``, or None for an unknown revision."""
    return next((known for known in reversed(RELEASES) if known.alembic_head == alembic_head), None)


def hops(start: str, target: str) -> list[Release]:
    """Return the releases to install one after another: each data migration's own release, then the target.

    Raises:
        FractalError: A release is unknown, or the target is older than the start.
    """
    first, last = release(start), release(target)
    if version_key(target) < version_key(start):
        raise FractalError(
            f"The instance is at {start}, which is newer than the target {target}. Going back is what the rollback "
            "playbook is for; otherwise set fractal_target_version."
        )
    between = RELEASES[RELEASES.index(first) + 1 : RELEASES.index(last) + 1]
    return [hop for hop in between if hop.data_migration or hop is last]


def python_supported(python_version: str, wanted: Release) -> bool:
    """Return whether ``wanted`` runs on the Python ``python_version`` (such as 3.11.2)."""
    lowest, too_new = (version_key(limit) for limit in wanted.python)
    return lowest <= version_key(python_version)[:2] < too_new
