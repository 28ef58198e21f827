# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How every module of this collection runs on its host (``meta/runtime.yml`` leads all of them here).

A host that is lost, or that lets nobody become root, is a failed task like any other. Ansible would take it out of the
run instead: no rescue would keep why, nothing would unlock what is left, and where it was the only host of a play, the
playbook would end there, without verification and without a report.

It bears the name of one of them because ansible-test wants a module beside each action plugin.
"""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleActionSkip, AnsibleConnectionFailure, AnsibleError
from ansible.plugins.action.normal import ActionModule as RunModule


class ActionModule(RunModule):
    """Run the module; what the connection says on failing is its result."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the module's result, or why there is none, with ``no_connection`` set if the host was not reached."""
        try:
            result = self._on_host(tmp, task_vars)
        except (AnsibleActionFail, AnsibleActionSkip):
            raise
        except AnsibleError as error:
            lost = isinstance(error, AnsibleConnectionFailure)
            return {"failed": True, "changed": False, "msg": str(error).strip(), "no_connection": lost}
        if result.pop("unreachable", False):
            return {**result, "failed": True, "no_connection": True}
        return result

    def _on_host(self, tmp: str | None, task_vars: dict[str, Any] | None) -> dict[str, Any]:
        """Return the module's result; actions that do more than run it do it here."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        return result
