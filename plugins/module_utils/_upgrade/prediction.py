# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""How long the service will be down, from what a rehearsal measured. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def predict(seconds: Mapping[str, float], hops: Sequence[str], size: int, copied: int) -> dict[str, float]:
    """Return the seconds of each stage of the window, by the name that it has there (``hop`` with its release).

    PostgreSQL copies a database file by file, so its time grows with the bytes: what was measured on the restored
    database, which is smaller, is scaled to the instance's own.

    Args:
        seconds: What was measured: ``stop``, ``copy`` and ``compare`` (or ``dump`` and ``proof`` where no copy can be
            made), ``environment``, of each hop ``switch``, ``schema`` and ``data`` with its release, ``note`` and
            ``start``.
        hops: The releases on the way.
        size: Bytes of the instance's database.
        copied: Bytes of the database that was copied; 0 for none.
    """
    if copied:
        backup = seconds["copy"] * max(1.0, size / copied) + seconds["compare"]
    else:
        backup = seconds["dump"] + seconds["proof"]
    found = {"stop": seconds["stop"], "backup": backup, "environment_file": seconds["environment"]}
    for hop in hops:
        found[f"hop {hop}"] = sum(seconds.get(f"{part} {hop}", 0.0) for part in ("switch", "schema", "data"))
    found.update(note=seconds["note"], start=seconds["start"])
    return {name: round(value, 3) for name, value in found.items()}


def copy_speed(seconds: Mapping[str, float], copied: int) -> int:
    """Return the bytes that PostgreSQL copies in a second; 0 where none were copied."""
    return round(copied / seconds["copy"]) if copied and seconds.get("copy") else 0


def whole(predicted: Mapping[str, float]) -> float:
    """Return the seconds of the whole window."""
    return round(sum(predicted.values()), 1)
