# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""The stages of a window in words, in the order in which they are done: a table."""

from __future__ import annotations

TITLES = {
    "look": "See that each step can be made",
    "drain": "Leave no job and no task collection for the stop to kill",
    "stop": "Stop fractal-server",
    "settle": "Mark as failed the work that fractal-server could not end",
    "backup": "Back up the instance",
    "environment_file": "Migrate the environment file",
    "hop": "Switch to the release, migrate its schema and data:",
    "resources": "Give the resource what the data migration cannot carry over",
    "note": "Note what the new database holds that the old one did not",
    "start": "Start fractal-server, wait until it is healthy",
    # the way back
    "start again": "Start the old fractal-server again",
    "stop again": "Stop fractal-server",
    "old environment": "Switch back to the old environment",
    "old database": "Bring back the database",
    "old files": "Bring back the files",
    "old service": "Start the old fractal-server",
    "clean up": "Clean up",
    # what follows a failure, and how a window ends
    "go_back": "Going back to the old instance",
    "leave": "Leaving it to a person",
    "upgraded": "the new release is in service",
    "waits": "the workers on other hosts are to be switched",
    "back": "the old instance is back",
    "restarted": "the service was started again",
    "left": "it is left to a person",
}


def title(name: str) -> str:
    """Return a stage in words; ``name`` may end with a release, as a hop's does."""
    if name in TITLES:
        return TITLES[name]
    stage, _blank, release = name.rpartition(" ")
    return f"{TITLES.get(stage, stage)} {release}".strip()
