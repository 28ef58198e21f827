#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: fractal_maintenance_page
short_description: Answer with a maintenance page in the place of fractal-web
version_added: 1.0.0
author:
  - The fractal_ops.platform developers (@fractal-ops)
description:
  - With O(state=present), stops fractal-web, and a small program of the host's own Python answers where it listened, as
    the account C(nobody), with status 503, C(Retry-After) and one page, whatever is asked.
  - With O(state=absent), starts fractal-web in its place.
  - The page goes away by itself, too, and systemd starts fractal-web then. It does so half a minute after
    fractal-server was down and answers again, or if that is not stopped within O(patience), or at O(deadline), or if it
    is killed. It does not survive a reboot, which brings fractal-web as ever. Whoever starts fractal-web ends it.
  - A fractal-web that does not run is not replaced.
notes:
  - The page answers plain HTTP on the TCP ports of fractal-web. A fractal-web on a Unix socket, or behind a socket
    unit, is refused. What a reverse proxy makes of the answer is its own affair.
attributes:
  check_mode:
    description: Says whether something would change.
    support: full
  diff_mode:
    description: Shows what changed.
    support: none
options:
  service:
    description: Name of the systemd unit of fractal-web.
    type: str
    default: fractal-web
  state:
    description: Whether the page is up.
    type: str
    choices: [present, absent]
    default: present
  content:
    description: The page, as HTML. By default one that says that Fractal is being upgraded.
    type: str
  patience:
    description: How many seconds fractal-server may stay up with the page in place.
    type: float
    default: 300
  deadline:
    description: After how many seconds the page goes, whatever happens.
    type: float
    default: 1800
  env_file:
    description: Environment file of fractal-web, if the unit does not lead to it.
    type: path
  url:
    description: Address at which fractal-web answers on its own host, if the unit does not tell.
    type: str
extends_documentation_fragment:
  - fractal_ops.platform.lock
"""

EXAMPLES = r"""
- name: Tell the users of fractal-web that it is being worked on, for an hour at most
  fractal_ops.platform.fractal_maintenance_page:
    patience: 3600
    deadline: 3600

- name: Bring fractal-web back
  fractal_ops.platform.fractal_maintenance_page:
    state: absent
"""

RETURN = r"""
page:
  description: Whether the page is up now.
  returned: success
  type: bool
at:
  description: When the module began, in seconds since the epoch by the host's clock.
  returned: always
  type: float
duration:
  description: Seconds that it took.
  returned: always
  type: float
"""

from typing import TYPE_CHECKING, Any, NoReturn

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.fractal_ops.platform.plugins.module_utils._core.systemd import read_unit
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.lock import LOCK_ARGUMENT
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.maintenance import (
    TEXT,
    Page,
    page_is_up,
    put_up,
    server_of,
    take_away,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._instance.web import discover_web
from ansible_collections.fractal_ops.platform.plugins.module_utils._module import run_module

if TYPE_CHECKING:
    from collections.abc import Mapping


def apply(params: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    unit = read_unit(params["service"])
    up, wanted = page_is_up(unit.name), params["state"] == "present"
    if check_mode or up == wanted:
        return {"changed": up != wanted and (up or unit.active_state == "active"), "page": up}
    if not wanted:
        return {"changed": take_away(params["service"]), "page": False}
    instance = discover_web(params["service"], params["env_file"], params["url"])
    server = server_of(instance.variables())
    page = Page(params["content"] or TEXT, server, params["patience"], params["deadline"])
    changed = put_up(instance, page)
    return {"changed": changed, "page": changed}


def main() -> NoReturn:
    module = AnsibleModule(
        argument_spec={
            **LOCK_ARGUMENT,
            "service": {"type": "str", "default": "fractal-web"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "content": {"type": "str"},
            "patience": {"type": "float", "default": 300},
            "deadline": {"type": "float", "default": 1800},
            "env_file": {"type": "path"},
            "url": {"type": "str"},
        },
        supports_check_mode=True,
    )
    run_module(module, lambda: apply(module.params, module.check_mode))


if __name__ == "__main__":
    main()
