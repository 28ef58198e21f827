# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""The option of all modules that change an instance as a part of a longer run."""

from __future__ import annotations


class ModuleDocFragment:
    """``lock``: the run under whose lock the module works."""

    DOCUMENTATION = r"""
options:
  lock:
    description:
      - The run under whose lock the module works, as M(fractal_ops.platform.fractal_lock) returned it. When another run
        has taken the lock over, the module fails and changes nothing.
      - Without it no lock is asked for.
    type: dict
    suboptions:
      unit:
        description: The unit whose lock it is; M(fractal_ops.platform.fractal_lock) fills it in.
        type: str
        default: ""
      run:
        description: Name of the run.
        type: str
        required: true
      controller:
        description: Who runs it, for people.
        type: str
        required: true
      abandoned:
        description: Another run that is known to be dead.
        type: str
        default: ""
"""
