#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: fractal_copied_files
short_description: Keep files of the controller on a host for an upgrade
version_added: 1.0.0
author:
  - The fractal_ops.platform developers (@fractal-ops)
description:
  - The host's side of C(remote_src=false) of other modules, which send the files; by itself it only removes them.
  - Each set of files has a folder of its own in C(/var/cache/fractal-ops), which only root can change. A file that the
    folder of another set has already is not sent again.
attributes:
  check_mode:
    description: Says whether something would change.
    support: full
  diff_mode:
    description: Shows what changed.
    support: none
options:
  state:
    description: Whether the set O(files) is to be there, or all sets are to go.
    type: str
    choices: [present, absent]
    default: present
  files:
    description: The SHA-256 of each file in hexadecimal digits, by its name.
    type: dict
    default: {}
  source:
    description: Folder with the files that were missing. Without it the module only says which are.
    type: path
"""

EXAMPLES = r"""
- name: Remove what was copied from the controller
  fractal_ops.platform.fractal_copied_files:
    state: absent
"""

RETURN = r"""
folder:
  description: The folder of the set.
  returned: with O(state=present)
  type: str
  sample: /var/cache/fractal-ops/0f1e2d3c4b5a6978
missing:
  description: The files that have to be sent.
  returned: with O(state=present) and without O(source)
  type: list
  elements: str
removed:
  description: The folders that were removed.
  returned: with O(state=absent)
  type: list
  elements: str
duration:
  description: Seconds that it took.
  returned: always
  type: float
"""

from typing import TYPE_CHECKING, Any, NoReturn

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.copied import (
    copied_folders,
    folder_of,
    lay_out,
    missing_files,
    remove_copied,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._module import run_module

if TYPE_CHECKING:
    from collections.abc import Mapping


def keep(params: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    if params["state"] == "absent":
        removed = copied_folders() if check_mode else remove_copied()
        return {"changed": bool(removed), "removed": removed}
    files = {str(name): str(digest) for name, digest in params["files"].items()}
    folder = folder_of(files)
    if params["source"] is None or check_mode:
        missing = missing_files(files)
        return {"changed": bool(missing), "folder": folder, "missing": missing}
    return {"changed": lay_out(files, params["source"]), "folder": folder}


def main() -> NoReturn:
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "files": {"type": "dict", "default": {}},
            "source": {"type": "path"},
        },
        supports_check_mode=True,
    )
    run_module(module, lambda: keep(module.params, module.check_mode))


if __name__ == "__main__":
    main()
