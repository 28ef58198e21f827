# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""What the migrations of 2.17.0 fill in where nobody has said anything yet."""

from __future__ import annotations

RESOURCE_NAME = "Resource Name"  # fractal-server 2.17.0, data_migrations/2_17_0.py
PROFILE_NAME = "Profile {username}"  # fractal-server 2.17.0, data_migrations/2_17_0.py
PROJECT_DIR = "/PLACEHOLDER"  # fractal-server 2.17.0, migrations/versions: what set-db gives to every user
