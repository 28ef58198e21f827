#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Back up a Fractal instance and prove the backup."""

from __future__ import annotations

DOCUMENTATION = r"""
module: fractal_backup
short_description: Back up a Fractal instance and prove the backup
version_added: 1.0.0
description:
  - Makes one folder that brings the instance back - a dump of the database, the environment files, the JSON
    configurations that they name, the unit with its drop-ins, the list of installed packages, and a manifest with
    sizes, SHA-256 sums, versions, alembic revision, and the number and digest of every table's rows.
  - With O(method=copy) a frozen copy of the database takes the place of the dump at first. PostgreSQL itself makes it
    beside the database, in seconds; it is compared with the original, and a rollback exchanges the names. The dump is
    made of it with O(state=archived), when the service is up again.
  - The dump is proved by restoring it into a scratch database whose rows, digests, sequences and structure equal those
    of the instance's database at the moment of the dump. The scratch database is always dropped.
  - The folder gets its name only when it is complete, proved and on disk. A finished backup is never replaced, so the
    module can be run again in the middle of an upgrade. What killed calls for it left goes first.
  - Stop fractal-server before. What is written after the dump is not in the backup.
author:
  - The fractal_ops.platform developers (@fractal-ops)
extends_documentation_fragment:
  - fractal_ops.platform.database.installation
  - fractal_ops.platform.lock
requirements:
  - pg_dump and pg_restore, not older than the database server
attributes:
  check_mode:
    description: Can run in check mode and return what it would return otherwise.
    support: partial
    details: The backup that would be made is not described.
  diff_mode:
    description: Returns details on what has changed.
    support: none
options:
  state:
    description:
      - V(present) makes the backup O(run) unless it is there.
      - V(archived) adds the proved dump to each backup of O(backup_root) that is a frozen copy alone, with low
        priority. The service may run. A backup whose copy a rollback has given back stays without. A dump that was
        written without compression, as the service waited for it, is packed.
      - V(tidy) removes what killed backups left behind - unfinished folders with their copies, scratch databases, and
        unfinished files. Finished backups stay.
      - V(packed) writes the finished backup O(run) as one file into the folder O(into), to be copied elsewhere.
      - V(noted) notes, beside the finished backup O(run), what the database of the new release holds that the old one
        did not. Run it when the last migration is done and before the new release starts, so that a rollback knows what
        was written since.
      - V(pruned) removes all but the O(keep) newest backups of O(backup_root), and never the backup O(run).
    type: str
    choices: [present, archived, tidy, noted, packed, pruned]
    default: present
  method:
    description:
      - V(dump) makes the dump, V(copy) a frozen copy of the database, V(auto) the copy where it can be made, and else
        the dump. RV(why_not_copied) then says why.
      - A copy needs a role that owns the database and may create databases, no tablespaces, room on PostgreSQL's disk,
        that nobody stays connected to the database, and that the role can repeat its settings and privileges.
    type: str
    choices: [auto, copy, dump]
    default: dump
  backup_root:
    description:
      - Folder that holds the backups. It is made with mode V(0700) if it does not exist.
      - It and all folders that it lies in must be root's, writable for nobody else, as root restores what lies there.
    type: path
    required: true
  run:
    description:
      - Name of the backup's folder, the same for every run of one upgrade. Needed unless O(state=tidy).
    type: str
  proof:
    description:
      - V(restore) proves the dump in a scratch database. The database role needs the right to create databases.
      - V(list) only makes sure that the dump can be read from the first to the last byte, V(none) not even that.
    type: str
    choices: [restore, list, none]
    default: restore
  extra_paths:
    description:
      - Further files to keep.
    type: list
    elements: path
    default: []
  into:
    description:
      - Folder for the packed backup, which its owner only can read.
    type: path
  keep:
    description:
      - How many backups stay.
    type: int
  superseded_by:
    description:
      - With O(state=archived), the run whose frozen copy takes the place of the others. These are dropped then, if
        their backups have their dump.
    type: str
"""

EXAMPLES = r"""
- name: Back up the stopped instance
  fractal_ops.platform.fractal_backup:
    service: fractal-server
    backup_root: /var/backups/fractal/fractal-server.service
    run: 20251120T210000Z
  register: backup

- name: Show where it is
  ansible.builtin.debug:
    var: backup.backup.path
"""

RETURN = r"""
backup:
  description: The backup. In check mode, before it was made, only its path and run.
  returned: with O(state=present)
  type: dict
  contains:
    path:
      description: Its folder.
      type: str
      returned: success
    run:
      description: Its name.
      type: str
      returned: success
    created:
      description: When it was made (UTC, ISO 8601).
      type: str
      returned: success
    version:
      description: The version of fractal-server that was installed.
      type: str
      returned: success
    revision:
      description: The alembic revision.
      type: str
      returned: success
    release:
      description: First release with this revision as its head.
      type: str
      returned: success
    proof:
      description:
        - How it was proved - C(kind) (V(copy) as long as it is a frozen copy without a dump) and C(seconds), and in
          C(left_out) what only an administrator of PostgreSQL could restore (some extensions, event triggers,
          privileges given by others). The dump holds it; Fractal needs none of it.
      type: dict
      returned: success
    frozen_copy:
      description: Name of the frozen copy, empty without one.
      type: str
      returned: success
    dump_bytes:
      description: Size of the database dump, 0 until it is made.
      type: int
      returned: success
    size_bytes:
      description: Size of everything.
      type: int
      returned: success
    rows:
      description: Number of rows in all tables.
      type: int
      returned: success
why_not_copied:
  description: Why there is no frozen copy with O(method=auto); else empty.
  returned: with O(state=present)
  type: str
copy_seconds:
  description: Seconds that making the frozen copy took. 0 without one, or if the backup was there.
  returned: with O(state=present)
  type: float
dump_seconds:
  description: Seconds that the dump took, the digests of the source included. 0 if none was made.
  returned: with O(state=present) and O(state=archived)
  type: float
proof_seconds:
  description: Seconds that the proof took. 0 if the backup was there.
  returned: with O(state=present) and O(state=archived)
  type: float
archived:
  description: The backups that got their dump, each as RV(backup).
  returned: with O(state=archived)
  type: list
  elements: dict
packed_dumps:
  description: Folders of backups whose dump was packed.
  returned: with O(state=archived)
  type: list
  elements: str
gone:
  description: Folders of backups without a dump, whose copy is not there any more.
  returned: with O(state=archived)
  type: list
  elements: str
noted:
  description: Tables that were noted.
  returned: with O(state=noted)
  type: list
  elements: str
packed:
  description: Path of the packed backup.
  returned: with O(state=packed)
  type: str
removed:
  description: Folders and databases that were removed.
  returned: with O(state=archived), O(state=tidy) and O(state=pruned)
  type: list
  elements: str
duration:
  description: Seconds that the module took.
  returned: always
  type: float
"""

import os
from typing import Any, Callable

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.fractal_ops.platform.plugins.module_utils._backup.archive import (
    archive_backups,
    drop_other_copies,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._backup.make import (
    METHODS,
    PROOFS,
    make_backup,
    note_after,
    tidy_up,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._backup.store import (
    open_backup,
    pack_backup,
    prune_backups,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.database import (
    INSTALLATION_ARGUMENTS,
    find_installation,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.lock import LOCK_ARGUMENT
from ansible_collections.fractal_ops.platform.plugins.module_utils._module import run_module


def back_up(options: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """Return the module's result."""
    state, python, root, run = (options[name] for name in ("state", "python", "backup_root", "run"))
    if state == "packed":
        path = os.path.join(root, run)
        packed = path if check_mode else pack_backup(open_backup(path).path, options["into"])
        return {"changed": True, "packed": packed}
    if state == "pruned":
        return _removed(prune_backups(root, options["keep"], run, check_mode))
    installation = find_installation(options)
    others: dict[str, Callable[[], dict[str, Any]]] = {
        "archived": lambda: _archived(options, check_mode),
        "tidy": lambda: _removed(tidy_up(installation, python, root, check_mode)),
        "noted": lambda: note_after(installation, python, os.path.join(root, run), check_mode),
    }
    if state in others:
        return others[state]()
    proof, extra_paths, method = options["proof"], options["extra_paths"], options["method"]
    return make_backup(installation, python, root, run, proof, extra_paths, check_mode, method)


def _archived(options: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    python, root, run = (options[name] for name in ("python", "backup_root", "superseded_by"))
    installation = find_installation(options)
    made = archive_backups(installation, python, root, options["proof"], check_mode)
    removed = drop_other_copies(installation, python, root, run, check_mode) if run else []
    return {**made, "changed": made["changed"] or bool(removed), "removed": removed}


def _removed(removed: list[str]) -> dict[str, Any]:
    return {"changed": bool(removed), "removed": removed}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **INSTALLATION_ARGUMENTS,
            **LOCK_ARGUMENT,
            "state": {
                "type": "str",
                "choices": ["present", "archived", "tidy", "noted", "packed", "pruned"],
                "default": "present",
            },
            "method": {"type": "str", "choices": list(METHODS), "default": "dump"},
            "backup_root": {"type": "path", "required": True},
            "run": {"type": "str"},
            "proof": {"type": "str", "choices": list(PROOFS), "default": "restore"},
            "extra_paths": {"type": "list", "elements": "path", "default": []},
            "into": {"type": "path"},
            "keep": {"type": "int"},
            "superseded_by": {"type": "str"},
        },
        required_if=[
            ("state", "present", ["run"]),
            ("state", "noted", ["run"]),
            ("state", "packed", ["run", "into"]),
            ("state", "pruned", ["run", "keep"]),
        ],
        supports_check_mode=True,
    )
    run_module(module, lambda: back_up(module.params, module.check_mode))


if __name__ == "__main__":
    main()
