# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""Whether files that an operator names on the controller can be used.

A task file that Ansible cannot load ends the whole run where it is included, and no report is written. So it is loaded
before any host is contacted.
"""

from __future__ import annotations

from ansible.errors import AnsibleError
from ansible.parsing.dataloader import DataLoader
from ansible.playbook.play import Play

_VAULT = "$ANSIBLE_VAULT;"


def why_no_file(path: str) -> str:
    """Return why a file cannot be read, or an empty text."""
    try:
        with open(path, encoding="utf-8") as stream:
            stream.read(len(_VAULT))
    except (OSError, UnicodeDecodeError) as error:
        return f"which cannot be read: {getattr(error, 'strerror', None) or 'it is no text'}"
    return ""


def why_no_tasks(path: str) -> str:
    """Return why a file that can be read holds no tasks, or an empty text; of an encrypted file that is not known."""
    with open(path, encoding="utf-8") as stream:
        text = stream.read()
    if text.startswith(_VAULT):
        return ""
    loader = DataLoader()
    try:
        tasks = loader.load(text, file_name=path)
        if not isinstance(tasks, list) or not tasks or not all(isinstance(task, dict) for task in tasks):
            return "which is no list of tasks"
        Play.load({"hosts": "all", "gather_facts": False, "tasks": tasks}, loader=loader)
    except AnsibleError as error:
        return f"which Ansible cannot load: {str(error.message).splitlines()[0].strip().rstrip('.')}"
    except Exception:  # what it imports needs the inventory, which is not here
        return ""
    return ""
