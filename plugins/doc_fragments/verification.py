# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""Options and result that the verification modules share."""

from __future__ import annotations


class ModuleDocFragment:
    """What server and web are verified with."""

    DOCUMENTATION = r"""
options:
  url:
    description:
      - Where it answers on this machine. The default is read from the unit.
    type: str
  version:
    description:
      - The release that must answer. The default is the one that is installed.
    type: str
  validate_certs:
    description:
      - Whether certificates must be valid, also those of the OpenID provider and of the viewer's services.
    type: bool
    default: true
"""
