# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""Options and requirements that the database modules share."""

from __future__ import annotations


class ModuleDocFragment:
    """``database.installation``: where fractal-server is; ``database``: or the database itself, without it."""

    INSTALLATION = r"""
description:
  - Runs under any Python. What needs the database is done in a child process, as the account of fractal-server and
    under its Python environment, which has all the libraries needed; see O(python).
  - The database settings are read on the host, from the same places as fractal-server reads them. No password has to
    pass through Ansible.
requirements:
  - In the environment of fractal-server - Python >= 3.11, sqlalchemy >= 2, psycopg >= 3, pydantic >= 2
options:
  service:
    description:
      - The systemd unit of fractal-server. Its working directory holds C(.fractal_server.env); variables that the unit
        sets itself win over the file, as in Fractal.
      - The default is V(fractal-server), unless other options already lead to the database.
    type: str
  env_file:
    description:
      - The environment file of fractal-server. Without O(service), the variables of a unit are left out of account.
      - The default is C(.fractal_server.env) in the unit's working directory.
    type: path
  run_as:
    description:
      - The account that fractal-server runs as. It connects to the database, and runs Fractal's own programs.
      - The default is the unit's user; without a unit, the account that runs the module.
    type: str
  python:
    description:
      - The interpreter that runs fractal-server.
      - The default is what the command line of the unit leads to; without a unit, the interpreter that runs the module.
    type: path
"""

    DOCUMENTATION = r"""
options:
  host:
    description:
      - The database server, or the folder of its socket. Used only together with O(dbname).
      - The default is V(localhost).
    type: str
  port:
    description:
      - Port of the database server. Used only together with O(dbname).
      - The default is V(5432).
    type: int
  user:
    description:
      - Role to connect as. Used only together with O(dbname).
    type: str
  password:
    description:
      - Password of O(user). Used only together with O(dbname).
    type: str
  dbname:
    description:
      - Name of the database. With it the settings are those given here, and no environment file is read for them.
    type: str
"""
