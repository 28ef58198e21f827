# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Wheels and archives on the controller: with ``remote_src: false`` a module gets them copied to its host first.

As ``ansible.builtin.unarchive`` does it; what lies there already is not sent again. ``meta/runtime.yml`` leads all
modules here that have this option; ansible-test wants the action to bear the name of one.
"""

from __future__ import annotations

import os
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.module_utils.parsing.convert_bool import boolean
from ansible_collections.fractal_ops.platform.plugins.action.fractal_observe import ActionModule as RunModule
from ansible_collections.fractal_ops.platform.plugins.plugin_utils.sources import files_of, sha256_of, why_not_copied

_SOURCES = ("wheelhouse", "archive")
_MODULE = "fractal_ops.platform.fractal_copied_files"


class ActionModule(RunModule):
    """Copy what the module needs of the controller, then run it."""

    TRANSFERS_FILES = True

    def _on_host(self, tmp: str | None, task_vars: dict[str, Any] | None) -> dict[str, Any]:
        args = self._task.args
        wanted = {name: str(args[name]) for name in _SOURCES if args.get(name) and "://" not in str(args[name])}
        if not boolean(args.get("remote_src", True)) and args.get("state", "staged") == "staged":
            for option, path in wanted.items():
                copied = self._copied(path, task_vars or {})
                if copied.get("failed") or copied.get("unreachable"):
                    return copied
                if "path" in copied:  # else it is check mode, and the module says what it cannot check
                    self._task.args = {**self._task.args, option: copied["path"], "remote_src": True}
        return super()._on_host(tmp, task_vars)

    def _copied(self, path: str, facts: dict[str, Any]) -> dict[str, Any]:
        """Return the ``path`` on the host at which the file or folder lies now, or a result that says why not."""
        reason = why_not_copied(path)
        if reason:
            raise AnsibleActionFail(f"remote_src is false, so {path} would be copied to the host, {reason}.")
        files = files_of(path)
        digests = {name: sha256_of(one) for name, one in files.items()}
        answer = self._ask({"files": digests}, facts)
        if answer.get("changed"):
            if self._task.check_mode:
                return {}
            try:
                folder = self._connection._shell.tmpdir or self._make_tmp_path()
                for name in answer["missing"]:
                    self._transfer_file(str(files[name]), self._connection._shell.join_path(folder, name))
                answer = self._ask({"files": digests, "source": folder}, facts)
            finally:
                self._remove_tmp_path(self._connection._shell.tmpdir)
        if "folder" not in answer:
            return answer
        name = "" if os.path.isdir(path) else next(iter(files))
        return {"path": os.path.join(answer["folder"], name)}

    def _ask(self, options: dict[str, Any], facts: dict[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = self._execute_module(module_name=_MODULE, module_args=options, task_vars=facts)
        return answer
