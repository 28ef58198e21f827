# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""The options of all modules that make Python environments, or see whether they can be made."""

from __future__ import annotations


class ModuleDocFragment:
    """``wheelhouse``, ``pip_extra_args`` and ``pythons``."""

    DOCUMENTATION = r"""
options:
  wheelhouse:
    description: Folder on the host with all wheels; pip then uses no package index. See O(remote_src).
    type: path
  pip_extra_args:
    description:
      - Further arguments of C(pip install), such as the options of a package index. A requirement among them wins over
        the bound that this collection has for its package (C(bcrypt<5)).
    type: list
    elements: str
    default: []
  pythons:
    description:
      - Further interpreters to make environments with, for releases that do not run on the Python of the environment in
        use. What only root can change in C(/usr/bin), C(/usr/local/bin) and C(/opt/*/bin) is found without.
    type: list
    elements: path
    default: []
"""
