# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""The option of all modules that use files which may lie on the controller."""

from __future__ import annotations


class ModuleDocFragment:
    """``remote_src``: where the files are."""

    DOCUMENTATION = r"""
options:
  remote_src:
    description:
      - Whether C(wheelhouse) or C(archive) lies on the host already, as with C(ansible.builtin.unarchive). With
        V(false) it is a path on the controller; what the host lacks of it, judged by SHA-256, is copied there first,
        into a folder of root's in C(/var/cache/fractal-ops). An URL is not concerned.
      - In check mode nothing is copied.
    type: bool
    default: true
"""
