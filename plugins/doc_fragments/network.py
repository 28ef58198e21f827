# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""The option of all modules that download, or start what does."""

from __future__ import annotations


class ModuleDocFragment:
    """``environment``: the way to the network."""

    DOCUMENTATION = r"""
options:
  environment:
    description:
      - Variables that lead downloads to the network, such as C(https_proxy), C(no_proxy), C(SSL_CERT_FILE),
        C(REQUESTS_CA_BUNDLE), or those of pip, such as C(PIP_INDEX_URL).
      - An option, not the keyword of the task, because that would show a proxy's password to every account of the host.
    type: dict
    default: {}
"""
