# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""All releases of Fractal from 2.16.0 on as data. A new release is a new row.

Sources: each tag's ``fractal_server/migrations/versions`` (alembic heads), ``pyproject.toml`` (Python range) and
``fractal_server/data_migrations`` (data migrations), from 2.24.3 on the packages themselves; fractal-web's
``docs/version-compatibility.md``, which ends at 2.24.2, and ``.github/workflows/github_release.yaml`` (Node majors).
"""

from __future__ import annotations

from typing import Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._releases.release import (
    Constraint,
    Release,
    TakenAway,
)

# The lowest Python that runs a release, and the lowest that does not any more.
_3_11_TO_13, _3_11_TO_14, _3_12_TO_14 = ("3.11", "3.14"), ("3.11", "3.15"), ("3.12", "3.15")
_3_12_TO_15, _3_13_TO_15 = ("3.12", "3.16"), ("3.13", "3.16")


def _web(version: str, *node_majors: int) -> tuple[str, tuple[int, ...]]:
    """Return a fractal-web: the newest that is listed for the server's release, or for the nearest before it."""
    return version, node_majors


def _all(versions: str, *same: Any, **also: Any) -> tuple[Release, ...]:
    """Return the releases ``versions``, which are the same in all that a row says."""
    return tuple(Release(version, *same, **also) for version in versions.split())


_1_29_6 = _web("1.29.6", 24)

RELEASES: tuple[Release, ...] = (
    *_all("2.16.0 2.16.1 2.16.2 2.16.3 2.16.4 2.16.5 2.16.6", "981d588fe248", _3_11_TO_13, *_web("1.20.1", 18, 20)),
    Release(
        "2.17.0",
        "83bc2ad3ffcc",
        _3_11_TO_13,
        *_web("1.21.1", 18, 20),
        is_stop=True,
        takes_away=(TakenAway("user_oauth", "username"),),
    ),
    Release(
        "2.17.1",
        "7673fe18c05d",
        _3_11_TO_13,
        *_web("1.21.1", 18, 20),
        takes_away=(TakenAway("user_settings"), TakenAway("user_oauth", "user_settings_id")),
    ),
    Release("2.17.2", "e0e717ae2f26", _3_11_TO_13, *_web("1.21.1", 18, 20), needs=("unzip",)),
    Release(
        "2.18.0",
        "88270f589c9b",
        _3_11_TO_14,
        *_web("1.21.1", 18, 20),
        is_stop=True,
        takes_away=(TakenAway("usergroup", "viewer_paths"),),
        offered=False,  # 2.18.1 belongs to it and came on the same day
    ),
    Release(
        "2.18.1",
        "b7477cc98f45",
        _3_11_TO_14,
        *_web("1.22.0", 18, 20, 24),
        takes_away=(TakenAway("user_oauth", "project_dir"),),
    ),
    Release(
        "2.18.2",
        "068496367952",
        _3_11_TO_14,
        *_web("1.22.2", 18, 20, 24),
        takes_away=(TakenAway("taskgroupv2", "venv_size_in_kB"), TakenAway("taskgroupv2", "venv_file_number")),
    ),
    *_all("2.18.3 2.18.4 2.18.5", "068496367952", _3_11_TO_14, *_web("1.22.2", 18, 20, 24)),
    Release("2.18.6", "068496367952", _3_12_TO_14, *_web("1.22.2", 18, 20, 24)),
    Release(
        "2.19.0",
        "cfd13f7954e7",
        _3_12_TO_14,
        *_web("1.23.0", 20, 24),
        takes_away=(TakenAway("taskv2", "source"), TakenAway("datasetv2", "history")),
    ),
    *_all("2.19.1 2.19.2 2.19.3 2.19.4", "cfd13f7954e7", _3_12_TO_14, *_web("1.23.0", 20, 24)),
    # 2.20.0 to 2.20.4 leave two unique indexes that no later release expects, nor removes
    *_all("2.20.0 2.20.1 2.20.2 2.20.3", "7226c20dc233", _3_12_TO_14, *_web("1.24.0", 20, 24), offered=False),
    Release("2.20.4", "7226c20dc233", _3_12_TO_14, *_web("1.24.1", 20, 24), offered=False),
    Release("2.20.5", "7226c20dc233", _3_12_TO_14, *_web("1.24.1", 20, 24)),
    Release("2.21.0", "7226c20dc233", _3_12_TO_14, *_web("1.25.0", 20, 24)),
    Release("2.22.0", "0f916383c170", _3_12_TO_14, *_web("1.27.0", 20, 24)),
    Release("2.22.1", "0f916383c170", _3_12_TO_14, *_web("1.27.0", 20, 24), offered=False),  # withdrawn from PyPI
    Release("2.22.2", "0f916383c170", _3_12_TO_14, *_web("1.27.0", 20, 24)),
    *_all("2.22.3 2.22.4", "0f916383c170", _3_12_TO_14, *_web("1.27.2", 20, 24)),
    *_all("2.22.5 2.22.6 2.22.7 2.22.8", "0016fee8b597", _3_12_TO_14, *_web("1.27.5", 20, 24)),
    Release("2.22.9", "0016fee8b597", _3_12_TO_14, *_web("1.27.6", 20, 24)),
    Release("2.22.10", "3e3ccea2f3ec", _3_12_TO_14, *_web("1.27.8", 20, 24)),
    *_all("2.22.11 2.22.12", "18867fb5201a", _3_12_TO_14, *_web("1.27.9", 20, 24)),
    Release("2.22.13", "c0448884a8e9", _3_12_TO_14, *_web("1.27.13", 20, 24)),
    Release("2.22.14", "1ef3722b998f", _3_12_TO_14, *_web("1.27.13", 20, 24)),
    # its own notes ask to go on to 2.23.1 at once
    Release("2.23.0", "92ec661b7f76", _3_12_TO_14, *_web("1.27.13", 20, 24), is_stop=True, offered=False),
    Release("2.23.1", "1c49c1602044", _3_12_TO_14, *_web("1.27.13", 20, 24)),
    Release("2.23.2", "635d07f1ab55", _3_12_TO_14, *_web("1.28.1", 20, 24)),
    Release("2.23.3", "66f492f489c3", _3_12_TO_14, *_web("1.28.1", 20, 24)),
    *_all("2.23.4 2.23.5 2.23.6", "daecd41f37da", _3_12_TO_14, *_web("1.28.3", 24)),
    Release("2.23.7", "daecd41f37da", _3_12_TO_14, *_web("1.28.4", 24)),
    Release("2.24.0", "daecd41f37da", _3_12_TO_14, *_web("1.29.2", 24)),
    Release("2.24.1", "d4027db95431", _3_12_TO_14, *_web("1.29.4", 24)),
    Release("2.24.2", "d4027db95431", _3_12_TO_14, *_1_29_6),
    # from here on upstream lists no fractal-web; every address that 1.29.6 calls is still there
    *_all("2.24.3 2.24.4 2.25.0", "3ddaf7271fc3", _3_12_TO_14, *_1_29_6, web_documented=False),
    *_all("2.25.1 2.25.2", "0c5e3f92c3a8", _3_12_TO_14, *_1_29_6, web_documented=False),
    *_all("2.25.3 2.25.4", "0c5e3f92c3a8", _3_12_TO_15, *_1_29_6, web_documented=False),
    Release("2.26.0", "0c5e3f92c3a8", _3_13_TO_15, *_1_29_6, web_documented=False),
)

CONSTRAINTS: tuple[Constraint, ...] = (
    # bcrypt 4 looks at the first 72 bytes of a password, bcrypt 5 refuses a longer one: log-in ends in HTTP 500
    # (2.26.0, app/security/__init__.py, BcryptHasher; pwdlib takes both)
    Constraint("bcrypt", "<5", since="2.17.0"),
    # nothing bounds it before 2.22.10, which asks for 5.0; the lock files of those releases have 4.0.0
    Constraint("paramiko", "<5", since="2.17.0", before="2.22.10"),
)
